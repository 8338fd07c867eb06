"""Deep adaptation network: Long et al. 2015, "Learning Transferable Features with Deep Adaptation Networks"."""

from collections.abc import Sequence

import torch
from torch import Tensor

from job.config.terms import DANTermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.ranks import gather_rows
from job.methods.term import Term
from job.methods.terms import in_full_precision, squared_distances
from job.models.classifier import Output
from job.vocabulary import SOURCE, TARGET


@in_full_precision
def multi_kernel_mmd(
    source: Tensor, target: Tensor, bandwidths: Sequence[float], source_weights: Tensor | None = None
) -> Tensor:
    """Compute the squared maximum mean discrepancy of [n, d] and [m, d] rows, n and m at least 2 (eq. 1).

    The kernel is the mean of the Gaussians exp(-|x - y|^2 / (2 b s)) over the bandwidths b (eq. 2 with equal weights);
    s, the mean squared distance over all pairs of rows of both domains, passes no gradient. The estimate is the
    unbiased one (Gretton et al. 2012, eq. 3), without the pairs of a row with itself: of equal distributions it is 0 on
    average, so it can fall below 0. The biased one also pulls the rows of each domain together. With `source_weights`
    [n] the means over the source's rows and their pairs are weighted.
    """
    rows = torch.cat([source, target])
    distances = squared_distances(rows, rows)
    smallest = torch.finfo(distances.dtype).eps * (1 + rows.detach().double().square().sum(1).mean())
    scale = distances.detach().mean().maximum(smallest)  # all rows may be equal
    kernel = torch.stack([torch.exp(-distances / (2 * bandwidth * scale)) for bandwidth in bandwidths]).mean(0)
    n, m = len(source), len(target)
    within = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    if source_weights is None:
        within = (kernel[:n, :n].sum() - n) / (n * (n - 1)) + within
        return (within - 2 * kernel[:n, n:].mean()).to(source.dtype)
    weights = source_weights.to(kernel) / source_weights.sum()
    pairs = 1 - weights.square().sum()  # the weight of all pairs of two different rows
    within = within + (weights @ kernel[:n, :n] @ weights - weights.square().sum()) / pairs
    return (within - 2 * (weights @ kernel[:n, n:]).mean()).to(source.dtype)


class DANTerm(Term):
    """Discrepancy of the features, and of the logits if set, of both domains over all ranks' rows."""

    couples_rows = True
    settings: DANTermSettings

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        layers = [output.features, *([output.class_logits] if self.settings.logits else [])]
        weights = batch.gathered_source_weights
        distance = torch.stack([self._discrepancy(batch.split(layer), weights) for layer in layers]).sum()
        return Losses(distance, {"train/mmd_loss": distance})

    def _discrepancy(self, rows: dict[str, Tensor], weights: Tensor | None) -> Tensor:
        source, target = gather_rows(rows[SOURCE]), gather_rows(rows[TARGET])
        return multi_kernel_mmd(source, target, self.settings.bandwidths, weights)


class DAN(OneTerm):
    """Class loss on the source + `weight` * maximum mean discrepancy."""

    term_type = DANTerm
