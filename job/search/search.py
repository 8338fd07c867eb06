"""`python -m job search`: run the trials of a study until all are finished or a stop is requested."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import TrialState

from job.config.load import build_config
from job.config.schema import Config, mirror_below
from job.many_runs.launcher import Launcher
from job.many_runs.together import STOP_FILE, StopFiles, collect_signals
from job.search.results import describe, write_results
from job.search.study import Claim, Study
from job.search.trial_run import End, Ended, TrialRun
from job.search.values import with_values
from job.system.echo import echo
from job.system.errors import EXIT_OK, EXIT_STOPPED, JobError

_POLL_SECONDS = 0.5
_MOST_FAILURES = 3  # of trials, before any has finished
_STATES = {End.FINISHED: TrialState.COMPLETE, End.PRUNED: TrialState.PRUNED, End.FAILED: TrialState.FAIL}


@dataclass
class Search:
    """A process that works on a study: `jobs` trials at a time, up to `trials` in all processes together."""

    study: Study
    launcher: Launcher
    score: str  # of a trial, which guides proposals and pruning
    seeds: list[int]
    trials: int
    jobs: int
    permission: bool = False  # data.allow_pipe
    waits: bool = True  # for trials of other processes
    _running: list[TrialRun] = field(default_factory=list)
    _signals: list[int] = field(default_factory=list)
    _stopping: bool = False

    def run(self) -> int:
        """Run trials until none is left. Returns the exit code: 0, or 75 after a stop."""
        stop = StopFiles([self.study.folder / "stop", *map(Path, filter(None, [os.environ.get(STOP_FILE)]))])
        said_waiting = False
        with collect_signals(self._signals):
            try:
                while True:
                    if stop.requested() and not self._stopping:
                        self._signals.append(signal.SIGTERM)
                    self._pass_on_signals()
                    self._start_trials()
                    if not self._running:
                        left = self._unfinished()
                        if self._stopping or not (left and self.waits):
                            break
                        if not said_waiting:
                            echo(f"waiting for {left} trial(s) of other processes", err=True)
                            said_waiting = True
                    self._poll()
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                self._abandon()
                raise
        if self._stopping:
            echo(f"stopped: run the same command again to resume the search in {self.study.folder}", err=True)
            return EXIT_STOPPED
        return EXIT_OK

    def _start_trials(self) -> None:
        """Start trials in the free slots, while trials are left."""
        while not self._stopping and len(self._running) < self.jobs:
            claim = self.study.claim(self.trials)
            if claim is None:
                break
            slot = min({*range(self.jobs)} - {run.slot for run in self._running})
            configs = self._configs(claim)
            echo(f"trial {claim.number}: {describe(claim.values) or 'the configuration unchanged'}")
            self._running.append(TrialRun(claim, configs, self.score, self.launcher, slot))

    def _unfinished(self) -> int:
        """Return the number of trials that other processes work on."""
        return sum(trial.state == TrialState.RUNNING for trial in self.study.trials())

    def _configs(self, claim: Claim) -> list[Config]:
        """Return the configuration of each run of a trial."""
        content = with_values(self.study.base, claim.values)
        configs = []
        for seed, folder in zip(self.seeds, self.study.run_folders(claim.number), strict=True):
            below = folder.parent.relative_to(self.study.folder.parent).parts
            place = {
                "name": folder.name,
                "output": str(folder.parent),
                "mirror": mirror_below(content["mirror"], *below),
            }
            changed = content | {"seed": seed, **place}
            config = build_config(changed, f"trial {claim.number} ({describe(claim.values)})")
            configs.append(config.with_pipe(self.permission))
        return configs

    def _poll(self) -> None:
        for run in list(self._running):
            ended = run.poll()
            if ended is not None:
                self._running.remove(run)
                self._end(run, ended)

    def _end(self, run: TrialRun, ended: Ended) -> None:
        claim = run.claim
        if ended.how is End.STOPPED:
            claim.release()
            if not self._stopping:  # only this run was stopped
                self._signals.append(signal.SIGTERM)
            return
        if ended.reason:
            claim.trial.set_user_attr("reason", ended.reason)
        self.study.optuna.tell(claim.number, ended.value, _STATES[ended.how])
        claim.release()
        value = "" if ended.value is None else f", {self.score} {ended.value:.4f}"
        echo(f"trial {claim.number}: {ended.how.value}{value}{ended.reason and f': {ended.reason}'}")
        write_results(self.study, self.score)
        ends = [trial.state for trial in self.study.trials()]
        if ends.count(TrialState.FAIL) >= _MOST_FAILURES and not {TrialState.COMPLETE, TrialState.PRUNED} & {*ends}:
            raise JobError(f"the first {_MOST_FAILURES} trials failed: {ended.reason}")

    def _pass_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if not self._stopping:
                echo("stopping the trials after a checkpoint", err=True)
            self._stopping = True
            for run in self._running:
                run.stop(number)

    def _abandon(self) -> None:
        """Stop the other trials after an error; the next search resumes them. Their processes keep their locks."""
        for run in self._running:
            run.stop(signal.SIGTERM)
            run.claim.lock.close()
