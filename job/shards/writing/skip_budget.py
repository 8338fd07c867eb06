"""How many images may be skipped because they cannot be read, and what becomes of those that were."""

from collections.abc import Iterable
from pathlib import Path

from job.shards.writing.left_out import SKIPPED, write_csv
from job.system.errors import JobError


class Budget:
    """Counts what was skipped, writes it to `skipped.csv`, and fails past `most`: a share such as "1%", or a number."""

    def __init__(self, most: str, out: Path) -> None:
        self._text, self._out = most, out
        self._share, self._number = _parse(most)
        self.skipped: list[tuple[str, str]] = []

    def spend(self, total: int, skipped: Iterable[tuple[str, str]]) -> None:
        """Of `total` images these cannot be read. Raises JobError when they are too many."""
        self.skipped += skipped
        allowed = self._number if self._share is None else self._share * total
        if len(self.skipped) > allowed:
            self.write()
            path, reason = min(self.skipped)
            raise JobError(
                f"{len(self.skipped)} of {total} images cannot be read, more than --max-skipped {self._text}: "
                f"{path} ({reason}); {self._out / SKIPPED} lists them: repair or remove them, or allow more"
            )

    def write(self) -> None:
        """Write `skipped.csv`, in the order of the paths."""
        write_csv(self._out / SKIPPED, ("path", "reason"), sorted(self.skipped))


def _parse(text: str) -> tuple[float | None, int]:
    """A share in [0, 1], or None and a number. Raises JobError for anything else."""
    number = text.strip().removesuffix("%")
    try:
        if text.strip().endswith("%"):
            share = float(number) / 100
            if 0 <= share <= 1:
                return share, 0
        elif int(number) >= 0:
            return None, int(number)
    except ValueError:
        pass
    raise JobError(f"--max-skipped {text!r} is neither a share such as 1% nor a number of images such as 20")
