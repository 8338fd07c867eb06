"""Adaptive batch normalisation: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation"."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from job.config.objectives import AdaBNSettings
from job.methods.base import Supervised
from job.models.classifier import Classifier
from job.system.errors import JobError


class AdaBN(Supervised):
    """Supervised learning on the source; before an evaluation BatchNorm takes the statistics of target images.

    No weight is trained on the target. Every rank reads the same images in the same batches, so all have the same
    statistics.
    """

    reads = AdaBNSettings.reads

    def __init__(self, network: Classifier, settings: AdaBNSettings) -> None:
        super().__init__(network, settings)
        if not batch_norms(network) or network.freeze_batch_norm:
            raise JobError(
                "objective.name=adabn replaces the statistics of BatchNorm layers, and the network has none that may "
                "change: set model.batch_norm=mixed and a backbone or model.bottleneck with BatchNorm"
            )

    def before_evaluation(self, target_images: Iterator[Tensor]) -> None:
        was_training = self.training
        take_statistics(self.network, target_images)
        self.train(was_training)


@torch.no_grad()
def take_statistics(network: nn.Module, images: Iterable[Tensor]) -> None:
    """Replace the BatchNorm statistics of a network by those of batches of its input, each of which counts alike.

    The network is in evaluation mode afterwards.
    """
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over the batches
        layer.train()
    for batch in images:
        network(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """List the BatchNorm layers that keep running statistics."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [layer for layer in norms if layer.track_running_stats]
