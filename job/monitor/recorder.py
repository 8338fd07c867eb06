"""Record a run on rank 0: metrics.jsonl, W&B, the log, figures. On other ranks every call does nothing."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from job.config.schema import Config
from job.evaluation.doubts import adapts, within_run
from job.evaluation.protocol import note
from job.evaluation.samples import Sample
from job.evaluation.validate import headline
from job.metric_names import is_evaluation
from job.monitor import alerts
from job.monitor.alerts import Alert
from job.monitor.displaced_threads import DisplacedThreads
from job.monitor.drawing import Drawing
from job.monitor.slow_rank import SlowRank
from job.monitor.terminal import Progress
from job.monitor.wandb.key import run_id
from job.monitor.wandb.media import Samples
from job.monitor.wandb.run import WandbRun
from job.monitor.watch import Watch
from job.run_folder.environment import facts, slurm
from job.run_folder.metrics_file import MetricsFile, finite, read_metrics
from job.run_folder.run_view import write_sample
from job.run_folder.stored_files import read_evaluation
from job.system.errors import ENDS, EXIT_BAD_INPUT, EXIT_CRASH, EXIT_STOPPED, JobError, NotFinite
from job.system.files import write_atomically, writing
from job.system.secrets import scrub, scrub_all

log = logging.getLogger("job")


class Recorder:
    """Write the metrics of a run, show its progress, raise alerts, and draw figures."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        metrics: MetricsFile | None,
        wandb_id: str | None,
        extra: dict[str, Any],
        hosts: Sequence[str] = (),
    ) -> None:
        """Start recording. `metrics` is the metrics.jsonl of the run on the main rank, and None on the others.

        `extra` are facts about the run, `hosts` the names of the nodes by rank.

        Use it as a context manager: on exit it records how the run ended, from the error or the exit code of `end`.
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
        self._watch = Watch(config.evaluation.probe_samples)
        # threads of OpenMP compute on a CPU only
        self._displaced = DisplacedThreads(torch.get_num_threads() if extra.get("device") == "cpu" else 0)
        self._slow_rank = SlowRank(hosts)
        for row in self._file.rows:
            self._last |= row
            self._watch.look(row, self._evaluation(row["trainer/step"], row))
        self._step = step
        self._evaluated: int | None = None  # the last step with an evaluation
        self._sent: int | None = None  # the last step whose figures W&B has
        self._drawing = Drawing(folder) if config.evaluation.figures else None
        all_facts = facts() | extra
        try:
            write_atomically(folder / "facts.json", json.dumps(scrub_all(all_facts), indent=1) + "\n")
        except OSError as error:
            log.warning("cannot write facts.json: %s", error)
        self.wandb_id = run_id(folder, wandb_id)
        self._wandb = WandbRun(config, folder, self.wandb_id, all_facts)
        self.wandb_mode = self._wandb.mode
        self._progress = Progress(config.train.steps, step)
        if step and step < config.train.steps:
            saved = _last_alert(folder) == alerts.STOPPED
            self.alert(alerts.resumed(step, config.train.steps, self._file.reached, slurm(), saved))

    def evaluated(self, step: int, samples: Mapping[str, Sample], class_names: Sequence[str]) -> None:
        """Store the samples by role of the evaluation at `step` for the figures, which `log` starts to draw."""
        if self._main and self._drawing is not None:
            try:
                write_sample(self._folder, step, samples, self._config.evaluation.map_samples)
            except OSError as error:
                log.warning("cannot write the samples for figures: %s", error)
            self._wandb.samples(Samples(step, samples, class_names))

    def log(self, step: int, metrics: dict[str, Any]) -> None:
        """Record the metrics of a step, raise the alerts that they cause, and start figures after an evaluation."""
        if not self._main:
            return
        raised = self._watch.look(metrics, self._evaluation(step, metrics)) + self._displaced.look(metrics)
        raised += self._slow_rank.look(step, metrics)
        row = finite({"trainer/step": step, **metrics})
        self._last |= row
        self._step = step
        try:
            self._file.write(row)
        except OSError as error:
            log.warning("cannot write metrics.jsonl: %s", error)
        self._wandb.log(row)
        self._progress.show(step, row)
        for alert in raised:
            self.alert(alert)
        if self._drawing is not None:
            self._send_figures(self._drawing.collect())
            if is_evaluation(row):
                self._evaluated = step
                self._drawing.start(step)

    def _evaluation(self, step: int, row: dict[str, Any]) -> dict[str, Any] | None:
        """Read the counts behind the metrics of a row from its evaluation file, if it is from an evaluation."""
        if not is_evaluation(row):
            return None
        return read_evaluation(self._folder / "evaluation" / f"step_{step:08d}.json")

    def result(self, tested: dict[str, float]) -> str:
        """Return the result of a finished run in one line, with remarks.

        Raise an alert if nothing was learned, or if scores without target labels say that adaptation may have hurt.
        """
        if not self._main:
            return ""
        content = read_evaluation(self._folder / "evaluation" / "test.json")
        parts = [headline(tested, content["target"] if content else None), *note(self._config.protocol)]
        bad = self._watch.at_the_end()
        if bad is not None:
            parts.append(f"{bad.title}: {bad.text}")
            if self._watch.has_begun:
                self.alert(bad)
        if adapts(self._config.objective.name):
            step, doubts = within_run(read_metrics(self._folder / "metrics.jsonl"), self._config.score)
            if doubts:
                self.alert(alerts.may_have_hurt(step, self._config.score, doubts))
        if self._drawing is not None:  # which takes some time after this line
            parts.append(f"drawing {self._folder / 'report.html'}")
        return "; ".join(parts)

    def alert(self, alert: Alert) -> None:
        """Write an alert to the log, ``alerts.jsonl`` and W&B, which may send a message."""
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
        """Send the chosen checkpoint to W&B, and the manifest of its data if that is a local file."""
        if self._main:
            manifest = Path(shards) / "manifest.json"
            self._wandb.artifacts(checkpoint, meta, manifest if manifest.is_file() else None)

    def summarise(self, extra: dict[str, Any]) -> dict[str, Any]:
        """Write ``summary.json``: the last value of each metric, and `extra`. Return its content."""
        if not self._main:
            return {}
        summary = finite(self._last | extra)
        with writing(self._folder / "summary.json", "make room and run the same command again"):
            write_atomically(self._folder / "summary.json", json.dumps(summary, indent=1) + "\n")
        self._wandb.summarise(summary)
        return summary

    def end(self, exit_code: int) -> int:
        """Set the exit code that is recorded unless an error follows; return it."""
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
        """Draw the last figures and flush W&B; wait for both."""
        if not self._main:
            return
        self._progress.close()
        if self._drawing is not None:
            stopped = exit_code == EXIT_STOPPED
            # Slurm or the other ranks wait
            seconds = 10 if stopped else min(300, self._config.train.timeout_seconds / 4)
            self._send_figures(self._drawing.wait(seconds))
            missing = self._sent != self._evaluated  # skipped because an earlier drawing was still running
            self._drawing.start(self._evaluated, ENDS.get(exit_code, "failed"), figures=missing)
            self._send_figures(self._drawing.wait(seconds))
        self._wandb.finish(exit_code)

    def _send_figures(self, figures: tuple[int, dict[str, Path]] | None) -> None:
        if figures is not None and figures[1]:
            self._sent = figures[0]
            self._wandb.figures(*figures)


def _last_alert(folder: Path) -> str | None:
    """Return the title of the newest alert of a run folder, or None if none can be read."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        last = (folder / "alerts.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()[-1]
        return json.loads(last).get("title")
    return None
