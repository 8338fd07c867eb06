"""Where the numbers of a run go: metrics.jsonl, W&B, the log. On rank 0; elsewhere every call does nothing."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from job.config import Config
from job.monitor.files import MetricsFile, finite, read_metrics, write_atomically
from job.monitor.wandb_run import WandbRun, run_id

log = logging.getLogger("job")
SHOWN = {  # name in metrics -> short name in the terminal
    "train/class_loss": "class",
    "train/domain_loss": "domain",
    "domain/confusion": "confusion",
    "train/source_accuracy": "source",
    "train/target_accuracy": "target",
    "val/source_accuracy": "val source",
    "oracle/target_accuracy": "oracle target",
    "speed/images_per_second": "img/s",
    "speed/data_wait_fraction": "wait",
}


def set_up_log(folder: Path | None, main: bool) -> None:
    """Plain lines on stderr, and in ``log.txt`` of the run folder; from the main process only."""
    logging.raiseExceptions = False  # a full disk under log.txt is not worth a traceback at every line
    close_log()
    log.propagate = False
    log.setLevel(logging.INFO if main else logging.ERROR)
    handlers: list[logging.Handler] = [_AboveTheBar()]
    if main and folder is not None:
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)


def close_log() -> None:
    for handler in log.handlers:
        handler.close()
    log.handlers.clear()


class _AboveTheBar(logging.Handler):
    """Writes to stderr without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "hidden", False):
            tqdm.write(self.format(record), file=sys.stderr)


class Recorder:
    """Writes metrics under their full names; shows the few that tell how it goes."""

    def __init__(
        self, config: Config, folder: Path, step: int, wandb_id: str | None, extra: dict[str, Any], main: bool
    ) -> None:
        self.wandb_id = wandb_id
        self._main = main
        if not main:
            return
        self._folder = folder
        self._steps = config.train.steps
        self._file = MetricsFile(folder / "metrics.jsonl", step)
        self._last: dict[str, Any] = {}
        for row in read_metrics(folder / "metrics.jsonl"):
            self._last |= row
        self.wandb_id = run_id(folder, wandb_id)
        self._wandb = WandbRun(config, folder, self.wandb_id, extra)
        if self._wandb.mode != "disabled":
            log.info("W&B: %s, run id %s", self._wandb.mode, self.wandb_id)
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=self._steps, initial=step, unit="step", dynamic_ncols=True, file=sys.stderr)

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        if not self._main:
            return
        row = finite({"trainer/step": step, **metrics})
        self._last |= row
        try:
            self._file.write(row)
        except OSError as error:
            log.warning("cannot write metrics.jsonl: %s", error)
        self._wandb.log(row)
        shown = "  ".join(f"{short} {row[name]:.4g}" for name, short in SHOWN.items() if name in row)
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(shown)
        if shown:
            hidden = self._bar is not None and "val/source_accuracy" not in row  # the bar shows it
            log.info("step %d/%d  %s", step, self._steps, shown, extra={"hidden": hidden})

    def summarise(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write ``summary.json``: the last value of every metric, and `extra`. Returns it."""
        if not self._main:
            return {}
        summary = finite(self._last | extra)
        write_atomically(self._folder / "summary.json", json.dumps(summary, indent=1) + "\n")
        self._wandb.summarise(summary)
        return summary

    def close(self, exit_code: int) -> None:
        if not self._main:
            return
        if self._bar is not None:
            self._bar.close()
        self._wandb.finish(exit_code)
