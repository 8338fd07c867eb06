"""metrics.jsonl: what a run logs, a line at a time."""

import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from job.system.files import fsync_file, read_regular, write_atomically

log = logging.getLogger("job")
STEP = "trainer/step"


def finite(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics without NaN and infinities, which JSON does not have."""
    return {key: value for key, value in metrics.items() if not isinstance(value, float) or math.isfinite(value)}


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, each with ``trainer/step``.

    Opened by a run that resumes from the checkpoint of `step`, it drops the rows of later steps, which are about to be
    done again, and a last line that a killed process left unfinished. `at_step` are the metrics that the checkpoint
    holds of its own step: they become a row where the process was killed between checkpoint and row.

    Attributes:
        step: as given.
        rows: the rows that are kept.
        reached: the last step that the file held.
    """

    def __init__(self, path: Path, step: int, at_step: Mapping[str, Any] | None = None) -> None:
        rows = read_metrics(path)
        self.step = step
        self.reached: int = rows[-1][STEP] if rows else step
        self.rows = [row for row in rows if row[STEP] <= step]
        if at_step is not None and (not self.rows or self.rows[-1][STEP] < step):
            self.rows.append({STEP: step, **at_step})
        content = "".join(json.dumps(row) + "\n" for row in self.rows)
        if not path.exists() or path.read_bytes() != content.encode():
            write_atomically(path, content, durable=True)
        self._path = path
        self._unwritten = ""

    def write(self, metrics: dict[str, Any]) -> None:
        """Append a row. Raises OSError when the disk is full; the row is kept and written with the next one."""
        self._unwritten += json.dumps(metrics) + "\n"
        self._flush()

    def sync(self) -> None:
        """Wait until all rows so far would survive a power cut. Raises OSError."""
        self._flush()
        with open(self._path, "r+b") as file:
            fsync_file(file)

    def _flush(self) -> None:
        if not self._unwritten:
            return
        # never made anew: its folder may have been deleted; not buffered: closing would write the rest a second time
        with open(self._path, "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            rest = self._unwritten.encode()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(end)  # no torn line
                raise
        self._unwritten = ""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; none where there is no file.

    A last line that a killed process left unfinished is dropped; any other line that is damaged, and a value that is no
    finite number, is dropped with a warning.
    """
    rows = []
    for line, row in _read_lines(path):
        numbers = {key: value for key, value in row.items() if _is_number(value)}
        if len(numbers) < len(row):
            log.warning("%s, line %d: values that are no numbers are left out", path, line)
        rows.append(numbers)
    return rows


def read_alerts(path: Path) -> list[dict[str, Any]]:
    """The alerts of a run: ``trainer/step``, title, text and level, damaged lines left out as by `read_metrics`."""
    texts = ("title", "text", "level")
    return [row for _, row in _read_lines(path) if all(isinstance(row.get(key), str) for key in texts)]


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The whole lines of a file, with their numbers from 1: JSON objects with a step."""
    try:
        lines = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s cannot be read and is left out: %s", path, error.strerror)
        return
    damaged = []
    for number, line in enumerate(lines[:-1], 1):  # after the last line end: nothing, or an unfinished line
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and type(row.get(STEP)) is int and 0 <= row[STEP] <= 10**12:
            yield number, row
        else:
            damaged.append(number)
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        log.warning("%s, line %d%s: damaged and left out", path, damaged[0], more)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN is not
