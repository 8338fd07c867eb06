"""Draw synthetic faces: men are the source, women the target; seven expressions driven by FACS action units.

The default data set: nothing to download, every image is a pure function of (seed, domain, subject, index).
docs/faces.md explains how the faces are made and how difficult they are.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from job.datasets.class_shares_option import read_shares, share_out
from job.datasets.layout import Layout, Record
from job.face_drawing.action_units import Expression, express
from job.face_drawing.appearance import Identity, Shot, draw_identity, draw_shot
from job.face_drawing.geometry import landmarks
from job.face_drawing.render import render
from job.system.errors import JobError
from job.vocabulary import DOMAINS, EMOTIONS, SOURCE, SPLITS, TARGET

PER_SUBJECT = 25
SUBJECT_BLOCK = 1_000_000  # subjects of split i are numbered from i * SUBJECT_BLOCK: disjoint at any size
_MAX_SAMPLES = PER_SUBJECT * SUBJECT_BLOCK
_NEWER = ("target_shares", "per_subject", "light", "folds")
IDENTITY = 2**32 - 1  # the index whose random stream draws the identity of the subject


def records(
    root: Path | None = None,
    seed: int = 0,
    *,
    train: int = 6000,
    val: int = 1000,
    test: int = 1500,
    target_shares: str | None = None,
    per_subject: int | None = None,
    light: str | None = None,
    folds: int | None = None,
) -> list[Record]:
    """List `train`, `val` and `test` images per domain, PER_SUBJECT per subject, each emotion equally often (+-1).

    `per_subject` is another number of images per subject. `light="same"` photographs both domains as the source, so
    that only the people differ. With `folds` all images are those of `train`, which the writer divides into folds.

    `target_shares`, such as ``joy:3,fear:0``, changes the frequency of emotions in all splits of the target: here joy
    is three times as frequent as the others and fear is absent. Raises JobError for a number out of range, a
    description of shares that cannot be read, or an unknown light.
    """
    if light not in (None, "same"):
        raise JobError(f"layout faces: option light={light}: it is `same`, or left out: each domain has its own light")
    per_subject = per_subject or PER_SUBJECT
    splits = SPLITS[:1] if folds else SPLITS
    shares = None if target_shares is None else read_shares("target_shares", target_shares, EMOTIONS)
    for split, count in zip(SPLITS, (train, val, test)):
        if not 1 <= count <= _MAX_SAMPLES:
            raise JobError(f"layout faces: option {split}={count} must be between 1 and {_MAX_SAMPLES}")
    result = []
    for domain_index, domain in enumerate(DOMAINS):
        for split_index, (split, count) in enumerate(zip(splits, (train, val, test))):
            shuffle = _generator(seed, domain_index, split_index * SUBJECT_BLOCK, IDENTITY - 1)
            labels = np.arange(count) % len(EMOTIONS)
            if shares is not None and domain == TARGET:
                labels = share_out(count, shares)
            labels = shuffle.permutation(labels)
            for i, label in enumerate(labels.tolist()):
                number, index = split_index * SUBJECT_BLOCK + i // per_subject, i % per_subject
                person = f"{'man' if domain == SOURCE else 'woman'}-{split}-{i // per_subject:04d}"
                recipe = (seed, domain_index, number, index, 0 if light == "same" else domain_index)
                key = f"{person}-{index:02d}"
                result.append(Record(key, domain, split, label, person, f"faces:{seed}/{key}", recipe))
    return result


def read(record: Record, size: int) -> np.ndarray:
    """Render one record as uint8 RGB [size, size, 3]."""
    return render(*_described(record), size)


def eyes(record: Record, size: int) -> np.ndarray:
    """Return x and y of the irises in an image of `size` px: float64 [2, 2], the one on the left first."""
    points = landmarks(*_described(record), size)
    return np.stack([points["iris0"][0], points["iris1"][0]])


def _described(record: Record) -> tuple[Identity, Expression, Shot]:
    seed, domain_index, subject, index, light = record.payload
    rng = _generator(seed, domain_index, subject, index)
    face = express(EMOTIONS[record.label], rng)
    return _identity(seed, domain_index, subject), face, draw_shot(DOMAINS[light], rng)


@lru_cache(maxsize=256)
def _identity(seed: int, domain_index: int, subject: int) -> Identity:
    return draw_identity(DOMAINS[domain_index], _generator(seed, domain_index, subject, IDENTITY))


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


LAYOUT = Layout(
    name="faces",
    class_names=EMOTIONS,
    records=records,
    read=read,
    needs_root=False,
    options={"train": 6000, "val": 1000, "test": 1500, **dict.fromkeys(_NEWER)},
    numbers=("per_subject", "folds"),
    newer=_NEWER,
)
