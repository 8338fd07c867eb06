"""The trials of a study, shared by many processes and nodes through files alone.

OUTPUT/NAME/ contains `study.json` (the settings of the search, which are fixed), `journal.log` (Optuna's journal:
trials, parameters and scores) and a run folder for each trial. The process that works on a trial locks `search.lock` in
its folder, and so do the processes of the run, which inherit the lock: it is free as soon as all of them have ended,
and the next process resumes the trial.
"""

import json
import os
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from job.many_runs.together import ANOTHER_NAME, release, try_lock
from job.run_folder.differences import changes, flat
from job.search.space import Space
from job.system.errors import JobError
from job.system.files import write_atomically, writing

_RANDOM_TRIALS = 6  # before the sampler models the scores
PRUNERS = ("median", "halving", "none")
_ADVICE = "make room, or choose another `output`"


@dataclass
class Claim:
    """A trial that this process runs until its result is recorded, or until it releases the trial."""

    trial: Trial
    values: dict[str, Any]
    folder: Path
    lock: TextIO
    reported: Collection[int] = ()  # steps whose scores the study knows

    @property
    def number(self) -> int:
        return self.trial.number

    def beat(self) -> None:
        """Show processes on other nodes that this one is alive."""
        os.utime(self.lock.fileno())

    def release(self) -> None:
        """Release the lock, so that any process may resume the trial at once."""
        release(self.lock)


class Study:
    """The trials of one study folder. `settings` must be equal in all its processes."""

    def __init__(
        self, folder: Path, space: Space, base: dict[str, Any], settings: dict[str, Any], original: dict[str, Any]
    ) -> None:
        """Open or create the study of the trials' configuration `base`, made from the user's `original`.

        Raises JobError if the folder belongs to a study with other settings, or to a run.
        """
        self.folder = folder
        self.space = space
        self.base = base
        self.original = original
        self.settings = settings
        if (folder / "checkpoints").exists():
            raise JobError(f"{folder} is the folder of a run: {ANOTHER_NAME}")
        with writing(folder, _ADVICE):
            folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._check_same()
                self.optuna = self._open()

    def trials(self) -> list[FrozenTrial]:
        """Return the trials that have been started, by number."""
        return [trial for trial in self.optuna.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def claim(self, wanted: int) -> Claim | None:
        """Lock and return a trial: one whose process has ended or, while there are fewer than `wanted`, a new one.

        Returns None if there is no trial to run now.
        """
        with self._alone():
            trials = self.trials()
            for begun in trials:
                if begun.state == TrialState.RUNNING and (claimed := self._lock(begun.number)):
                    if self.trials()[begun.number].state == TrialState.RUNNING:
                        return self._claim(Trial(self.optuna, begun._trial_id), claimed)
                    claimed.close()  # its result was recorded between the two checks
            if len(trials) >= wanted:
                return None
            # one generator for each trial: proposals depend on the seed and on earlier trials, not on restarts
            self.optuna.sampler = self._sampler(len(trials))
            trial = self.optuna.ask()
            claimed = self._lock(trial.number)
            if claimed is None:
                raise JobError(f"{self.trial_folder(trial.number)} is in use: {ANOTHER_NAME}")
            return self._claim(trial, claimed)

    def trial_folder(self, number: int) -> Path:
        return self.folder / f"trial-{number:04d}"

    def run_folders(self, number: int) -> list[Path]:
        """Return the folders of a trial's runs, one for each seed."""
        folder, seeds = self.trial_folder(number), self.settings["seeds"]
        return [folder] if len(seeds) == 1 else [folder / f"seed-{seed}" for seed in seeds]

    @property
    def compare_by(self) -> str:
        """The score that compares the trials."""
        return str(self.settings.get("compare_by", self.settings["score"]))

    def _claim(self, trial: Trial, claimed: TextIO) -> Claim:
        values = self.space.sample(trial, self.base)
        trial.set_user_attr("values", values)
        reported = self.trials()[trial.number].intermediate_values
        return Claim(trial, values, self.trial_folder(trial.number), claimed, reported)

    def _lock(self, number: int) -> TextIO | None:
        """Lock the folder of a trial; None while the lock is taken, or may be taken on another node."""
        path = self.trial_folder(number) / "search.lock"
        path.parent.mkdir(exist_ok=True)
        return try_lock(path)

    def _check_same(self) -> None:
        path = self.folder / "study.json"
        if not path.exists():
            write_atomically(path, json.dumps(self.settings, indent=1) + "\n", durable=True)
            return
        try:
            before = flat(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, AttributeError):
            raise JobError(f"{path} is damaged: restore it, or {ANOTHER_NAME}") from None
        now = flat(self.settings)
        changed = changes(before, now, {**before, **now})
        if changed:
            raise JobError(
                f"{self.folder} was started with another search ({'; '.join(changed)}): {ANOTHER_NAME}, "
                "or put the values back to resume it"
            )

    def _open(self) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        path = (self.folder / "journal.log").absolute()
        guard = JournalFileOpenLock(str(path))  # creates a file exclusively: works on NFS, and without symbolic links
        backend = JournalFileBackend(str(path), guard)
        _drop_incomplete_line(path, guard)
        study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name="search",
            direction="maximize",
            pruner=self._pruner(),
            load_if_exists=True,
        )
        if not study.get_trials(deepcopy=False) and (params := self.space.of(self.base)):
            study.enqueue_trial(params)  # the first trial is the configuration itself
        return study

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence((self.settings["seed"], number)).generate_state(1)[0])
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=_RANDOM_TRIALS, multivariate=True, group=True, constant_liar=True
        )

    def _pruner(self) -> optuna.pruners.BasePruner:
        name, train = self.settings["pruner"], self.base["train"]
        if name == "median":  # scores of the first third say little: lambda is still rising
            return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=train["steps"] // 3)
        if name == "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=train["eval_every"], reduction_factor=2)
        return optuna.pruners.NopPruner()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes, on any node, from opening the study or claiming a trial."""
        guard = JournalFileOpenLock(str((self.folder / "claims").absolute()))
        guard.acquire()
        try:
            yield
        finally:
            guard.release()


def _drop_incomplete_line(path: Path, guard: JournalFileOpenLock) -> None:
    """Remove the last line of a journal if its writer was killed while writing it: later lines could not be read."""
    guard.acquire()
    try:
        with open(path, "r+b") as file:
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        guard.release()
