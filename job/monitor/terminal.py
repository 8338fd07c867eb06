"""Progress of a run: a live line on a terminal, plain lines elsewhere, and all lines in log.txt."""

import sys
import time
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from job.metric_names import find, in_line, is_evaluation
from job.system.log import log


def shown(row: dict[str, Any]) -> str:
    """Format the metrics of a row that belong in the progress line."""
    metrics = ((find(name), name) for name in in_line(row))
    return "  ".join(f"{metric.short} {format(row[name], metric.form)}" for metric, name in metrics)


class Progress:
    """Show the step, the time left and the metrics of the last log step."""

    def __init__(self, steps: int, step: int) -> None:
        self._steps, self._first, self._began = steps, step, time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            layout = "step {n_fmt}/{total_fmt}  {desc}"
            self._bar = tqdm(total=steps, initial=step, bar_format=layout, dynamic_ncols=True, file=sys.stderr)

    def show(self, step: int, row: dict[str, Any]) -> None:
        """Show the metrics of a row; a row without metrics for the progress line is skipped."""
        metrics = shown(row)
        if not metrics:
            return
        left = (time.monotonic() - self._began) * (self._steps - step) / max(step - self._first, 1)
        text = f"eta {tqdm.format_interval(left)}  {metrics}"
        if self._bar is not None:
            with suppress(OSError):  # the terminal is closed
                self._bar.update(step - self._bar.n)
                self._bar.set_description_str(text)
        hidden = self._bar is not None and not is_evaluation(row)  # shown by the live line
        log.info("step %d/%d  %s", step, self._steps, text, extra={"hidden": hidden})

    def close(self) -> None:
        """End the live line."""
        if self._bar is not None:
            with suppress(OSError):
                self._bar.close()
