"""`python -m job predict`: predict the classes of images and write them as CSV, JSON lines or parquet."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from job.evaluation.load import Loaded, load_model
from job.evaluation.samples import FEWEST
from job.prediction.adapt import MOST_IMAGES, adapt
from job.prediction.explanations import Explanations
from job.prediction.images import Images, Picture, no_images, open_images
from job.prediction.prepare import Prepared, read, settings_of
from job.prediction.sheet import ConfidenceSheet
from job.prediction.tables import Columns, Row, format_of, open_table
from job.shards.inspection.contact_sheet import check_sheet
from job.shards.writing.crop import CropSettings
from job.system.echo import echo
from job.system.errors import JobError
from job.system.files import atomic_path, check_output, writing
from job.system.memory import keep_freed_memory
from job.system.processes import cores
from job.system.progress import follow
from job.system.text import printable
from job.vocabulary import EMOTIONS

LARGE = 4  # times the edge of the network's input: such an image is a photo rather than a face


class Prediction(NamedTuple):
    """The most probable class of an image, its probability, and the probability of each class by name."""

    label: str
    confidence: float
    probabilities: dict[str, float]


class Predicted(NamedTuple):
    """The result of `predict`: the number of rows, a line for each image that was skipped, and the speed."""

    rows: int
    skipped: list[str]
    images_per_second: float  # from the first image read to the last row written


@dataclass(frozen=True)
class Options:
    """Options of `predict`.

    `format` is one of FORMATS in job.prediction.tables, by default that of the ending of the output. `all_faces` makes
    a row of each face instead of the largest. `face_model` is the path of the face detector, if it was moved.
    `calibrated` writes calibrated probabilities. `adapt` is "bn" or "tent". `explain` is a folder for Grad-CAM
    overlays, `sheet` a file for a contact sheet.
    """

    batch_size: int = 64
    format: str | None = None
    all_faces: bool = False
    face_model: str | None = None
    calibrated: bool = False
    adapt: str | None = None
    explain: Path | None = None
    sheet: Path | None = None


def predict_image(model: Loaded, image: str | Path) -> Prediction:
    """Predict the class of one image file with a model that `load_model` returned.

    The image is cropped, resized and compressed like the training images. Raise JobError when it cannot be read.
    """
    prepared = read(Picture(image, Path(image)), model, settings_of(model))
    if isinstance(prepared, str):
        raise JobError(f"cannot read {image}: {prepared}")
    device = next(model.model.parameters()).device
    row = [float(p) for p in np.exp(log_probabilities(model, prepared[0].pixels[None], device)[0])]
    label, confidence = max(zip(model.class_names, row, strict=True), key=lambda pair: pair[1])
    return Prediction(label, confidence, dict(zip(model.class_names, row, strict=True)))


@torch.inference_mode()
def log_probabilities(loaded: Loaded, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Return log-probabilities float32 [n, C] of the classes of images uint8 [n, size, size, 3]."""
    inputs = loaded.network_input(images, device)
    return np.asarray(loaded.model.predict(inputs).class_logits.float().log_softmax(1).cpu().numpy())


def predict(
    checkpoint: str | Path, inputs: Sequence[str | Path], out: Path, options: Options | None = None
) -> Predicted:
    """Write a table of path, label, confidence and the probability of each class, and of the face where it was cropped.

    `inputs` are images, folders of images, shards, parquet files, and "-" for a list of paths on stdin. Raise JobError
    when the checkpoint, an output or an option cannot be used, or no image can be predicted.
    """
    options = options or Options()
    check_output("--out", out)
    if options.sheet is not None:
        check_sheet(options.sheet)
        check_output("--sheet", options.sheet)
    kind = format_of(out, options.format)
    loaded = load_model(checkpoint)
    _check(loaded, options, checkpoint)
    settings = settings_of(loaded, options.face_model)
    skipped: list[str] = []
    images = open_images(inputs, loaded.size, skipped, gray=loaded.gray)
    total = sum(part.total for part in images)
    if not total:
        raise JobError(f"nothing to predict: {skipped[0]}{_more(skipped)}" if skipped else no_images(inputs))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
    began = time.monotonic()
    with ThreadPoolExecutor(cores()) as pool:
        session = _Session(loaded, settings, options, device, pool)
        if options.adapt is not None:
            adapt(loaded, options.adapt, _sampled(session, images, total), device)
        rows = _write(session, images, total, out, kind, skipped)
    if options.calibrated and loaded.confidence is not None:
        echo(printable(f"notice: {loaded.confidence.correction}", keep=""), err=True)
    return Predicted(rows, skipped, total / max(time.monotonic() - began, 1e-9))


class _Session(NamedTuple):
    """The objects that all parts of a prediction use."""

    loaded: Loaded
    settings: CropSettings
    options: Options
    device: torch.device
    pool: ThreadPoolExecutor

    @property
    def calibrates(self) -> bool:
        """Whether the checkpoint's calibration is valid, which it is not for an adapted network."""
        return self.loaded.confidence is not None and self.options.adapt is None


def _check(loaded: Loaded, options: Options, checkpoint: str | Path) -> None:
    """Raise JobError for options that the checkpoint does not allow."""
    if options.all_faces and loaded.crop != "face":
        raise JobError(
            f"--all-faces needs a model that was trained on cropped faces (--crop face), and the crop of {checkpoint} "
            f"is {loaded.crop}: leave it out"
        )
    if options.calibrated and loaded.confidence is None:
        raise JobError(
            f"--calibrated: {checkpoint} has no calibration: it needs {FEWEST} labelled images in the validation split "
            "of the source, and a run that has evaluated them"
        )
    if options.calibrated and options.adapt is not None:
        raise JobError("--calibrated and --adapt exclude each other: the calibration is that of the network as trained")


def _sampled(session: _Session, images: list[Images], total: int) -> np.ndarray:
    """Return up to MOST_IMAGES samples, spread evenly over the images: uint8 [n, S, S, 3]."""
    chosen = islice(chain.from_iterable(images), 0, None, -(-total // MOST_IMAGES))
    found = [
        prepared.pixels
        for batch in _batches(session, chosen)
        for _, samples in batch
        if not isinstance(samples, str)
        for prepared in samples
    ]
    size = session.loaded.size
    return np.stack(found[:MOST_IMAGES]) if found else np.zeros((0, size, size, 3), np.uint8)


def _batches(session: _Session, pictures: Iterable[Picture]) -> Iterator[list[tuple[Picture, list[Prepared] | str]]]:
    """Yield batches of pictures, each with what `read` returns; the next two are read while the caller works."""
    loaded, settings, options, _, pool = session
    waiting: deque[tuple[Picture, Future[list[Prepared] | str]]] = deque()

    def taken(most: int) -> list[tuple[Picture, list[Prepared] | str]]:
        first = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        return [(picture, future.result()) for picture, future in first]

    for picture in pictures:
        waiting.append((picture, pool.submit(read, picture, loaded, settings, options.all_faces)))
        if len(waiting) == 3 * options.batch_size:
            yield taken(options.batch_size)
    while waiting:
        yield taken(options.batch_size)


def _write(session: _Session, images: list[Images], total: int, out: Path, kind: str, skipped: list[str]) -> int:
    """Predict all images; write the table, the explanations and the sheet. Return the number of rows."""
    loaded, options = session.loaded, session.options
    columns = Columns(loaded.class_names, session.calibrates and not options.calibrated, loaded.crop == "face")
    sheet = ConfidenceSheet() if options.sheet is not None else None
    explanations = Explanations(options.explain, loaded) if options.explain is not None else None
    batches = _batches(session, chain.from_iterable(images))
    rows = large = 0
    with writing(out, "choose another --out, or make room"), atomic_path(out) as partial:
        table = open_table(partial, kind, columns)
        try:
            for batch in follow(batches, total, len, "predicting"):
                predicted = _predict_batch(session, batch, skipped)
                large += sum(_is_large(samples, loaded) for _, samples in batch)
                for row, pixels in predicted:
                    table.write(row)
                    if sheet is not None:
                        best = int(row.probabilities.argmax())
                        sheet.add(pixels, float(row.probabilities[best]), loaded.class_names[best], row.path)
                if explanations is not None:
                    explanations.add(predicted)
                rows += len(predicted)
        finally:
            table.close()
        if not rows:
            raise JobError(f"none of {total} images could be predicted: {skipped[0]}{_more(skipped)}")
    if sheet is not None and options.sheet is not None:
        sheet.write(options.sheet)
    if large:
        echo(_no_face_sought(loaded, large, total), err=True)
    return rows


def _is_large(samples: list[Prepared] | str, loaded: Loaded) -> bool:
    """Return whether an image is large enough to be a photo with a face somewhere in it, for a model of emotions."""
    of_faces = loaded.crop != "face" and set(loaded.class_names) <= set(EMOTIONS)
    return of_faces and not isinstance(samples, str) and samples[0].edge >= LARGE * loaded.size


def _no_face_sought(loaded: Loaded, large: int, total: int) -> str:
    seen = "its central square" if loaded.crop == "center" else "all of it"
    return (
        f"notice: no face was searched for, because the training images were not cropped to faces. {large} of {total} "
        f"images are {LARGE} times as large as the network's {loaded.size} px or larger, and it sees {seen}: crop them "
        "to the face, or train on shards written with --crop face"
    )


def _predict_batch(
    session: _Session, batch: Iterable[tuple[Picture, list[Prepared] | str]], skipped: list[str]
) -> list[tuple[Row, np.ndarray]]:
    """Return row and pixels of each face or image; append a line to `skipped` for each image that has none."""
    samples: list[tuple[Picture, Prepared]] = []
    for picture, prepared in batch:
        if isinstance(prepared, str):
            skipped.append(f"{picture.name}: {prepared}")
        else:
            samples += [(picture, each) for each in prepared]
    if not samples:
        return []
    loaded, calibrated = session.loaded, None
    logs = log_probabilities(loaded, np.stack([sample.pixels for _, sample in samples]), session.device)
    if session.calibrates and loaded.confidence is not None:
        calibrated = loaded.confidence.probabilities(logs.astype(np.float64))
    rows = []
    for number, (picture, sample) in enumerate(samples):
        probabilities, sure = np.exp(logs[number]), None
        if not np.isfinite(probabilities).all():
            skipped.append(f"{picture.name}: the network's output is not a number")
            continue
        if calibrated is not None:
            probabilities = calibrated[number] if session.options.calibrated else probabilities
            sure = float(calibrated[number][int(probabilities.argmax())])
        rows.append((Row(picture.name, probabilities, sure, sample.face), sample.pixels))
    return rows


def _more(lines: Sequence[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
