"""The runs of one trial: start them, follow their scores, prune, and report how the trial ended."""

import contextlib
import subprocess
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from job.config.schema import Config
from job.evaluation.score_sums import value_of
from job.many_runs.launcher import OUTPUT, Launcher, last_line
from job.run_folder.metrics_file import STEP, read_metrics
from job.run_folder.stored_files import read_object
from job.search.study import Claim
from job.system.errors import EXIT_BAD_INPUT, EXIT_OK, EXIT_STOPPED, JobError

PRUNE = "pruned by the search"
_MOST_CRASHES = 2  # of the runs of a trial, in this process


class End(Enum):
    """How a trial ended in this process."""

    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"
    STOPPED = "stopped"  # to be resumed


class Ended(NamedTuple):
    how: End
    value: float | None = None
    reason: str = ""


class TrialRun:
    """Runs the configurations of a trial one after the other: one for each seed, whose mean score is its value."""

    def __init__(self, claim: Claim, configs: list[Config], score: str, launcher: Launcher, slot: int) -> None:
        self.claim = claim
        self.slot = slot
        self._configs = configs
        self._score = score
        self._launcher = launcher
        self._scores: list[float] = []
        self._process: subprocess.Popen | None = None
        self._reported = set(claim.reported)
        self._size = -1
        self._crashes = 0
        self._pruning = False
        self._stopping = False

    def stop(self, number: int) -> None:
        """Send the run a signal: it saves a checkpoint and stops."""
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def poll(self) -> Ended | None:
        """Start the next run if none is active, follow it, and return how the trial ended, or None while it runs.

        Raises JobError for an error that every other trial would have too.
        """
        self.claim.beat()
        if self._process is None:
            return self._start_next()
        self._follow()
        code = self._process.poll()
        if code is None:
            return None
        self._follow()
        self._process = None
        return self._conclude(code)

    @property
    def _config(self) -> Config:
        return self._configs[len(self._scores)]

    def _start_next(self) -> Ended | None:
        """Start the run of the next seed, unless it has finished already."""
        while True:
            finished = finished_score(self._config.run_folder, self._score)
            if finished is None:
                break
            self._follow()
            self._scores.append(finished)
            if len(self._scores) == len(self._configs):
                return Ended(End.FINISHED, sum(self._scores) / len(self._scores))
        if self._stopping:
            return Ended(End.STOPPED)
        self._follow()
        if self._pruning:  # an earlier process pruned it and was killed
            return Ended(End.PRUNED)
        self._config.run_folder.mkdir(exist_ok=True)
        (self._config.run_folder / "stop").unlink(missing_ok=True)  # of an earlier start
        self._process = self._launcher.start(self._config, self.slot, self.claim.lock.fileno())
        return None

    def _follow(self) -> None:
        """Report new scores of the first seed's run to the study, and stop the run if the pruner says so."""
        path = self._config.run_folder / "metrics.jsonl"
        if self._scores or self._pruning:
            return
        try:
            size = path.stat().st_size
        except OSError:
            return
        if size == self._size:
            return
        self._size = size
        trial = self.claim.trial
        for row in read_metrics(path):
            step = int(row[STEP])
            if (value := value_of(row, self._score)) is not None and step not in self._reported:
                self._reported.add(step)
                trial.report(value, step)
        if self._reported and trial.should_prune():
            self._pruning = True
            if self._process is not None:
                (self._config.run_folder / "stop").write_text(PRUNE)

    def _conclude(self, code: int) -> Ended | None:
        folder = self._config.run_folder
        status = read_object(folder / "status.json") if code not in (EXIT_OK, EXIT_STOPPED) else {}
        if code == EXIT_OK:
            if finished_score(folder, self._score) is None:
                raise JobError(f"{folder} has finished without a score {self._score}: see {folder}/log.txt")
            return self._start_next()
        if self._stopping:  # also if it was killed before it handled the signal
            return Ended(End.STOPPED)
        if code == EXIT_STOPPED:
            return Ended(End.PRUNED) if self._pruning else Ended(End.STOPPED)
        if status.get("kind") == "NotFinite":
            return Ended(End.FAILED, reason=str(status.get("message", "not finite")))
        if code == EXIT_BAD_INPUT:
            raise JobError(status.get("message") or last_line(folder / OUTPUT))
        self._crashes += 1
        if self._crashes < _MOST_CRASHES:
            return self._start_next()  # resumes from its last checkpoint
        return Ended(End.FAILED, reason=f"crashed {self._crashes} times (exit code {code}): see {folder / OUTPUT}")


def finished_score(folder: Path, score: str) -> float | None:
    """Return the score of a finished run's chosen checkpoint, or None if the run is not finished."""
    summary = read_object(folder / "summary.json")
    rows = read_metrics(folder / "metrics.jsonl") if summary else []
    values = {row[STEP]: float(value) for row in rows if (value := value_of(row, score)) is not None}
    chosen = values.get(summary.get("selection/chosen_step"))
    return max(values.values(), default=None) if chosen is None else chosen
