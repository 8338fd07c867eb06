"""The log of a run: plain lines on stderr, above the live line, and in log.txt."""

import logging
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from job.system.secrets import ScrubbingFormatter

log = logging.getLogger("job")


def set_up_log(folder: Path | None, main: bool) -> None:
    """Log plain lines to stderr and to ``log.txt`` of the run folder, from the main process only."""
    logging.raiseExceptions = False  # with a full disk every line would print a traceback
    close_log()
    log.propagate = False
    log.setLevel(logging.INFO if main else logging.ERROR)
    handlers: list[logging.Handler] = [_AboveLiveLine()]
    if main and folder is not None:
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(ScrubbingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def close_log() -> None:
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()


class _AboveLiveLine(logging.Handler):
    """Write to stderr without breaking the live line."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            with suppress(OSError):  # a closed pipe (`| head`); log.txt has the line too
                tqdm.write(self.format(record), file=sys.stderr)
