"""Samples of an evaluated split that are kept for scores and figures: features, predictions, thumbnails of some.

They come from the forward passes of the evaluation itself. The first n samples of the split are kept, in its order,
on any number of ranks. The most confident mistakes are chosen over all ranks: confidences are compared first, so that
only the chosen images are sent.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from accelerate.utils import gather_object
from torch import Tensor

from job.models.classifier import Output

FEWEST = 20  # samples of a domain: nothing is computed from fewer
THUMBNAIL = 96  # px, longest edge of a thumbnail


@dataclass(frozen=True)
class Sample:
    """The first n samples of a split, `faces` of them with images, and its k most confident mistakes.

    Row i of every array belongs to the i-th image of the split, on any number of ranks.
    """

    features: np.ndarray  # float32 [n, width], the input of the label predictor
    log_probabilities: np.ndarray  # float32 [n, C], the log-softmax of the class logits
    labels: np.ndarray  # int64 [n]; -1: no label
    predicted: np.ndarray  # int64 [n]
    target_probability: np.ndarray  # float32 [n], probability of being target; [0] without a domain classifier
    faces: "Faces"
    mistakes: "Faces"  # empty without labels


@dataclass(frozen=True)
class Faces:
    """Images uint8 [k, height, width, 3] with prediction, confidence and label (-1: no label)."""

    images: np.ndarray
    keys: list[str]
    labels: np.ndarray  # int64 [k]
    predicted: np.ndarray  # int64 [k]
    confidence: np.ndarray  # float32 [k]


class Sampler:
    """Collect this rank's part of a Sample. `samples`, `faces` and `mistakes` are totals over all ranks.

    `first` is the position in the split of the first sample that this rank evaluates.
    """

    def __init__(self, samples: int, faces: int, mistakes: int, ranks: int, first: int = 0) -> None:
        self._samples, self._faces, self._mistakes = samples, faces, mistakes
        self._samples_left, self._faces_left = samples - first, -(-faces // ranks)
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in ("features", "logs", "labels", "target")}
        self._first: list[tuple] = []  # image, key, label, predicted, confidence
        self._worst: list[tuple] = []

    def add(self, images: Tensor, labels: Tensor, keys: list[str], output: Output, log_probabilities: Tensor) -> None:
        """Add a batch: `images` uint8 [n, height, width, 3] and `labels` on the CPU, the rest on any device."""
        if self._samples_left > 0:
            self._rows["features"].append(output.features[: self._samples_left].float().cpu().numpy())
            self._rows["logs"].append(log_probabilities[: self._samples_left].float().cpu().numpy())
            self._rows["labels"].append(labels[: self._samples_left].numpy())
            if output.domain_logits is not None:
                self._rows["target"].append(output.domain_logits[: self._samples_left].float().sigmoid().cpu().numpy())
            self._samples_left -= len(labels)
        if not (self._faces_left > 0 or (self._mistakes and labels.max() >= 0)):
            return
        confidence, predicted = (part.cpu().numpy() for part in log_probabilities.exp().max(1))
        truth = labels.numpy()

        def entry(row: int) -> tuple:
            return _thumbnail(images[row].numpy()), keys[row], truth[row], predicted[row], confidence[row]

        self._first += [entry(row) for row in range(min(self._faces_left, len(keys)))]
        self._faces_left -= min(self._faces_left, len(keys))
        if self._mistakes:
            wrong = np.flatnonzero((predicted != truth) & (truth >= 0))  # -1: no label
            wrong = wrong[np.argsort(-confidence[wrong], kind="stable")[: self._mistakes]]
            threshold = self._worst[-1][4] if len(self._worst) == self._mistakes else -1.0
            self._worst += [entry(row) for row in wrong if confidence[row] > threshold]
            self._worst = sorted(self._worst, key=_by_confidence)[: self._mistakes]

    def gather(self) -> Sample:
        """Return the Sample over all ranks, the same on each of them. Collective: all ranks must call it."""
        parts = gather_object([{name: np.concatenate(rows) for name, rows in self._rows.items() if rows}])
        parts = [part for part in parts if part]
        empty = np.zeros(0, np.float32)
        joined = {name: np.concatenate([part.get(name, empty) for part in parts]) for name in self._rows}
        joined = {name: rows[: self._samples] for name, rows in joined.items()}
        confidences = sorted(gather_object([-float(worst[4]) for worst in self._worst]))[: self._mistakes]
        worst = [mistake for mistake in self._worst if confidences and -mistake[4] <= confidences[-1]]
        worst = sorted(gather_object(worst), key=_by_confidence)[: self._mistakes]
        return Sample(
            features=joined["features"],
            log_probabilities=joined["logs"],
            labels=joined["labels"],
            predicted=joined["logs"].argmax(1),
            target_probability=joined["target"],
            faces=_faces(gather_object(self._first)[: self._faces]),
            mistakes=_faces(worst),
        )


def _by_confidence(mistake: tuple) -> tuple:
    return -mistake[4], mistake[1]


def _faces(rows: list[tuple]) -> Faces:
    images, keys, labels, predicted, confidence = zip(*rows) if rows else ([], [], [], [], [])
    return Faces(
        np.stack(images) if images else np.zeros((0, 1, 1, 3), np.uint8),
        list(keys),
        np.array(labels, np.int64),
        np.array(predicted, np.int64),
        np.array(confidence, np.float32),
    )


def _thumbnail(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    if max(height, width) <= THUMBNAIL:
        return image.copy()
    scale = THUMBNAIL / max(height, width)
    return cv2.resize(image, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
