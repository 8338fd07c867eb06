"""Write one shard: a task of `job.shards.writing.write_shards`, in any process."""

import hashlib
import json
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as _quote  # takes a tenth of the time of json.dumps of a dict
from pathlib import Path

from job.datasets.layout import Layout, Record
from job.shards.manifest import ShardInfo
from job.shards.writing.convert import read_stored, reason_of
from job.shards.writing.encode import encode
from job.shards.writing.left_out import MAKE_ROOM
from job.shards.writing.shard_plan import ShardPlan
from job.shards.writing.tar_writer import TarSamples
from job.shards.writing.unfinished import UNFINISHED
from job.system.errors import JobError
from job.system.files import atomic_path, fsync_file, sha256_of, write_atomically, writing


def write_shard(
    layout: Layout, plan: ShardPlan, out: Path, size: int, quality: int, crop: str, gray: bool, fingerprint: str
) -> ShardInfo:
    """Write the shard of `plan` below `out`, or keep it if an interrupted run finished it.

    The shard gets its name only once it is completely on the disk. `fingerprint` is a digest of the command's
    parameters: a finished shard is kept only if its receipt has the same fingerprint and its content still has the
    sha256 in the receipt. Raises JobError naming an image that a layout cannot make, or the error of the disk.
    """
    path = out / plan.path
    receipt = out / UNFINISHED / f"{path.stem}.json"
    finished = _finished_shard(path, receipt, fingerprint)
    if finished is not None:
        return finished
    with writing(path, f"{MAKE_ROOM}; finished shards are kept"):
        with atomic_path(path) as partial, open(partial, "wb") as file:
            tar = _write_samples(file, plan, _jpegs(layout, plan, out / UNFINISHED, size, quality, crop, gray))
            fsync_file(file)
        labels = [record.label for record in plan.records]
        counts = tuple(labels.count(label) for label in range(len(layout.class_names)))
        info = ShardInfo(
            path=plan.path,
            samples=len(labels),
            bytes=tar.bytes,
            sha256=tar.sha256,
            labelled=plan.labelled,
            class_counts=counts if plan.labelled else None,
        )
        write_atomically(receipt, json.dumps({"fingerprint": fingerprint, "shard": info.model_dump()}))
    return info


def _write_samples(file, plan: ShardPlan, jpegs: Iterator[bytes]) -> TarSamples:
    tar = TarSamples(file)
    for number, (record, jpeg) in enumerate(zip(plan.records, jpegs), plan.first):
        labelled = plan.labelled and record.labelled
        # paths often contain the label ("women/joy/017.png"), so an unlabelled sample stores a digest of the path
        source = record.origin if labelled else "sha256:" + _short_digest(record.origin)
        subject = "null" if record.subject is None else _quote(record.subject)
        face = getattr(record.payload, "face", "")
        described = f', "face": {face}' if face else ""
        description = (
            f'{{"domain": {_quote(record.domain)}, "subject": {subject}, "source": {_quote(source)}{described}}}'
        )
        sample = {"jpg": jpeg, "json": description.encode()}
        if labelled:
            sample["cls"] = b"%d" % record.label
        tar.write(f"{plan.domain}-{plan.split}-{number:07d}", sample)
    tar.close()
    return tar


def _jpegs(
    layout: Layout, plan: ShardPlan, scratch: Path, size: int, quality: int, crop: str, gray: bool
) -> Iterator[bytes]:
    """Yield the JPEG of each record: stored for images on disk, rendered now for layouts that draw images."""
    if layout.find is not None:
        return read_stored(scratch, (record.payload for record in plan.records))
    return (_render_jpeg(layout, record, size, quality, crop, gray) for record in plan.records)


def _render_jpeg(layout: Layout, record: Record, size: int, quality: int, crop: str, gray: bool) -> bytes:
    """Render and encode the image of a record. Raises JobError naming the record when the layout fails."""
    try:
        return encode(layout.read(record, size), size, quality, crop, gray)
    except JobError:
        raise
    except Exception as error:
        raise JobError(
            f"cannot read {record.origin} ({type(error).__name__}: {reason_of(error)}): "
            "replace or remove it, then run the same command again"
        ) from error


def _finished_shard(path: Path, receipt: Path, fingerprint: str) -> ShardInfo | None:
    """Return the receipt of a shard that an interrupted run finished, None unless the shard matches it."""
    try:
        content = json.loads(receipt.read_bytes())
        if content["fingerprint"] != fingerprint:
            return None
        info = ShardInfo.model_validate(content["shard"])
        intact = path.stat().st_size == info.bytes and sha256_of(path) == info.sha256
        return info if intact else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no receipt, or an invalid one: write the shard again


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
