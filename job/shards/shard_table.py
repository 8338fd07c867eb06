"""The entry of a shard in the manifest, and all entries of a split as a table of columns.

100,000 entries take 300 MB as objects and 15 MB as columns, which the ranks of a node can share.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

_TAR_SAMPLE = 1024  # the fewest bytes of a sample in a tar: a header, and the image in whole blocks


class ShardInfo(BaseModel):
    """One tar file. `class_counts` is None if the shard is not labelled: it must not reveal anything about labels.

    A labelled shard may also have samples without a label: `class_counts` counts only those with one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(max_length=1000)  # relative to the manifest, with forward slashes
    samples: int = Field(gt=0)
    bytes: int = Field(gt=0, le=2**40)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    labelled: bool
    class_counts: tuple[NonNegativeInt, ...] | None = None

    @property
    def labels(self) -> int:
        """The number of samples that have a label."""
        if not self.labelled:
            return 0
        return self.samples if self.class_counts is None else sum(self.class_counts)

    def problem(self, classes: int) -> str | None:
        """Return why the values contradict each other, given the number of classes, or None."""
        if self.samples * _TAR_SAMPLE > self.bytes:
            return f"{self.bytes} bytes cannot hold {self.samples} samples"
        if self.class_counts is None:
            return "it is labelled but has no class_counts" if self.labelled else None
        if not self.labelled:
            return "it has class_counts but is not labelled"
        if len(self.class_counts) != classes or self.labels > self.samples:
            counts = list(self.class_counts)
            return f"{self.samples} samples of {classes} classes, which the class_counts {counts} do not fit"
        return None


class ShardTable(Sequence[ShardInfo]):
    """The shards of a split by columns; an entry is made when it is requested.

    Columns, for n shards and C classes: `ends` int64 [n] and `paths` uint8 (the paths one after the other, in UTF-8,
    and where each one ends), `samples` and `bytes` int64 [n], `sha256` uint8 [n, 32], `labelled` and `counted` bool [n]
    (whether there are class counts), `classes` int64 [n, C] (zeros without them).
    """

    COLUMNS = ("ends", "paths", "samples", "bytes", "sha256", "labelled", "counted", "classes")

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self.columns = columns
        self.samples, self.labelled, self.classes = (columns[name] for name in ("samples", "labelled", "classes"))

    @classmethod
    def of(cls, shards: Sequence[ShardInfo]) -> "ShardTable":
        """Return the table of shards; the argument itself if it is one."""
        if isinstance(shards, cls):
            return shards
        paths = [shard.path.encode() for shard in shards]
        classes = max((len(shard.class_counts) for shard in shards if shard.class_counts is not None), default=0)
        none = (0,) * classes
        columns: dict[str, np.ndarray] = {
            "ends": np.cumsum([len(path) for path in paths], dtype=np.int64),
            "paths": np.frombuffer(b"".join(paths), np.uint8),
            "samples": np.array([shard.samples for shard in shards], np.int64),
            "bytes": np.array([shard.bytes for shard in shards], np.int64),
            "sha256": np.frombuffer(bytes.fromhex("".join(s.sha256 for s in shards)), np.uint8).reshape(-1, 32),
            "labelled": np.array([shard.labelled for shard in shards], bool),
            "counted": np.array([shard.class_counts is not None for shard in shards], bool),
            "classes": np.array([s.class_counts or none for s in shards], np.int64).reshape(len(shards), classes),
        }
        return cls(columns)

    @property
    def labels(self) -> np.ndarray:
        """The number of samples of each shard that have a label, int64 [n]."""
        counted = np.where(self.columns["counted"], self.classes.sum(axis=1), self.samples)
        return np.where(self.labelled, counted, 0)

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> ShardInfo: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ShardInfo, ...]: ...

    def __getitem__(self, index: int | slice) -> ShardInfo | tuple[ShardInfo, ...]:
        if isinstance(index, slice):
            return tuple(self._entry(i) for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._entry(index % len(self))

    def __iter__(self) -> Iterator[ShardInfo]:
        return map(self._entry, range(len(self)))

    def _entry(self, i: int) -> ShardInfo:
        column = self.columns
        start = column["ends"].item(i - 1) if i else 0
        return ShardInfo.model_construct(
            path=column["paths"][start : column["ends"].item(i)].tobytes().decode(),
            samples=column["samples"].item(i),
            bytes=column["bytes"].item(i),
            sha256=column["sha256"][i].tobytes().hex(),
            labelled=column["labelled"].item(i),
            class_counts=tuple(column["classes"][i].tolist()) if column["counted"].item(i) else None,
        )
