"""Write one shard: the work of one task of `job.shards.writing.write_shards`, in any process."""

import hashlib
import json
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii as _quoted  # a tenth of the time of json.dumps of a mapping
from pathlib import Path

from job.datasets.layout import Layout, Record
from job.shards.manifest import ShardInfo
from job.shards.writing.convert import read_stored, why
from job.shards.writing.encode import encode
from job.shards.writing.left_out import MAKE_ROOM
from job.shards.writing.shard_plan import ShardPlan
from job.shards.writing.tar_writer import TarSamples
from job.shards.writing.unfinished import UNFINISHED
from job.system.errors import JobError
from job.system.files import atomic_path, fsync_file, sha256_of, write_atomically, writing


def write_shard(
    layout: Layout, plan: ShardPlan, out: Path, size: int, quality: int, crop: str, fingerprint: str
) -> ShardInfo:
    """Write the shard of `plan` below `out`, or keep the one that an interrupted run has finished.

    It appears under its name only once it is on the disk whole. `fingerprint` names the command's parameters: a shard
    is kept only where its receipt has the same one and its content still has the receipt's sha256. Raises JobError
    naming the picture that a layout cannot make, or the disk's complaint.
    """
    path = out / plan.path
    receipt = out / UNFINISHED / f"{path.stem}.json"
    kept = _kept(path, receipt, fingerprint)
    if kept is not None:
        return kept
    with writing(path, f"{MAKE_ROOM}; finished shards are kept"):
        with atomic_path(path) as partial, open(partial, "wb") as file:
            tar = _write_samples(file, plan, _jpegs(layout, plan, out / UNFINISHED, size, quality, crop))
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
        # paths often spell the label ("women/joy/017.png"), so an unlabelled sample has a digest of it
        source = record.origin if labelled else "sha256:" + _short_digest(record.origin)
        subject = "null" if record.subject is None else _quoted(record.subject)
        about = f'{{"domain": {_quoted(record.domain)}, "subject": {subject}, "source": {_quoted(source)}}}'
        sample = {"jpg": jpeg, "json": about.encode()}
        if labelled:
            sample["cls"] = b"%d" % record.label
        tar.write(f"{plan.domain}-{plan.split}-{number:07d}", sample)
    tar.close()
    return tar


def _jpegs(layout: Layout, plan: ShardPlan, scratch: Path, size: int, quality: int, crop: str) -> Iterator[bytes]:
    """The JPEG of each record: images on disk have been converted, what a layout draws is made now."""
    if layout.find is not None:
        return read_stored(scratch, (record.payload for record in plan.records))
    return (_drawn(layout, record, size, quality, crop) for record in plan.records)


def _drawn(layout: Layout, record: Record, size: int, quality: int, crop: str) -> bytes:
    """The JPEG of a picture that a layout makes. Raises JobError naming the record where it cannot."""
    try:
        return encode(layout.read(record, size), size, quality, crop)
    except JobError:
        raise
    except Exception as error:
        raise JobError(
            f"cannot read {record.origin} ({type(error).__name__}: {why(error)}): "
            "replace or remove it, then run the same command again"
        ) from error


def _kept(path: Path, receipt: Path, fingerprint: str) -> ShardInfo | None:
    """What an interrupted run has noted of the shard, if that is what lies there."""
    try:
        held = json.loads(receipt.read_bytes())
        if held["fingerprint"] != fingerprint:
            return None
        info = ShardInfo.model_validate(held["shard"])
        whole = path.stat().st_size == info.bytes and sha256_of(path) == info.sha256
        return info if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no receipt, or one that says nothing certain: write the shard again


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
