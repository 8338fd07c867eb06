"""`python -m job train`: a training run from its start or last checkpoint to its end. It only calls other modules.

Every collective operation of all ranks is called here, in order: opening the run folder, updates, agreement to stop,
metrics, evaluation, saving.
"""

import contextlib
import logging
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from job.config.schema import Config
from job.evaluation.evaluator import Evaluator
from job.monitor import alerts
from job.monitor.recorder import Recorder
from job.monitor.wandb.node import NodeMonitor
from job.run_folder.restore import restore
from job.run_folder.run_folder import RunFolder
from job.shards.manifest import Manifest
from job.system.errors import EXIT_OK, EXIT_STOPPED, JobError
from job.system.ranks import rank_hosts
from job.training.batches import TrainingBatches
from job.training.cpu_binding import bind_cpus
from job.training.distributed import build_accelerator, limit_waiting
from job.training.due import Due, due_after, evaluation_is_due
from job.training.inputs import domain_names, missing_classes
from job.training.learner import Learner, all_finite, build_learner
from job.training.profile import StepProfile
from job.training.shared_checkpoint import shared_checkpoint
from job.training.shared_manifest import load_shared_manifest
from job.training.step_clock import StepClock
from job.training.stop import Stop
from job.training.streams import check_settled, share_streams
from job.training.watchdog import watch
from job.vocabulary import SOURCE

log = logging.getLogger("job")


class Run(NamedTuple):
    """The owners of a run's state."""

    config: Config
    accelerator: Accelerator
    folder: RunFolder  # what is on disk, and the best score so far
    learner: Learner  # weights, optimiser, meter
    batches: TrainingBatches
    evaluator: Evaluator
    recorder: Recorder
    stop: Stop


def train(config: Config) -> int:
    """Start the run that `config` describes, or resume it. Returns the exit code: 0 finished, 75 stopped.

    Raises JobError for every mistake that the user can correct.
    """
    accelerator = build_accelerator(config)
    hosts = rank_hosts(accelerator)
    manifest = load_shared_manifest(config, accelerator, hosts)
    restore(config, manifest, accelerator)
    given, config = config, share_streams(config, manifest, accelerator)
    check_settled(given, config, manifest, accelerator.num_processes)
    with RunFolder(config, manifest, accelerator) as folder:
        exit_code = _train(config, manifest, accelerator, hosts, folder)
        folder.end(exit_code)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return exit_code


def _train(
    config: Config, manifest: Manifest, accelerator: Accelerator, hosts: Sequence[str], folder: RunFolder
) -> int:
    if config.train.bind_cpus:
        bind_cpus(accelerator)
    resumed = folder.resumed
    with shared_checkpoint(resumed, accelerator, hosts) as checkpoint:
        learner = build_learner(config, manifest, accelerator, checkpoint)
    waits = config.train.timeout_seconds
    facts = {"ranks": accelerator.num_processes, "device": str(accelerator.device), "manifest": manifest.hash}
    with (
        Recorder(config, folder.path, folder.metrics, resumed and resumed.meta["wandb_id"], facts, hosts) as recorder,
        contextlib.closing(NodeMonitor(config, accelerator, recorder.wandb_id, recorder.wandb_mode)),
        watch(folder.path / "hang", waits) as watchdog,
        Stop(folder.path / "stop", timedelta(seconds=waits), watchdog.beat if watchdog else lambda: None) as stop,
        Evaluator(config, manifest, accelerator, learner.evaluated, folder.path, stop.agreed) as evaluator,
    ):
        batches = TrainingBatches(
            config,
            manifest,
            accelerator,
            learner.method,
            learner.prepare,
            folder=folder.path,
            start_step=folder.start_step,
            skipped=resumed.meta.get("skipped", 0) if resumed else 0,
        )
        if missing := missing_classes(config, manifest):
            recorder.alert(alerts.class_missing(missing, domain_names(config)[learner.method.labelled or SOURCE]))
        limit_waiting(config)
        run = Run(config, accelerator, folder, learner, batches, evaluator, recorder, stop)
        with batches:
            finished = fit(run)
        chosen = folder.chosen() if finished else None
        # None if the ranks have agreed to stop: the next start repeats the test
        tested = evaluator.test(chosen) if chosen is not None else None
        if chosen is not None and tested is not None:
            about = {"selection/chosen_step": chosen.step, "selection/chosen_by": config.score}
            recorder.summarise(tested | about | {"protocol": config.protocol})
            recorder.artifacts(chosen.path, chosen.meta, config.data.shards)
            log.info("finished; step %d, chosen by %s: %s", chosen.step, config.score, recorder.result(tested))
            return recorder.end(EXIT_OK)
        recorder.alert(alerts.stopped(stop.reason or "a signal to another rank", folder.last_checkpoint()))
        return recorder.end(EXIT_STOPPED)


def fit(run: Run) -> bool:
    """Train to the last step. Returns False if the ranks agreed to stop before it."""
    settings, learner, batches = run.config.train, run.learner, run.batches
    if run.folder.evaluation_pending:  # the run was stopped before or during this evaluation
        step = run.folder.start_step
        due = Due(log=False, evaluate=True, save=True, stop=False)
        if not _conclude(run, step, due, run.folder.pending_metrics):
            return False
    clock = StepClock(batches, learner.work)
    profile = StepProfile(settings.profile_steps if run.accelerator.is_main_process else None, batches, run.folder.path)
    for batch in batches:
        done = batch.step + 1
        with profile.step(done):
            learner.update(batch, logs=done % settings.log_every == 0 or done == settings.steps)
        due = due_after(done, settings, run.stop.agreed())
        if due.anything:
            learner.check_finite(run.folder.last_checkpoint, weights=due.evaluate or due.save)
        clock.tick()  # the device has been waited for
        metrics = {}
        if due.log:
            metrics = learner.metrics(batch.step, batches.skipped) | clock.read(batches.images_per_step)
            metrics |= batches.epochs(done)
        if due.anything and not _conclude(run, done, due, metrics):
            return False
        clock.start()
    return True


def _conclude(run: Run, done: int, due: Due, metrics: dict[str, float]) -> bool:
    """Evaluate, save and log what is due after `done` steps. Returns False if the run stops here."""
    score, confidence, pending = None, None, due.stop and evaluation_is_due(done, run.config.train)
    if due.evaluate:
        validation = run.evaluator.validate(done)
        stops = validation is None or run.stop.agreed()  # the ranks may have agreed to meanwhile
        due = due._replace(stop=stops and (validation is None or done < run.config.train.steps))
        pending = validation is None
        if validation is not None:
            if not all_finite(validation.metrics):
                raise run.learner.not_finite(done - 1, run.folder.last_checkpoint())
            metrics, score = metrics | validation.metrics, validation.score
            confidence = validation.confidence
            run.learner.after_evaluation(validation.shares)
            run.recorder.evaluated(done, validation.samples, run.evaluator.class_names)
    if due.save or due.stop or run.folder.improves(score):
        metrics["speed/checkpoint_seconds"] = _save(run, done, metrics, score, pending, confidence)
    if metrics and not pending:
        run.recorder.log(done, metrics)
    if problem := run.folder.mirror_problem():
        run.recorder.alert(alerts.mirror_failed(problem))
    return not due.stop


def _save(
    run: Run,
    done: int,
    metrics: dict[str, float],
    score: float | None,
    pending: bool,
    confidence: dict[str, Any] | None,
) -> float:
    """Save a checkpoint. Returns the seconds that it took."""
    began = time.perf_counter()
    skipped = run.accelerator.reduce(torch.tensor(run.batches.skipped, device=run.accelerator.device), "sum")
    learner = run.learner
    try:
        run.folder.save(
            done,
            metrics,
            score,
            learner.evaluated.state_dict(),
            learner.trainer_state(),
            wandb_id=run.recorder.wandb_id,
            skipped=int(skipped),
            evaluation_pending=pending,
            confidence=confidence,
        )
    except JobError as error:
        run.recorder.alert(alerts.checkpoint_failed(str(error)))
        raise
    return time.perf_counter() - began
