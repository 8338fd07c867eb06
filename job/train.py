"""`python -m job train`: the wiring of a training run. Nothing is computed here."""

import contextlib
import logging
import time
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from job.config.schema import Config
from job.evaluation.evaluate import DomainReport, evaluate_domain
from job.evaluation.report_files import write_reports
from job.evaluation.validate import held_out_metrics, validation_metrics
from job.methods import OBJECTIVES
from job.models.backbones import load_state
from job.models.build import build_model, memory_format
from job.models.check_state import check_state
from job.models.dann import DANN
from job.monitor import alerts
from job.monitor.recorder import Recorder
from job.monitor.wandb.node import NodeMonitor
from job.run_folder.checkpoint import Checkpoint
from job.run_folder.run_folder import RunFolder
from job.shards.manifest import Manifest, load_manifest
from job.shards.reading.augment import normalise
from job.shards.reading.batch_loader import Batch, BatchLoader
from job.shards.reading.domain_stream import DomainStream
from job.shards.reading.image_memory import DecodedImages
from job.shards.reading.prepare import Preparation
from job.system.errors import EXIT_BAD_INPUT, EXIT_CRASH, EXIT_OK, EXIT_STOPPED, JobError, NotFinite
from job.training.distributed import build_accelerator, share_buffers
from job.training.inputs import check_data, domain_names, open_store
from job.training.loop import Callbacks, fit
from job.training.optimizer import build_optimizer
from job.training.record_keys import record_keys
from job.training.stop import Stop
from job.vocabulary import SOURCE, TARGET

log = logging.getLogger("job")


def train(config: Config) -> int:
    """Start the run that `config` describes, or go on with it. Returns the exit code: 0 done, 75 stopped.

    Raises JobError for everything that the user can put right.
    """
    accelerator = build_accelerator(config)
    manifest = load_manifest(config.data.shards, allow_pipe=config.data.allow_pipe)
    check_data(config, manifest, accelerator.num_processes)
    with RunFolder(config, manifest, accelerator) as folder:
        exit_code = _train(config, manifest, accelerator, folder)
        folder.end(exit_code)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return exit_code


def _train(config: Config, manifest: Manifest, accelerator: Accelerator, folder: RunFolder) -> int:
    main = accelerator.is_main_process
    objective = OBJECTIVES[config.objective.name]
    domains = domain_names(config)
    last = folder.resumed

    model, optimizer = _build(config, manifest, accelerator, last)
    network: DANN = accelerator.unwrap_model(model)
    store, decoded = open_store(config), DecodedImages(int(config.data.decoded_gib * 2**30))
    held_out = open_store(config)  # of its own, so that an evaluation does not wait for what training fetches ahead
    streams = [
        DomainStream(
            manifest,
            domains[role],
            store,
            labelled=role == objective.LABELLED,  # no other label is ever decoded
            seed=config.seed,
            streams=config.data.streams,
            global_batch_size=config.data.global_batch_size,
            block_shards=config.data.block_shards,
            on_bad_image=config.data.on_bad_image,
            max_skipped=config.data.max_skipped,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            decoded=decoded,
        )
        for role in objective.DOMAINS
    ]
    mean, std = config.data.mean, config.data.std
    channels_last = memory_format(config.model, accelerator.device) == torch.channels_last
    preparation = Preparation(
        config.data.augment,
        mean,
        std,
        channels_last,
        accelerator.device,
        objective.views(config.objective),
    )
    batches = BatchLoader(
        streams,
        seed=config.seed,
        start_step=folder.start_step,
        stop_step=config.train.steps,
        threads=config.data.threads,
        prefetch=config.data.prefetch,
        device=accelerator.device,
        on_host=preparation.on_host,
        skipped=last.meta.get("skipped", 0) if last and main else 0,
    )

    def prepare(batch: Batch) -> torch.Tensor:
        if config.data.record_keys:
            record_keys(folder.path, accelerator.process_index, batch.step, streams)
        return preparation(batch)

    def report(role: str, split: str, probe_samples: int = 0, pictures: int = 0) -> DomainReport:
        return evaluate_domain(
            network,
            accelerator,
            manifest,
            held_out,
            domains[role],
            split,
            normalise=lambda images: normalise(images, mean, std, channels_last),
            batch_size=config.evaluation.batch_size,
            threads=config.data.threads,
            probe_samples=probe_samples,
            pictures=pictures,
        )

    def evaluate(step: int) -> tuple[dict[str, float], float]:
        share_buffers(network)
        settings = config.evaluation
        pictures = settings.pictures if settings.figures else 0
        reports = [report(role, "val", settings.probe_samples, pictures) for role in (SOURCE, TARGET)]
        recorder.evaluated(step, [report.sample for report in reports], manifest.class_names)
        metrics: list = [None]  # the main rank's: what is chosen by them must be the same everywhere
        if main:
            write_reports(folder.path / "evaluation" / f"step_{step:08d}.json", step, reports, manifest.class_names)
            metrics = [validation_metrics(*reports, manifest.class_names, config.score)]
        broadcast_object_list(metrics)
        return metrics[0], metrics[0][f"selection/{config.score}"]

    def save_at(step: int, metrics: dict[str, float], score: float | None) -> float:
        began = time.perf_counter()
        skipped = accelerator.reduce(torch.tensor(batches.skipped, device=accelerator.device), "sum")
        scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
        trainer = {"optimizer": optimizer.state_dict(), "scaler": scaler}
        about = {"wandb_id": recorder.wandb_id, "skipped": int(skipped)}
        try:
            folder.save(step, metrics, score, network.state_dict(), trainer, **about)
        except JobError as error:
            recorder.alert(alerts.checkpoint_failed(str(error)))
            raise
        return time.perf_counter() - began

    def epochs(step: int) -> dict[str, float]:
        return {f"trainer/epoch_{role}": s.epoch(step) for role, s in zip(objective.DOMAINS, streams, strict=True)}

    facts = {"ranks": accelerator.num_processes, "device": str(accelerator.device), "manifest": manifest.hash}
    recorder = Recorder(config, folder.path, folder.metrics, last and last.meta["wandb_id"], facts)
    node = NodeMonitor(config, accelerator, recorder.wandb_id, recorder.wandb_mode)
    stop = Stop(folder.path / "stop", timedelta(seconds=config.train.timeout_seconds))
    exit_code = EXIT_CRASH
    try:
        class_weights = _class_weights(config, manifest, domains[objective.LABELLED], accelerator.device)
        callbacks = Callbacks(
            recorder.log, evaluate, folder.improves, save_at, folder.last_checkpoint, stop.agreed, epochs
        )
        with batches, contextlib.closing(store):  # what is fetched ahead is given up before the threads are waited for
            finished = fit(
                config,
                accelerator,
                model,
                optimizer,
                batches,
                prepare,
                objective,
                class_weights,
                callbacks,
            )
        if finished:
            chosen = folder.chosen()
            load_state(network, chosen.weights())
            reports = [report(role, "test") for role in (SOURCE, TARGET)]
            if main:
                write_reports(folder.path / "evaluation" / "test.json", chosen.step, reports, manifest.class_names)
            choice = {"selection/chosen_step": chosen.step, "selection/chosen_by": config.score}
            tested = held_out_metrics(*reports, manifest.class_names)
            recorder.summarise(tested | choice)
            recorder.artifacts(chosen.path, chosen.meta, config.data.shards)
            log.info("finished; step %d, chosen by %s: %s", chosen.step, config.score, recorder.result(tested))
            exit_code = EXIT_OK
        else:
            recorder.alert(alerts.stopped(stop.reason or "a signal to another rank", folder.last_checkpoint()))
            exit_code = EXIT_STOPPED
    except JobError as error:
        exit_code = EXIT_BAD_INPUT
        if isinstance(error, NotFinite):
            recorder.alert(alerts.not_finite(str(error)))
        raise
    finally:
        held_out.close()
        stop.close()
        node.close()
        recorder.close(exit_code)
    return exit_code


def _build(config: Config, manifest: Manifest, accelerator, last: Checkpoint | None):
    """Build model and optimiser, or take them from the checkpoint, and let Accelerate wrap them."""
    classes = len(manifest.class_names)
    model = build_model(config.model, manifest.size, classes, config.seed, load_weights=last is None)
    if len(OBJECTIVES[config.objective.name].DOMAINS) == 1:
        model.domain_classifier.requires_grad_(False)  # not in the loss: DDP would wait for its gradient
    if config.model.batch_norm == "sync":
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if last:
        weights = last.weights()
        check_state(model, weights, str(last.path))
        load_state(model, weights)
    model = model.to(memory_format=memory_format(config.model, accelerator.device))
    if config.model.compile:
        model.feature_extractor.compile()
    model, optimizer = accelerator.prepare(model, build_optimizer(model, config.optimizer))
    if last:
        state = last.trainer()
        optimizer.load_state_dict(state["optimizer"])
        if accelerator.scaler is not None and state["scaler"]:
            accelerator.scaler.load_state_dict(state["scaler"])
    return model, optimizer


def _class_weights(config: Config, manifest: Manifest, domain: str, device: torch.device) -> torch.Tensor | None:
    weights = config.objective.class_weights
    if weights == "none":
        return None
    if weights == "balanced":
        counts = manifest.class_counts(domain, "train")
        weights = [sum(counts) / len(counts) / count if count else 0.0 for count in counts]
    return torch.tensor(weights, dtype=torch.float32, device=device)
