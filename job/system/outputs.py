"""Write the optional output files of a command. If the disk is full, the user still sees the table."""

from collections.abc import Iterator
from contextlib import contextmanager

from job.system.errors import JobError


class Outputs:
    """Collects errors of output files. The command prints its result, then calls `check`."""

    def __init__(self) -> None:
        self._unwritten: list[str] = []
        self._refused: list[str] = []  # messages with their own advice

    @contextmanager
    def writing(self, what: object) -> Iterator[None]:
        """Keep an OSError or JobError of the block for `check` instead of raising it."""
        try:
            yield
        except OSError as error:
            self._unwritten.append(f"{what} ({error.strerror or error})")
        except JobError as error:
            self._refused.append(str(error))

    def check(self, advice: str) -> None:
        """Raise one JobError for all outputs that could not be written."""
        lines = list(self._refused)
        if self._unwritten:
            lines.append(f"cannot write {', '.join(self._unwritten)}: {advice}")
        if lines:
            raise JobError("; ".join(lines))
