"""Write one shard: the work of one task of `job.data.shards`, in any process."""

import hashlib
import json
import os
from pathlib import Path

from job.data.encode import encode
from job.data.manifest import ShardInfo
from job.data.plan import ShardPlan
from job.data.records import Layout, Record
from job.errors import JobError

UNFINISHED = ".unfinished"  # folder of receipts: what is known of the shards finished so far


def write_shard(layout: Layout, plan: ShardPlan, out: Path, size: int, quality: int, fingerprint: str) -> ShardInfo:
    """Write the shard of `plan` below `out`, or keep the one that an interrupted run has finished.

    It appears under its name only once it is on the disk whole. `fingerprint` names the command's parameters: a shard
    is kept only where its receipt has the same one and its content still has the receipt's sha256. Raises JobError
    naming the image that cannot be read, or the disk's complaint.
    """
    path = out / plan.path
    receipt = out / UNFINISHED / f"{path.stem}.json"
    kept = _kept(path, receipt, fingerprint)
    if kept is not None:
        return kept
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w+b") as file:
            _write_samples(file, layout, plan, size, quality)
            _to_disk(file)
            file.seek(0)
            sha256 = _sha256(file)
        counts = None
        if plan.labelled:
            counts = tuple(sum(r.label == label for r in plan.records) for label in range(len(layout.class_names)))
        info = ShardInfo(
            path=plan.path,
            samples=len(plan.records),
            bytes=partial.stat().st_size,
            sha256=sha256,
            labelled=plan.labelled,
            class_counts=counts,
        )
        os.replace(partial, path)
        write_atomically(receipt, json.dumps({"fingerprint": fingerprint, "shard": info.model_dump()}))
    except OSError as error:
        raise JobError(
            f"cannot write {path} ({error.strerror}): make room or check the permissions, then run the same "
            "command again; finished shards are kept"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return info


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
    with open(path, "rb") as file:
        return _sha256(file)


def _write_samples(file, layout: Layout, plan: ShardPlan, size: int, quality: int) -> None:
    from webdataset import TarWriter

    # nobody's name and no date: the same input makes the same bytes
    with TarWriter(file, encoder=False, mtime=0, user="", group="") as tar:
        for number, record in enumerate(plan.records, plan.first):
            sample = {
                "__key__": f"{plan.domain}-{plan.split}-{number:07d}",
                "jpg": _read_and_encode(layout, record, size, quality),
                "json": json.dumps(
                    {
                        "domain": record.domain,
                        "subject": record.subject,
                        # paths often spell the label ("women/joy/017.png"), so an unlabelled sample has a digest of it
                        "source": record.origin if plan.labelled else "sha256:" + _short_digest(record.origin),
                    }
                ).encode(),
            }
            if plan.labelled:
                sample["cls"] = str(record.label).encode()
            tar.write(sample)


def _read_and_encode(layout: Layout, record: Record, size: int, quality: int) -> bytes:
    try:
        return encode(layout.read(record, size), size, quality)
    except JobError:
        raise
    except Exception as error:  # a layout reads foreign files with any library: whatever it raises is about this file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise JobError(
            f"cannot read {record.origin} ({type(error).__name__}: {reason}): "
            "replace or remove it, then run the same command again"
        ) from error


def _kept(path: Path, receipt: Path, fingerprint: str) -> ShardInfo | None:
    try:
        held = json.loads(receipt.read_bytes())
        info = ShardInfo.model_validate(held["shard"])
        if held["fingerprint"] == fingerprint and path.stat().st_size == info.bytes and sha256_of(path) == info.sha256:
            return info
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no receipt, or one that says nothing certain: write the shard again
    return None


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sha256(file) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _to_disk(file) -> None:
    file.flush()
    os.fsync(file.fileno())
