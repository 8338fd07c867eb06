"""`python -m job predict`: pictures to emotions."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from job.data.augment import normalise
from job.data.convert import why
from job.data.crop import crop_to, find_face
from job.data.encode import encode
from job.data.fetch import fetch
from job.data.found import ENDINGS, Notes, walk
from job.data.picture import read_picture
from job.errors import JobError
from job.evaluation.load import Loaded, load_model
from job.memory import keep_freed_memory


def predict(checkpoint: Path, inputs: Sequence[Path], out: Path, batch_size: int = 64) -> tuple[int, list[str]]:
    """Write a CSV (path, label, confidence, one probability per class) for images and folders of images.

    Returns how many images were predicted, and a line for each that could not be read. Raises JobError when the
    checkpoint is broken or no image is found.
    """
    loaded = load_model(checkpoint)
    unreadable: list[str] = []
    paths = list(find_images(inputs, unreadable))
    if not paths:
        raise JobError(f"no image under {', '.join(map(str, inputs))}: looked for {', '.join(sorted(ENDINGS))}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loaded.model.to(device)
    if device.type == "cpu":
        keep_freed_memory()
    done = 0
    if out.is_dir():
        raise JobError(f"--out {out} is a folder: give the name of a CSV file")
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "confidence", *loaded.class_names])
        for first in range(0, len(paths), batch_size):
            read = list(_read(paths[first : first + batch_size], loaded, unreadable))
            if not read:
                continue
            for (path, _), row in zip(read, probabilities(loaded, np.stack([p for _, p in read]), device), strict=True):
                best = int(row.argmax())
                writer.writerow([path, loaded.class_names[best], f"{row[best]:.4f}", *(f"{p:.4f}" for p in row)])
            done += len(read)
    if not done:
        out.unlink()
        raise JobError(f"none of {len(paths)} images could be read; the first: {unreadable[0]}")
    return done, unreadable


@torch.inference_mode()
def probabilities(loaded: Loaded, images: np.ndarray, device: torch.device) -> np.ndarray:
    """Class probabilities float32 [n, classes] of uint8 [n, size, size, 3] images."""
    inputs = normalise(torch.from_numpy(images).to(device), loaded.config.data.mean, loaded.config.data.std)
    return loaded.model(inputs).class_logits.float().softmax(1).cpu().numpy()


def find_images(inputs: Iterable[Path], unreadable: list[str]) -> Iterator[Path]:
    """The files named and, in a fixed order, the images in the folders named; broken links are noted as unreadable.

    Raises JobError when an input is missing.
    """
    for path in map(Path, inputs):
        if path.is_dir():
            notes = Notes()
            yield from (Path(found) for found, _ in walk(path, notes))
            unreadable += [f"{path / below}: {reason}" for below, reason in notes.skipped]
        elif path.exists():
            yield path
        else:
            raise JobError(f"no image or folder at {path}")


def _read(paths: Iterable[Path], loaded: Loaded, unreadable: list[str]) -> Iterator[tuple[Path, np.ndarray]]:
    """Pixels exactly as the shards hold them: same crop, filter, JPEG quality and decoder."""
    for path in paths:
        try:
            pixels = read_picture(fetch(str(path)))
        except (OSError, ValueError) as error:
            unreadable.append(f"{path}: {why(error)}")
            continue
        if loaded.crop == "face":
            pixels = crop_to(pixels, find_face(pixels))
        jpeg = encode(pixels, loaded.size, loaded.quality, loaded.crop)
        yield path, simplejpeg.decode_jpeg(jpeg, "RGB")
