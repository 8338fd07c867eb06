"""Read and check manifest.json: the list of all shards and their content.

It is written last, so a folder without it is unfinished. A remote one is read like its shards.
"""

import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlparse

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PrivateAttr, ValidationError, model_validator

from job.shards.alignment import Alignment
from job.shards.remote import read_remote, url_of
from job.shards.shard_table import ShardInfo, ShardTable
from job.system.errors import JobError, first_line
from job.system.files import read_regular
from job.system.garbage_pause import pause_garbage_collection
from job.system.text import control_characters, shortened
from job.system.transfer import ATTEMPTS, RemoteError, with_retries

__all__ = ["NAME", "Manifest", "ShardInfo", "check_size", "check_url", "is_remote", "load_manifest"]
NAME = "manifest.json"
VERSION = 1
WRITE_AGAIN = "copy it again, or delete the folder and write the shards again"


MOST_BYTES = 256 << 20  # of a manifest: enough for a million shards
# matches lines with a backslash, or with an empty part (so a slash at either end), `.` or `..`
_NOT_BELOW = re.compile(r"^(?:|.*\\.*|(?:.*/)?\.{0,2}(?:/.*)?)$", re.MULTILINE)


Name = Annotated[str, Field(min_length=1, max_length=1000)]


class Manifest(BaseModel):
    """The content of `SHARDS/manifest.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = VERSION
    layout: str
    size: int = Field(gt=0, le=8192)  # pixels; limited because the reader allocates whole images
    class_names: tuple[Name, ...] = Field(min_length=1, max_length=10_000)
    seed: int = Field(ge=-(2**63), lt=2**63)
    quality: int = Field(ge=0, le=100)
    keep_target_labels: bool = False
    crop: str = "center"
    alignment: Alignment | None = None  # of the faces that --crop face found
    no_face: str = "keep"  # what --crop face did with images without a face
    gray: bool = False  # images are stored without colour
    jpeg_scaling: Literal[0, 1] = 0  # version of the rule by which large JPEGs were decoded at a reduced size; 0: never
    options: dict[str, Any] = {}
    inputs: str = ""  # digest of the records of the data set, from which the shards were written
    left_out: dict[str, NonNegativeInt] = {}  # images that were not written, by reason
    # by domain and split, images without a label in the data set
    unlabelled: dict[str, dict[str, NonNegativeInt]] = {}
    # by domain, images whose subject is unknown: they are split by image
    subjects_unknown: dict[str, NonNegativeInt] = {}
    domains: dict[Name, dict[Name, tuple[ShardInfo, ...]]]  # of `compact`: ShardTables
    _hash: str | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        shards = list(self.all_shards())
        _check_paths([shard.path for shard in shards])
        if twice := _first_twice(self.class_names):
            raise ValueError(f"class_names: {twice} is named twice")
        for shard in shards:  # not a validator of each shard: for 20,000 it would take a tenth of a second
            if problem := shard.problem(len(self.class_names)):
                raise ValueError(f"{shard.path}: {problem}")
        return self

    @property
    def crop_in_words(self) -> str:
        """The crop and, if faces were aligned, by which detector."""
        return self.crop if self.alignment is None else f"{self.crop} aligned by {self.alignment.detector}"

    def all_shards(self) -> Iterator[ShardInfo]:
        """Yield the shards of all domains and splits."""
        for splits in self.domains.values():
            for shards in splits.values():
                yield from shards

    def shards(self, domain: str, split: str) -> Sequence[ShardInfo]:
        """Return the shards of a split. Raises JobError when it has no shards."""
        shards = self.domains.get(domain, {}).get(split, ())
        if not len(shards):
            held = ", ".join(f"{d}/{s}" for d, splits in self.domains.items() for s in splits)
            raise JobError(f"the shards ({self.layout}) contain no {domain}/{split}, only {held}: choose one of those")
        return shards

    def table(self, domain: str, split: str) -> ShardTable:
        """Return the shards of a split by columns. Raises JobError when it has no shards."""
        return ShardTable.of(self.shards(domain, split))

    def samples(self, domain: str, split: str) -> int:
        """Return the number of samples of a split."""
        return int(self.table(domain, split).samples.sum())

    def labels(self, domain: str, split: str) -> int:
        """Return the number of samples of a split that have a label."""
        return int(self.table(domain, split).labels.sum())

    def labelled(self, domain: str, split: str) -> bool:
        """Return whether every sample of a split has a label."""
        return self.labels(domain, split) == self.samples(domain, split)

    def class_counts(self, domain: str, split: str) -> tuple[int, ...] | None:
        """Return the number of labelled samples of each class in a split; None if no shard of it is labelled."""
        table = self.table(domain, split)
        return tuple(table.classes.sum(axis=0).tolist()) if table.labelled.any() else None

    def compact(self) -> "Manifest":
        """Return the same manifest with its shards by columns: some 150 bytes a shard, not 3,000."""
        domains = {d: {s: ShardTable.of(shards) for s, shards in splits.items()} for d, splits in self.domains.items()}
        return self.with_tables(self.model_dump(exclude={"domains"}), domains, self.hash)

    def with_domains(
        self, domains: dict[str, dict[str, tuple[ShardInfo, ...]]], unlabelled: dict[str, dict[str, int]]
    ) -> "Manifest":
        """Return a manifest of the same shards in other splits, with the images without a label in each split."""
        made = self.model_copy(update={"domains": domains, "unlabelled": unlabelled})
        made._hash = None
        return made

    @classmethod
    def with_tables(cls, fields: dict[str, Any], domains: dict[str, dict[str, ShardTable]], hash_: str) -> "Manifest":
        """Return a manifest of fields and tables that were checked before, whose hash is known."""
        alignment = fields.get("alignment")  # a dict, of JSON
        fields = fields | {"alignment": None if alignment is None else Alignment.model_validate(alignment)}
        made = cls.model_construct(**fields, domains=domains)
        made._hash = hash_
        return made

    @property
    def hash(self) -> str:
        """sha256 (hex) of all that affects training: the size, the classes, and the content and order of all shards."""
        if self._hash is not None:
            return self._hash
        domains = {
            domain: {split: [(s.path, s.samples, s.sha256) for s in shards] for split, shards in splits.items()}
            for domain, splits in self.domains.items()
        }
        seen = {"version": self.version, "size": self.size, "class_names": self.class_names, "domains": domains}
        return hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()


def is_remote(place: str | Path) -> bool:
    """Return whether a place is a URL. So is `file://`, with which shards on a slow disk use the local cache."""
    return len(urlparse(str(place)).scheme) > 1  # a scheme of one letter is a Windows drive


def check_url(url: str, allow_pipe: bool) -> str:
    """Return the URL. Raises JobError for a `pipe:` URL, which runs a shell command, unless the user allows those."""
    if url.startswith("pipe:") and not allow_pipe:
        raise JobError(
            f"{url} would run a shell command: if you trust it, allow it with data.allow_pipe=true (train, doctor) or "
            "--allow-pipe (evaluate, inspect)"
        )
    return url


def load_manifest(place: str | Path, *, allow_pipe: bool = False, check_files: bool = True) -> Manifest:
    """Read the manifest of a folder or URL of shards (or the path of the manifest itself).

    With `check_files`, compare the size of every local shard with the manifest. Raises JobError when the folder is
    missing or unfinished, the manifest cannot be read, or a shard is missing or of another size.
    """
    place = str(place)
    base = place.removesuffix(NAME).rstrip("/") if place.endswith("/" + NAME) else place.rstrip("/") or place
    if is_remote(base):
        url = f"{check_url(base, allow_pipe)}/{NAME}"
        manifest = _parse(_read_remote(url), url)
        for shard in manifest.all_shards():
            url_of(base, shard.path)
        return manifest
    folder = Path(base)
    if not os.path.isdir(folder):  # False also for a name that is too long
        raise JobError(
            part_of_shards(folder)
            or f"no shards at {folder}: write them with the command in the first lines of the recipe (configs/*.yaml), "
            f"or `python -m job shards LAYOUT --root DIR --out {folder}` (docs/data.md has the LAYOUT of each data set)"
        )
    try:
        manifest = _parse(read_regular(folder / NAME, MOST_BYTES), folder / NAME)
    except FileNotFoundError:
        if not any(folder.glob("*/*/*.tar")) and not (folder / ".unfinished").exists():
            raise JobError(
                part_of_shards(folder)
                or f"{folder} contains no shards (it has no {NAME}): give the --out of a shards command"
            ) from None
        raise JobError(f"{folder} has no {NAME}, so it is unfinished: run the shards command again") from None
    except OSError as error:
        raise JobError(f"cannot read {folder / NAME}: {error.strerror}; check the file and its permissions") from None
    if check_files:
        for shard in manifest.all_shards():
            check_size(f"{folder}/{shard.path}", shard)
    return manifest


def part_of_shards(place: str | Path) -> str | None:
    """Return a message that a domain, a split or a tar is only a part of shards and which folder to give, or None."""
    path = Path(place)
    try:
        if path.suffix == ".tar" or any(path.glob("*.tar")) or any(path.glob("*/*.tar")):
            for steps in range(1, 4):
                whole = Path(os.path.normpath(path.joinpath(*[".."] * steps)))
                if (whole / NAME).is_file() and any(whole.glob("*/*/*.tar")):
                    return f"{path} is a part of the shards at {whole}: give {whole}"
    except (OSError, ValueError):  # a name that cannot be one
        pass
    return None


def check_size(path: str | Path, shard: ShardInfo) -> None:
    """Raise JobError unless `path` is a regular file of the size in the manifest."""
    try:
        status = os.stat(path)  # not Path.stat: creating 10,000 Paths would take longer than the stat calls
    except (OSError, ValueError) as error:  # ValueError: NUL
        why = getattr(error, "strerror", None) or error
        raise JobError(f"shard {path} is missing ({why}): {WRITE_AGAIN}") from None
    if not stat.S_ISREG(status.st_mode):
        raise JobError(f"shard {path} is not a regular file: {WRITE_AGAIN}")
    if status.st_size != shard.bytes:
        raise JobError(
            f"shard {path} has {status.st_size} bytes but the manifest says {shard.bytes}, so it was cut short or "
            f"changed: {WRITE_AGAIN}"
        )


def _check_paths(paths: list[str]) -> None:
    """Raise ValueError unless all paths are below the manifest's folder, and no path is repeated."""
    if control_characters("".join(paths)):
        raise ValueError("domains: a path with control characters")
    if outside := _NOT_BELOW.search("\n".join(paths)):
        raise ValueError(
            f"domains: {outside[0]!r} must be a path below the manifest's folder, with forward slashes and without `..`"
        )
    if twice := _first_twice(paths):
        raise ValueError(f"domains: {twice} is named twice")


def _first_twice(names: Iterable[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _read_remote(url: str) -> bytes:
    attempts = 1 if urlparse(url).scheme in ("file", "pipe") else ATTEMPTS
    try:
        return with_retries(lambda: b"".join(read_remote(url, MOST_BYTES)), f"reading {url}", attempts)
    except RemoteError as error:
        raise JobError(f"cannot read {url} ({error}): check the address, and that it contains shards") from error


def _parse(content: bytes, where: str | Path) -> Manifest:
    again = "delete it and run the shards command again"
    try:
        with pause_garbage_collection():  # collecting would take longer than parsing 20,000 shards
            return Manifest.model_validate_json(content)
    except ValidationError as error:
        (first, *_) = error.errors(include_input=False, include_url=False)
    version = _version(content, where)
    if version != VERSION:
        raise JobError(f"{where} has version {version}, this program reads version {VERSION}: write the shards again")
    key = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    raise JobError(f"{where}: {shortened(f'{key}: {what}' if key else what)}; {again}")


def _version(content: bytes, where: str | Path) -> str:
    """Return the version of a manifest whose other content may be unknown. Raises JobError when it is not JSON."""
    try:
        held = json.loads(content, parse_int=lambda digits: digits if len(digits) > 18 else int(digits))
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else shortened(first_line(error))
        raise JobError(f"{where} is not JSON ({why}): delete it and run the shards command again") from None
    version = held.get("version") if isinstance(held, dict) else None
    return version if version == VERSION else shortened(repr(version))
