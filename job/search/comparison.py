"""The score that compares trials: a label-free score, the agreement with the ensemble of all trials, or a sum of them.

The ensemble compares finished trials with each other. The rest of a sum, or selection.score, is the score of a single
evaluation, which guides the search: the proposals and the pruning.
"""

from job.config.training import LABEL_FREE_SCORES, NEEDS_LABELS
from job.evaluation.ensemble import ENSEMBLE
from job.evaluation.score_sums import HIGHEST
from job.system.errors import JobError


def check_comparison(score: str) -> None:
    """Raise JobError for a score that is unknown or needs target labels, or that has no place in a sum."""
    names = score.split("+")
    allowed = (*LABEL_FREE_SCORES, ENSEMBLE) if len(names) == 1 else tuple(HIGHEST)
    for name in names:
        if name in allowed and names.count(name) == 1:
            continue
        if name == NEEDS_LABELS:
            problem = f"{name} needs target labels, and a search chooses without them"
        elif name in allowed:
            problem = f"{name} is there more than once"
        elif name in LABEL_FREE_SCORES:
            problem = f"{name} has no highest value, so it cannot be part of a sum"
        else:
            problem = f"there is no score {name!r}"
        raise JobError(f"--compare-by {score}: {problem}: use {', '.join(allowed)}")


def has_ensemble(score: str) -> bool:
    """Return whether a score compares trials with each other."""
    return ENSEMBLE in score.split("+")


def guide_of(score: str, default: str) -> str:
    """Return the part of a score that a single evaluation has; `default` if the score is the ensemble alone."""
    return "+".join(name for name in score.split("+") if name != ENSEMBLE) or default


def total(score: str, agreement: float, guide: float | None) -> float:
    """Return the value of a score with the ensemble, from a trial's agreement with it and its value of the guide.

    A guide of one score counts as a share of its highest value; a sum consists of shares already.
    """
    rest = guide_of(score, "")
    if not rest:
        return agreement
    return agreement + (guide or 0.0) / (1.0 if "+" in rest else HIGHEST[rest])
