"""Writing what a command was asked for beside its table: a full disk must not cost the table too."""

from collections.abc import Iterator
from contextlib import contextmanager

from job.system.errors import JobError


class Outputs:
    """Collects what could not be written. The command prints its result, then calls `check`."""

    def __init__(self) -> None:
        self._unwritten: list[str] = []
        self._refused: list[str] = []  # with advice of their own

    @contextmanager
    def writing(self, what: object) -> Iterator[None]:
        """Keep an OSError, or a JobError about an output, for `check`, and leave the block early."""
        try:
            yield
        except OSError as error:
            self._unwritten.append(f"{what} ({error.strerror or error})")
        except JobError as error:
            self._refused.append(str(error))

    def check(self, advice: str) -> None:
        """Raise JobError, in one line, where something could not be written."""
        lines = list(self._refused)
        if self._unwritten:
            lines.append(f"cannot write {', '.join(self._unwritten)}: {advice}")
        if lines:
            raise JobError("; ".join(lines))
