"""MixVal between clusters (Hu et al. 2023, "Mixed Samples as Probes for Unsupervised Model Selection")."""

import numpy as np

from job.evaluation.selection.evidence import Evidence

SHARE = 0.55  # of the dominant image in a mix, as in Hu et al. 2023
FEW_MIXES = 10  # below it no score is computed


def mixval(evidence: Evidence) -> float | None:
    """Return the share of mixed target images that are predicted like their dominant image, in [0, 1].

    The two images of a mix are predicted as different classes, and the dominant one has 0.55 of it. A classifier whose
    boundary lies between the classes predicts the class of the dominant image (interpolation consistency between
    clusters: Hu et al. 2023). None with fewer than FEW_MIXES mixes, as when one class is predicted.
    """
    mixes = evidence.mixes
    if mixes is None or len(mixes.dominant) < FEW_MIXES:
        return None
    return float(np.mean(mixes.dominant == mixes.predicted))
