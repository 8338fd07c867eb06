"""Write and read metrics.jsonl: the metrics of a run, one row a line."""

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
    """Return the metrics without NaN and infinities, which JSON does not have."""
    return {key: value for key, value in metrics.items() if not isinstance(value, float) or math.isfinite(value)}


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, each with ``trainer/step``.

    When a run resumes from the checkpoint of `step`, the rows of later steps are dropped, because those steps are
    repeated; so is a last line that a killed process left incomplete. `at_step` are the metrics of that step, from the
    checkpoint: they are added as a row if the process was killed after the checkpoint and before the row.

    Attributes:
        step: the argument.
        rows: the rows that were kept.
        reached: the last step in the file before rows were dropped.
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
        """Append a row. Raises OSError when the disk is full; the row stays in memory and is written with the next."""
        self._unwritten += json.dumps(metrics) + "\n"
        self._flush()

    def sync(self) -> None:
        """Flush all rows to the disk, so that they survive a power cut. Raises OSError."""
        self._flush()
        with open(self._path, "r+b") as file:
            fsync_file(file)

    def _flush(self) -> None:
        if not self._unwritten:
            return
        # Never create the file: its folder may have been deleted. No buffer: closing would write the rest again.
        with open(self._path, "r+b", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            rest = self._unwritten.encode()
            try:
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(end)  # leave no incomplete line
                raise
        self._unwritten = ""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of metrics.jsonl; return an empty list when there is no file.

    A last line that a killed process left incomplete is dropped. Any other damaged line, and any value that is not a
    finite number, is dropped with a warning.
    """
    rows = []
    for line, row in _read_lines(path):
        numbers = {key: value for key, value in row.items() if _is_number(value)}
        if len(numbers) < len(row):
            log.warning("%s, line %d: values that are not numbers are skipped", path, line)
        rows.append(numbers)
    return rows


def read_alerts(path: Path) -> list[dict[str, Any]]:
    """Read the alerts of a run: ``trainer/step``, title, text and level. Damaged lines are dropped with a warning."""
    texts = ("title", "text", "level")
    return [row for _, row in _read_lines(path) if all(isinstance(row.get(key), str) for key in texts)]


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the complete lines of a file that are JSON objects with a step, each with its line number from 1."""
    try:
        lines = read_regular(path).split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("%s cannot be read and is skipped: %s", path, error.strerror)
        return
    damaged = []
    for number, line in enumerate(lines[:-1], 1):  # after the last line end: nothing, or an incomplete line
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
        log.warning("%s, line %d%s: damaged and skipped", path, damaged[0], more)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN is not
