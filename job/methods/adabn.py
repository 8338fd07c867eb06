"""Adaptive batch normalisation: Li et al. 2016, "Revisiting Batch Normalization For Practical Domain Adaptation"."""

from collections.abc import Iterator

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

    @torch.no_grad()
    def before_evaluation(self, target_images: Iterator[Tensor]) -> None:
        layers = batch_norms(self.network)
        momenta = [layer.momentum for layer in layers]
        was_training = self.training
        self.network.eval()
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain mean over the batches
            layer.train()
        for images in target_images:
            self.network(images)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        self.train(was_training)


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """List the BatchNorm layers that keep running statistics."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return [layer for layer in norms if layer.track_running_stats]
