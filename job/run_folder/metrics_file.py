"""metrics.jsonl: what a run logs, a line at a time."""

import json
import math
import os
from pathlib import Path
from typing import Any

from job.system.files import write_atomically


def finite(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics without NaN and infinities, which JSON does not have."""
    return {key: value for key, value in metrics.items() if not isinstance(value, float) or math.isfinite(value)}


class MetricsFile:
    """``metrics.jsonl``: one JSON object a line, each with ``trainer/step``.

    Opened by a run that goes on from `step`, it loses the lines of later steps, which are about to be done again, and a
    last line that a killed process left unfinished. `rows` are those it keeps, `reached` the last step that it held.
    """

    def __init__(self, path: Path, step: int) -> None:
        rows = read_metrics(path)
        self.reached: int = rows[-1]["trainer/step"] if rows else step
        self.rows = [row for row in rows if row["trainer/step"] <= step]
        if path.exists():
            write_atomically(path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self._path = path
        self._unwritten = ""

    def write(self, metrics: dict[str, Any]) -> None:
        """Append a line. Raises OSError when the disk is full; the line is kept and written with the next one."""
        self._unwritten += json.dumps(metrics) + "\n"
        end = self._path.stat().st_size if self._path.exists() else 0
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(self._unwritten)
        except OSError:
            os.truncate(self._path, end)  # no torn line
            raise
        self._unwritten = ""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file, without a last line that is not whole; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("}\n")]
