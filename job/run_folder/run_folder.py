"""Open or resume the run folder of a training run, save checkpoints in it, and record how the run ended."""

import logging
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from job.config.schema import Config
from job.run_folder.checkpoint import Checkpoint, find_checkpoint, prune, read_checkpoint, save_checkpoint
from job.run_folder.metrics_file import MetricsFile, finite
from job.run_folder.mirror import Mirror
from job.run_folder.pointers import BEST, path_of, point
from job.run_folder.restore import fetch_where_missing
from job.run_folder.resume import Best, find_resume_point, restore_pointers
from job.run_folder.status import write_end, write_failure, write_running
from job.shards.manifest import Manifest
from job.system.errors import EXIT_CRASH, JobError
from job.system.files import InUse, lock, write_atomically
from job.system.launch_protocol import LOCK_WAIT
from job.system.log import close_log, set_up_log
from job.system.ranks import on_main
from job.system.signals import held

log = logging.getLogger("job")
_MIRROR_SECONDS = 240.0  # to finish the copy in the mirror, at the end of a run or at a stop
_SLICE_SECONDS = 2.0
_LAST_SECONDS = 15.0  # for its small files, or all that an error leaves; torch's launcher waits 30 s after SIGTERM
_REQUESTS = (signal.SIGTERM, signal.SIGUSR1)  # to end


class RunFolder:
    """The only owner of the files of a training run. All ranks open it together::

        with RunFolder(config, manifest, accelerator) as folder:
            weights = folder.resumed.weights() if folder.resumed else ...
            for step in range(folder.start_step, config.train.steps):
                ...
                if due or folder.improves(score):
                    folder.save(step + 1, metrics, score, weights, trainer, wandb_id=..., skipped=...)
            chosen = folder.chosen()
            folder.end(exit_code)

    Entering creates the folder, locks it, opens the log and finds the checkpoint to resume from. Leaving writes
    status.json, closes the log and releases the lock: after an error on any rank, status.json names the error;
    otherwise it records the exit code that `end` set. Leave it last, after everything that logs or writes.

    Attributes, equal on all ranks except `metrics`:
        path: the folder.
        resumed: the checkpoint that this start resumes from; None for a new run.
        start_step: the number of steps done before, 0 for a new run.
        best: step and score of the best checkpoint so far.
        metrics: metrics.jsonl, cut back to `start_step`; None on all ranks but the main one.
    """

    path: Path
    resumed: Checkpoint | None
    start_step: int
    best: Best
    metrics: MetricsFile | None

    def __init__(self, config: Config, manifest: Manifest, accelerator: Accelerator) -> None:
        self.path = config.run_folder
        self.resumed = None
        self.start_step = 0
        self.best = Best()
        self.metrics = None
        self._config = config
        self._manifest = manifest
        self._accelerator = accelerator
        self._lock: TextIO | None = None
        self._mirror: Mirror | None = None  # of the main rank
        self._exit_code = EXIT_CRASH

    def __enter__(self) -> "RunFolder":
        """Open the folder. Raises JobError, on every rank, when that fails or the folder belongs to another run."""
        try:
            if not self._accelerator.is_main_process:
                set_up_log(None, main=False)
            on_main(self._accelerator, self._open)
            self._share()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                write_failure(self.path, error)
            elif self._accelerator.is_main_process:
                write_end(self.path, self._exit_code)
        finally:
            if self._mirror is not None:
                with held(*_REQUESTS):  # another rank has ended, and the launcher ends this one: it waits longer
                    self._mirror.close(_LAST_SECONDS)
            self._release()

    def improves(self, score: float | None) -> bool:
        """Return whether a selection score is at least as good as the best so far; False for None (no evaluation)."""
        return score is not None and (self.best.score is None or score >= self.best.score)

    def save(
        self,
        step: int,
        metrics: Mapping[str, Any],
        score: float | None,
        weights: Mapping[str, Tensor],
        trainer: Mapping[str, Any],
        *,
        wandb_id: str | None,
        skipped: int,
        evaluation_pending: bool = False,
        confidence: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the checkpoint of `step` (steps done), move ``latest``, move ``best`` if `score` improves, prune.

        Call it on all ranks, with equal values; the main rank writes its `weights` and `trainer` (state of optimiser
        and gradient scaler, as `Checkpoint.trainer` returns it). `metrics` are those of this step, or empty: a run that
        is killed before it logs them restores them from the checkpoint. `score` is None if the step was not evaluated;
        with `evaluation_pending` the step is evaluated when the run resumes, and logged only then. `confidence` is the
        calibration of these weights, None where they were not evaluated. Raises JobError, on every rank, when the disk
        is full or the folder was deleted; the earlier checkpoints are then unchanged.
        """
        best = Best(step, score) if self.improves(score) else self.best
        meta = self._describe() | {"wandb_id": wandb_id, "step": step, "best": best._asdict()}
        meta |= {"scores": finite(dict(metrics)), "skipped": skipped, "evaluation_pending": evaluation_pending}
        meta |= {"confidence": confidence}
        on_main(self._accelerator, lambda: self._save(meta, weights, trainer))
        self.best = best

    @property
    def evaluation_pending(self) -> bool:
        """Whether the checkpoint that the run resumes from was saved by a stop before its evaluation was finished."""
        return bool(self.resumed and self.resumed.meta.get("evaluation_pending"))

    @property
    def pending_metrics(self) -> dict[str, Any]:
        """The metrics of a step whose evaluation is pending: not logged yet."""
        return dict(self.resumed.meta["scores"]) if self.resumed else {}

    def chosen(self) -> Checkpoint:
        """Return the best checkpoint. All ranks must call this.

        Raises JobError when it is damaged or the run has no checkpoint.
        """
        # by step, not by the link `best`: on some file systems other nodes see a changed link late
        step = self.best.step if self.best.step is not None else self.start_step
        path = path_of(self._checkpoints, step)
        self._fetch_where_missing(path)
        return read_checkpoint(path)

    def last_checkpoint(self) -> str:
        """Return the path of the newest intact checkpoint, or "none yet"; for messages."""
        last = find_checkpoint(self._checkpoints)
        return str(last.path) if last else "none yet"

    def end(self, exit_code: int) -> None:
        """Set the exit code for status.json, unless an error follows, and wait for the mirror.

        All ranks must call this. A request to stop that reaches the main rank ends the wait.
        """
        self._exit_code = exit_code
        give_up = time.monotonic() + _MIRROR_SECONDS
        done = [self._config.mirror is None]
        with held(*_REQUESTS) as asked:  # a rank that they killed would leave the others waiting for it
            while not done[0]:  # in slices: the other ranks wait no longer than train.timeout_seconds for any of them
                if self._mirror is not None:
                    copied = self._mirror.wait(_SLICE_SECONDS) or self._mirror.failing
                    done = [copied or asked.is_set() or time.monotonic() > give_up]
                broadcast_object_list(done)

    def mirror_problem(self) -> str:
        """Return why the run could not be copied to its mirror, but once; else, and on other ranks, an empty string."""
        return "" if self._mirror is None else self._mirror.problem()

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _open(self) -> None:
        try:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            (self.path / "evaluation").mkdir(exist_ok=True)
            self._lock = _wait_for_lock(self.path)
            set_up_log(self.path, main=True)
            last = self.resumed = find_resume_point(self.path, self._config, self._manifest)
            if last is None:
                log.info("starting %s on %d rank(s)", self.path, self._accelerator.num_processes)
            else:
                self.best = restore_pointers(self._checkpoints, last)
                done = last.step >= self._config.train.steps
                what = "all steps are done, evaluating again:" if done else "resuming from"
                log.info("%s step %d of %d in %s", what, last.step, self._config.train.steps, self.path)
            step, row = (last.step, last.meta.get("scores")) if last else (0, None)
            row = None if self.evaluation_pending else row
            self.metrics = MetricsFile(self.path / "metrics.jsonl", step, row)
            write_atomically(self.path / "config.yaml", self._config.to_yaml())
            write_running(self.path)
            if self._config.mirrored is not None:
                self._mirror = Mirror(self._config.mirrored, self.path)
                self._mirror.update()
        except OSError as error:
            raise JobError(
                f"cannot write the run folder {self.path}: {error.strerror}; choose another `output`"
            ) from None

    def _share(self) -> None:
        """Broadcast the checkpoint to resume from, and the best so far, from the main rank to the others."""
        found: list[Any] = [self.resumed.path if self.resumed else None, tuple(self.best)]
        broadcast_object_list(found)
        if found[0] is not None:
            self._fetch_where_missing(found[0])
            self.resumed = self.resumed or read_checkpoint(found[0])
            self.best = Best(*found[1])
            self.start_step = self.resumed.step

    def _fetch_where_missing(self, path: Path) -> None:
        """Fetch a checkpoint from the mirror on the nodes that do not see the main rank's folder."""

        def ready() -> None:
            seconds = self._config.train.timeout_seconds / 2
            if self._mirror is not None and not self._mirror.wait_for(path.name, seconds):
                raise JobError(f"{path} is not visible on every node, and not yet in {self._config.mirrored}")

        fetch_where_missing(self._config, self._manifest, self._accelerator, path, ready)

    def _describe(self) -> dict[str, Any]:
        """Return the part of ``meta.json`` that is the same at every step: all that a checkpoint needs alone."""
        manifest = self._manifest
        return {
            "fingerprint": self._config.fingerprint(),
            "manifest": manifest.hash,
            "ranks": self._accelerator.num_processes,
            "class_names": manifest.class_names,
            "size": manifest.size,
            "quality": manifest.quality,
            "crop": manifest.crop,
            "gray": manifest.gray,
            "jpeg_scaling": manifest.jpeg_scaling,
            "alignment": manifest.alignment and manifest.alignment.model_dump(mode="json"),
            "config": self._config.stored(),
        }

    def _save(self, meta: dict[str, Any], weights: Mapping[str, Tensor], trainer: Mapping[str, Any]) -> None:
        if not self._checkpoints.is_dir():
            raise JobError(
                f"{self.path} was deleted while the run was writing to it: run the same command to start again"
            )
        if self.metrics is not None:
            try:  # rows first: after a power cut no checkpoint may exist without its rows
                self.metrics.sync()
            except OSError as error:
                log.warning("cannot write metrics.jsonl: %s", error)
        saved = save_checkpoint(self._checkpoints, meta, weights, trainer)
        if meta["best"]["step"] == meta["step"]:
            point(self._checkpoints, BEST, saved.path)
        prune(self._checkpoints, self._config.train.keep_last)
        if self._mirror is not None:
            self._mirror.update()

    def _release(self) -> None:
        close_log()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _wait_for_lock(folder: Path) -> TextIO | None:
    """Lock the folder against a second job; wait as long as the launch script allows.

    Returns None, after a warning, on a file system without locks. Raises JobError, naming the other job, when the
    folder is still locked after that time.
    """
    give_up = time.monotonic() + float(os.environ.get(LOCK_WAIT, 0))
    while True:
        try:
            return lock(folder / "lock")
        except InUse as holder:
            if time.monotonic() >= give_up:
                raise JobError(
                    f"{folder} is in use by {holder}: wait for it, stop it with `touch {folder}/stop`, "
                    "or choose another `name`"
                ) from None
            time.sleep(0.5)
        except OSError as error:
            log.warning("cannot lock %s (%s): make sure that no other job uses it", folder, error.strerror)
            return None
