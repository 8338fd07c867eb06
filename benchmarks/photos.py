"""Large photos decoded at full size and at 1/2, 1/4 or 1/8 (`job shards --scaled-jpeg`): speed, pixels, accuracy.

Photos of 12 megapixels (4000 x 3000) are drawn: a synthetic face before a background of shades, with a camera's grain,
as JPEG of quality 92 with subsampled colours. Measured is what `shards` and `predict` do with a photo in memory:
decode, crop, resize, encode; processor seconds, both ways in turns, the median of the turns' ratios. `difference` is
the mean absolute difference of the samples' pixels, of 255, beside the one that another JPEG quality (90 instead of 95)
makes. `accuracy`: --checkpoint, a model of these faces, predicts photos whose central square is the face, both ways;
`changed` is the share of photos whose predicted class differs.
"""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg

from benchmarks.common import arguments, machine, print_table, write_result
from job.datasets import synthetic_faces
from job.shards.writing.crop import CropSettings
from job.shards.writing.encode import encode
from job.shards.writing.photo import SCALING, crop_photo

HEIGHT, WIDTH, QUALITY = 3000, 4000, 92
FACE = 2200  # px: the edge of the face in a photo
SIZES = (64, 112, 224)
SEED = 7


class Photo(NamedTuple):
    """A JPEG and the class of its face."""

    content: bytes
    label: int


def draw_photos(count: int, height: int = HEIGHT, width: int = WIDTH, face: int = FACE) -> list[Photo]:
    """Draw photos of different faces of all classes, with the face off the centre of a central square."""
    rng = np.random.default_rng(SEED)
    records = synthetic_faces.records(None, SEED, train=2 * count, val=10, test=10)[:count]
    photos = []
    for record in records:
        shades = rng.integers(40, 215, (6, 8, 3), np.uint8)
        picture = cv2.resize(shades, (width, height), interpolation=cv2.INTER_CUBIC)
        top, left = (height - face) // 2, (width - face) // 2
        drawn = cv2.resize(synthetic_faces.read(record, 256), (face, face), interpolation=cv2.INTER_CUBIC)
        picture[top : top + face, left : left + face] = drawn
        grain = np.zeros((height, width), np.int16)
        cv2.randn(grain, 0, 4)
        picture = np.clip(picture + grain[:, :, None], 0, 255).astype(np.uint8)
        photos.append(Photo(simplejpeg.encode_jpeg(picture, QUALITY, "RGB", "420"), record.label))
    return photos


def prepared(photos: list[Photo], size: int, crop: str, scaling: int, quality: int = 95) -> tuple[np.ndarray, float]:
    """Return the samples uint8 [n, size, size, 3], and the processor seconds for one."""
    settings, jpegs = CropSettings(crop, scaling=scaling), []
    began = time.process_time()
    for photo in photos:
        (made,) = crop_photo(photo.content, size, settings)
        jpegs.append(encode(made.pixels, size, quality, crop))
    seconds = (time.process_time() - began) / len(photos)
    return np.stack([simplejpeg.decode_jpeg(jpeg, "RGB") for jpeg in jpegs]), seconds


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def measure(photos: list[Photo], size: int, crop: str, turns: int) -> dict[str, Any]:
    """Return speed and difference for samples of one size."""
    pairs = []
    for _ in range(turns):
        whole, slow = prepared(photos, size, crop, 0)
        scaled, fast = prepared(photos, size, crop, SCALING)
        pairs.append((slow, fast, slow / fast))
    slow, fast, times = (statistics.median(column) for column in zip(*pairs))
    coarser, _ = prepared(photos, size, crop, 0, quality=90)
    return {
        "size": size,
        "crop": crop,
        "full_ms": round(1000 * slow, 2),
        "scaled_ms": round(1000 * fast, 2),
        "times_faster": round(times, 2),
        "difference": round(difference(whole, scaled), 3),
        "difference_of_quality_90": round(difference(whole, coarser), 3),
    }


def accuracy(photos: list[Photo], checkpoint: Path) -> dict[str, Any]:
    """Return the accuracy of a model on the photos both ways, and how its predictions differ."""
    import torch

    from job.evaluation.load import load_model
    from job.predict import log_probabilities

    loaded = load_model(checkpoint)
    labels = np.array([photo.label for photo in photos])
    rows = []
    for scaling in (0, SCALING):
        pixels, _ = prepared(photos, loaded.size, loaded.crop, scaling, loaded.quality)
        rows.append(np.exp(log_probabilities(loaded, pixels, torch.device("cpu"))))
    whole, scaled = rows
    return {
        "size": loaded.size,
        "photos": len(photos),
        "full": float((whole.argmax(1) == labels).mean()),
        "scaled": float((scaled.argmax(1) == labels).mean()),
        "changed": float((whole.argmax(1) != scaled.argmax(1)).mean()),
        "mean_change_of_a_probability": float(np.abs(whole - scaled).mean()),
        "largest_change_of_a_probability": float(np.abs(whole - scaled).max()),
    }


def show(result: dict[str, Any]) -> None:
    heads = ("sample, crop", "full, ms", "scaled, ms", "times faster", "difference", "of quality 90")
    keys = ("full_ms", "scaled_ms", "times_faster", "difference", "difference_of_quality_90")
    rows = [(f"{row['size']} px, {row['crop']}", *(float(row[key]) for key in keys)) for row in result["rows"]]
    print_table([heads, *rows])
    if found := result["accuracy"]:
        print(
            f"\n{found['photos']} photos: accuracy {found['full']:.3f} at full size, {found['scaled']:.3f} scaled; "
            f"{found['changed']:.1%} of the predictions differ"
        )


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__.splitlines()[0], "photos")
    parser.add_argument("--photos", type=int, default=12, help="photos for speed and pixels (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--crops", nargs="+", default=["center", "face"], choices=("none", "center", "face"))
    parser.add_argument("--checkpoint", type=Path, help="a model of the synthetic faces, for the accuracy")
    parser.add_argument("--predicted", type=int, default=210, help="photos for the accuracy (default: %(default)s)")
    parser.add_argument("--small", action="store_true", help="photos of 0.2 megapixels, to test this benchmark")
    options = parser.parse_args(words)
    where = machine()
    shape = (375, 500, 275) if options.small else (HEIGHT, WIDTH, FACE)
    cv2.setNumThreads(1)
    photos = draw_photos(options.photos, *shape)
    rows = [measure(photos, size, crop, options.turns) for crop in options.crops for size in SIZES]
    found = None
    if options.checkpoint is not None:
        found = accuracy(draw_photos(options.predicted, shape[0], shape[1], shape[0]), options.checkpoint)
    megapixels = round(shape[0] * shape[1] / 1e6, 1)
    size = round(sum(len(photo.content) for photo in photos) / len(photos))
    result = {"megapixels": megapixels, "bytes_per_photo": size, "photos": len(photos), "rows": rows, "accuracy": found}
    show(result)
    write_result(options.out, "photos", result, where)


if __name__ == "__main__":
    main()
