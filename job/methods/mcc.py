"""Minimum class confusion: Jin et al. 2020, "Minimum Class Confusion for Versatile Domain Adaptation"."""

from torch import Tensor

from job.config.terms import MCCTermSettings
from job.methods.batch import TrainingBatch
from job.methods.losses import Losses
from job.methods.one_term import OneTerm
from job.methods.ranks import gather_rows
from job.methods.term import Term
from job.methods.terms import entropy, in_full_precision
from job.models.classifier import Output
from job.vocabulary import TARGET


@in_full_precision
def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """Compute the mean over classes of the share of a class that the predictions of [n, classes] logits confuse.

    Rows have weights w = 1 + exp(-entropy) of their prediction p, without gradient (eq. 4-5). Row j of the class
    correlation (eq. 6), divided by its sum (eq. 7), adds up to 1, so its part off the diagonal (eq. 8) is 1 - sum_i
    q_ij p_ij = sum_i q_ij (1 - p_ij) with q_ij = w_i p_ij / sum_k w_k p_kj. That q is a softmax over rows of log(w p),
    so there is no division by zero if no row predicts a class. The scale of the weights cancels out.
    """
    scaled = logits / temperature
    log_p = scaled.log_softmax(1)
    log_weights = (1 + (-entropy(scaled.detach())).exp()).log()
    share = (log_weights[:, None] + log_p).softmax(0)
    return (share * -log_p.expm1()).sum(0).mean()


class MCCTerm(Term):
    """Class confusion of the target predictions, over all ranks' rows."""

    couples_rows = True
    settings: MCCTermSettings

    def forward(self, batch: TrainingBatch, output: Output, progress: Tensor) -> Losses:
        logits = gather_rows(batch.split(output.class_logits)[TARGET])
        confusion = class_confusion(logits, self.settings.temperature)
        return Losses(confusion, {"train/class_confusion": confusion})


class MCC(OneTerm):
    """Class loss on the source + `weight` * class confusion of the target."""

    term_type = MCCTerm
