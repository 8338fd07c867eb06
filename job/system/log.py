"""The log of a run: plain lines on stderr, above a live line where there is one, and in log.txt."""

import logging
import sys
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from job.system.secrets import ScrubbingFormatter

log = logging.getLogger("job")


def set_up_log(folder: Path | None, main: bool) -> None:
    """Plain lines on stderr, and in ``log.txt`` of the run folder; from the main process only."""
    logging.raiseExceptions = False  # a full disk under log.txt is not worth a traceback at every line
    close_log()
    log.propagate = False
    log.setLevel(logging.INFO if main else logging.ERROR)
    handlers: list[logging.Handler] = [_AboveTheLine()]
    if main and folder is not None:
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(ScrubbingFormatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def close_log() -> None:
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()


class _AboveTheLine(logging.Handler):
    """Writes to stderr without tearing the live line apart."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            with suppress(OSError):  # nobody reads it any more (`| head`): log.txt holds it too
                tqdm.write(self.format(record), file=sys.stderr)
