"""Where the numbers of a run go: metrics.jsonl, W&B, the log, figures. On rank 0; elsewhere every call does nothing."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from job.config.schema import Config
from job.evaluation.samples import Sample
from job.evaluation.validate import headline
from job.monitor import alerts
from job.monitor.alerts import Alert
from job.monitor.displaced_threads import DisplacedThreads
from job.monitor.drawing import Drawing
from job.monitor.terminal import Progress
from job.monitor.wandb.key import run_id
from job.monitor.wandb.media import Samples
from job.monitor.wandb.run import WandbRun
from job.monitor.watch import Watch
from job.run_folder.environment import facts
from job.run_folder.metrics_file import MetricsFile, finite
from job.run_folder.run_view import write_sample
from job.run_folder.stored_files import read_evaluation
from job.system.errors import ENDS, EXIT_BAD_INPUT, EXIT_CRASH, EXIT_STOPPED, JobError, NotFinite
from job.system.files import write_atomically, writing
from job.system.secrets import scrub, scrub_all

log = logging.getLogger("job")


class Recorder:
    """Writes metrics under their full names; shows the few that tell how it goes."""

    def __init__(
        self, config: Config, folder: Path, metrics: MetricsFile | None, wandb_id: str | None, extra: dict[str, Any]
    ) -> None:
        """Start recording. `metrics` is the run's metrics.jsonl on the main rank, and None on the others.

        Use it in a `with`: leaving writes how the run ended, by the error or by what `end` was given.
        """
        self._exit_code = EXIT_CRASH
        self.wandb_id = wandb_id
        self.wandb_mode = "disabled"
        self._main = metrics is not None
        if metrics is None:
            return
        self._folder = folder
        self._config = config
        self._file = metrics
        step = metrics.step
        self._last: dict[str, Any] = {}
        self._watch = Watch()
        # threads of OpenMP compute on a CPU only
        self._displaced = DisplacedThreads(torch.get_num_threads() if extra.get("device") == "cpu" else 0)
        for row in self._file.rows:
            self._last |= row
            self._watch.look(row, self._evaluation(row["trainer/step"], row))
        self._step = step
        self._evaluated: int | None = None  # the last step with an evaluation
        self._passed_on: int | None = None  # the last step of which W&B has figures
        self._drawing = Drawing(folder) if config.evaluation.figures else None
        known = facts() | extra
        try:
            write_atomically(folder / "facts.json", json.dumps(scrub_all(known), indent=1) + "\n")
        except OSError as error:
            log.warning("cannot write facts.json: %s", error)
        self.wandb_id = run_id(folder, wandb_id)
        self._wandb = WandbRun(config, folder, self.wandb_id, known)
        self.wandb_mode = self._wandb.mode
        self._progress = Progress(config.train.steps, step)
        if step and step < config.train.steps:
            restarts = os.environ.get("SLURM_RESTART_COUNT")
            saved = _last_alert(folder) == alerts.STOPPED
            self.alert(alerts.resumed(step, config.train.steps, self._file.reached, restarts, saved))

    def evaluated(self, step: int, samples: Sequence[Sample], class_names: Sequence[str]) -> None:
        """Take what the evaluation at `step` kept of source and target: figures are drawn of it once it is logged."""
        if self._main and self._drawing is not None:
            try:
                write_sample(self._folder, step, samples, self._config.evaluation.map_samples)
            except OSError as error:
                log.warning("cannot write figures: %s", error)
            self._wandb.samples(Samples(step, samples, class_names))

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        if not self._main:
            return
        found = self._watch.look(metrics, self._evaluation(step, metrics)) + self._displaced.look(metrics)
        row = finite({"trainer/step": step, **metrics})
        self._last |= row
        self._step = step
        try:
            self._file.write(row)
        except OSError as error:
            log.warning("cannot write metrics.jsonl: %s", error)
        self._wandb.log(row)
        self._progress.show(step, row)
        for alert in found:
            self.alert(alert)
        if self._drawing is not None:
            self._pass_on(self._drawing.collect())
            if "val/source_accuracy" in row:
                self._evaluated = step
                self._drawing.start(step)

    def _evaluation(self, step: int, row: dict[str, Any]) -> dict[str, Any] | None:
        """The counts behind the metrics of a row, from its evaluation file."""
        if "val/source_accuracy" not in row:
            return None
        return read_evaluation(self._folder / "evaluation" / f"step_{step:08d}.json")

    def result(self, tested: dict[str, float]) -> str:
        """The result of a finished run in a line, with what must be said beside it; raises an alert where it is bad."""
        if not self._main:
            return ""
        content = read_evaluation(self._folder / "evaluation" / "test.json")
        parts = [headline(tested, content["target"] if content else None)]
        bad = self._watch.at_the_end()
        if bad is not None:
            parts.append(f"{bad.title}: {bad.text}")
            if self._watch.has_begun:
                self.alert(bad)
        return "; ".join(parts)

    def alert(self, alert: Alert) -> None:
        """Tell somebody: the log, ``alerts.jsonl``, and W&B, which may send a message."""
        if not self._main:
            return
        text = scrub(alert.text)
        log.warning("%s: %s", alert.title, text)
        row = {"trainer/step": self._step, "title": alert.title, "text": text, "level": alert.level}
        try:
            with open(self._folder / "alerts.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            log.warning("cannot write alerts.jsonl: %s", error)
        self._wandb.alert(alert.title, text, alert.level)

    def artifacts(self, checkpoint: Path, meta: dict[str, Any], shards: str) -> None:
        """Hand the chosen checkpoint to W&B, and the manifest of its data where that is a local file."""
        if self._main:
            manifest = Path(shards) / "manifest.json"
            self._wandb.artifacts(checkpoint, meta, manifest if manifest.is_file() else None)

    def summarise(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write ``summary.json``: the last value of every metric, and `extra`. Returns it."""
        if not self._main:
            return {}
        summary = finite(self._last | extra)
        with writing(self._folder / "summary.json", "make room and start it again"):
            write_atomically(self._folder / "summary.json", json.dumps(summary, indent=1) + "\n")
        self._wandb.summarise(summary)
        return summary

    def end(self, exit_code: int) -> int:
        """Set how the run ends, unless an error follows. Returns the exit code."""
        self._exit_code = exit_code
        return exit_code

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, NotFinite):
            self.alert(alerts.not_finite(str(error)))
        failed = EXIT_BAD_INPUT if isinstance(error, JobError) else EXIT_CRASH
        self.close(failed if error is not None else self._exit_code)

    def close(self, exit_code: int) -> None:
        """Draw the figures of the end, and let W&B write what it has; waits for both."""
        if not self._main:
            return
        self._progress.close()
        if self._drawing is not None:
            stopped = exit_code == EXIT_STOPPED
            # somebody waits: Slurm, or the other ranks
            seconds = 10 if stopped else min(300, self._config.train.timeout_seconds / 4)
            self._pass_on(self._drawing.wait(seconds))
            missing = self._passed_on != self._evaluated  # then they were left out, the one before being slow
            self._drawing.start(self._evaluated, ENDS.get(exit_code, "failed"), figures=missing)
            self._pass_on(self._drawing.wait(seconds))
        self._wandb.finish(exit_code)

    def _pass_on(self, drawn: tuple[int, dict[str, Path]] | None) -> None:
        if drawn is not None and drawn[1]:
            self._passed_on = drawn[0]
            self._wandb.figures(*drawn)


def _last_alert(folder: Path) -> str | None:
    """Return the title of the newest alert of a run folder; None where there is none that can be read."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        last = (folder / "alerts.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()[-1]
        return json.loads(last).get("title")
    return None
