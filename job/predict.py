"""`python -m job predict`: pictures to emotions."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
import torch

from job.datasets.file_kinds import ENDINGS
from job.datasets.image_bytes import fetch
from job.datasets.image_search import Notes, walk
from job.evaluation.load import Loaded, load_model
from job.shards.reading.augment import normalise
from job.shards.writing.convert import why
from job.shards.writing.crop import crop_to, find_face
from job.shards.writing.encode import encode
from job.shards.writing.left_out import count_lines
from job.shards.writing.read_picture import read_picture
from job.system.echo import echo
from job.system.errors import JobError
from job.system.files import check_output, whole, writing
from job.system.memory import keep_freed_memory
from job.system.processes import cores
from job.system.progress import follow
from job.system.text import csv_row


class Prediction(NamedTuple):
    """The most probable class of an image, its probability, and the probability of every class by name."""

    label: str
    confidence: float
    probabilities: dict[str, float]


def predict_image(model: Loaded, image: str | Path) -> Prediction:
    """Predict the class of one image file with a model that `load_model` returned.

    The image is cropped, resized and compressed as the training images were. Raises JobError when it cannot be read.
    """
    pixels = _read(Path(image), model)
    if isinstance(pixels, str):
        raise JobError(f"cannot read {image}: {pixels}")
    device = next(model.model.parameters()).device
    row = [float(p) for p in probabilities(model, pixels[None], device)[0]]
    label, confidence = max(zip(model.class_names, row, strict=True), key=lambda pair: pair[1])
    return Prediction(label, confidence, dict(zip(model.class_names, row, strict=True)))


def predict(checkpoint: Path, inputs: Sequence[Path], out: Path, batch_size: int = 64) -> tuple[int, list[str]]:
    """Write a CSV (path, label, confidence, one probability per class) for images and folders of images.

    Returns how many images were predicted, and a line for each that could not be read. Raises JobError when the
    checkpoint is broken or no image is found.
    """
    check_output("--out", out)
    loaded = load_model(checkpoint)
    unreadable: list[str] = []
    paths = list(find_images(inputs, unreadable))
    if not paths and unreadable:
        raise JobError(f"nothing to predict: {unreadable[0]}{_more(unreadable)}")
    if not paths:
        endings = ", ".join(ENDINGS)
        raise JobError(
            f"no image under {', '.join(map(str, inputs))}: looked for {endings}, and files without an ending"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
    done = 0
    batches = [paths[first : first + batch_size] for first in range(0, len(paths), batch_size)]
    with writing(out, "choose another --out, or make room"), whole(out) as partial:
        with open(partial, "w", newline="", encoding="utf-8") as file, ThreadPoolExecutor(cores()) as pool:
            writer = csv.writer(file)
            writer.writerow(csv_row(["path", "label", "confidence", *loaded.class_names]))
            for batch in follow(batches, len(paths), len, "predicting"):
                read = list(zip(batch, pool.map(_read, batch, repeat(loaded))))
                unreadable += [f"{path}: {reason}" for path, reason in read if isinstance(reason, str)]
                read = [(path, pixels) for path, pixels in read if not isinstance(pixels, str)]
                if not read:
                    continue
                rows = probabilities(loaded, np.stack([pixels for _, pixels in read]), device)
                finite = np.isfinite(rows).all(1)
                unreadable += [
                    f"{path}: the network's answer is not a number"
                    for (path, _), good in zip(read, finite, strict=True)
                    if not good
                ]
                read = [item for item, good in zip(read, finite, strict=True) if good]
                for (path, _), row in zip(read, rows[finite], strict=True):
                    best = int(row.argmax())
                    cells = [path, loaded.class_names[best], f"{row[best]:.4f}", *(f"{p:.4f}" for p in row)]
                    writer.writerow(csv_row(cells))
                done += len(read)
        if not done:
            raise JobError(f"none of {len(paths)} images could be predicted: {unreadable[0]}{_more(unreadable)}")
    return done, unreadable


def _more(lines: Sequence[str]) -> str:
    return f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""


@torch.inference_mode()
def probabilities(loaded: Loaded, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Class probabilities float32 [n, classes] of uint8 [n, size, size, 3] images."""
    inputs = normalise(torch.from_numpy(images).to(device), loaded.config.data.mean, loaded.config.data.std)
    return loaded.model.predict(inputs).class_logits.float().softmax(1).cpu().numpy()


def find_images(inputs: Iterable[Path], unreadable: list[str]) -> Iterator[Path]:
    """The files named and, in a fixed order, the images in the folders named.

    Adds to `unreadable` a line for each input that is missing, and for what a folder holds and cannot be read.
    """
    for path in map(Path, inputs):
        if os.path.isdir(path):
            notes = Notes()
            try:
                yield from (Path(found) for found, _ in walk(path, notes))
            except JobError as error:  # the folder itself cannot be listed
                unreadable.append(str(error))
            unreadable += [f"{path / below}: {reason}" for below, reason in notes.skipped]
            for line in count_lines(notes.left_out):
                echo(f"left out below {path}: {line}", err=True)
        elif os.path.exists(path):
            yield path
        else:
            unreadable.append(f"no image or folder at {path}")


def _read(path: Path, loaded: Loaded) -> np.ndarray | str:
    """Pixels exactly as the shards hold them: same crop, filter, JPEG quality and decoder. Or why there are none."""
    try:
        pixels = read_picture(fetch(str(path)))
        if loaded.crop == "face":
            pixels = crop_to(pixels, find_face(pixels))
        return simplejpeg.decode_jpeg(encode(pixels, loaded.size, loaded.quality, loaded.crop), "RGB")
    except JobError:  # nothing is wrong with the image: there is no detector
        raise
    except MemoryError:
        return "not enough memory to read it"
    except Exception as error:  # of one image, which must not end the others; OpenCV has errors of its own
        return why(error)
