"""Write one shard: the work of one task of `job.data.shards`, in any process."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from job.data.encode import encode
from job.data.fetch import fetch_all
from job.data.image_file import decode
from job.data.manifest import ShardInfo
from job.data.plan import ShardPlan
from job.data.records import Layout, Record
from job.data.survey import why
from job.data.write_tar import TarSamples
from job.errors import JobError

_TOGETHER = 64  # images that are coded, then written
UNFINISHED = ".unfinished"  # folder of receipts: what is known of the shards finished so far


@dataclass(frozen=True, slots=True)
class Written:
    """A finished shard, None where none of its images could be read, and (path, reason) of those that could not."""

    planned: int
    shard: ShardInfo | None
    skipped: list[tuple[str, str]]


def write_shard(
    layout: Layout, plan: ShardPlan, out: Path, size: int, quality: int, crop: str, fingerprint: str
) -> Written:
    """Write the shard of `plan` below `out`, or keep the one that an interrupted run has finished.

    It appears under its name only once it is on the disk whole. `fingerprint` names the command's parameters: a shard
    is kept only where its receipt has the same one and its content still has the receipt's sha256. An image on disk
    that turns out to be damaged is skipped, so that its shard is the shorter. Raises JobError naming the image of
    another layout that cannot be read, or the disk's complaint.
    """
    path = out / plan.path
    receipt = out / UNFINISHED / f"{path.stem}.json"
    kept = _kept(path, plan, receipt, fingerprint)
    if kept is not None:
        return kept
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "wb", buffering=1 << 20) as file:
            tar, labels, skipped = _write_samples(file, layout, plan, size, quality, crop)
            _to_disk(file)
        info = None
        if labels:
            counts = tuple(labels.count(label) for label in range(len(layout.class_names)))
            info = ShardInfo(
                path=plan.path,
                samples=len(labels),
                bytes=tar.bytes,
                sha256=tar.sha256,
                labelled=plan.labelled,
                class_counts=counts if plan.labelled else None,
            )
            os.replace(partial, path)
        content = {"fingerprint": fingerprint, "shard": info and info.model_dump(), "skipped": skipped}
        write_atomically(receipt, json.dumps(content))
    except OSError as error:
        raise JobError(
            f"cannot write {path} ({error.strerror}): make room or check the permissions, then run the same "
            "command again; finished shards are kept"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return Written(len(plan.records), info, skipped)


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all, whatever happens."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with open(partial, "wb") as file:
        file.write(text.encode())
        _to_disk(file)
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """sha256 (hex) of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _write_samples(
    file, layout: Layout, plan: ShardPlan, size: int, quality: int, crop: str
) -> tuple[TarSamples, list[int], list[tuple[str, str]]]:
    """The tar, the labels of what is in it, and (path, reason) of what was skipped."""
    tar, labels, skipped = TarSamples(file), [], []
    jpegs = _jpegs(layout, plan.records, size, quality, crop)
    for number, (record, jpeg) in enumerate(zip(plan.records, jpegs), plan.first):
        if isinstance(jpeg, Exception):
            skipped.append((record.origin, why(jpeg)))
            continue
        about = {
            "domain": record.domain,
            "subject": record.subject,
            # paths often spell the label ("women/joy/017.png"), so an unlabelled sample has a digest of it
            "source": record.origin if plan.labelled else "sha256:" + _short_digest(record.origin),
        }
        sample = {"jpg": jpeg, "json": json.dumps(about).encode()}
        if plan.labelled:
            sample["cls"] = b"%d" % record.label
        tar.write(f"{plan.domain}-{plan.split}-{number:07d}", sample)
        labels.append(record.label)
    tar.close()
    return tar, labels, skipped


def _jpegs(layout: Layout, records: Sequence[Record], size: int, quality: int, crop: str) -> Iterator[Any]:
    """The JPEG (bytes) of each record, or the error where an image on disk gives none."""
    if layout.find is None:
        for record in records:
            yield _drawn(layout, record, size, quality, crop)
        return
    files = fetch_all(record.payload[0] for record in records)
    pairs = zip(records, files)
    while some := list(islice(pairs, _TOGETHER)):
        # all of them coded before the first is written, for the sake of the processor's caches
        yield from [
            file if isinstance(file, Exception) else _attempt(_coded, record, file, size, quality, crop)
            for record, file in some
        ]


def _coded(record: Record, file: bytes, size: int, quality: int, crop: str) -> bytes:
    return encode(decode(record, file), size, quality, crop)


def _drawn(layout: Layout, record: Record, size: int, quality: int, crop: str) -> bytes:
    """The JPEG of a picture that a layout makes. Raises JobError naming the record where it cannot."""
    jpeg = _attempt(lambda: encode(layout.read(record, size), size, quality, crop))
    if isinstance(jpeg, Exception):
        raise JobError(
            f"cannot read {record.origin} ({type(jpeg).__name__}: {why(jpeg)}): "
            "replace or remove it, then run the same command again"
        ) from jpeg
    return jpeg


def _attempt(work: Callable, *of: object) -> Any:
    """The result, or the error: a foreign file makes libraries raise whatever they like, and it is about this file."""
    try:
        return work(*of)
    except JobError:
        raise
    except Exception as error:
        return error


def _kept(path: Path, plan: ShardPlan, receipt: Path, fingerprint: str) -> Written | None:
    try:
        held = json.loads(receipt.read_bytes())
        if held["fingerprint"] != fingerprint:
            return None
        skipped = [(str(origin), str(reason)) for origin, reason in held["skipped"]]
        if held["shard"] is None:
            return Written(len(plan.records), None, skipped)
        info = ShardInfo.model_validate(held["shard"])
        if path.stat().st_size == info.bytes and sha256_of(path) == info.sha256:
            return Written(len(plan.records), info, skipped)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no receipt, or one that says nothing certain: write the shard again
    return None


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _to_disk(file) -> None:
    file.flush()
    os.fsync(file.fileno())
