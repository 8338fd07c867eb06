"""Scores of the arrangement of target samples: neighbourhoods of predictions, clusters of features."""

import warnings

import numpy as np

from job.evaluation.samples import FEWEST
from job.evaluation.selection.evidence import Evidence
from job.evaluation.selection.on_predictions import mutual_information

TEMPERATURE = 0.05  # of the soft neighbourhood density (Saito et al. 2021)
PROBES = 0.1  # share of the samples that the Hopkins statistic probes
SEED = 0  # of k-means and of the probes: equal features have equal scores


def snd(evidence: Evidence) -> float | None:
    """Return the soft neighbourhood density, the mean entropy in nats of similarities, at most ln (n - 1).

    The similarity of two samples is the cosine of their predictions; each row without itself is a softmax at
    temperature 0.05 (Saito et al. 2021). None when one class is predicted: the density would be the
    highest possible.
    """
    p = evidence.target_probabilities
    if p is None or evidence.one_class:
        return None
    p = p / np.linalg.norm(p, axis=1, keepdims=True)
    logits = p @ p.T / TEMPERATURE
    np.fill_diagonal(logits, -np.inf)
    logits -= logits.max(1, keepdims=True)
    weights = np.exp(logits)
    total = weights.sum(1)
    np.fill_diagonal(logits, 0)  # 0 * inf has no value, and the weight there is 0
    return float(np.mean(np.log(total) - (weights * logits).sum(1) / total))


def class_ami(evidence: Evidence) -> float | None:
    """Return the adjusted mutual information of predicted classes and k-means clusters of target features, at most 1.

    There are as many clusters as classes (ClassAMI: Musgrave et al. 2022). It is 0 at chance level and for a
    single predicted class. None for fewer samples than classes.
    """
    features, p = evidence.target_features, evidence.target_probabilities
    if features is None or p is None or len(features) < p.shape[1]:
        return None
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_mutual_info_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # features of a dead network have fewer distinct points than clusters
        clusters = KMeans(p.shape[1], n_init=1, random_state=SEED).fit_predict(features)
    predicted = p.argmax(1)
    return 0.0 if len(np.unique(predicted)) < 2 else float(adjusted_mutual_info_score(predicted, clusters))


def hopkins(features: np.ndarray) -> float | None:
    """Return the Hopkins statistic of [n, width] points: 1/2 if they lie evenly, near 1 if they form clusters.

    It is u / (u + w): u sums the distances from random places in the bounding box to the nearest point, w those from
    as many points to their nearest neighbours (Hopkins & Skellam 1954; Yang et al. 2023). None if all points
    are equal.
    """
    from sklearn.neighbors import NearestNeighbors

    generator = np.random.default_rng(SEED)
    count = max(FEWEST // 2, round(PROBES * len(features)))
    points = features[generator.choice(len(features), count, replace=False)]
    places = generator.uniform(features.min(0), features.max(0), (count, features.shape[1]))
    neighbours = NearestNeighbors(algorithm="brute").fit(features)
    u = neighbours.kneighbors(places, 1)[0].sum()
    w = neighbours.kneighbors(points, 2)[0][:, 1].sum()  # the first is the point itself
    return float(u / (u + w)) if u + w > 0 else None


def unevenness(directions: np.ndarray) -> float | None:
    """Return how far C weight vectors are from evenly spread: 0 if every angle is arccos(-1 / (C - 1)).

    It is the mean squared difference of the pairwise angles from that one (Yang et al. 2023). None for a single
    vector, or one of length 0.
    """
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if len(directions) < 2 or not np.isfinite(directions).all() or (lengths == 0).any():
        return None
    cosines = np.clip((directions / lengths) @ (directions / lengths).T, -1, 1)
    angles = np.arccos(cosines[~np.eye(len(directions), dtype=bool)])
    return float(np.mean((angles - np.arccos(-1 / (len(directions) - 1))) ** 2))


def transfer_score(evidence: Evidence) -> float | None:
    """Return the transfer score of Yang et al. 2023, about -1 to 2.

    It is the Hopkins statistic of the target features + mutual information of the target predictions - unevenness of
    the classifier's weights. The paper finds the weights uneven when a classifier is biased to the source.
    """
    features, directions = evidence.target_features, evidence.directions
    if features is None or directions is None:
        return None
    clusters, uneven = hopkins(features), unevenness(directions)
    if clusters is None or uneven is None:
        return None
    return clusters + mutual_information(evidence.target) - uneven
