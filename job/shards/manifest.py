"""manifest.json: which shards there are, and what is in them.

It is written last, so a folder without one is unfinished. A remote one is opened through webdataset, like its shards.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlparse

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from job.system.errors import JobError
from job.system.garbage_pause import no_collecting

NAME = "manifest.json"
VERSION = 1
WRITE_AGAIN = "copy it again, or delete the folder and write the shards again"


class ShardInfo(BaseModel):
    """One tar file. `class_counts` is None where the shard is not labelled: it must not say anything about labels.

    A labelled shard may hold samples without a label too: `class_counts` counts those that have one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str  # relative to the manifest, with forward slashes
    samples: PositiveInt
    bytes: PositiveInt
    sha256: str
    labelled: bool
    class_counts: tuple[NonNegativeInt, ...] | None = None

    @property
    def labels(self) -> int:
        """How many of the samples have a label."""
        if not self.labelled:
            return 0
        return self.samples if self.class_counts is None else sum(self.class_counts)


class Manifest(BaseModel):
    """What `SHARDS/manifest.json` holds; `base` is where it was read from, without the file name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = VERSION
    layout: str
    size: Annotated[PositiveInt, Field(le=8192)]  # px; the reader makes room for whole images
    class_names: tuple[str, ...]
    seed: int
    quality: int
    keep_target_labels: bool = False
    crop: str = "center"
    no_face: str = "keep"  # what became of images in which --crop face found none
    options: dict[str, Any] = {}
    inputs: str = ""  # digest of the records that the shards were written from
    left_out: dict[str, int] = {}  # images that are not here, by what was wrong with them
    unlabelled: dict[str, dict[str, int]] = {}  # by domain and split, images that have no label in the data set either
    subjects_unknown: dict[str, int] = {}  # by domain, images of which no subject is known: they are split by image
    domains: dict[str, dict[str, tuple[ShardInfo, ...]]]

    @model_validator(mode="after")
    def _counts_fit(self) -> "Manifest":
        """Raise ValueError for counts of classes that no shard can have."""
        for splits in self.domains.values():
            for shard in (shard for shards in splits.values() for shard in shards):
                if shard.labelled != (shard.class_counts is not None):
                    raise ValueError(
                        f"{shard.path} is {'' if shard.labelled else 'not '}labelled, unlike its class_counts"
                    )
                if shard.class_counts is None:
                    continue
                if len(shard.class_counts) != len(self.class_names) or sum(shard.class_counts) > shard.samples:
                    raise ValueError(
                        f"{shard.path} has {shard.samples} samples of {len(self.class_names)} classes, which the "
                        f"class_counts {list(shard.class_counts)} do not fit"
                    )
        return self

    def shards(self, domain: str, split: str) -> tuple[ShardInfo, ...]:
        """The shards of a split. Raises JobError where there are none."""
        shards = self.domains.get(domain, {}).get(split, ())
        if not shards:
            held = ", ".join(f"{d}/{s}" for d, splits in self.domains.items() for s in splits)
            raise JobError(f"the shards ({self.layout}) hold no {domain}/{split}, only {held}: choose one of those")
        return shards

    def samples(self, domain: str, split: str) -> int:
        """How many samples a split has."""
        return sum(shard.samples for shard in self.shards(domain, split))

    def labels(self, domain: str, split: str) -> int:
        """How many samples of a split have a label."""
        return sum(shard.labels for shard in self.shards(domain, split))

    def labelled(self, domain: str, split: str) -> bool:
        """Whether every sample of a split has a label."""
        return all(shard.labels == shard.samples for shard in self.shards(domain, split))

    def class_counts(self, domain: str, split: str) -> tuple[int, ...] | None:
        """Samples of each class in a split, of those that have a label; None where none has."""
        counts = [shard.class_counts for shard in self.shards(domain, split) if shard.labelled]
        return tuple(map(sum, zip(*counts))) if counts else None

    @property
    def hash(self) -> str:
        """sha256 (hex) of what training sees: the size, the classes, and the content and order of every shard."""
        domains = {
            domain: {split: [(s.path, s.samples, s.sha256) for s in shards] for split, shards in splits.items()}
            for domain, splits in self.domains.items()
        }
        seen = {"version": self.version, "size": self.size, "class_names": self.class_names, "domains": domains}
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def is_remote(place: str | Path) -> bool:
    """Whether a place is a URL. `file://` counts: it is how shards on a slow disk are read through the local cache."""
    return len(urlparse(str(place)).scheme) > 1  # a scheme of one letter is a Windows drive


def check_url(url: str, allow_pipe: bool) -> str:
    """The URL itself. Raises JobError for a `pipe:` URL, which runs a shell, unless the user allows those."""
    if url.startswith("pipe:") and not allow_pipe:
        raise JobError(
            f"{url} would run a shell command: if you trust it, allow it with data.allow_pipe=true (train, doctor) or "
            "--allow-pipe (evaluate, inspect)"
        )
    return url


def load_manifest(place: str | Path, *, allow_pipe: bool = False, check_files: bool = True) -> Manifest:
    """Read the manifest of a folder or URL of shards (or the path of the manifest itself).

    With `check_files`, the size of every local shard is compared with the manifest. Raises JobError when there is no
    such folder, it is unfinished, the manifest cannot be read, or a shard is missing or of another size.
    """
    place = str(place)
    base = place.removesuffix(NAME).rstrip("/") if place.endswith("/" + NAME) else place.rstrip("/") or place
    if is_remote(base):
        return _parse(_read_remote(f"{check_url(base, allow_pipe)}/{NAME}"), f"{base}/{NAME}")
    folder = Path(base)
    if not os.path.isdir(folder):  # False also for a name that is too long
        raise JobError(
            f"no shards at {folder}: write them, `python -m job shards LAYOUT --root DIR --out {folder}` "
            "(docs/data.md has the LAYOUT of each data set)"
        )
    try:
        manifest = _parse((folder / NAME).read_bytes(), folder / NAME)
    except FileNotFoundError:
        if not any(folder.glob("*/*/*.tar")) and not (folder / ".unfinished").exists():
            raise JobError(f"{folder} holds no shards (it has no {NAME}): give the --out of a shards command") from None
        raise JobError(f"{folder} has no {NAME}, so it is unfinished: run the shards command again") from None
    except OSError as error:
        raise JobError(f"cannot read {folder / NAME}: {error.strerror}; check the permissions") from None
    if check_files:
        for splits in manifest.domains.values():
            for shards in splits.values():
                for shard in shards:
                    check_size(f"{folder}/{shard.path}", shard)
    return manifest


def check_size(path: str | Path, shard: ShardInfo) -> None:
    """Raise JobError unless the file is there and has as many bytes as the manifest says."""
    try:
        size = os.stat(path).st_size  # not Path.stat: making 10,000 Paths would take longer than asking the disk
    except (OSError, ValueError) as error:  # ValueError: NUL
        why = getattr(error, "strerror", None) or error
        raise JobError(f"shard {path} is missing ({why}): {WRITE_AGAIN}") from None
    if size != shard.bytes:
        raise JobError(
            f"shard {path} has {size} bytes but the manifest says {shard.bytes}, so it was cut short or changed: "
            + WRITE_AGAIN
        )


def _read_remote(url: str) -> bytes:
    from webdataset import gopen

    try:
        with gopen(url, "rb") as stream:
            return stream.read()
    except Exception as error:  # gopen raises whatever its handlers do, for any scheme
        raise JobError(f"cannot read {url} ({_brief(error)}): check the address, and that it holds shards") from error


def _parse(content: bytes, where: str | Path) -> Manifest:
    try:
        with no_collecting():  # it would take longer than reading 20,000 shards
            return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise JobError(f"{where} is not JSON ({error}): delete it and run the shards command again") from None
    version = held.get("version") if isinstance(held, dict) else None
    if version != VERSION:
        raise JobError(f"{where} has version {version}, this program reads version {VERSION}: write the shards again")
    key = "".join(f"{part}." for part in first["loc"])
    said = first["msg"].removeprefix("Value error, ")
    raise JobError(f"{where}: {key[:-1] + ': ' if key else ''}{said}; delete it and run the shards command again")


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:200] + "..."
