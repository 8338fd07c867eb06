"""The evaluations of a training run: validation during training, and the test of the chosen checkpoint."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from job.config.schema import Config
from job.evaluation.confidence import fit_confidence
from job.evaluation.ensemble import write_predictions
from job.evaluation.evaluate import DomainReport, EvaluationStopped, evaluate_domain
from job.evaluation.label_shift.estimate import Estimate, estimate_shares
from job.evaluation.mixed import predict_mixes
from job.evaluation.report_files import write_reports
from job.evaluation.samples import Sample
from job.evaluation.selection import Evidence
from job.evaluation.selection.evidence import Mixes
from job.evaluation.validate import final_metrics, validation_metrics
from job.methods.base import Method
from job.methods.build import load_weights
from job.methods.label_shift import EstimatedShares
from job.models.build import memory_format
from job.models.heads import class_directions
from job.run_folder.checkpoint import Checkpoint
from job.shards.manifest import Manifest
from job.shards.reading.augment import normalise
from job.shards.reading.whole_split import read_split
from job.training.distributed import share_buffers
from job.training.inputs import domain_names, evaluated_domains, open_store
from job.vocabulary import DOMAINS, SOURCE, TARGET

log = logging.getLogger("job")
WORST = -1e30  # score of a checkpoint for which it cannot be computed; any other checkpoint is better
WITHOUT_SOURCE = (
    "the accuracy on it, the proxy A-distance, the target's class shares and the scores source_accuracy and dev are "
    "not computed, and infomax is the mutual information alone"
)
ADAPTATION_BATCH, ADAPTATION_BATCHES = 128, 16  # target images for Method.before_evaluation


class Validation(NamedTuple):
    """The result of evaluating the validation splits."""

    metrics: dict[str, float]
    score: float  # the configured score, which chooses the checkpoint
    samples: dict[str, Sample]  # by role, for figures; empty where the reports keep none
    shares: EstimatedShares | None = None  # class shares of the target; None: they could not be estimated
    confidence: dict[str, Any] | None = None  # Confidence.as_json, for the checkpoint


class Evaluator:
    """Evaluate a method during training, on all ranks. Close it, or use it as a context manager.

    `folder` is the run folder. `stop` returns whether all ranks have agreed to stop; it is called before every batch.
    """

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        accelerator: Accelerator,
        method: Method,
        folder: Path,
        stop: Callable[[], bool],
    ) -> None:
        self._config, self._manifest, self._accelerator = config, manifest, accelerator
        self._method = method
        self.class_names = manifest.class_names
        self._run, self._folder = folder, folder / "evaluation"
        self._stop = stop
        self._domains = domain_names(config)
        self._evaluated = evaluated_domains(config, manifest)
        if SOURCE not in self._evaluated and accelerator.is_main_process:
            log.info("the shards hold no source: %s", WITHOUT_SOURCE)
        self._store = open_store(config)  # a separate store: an evaluation need not wait for the training's prefetch
        self._channels_last = memory_format(config.model, accelerator.device) == torch.channels_last

    def validate(self, step: int) -> Validation | None:
        """Evaluate the validation splits after `step` steps; return None when all ranks agree to stop.

        All ranks use the numbers of the main rank, so that all choose the same checkpoint.
        """
        settings = self._config.evaluation
        pictures = settings.pictures if settings.figures else 0
        share_buffers(self._method)
        try:
            self._method.before_evaluation(self._target_images())
            source, target = (self._report(role, "val", settings.probe_samples, pictures) for role in DOMAINS)
            mixes = self._mixes(target)
        except EvaluationStopped:
            return None
        results: list[Any] = [None, None, None]
        if self._accelerator.is_main_process:
            results = list(self._results(step, source, target, mixes))
        broadcast_object_list(results)
        metrics, shares, confidence = results
        score = metrics.get(f"selection/{self._config.score}")
        if score is None:
            name = self._config.score
            log.warning("step %d: selection.score=%s cannot be computed: the checkpoint counts as worst", step, name)
            score = WORST
        samples = {role: report.sample for role, report in zip(DOMAINS, (source, target)) if report.sample is not None}
        return Validation(metrics, score, samples, shares, confidence)

    def _results(
        self, step: int, source: DomainReport, target: DomainReport, mixes: Mixes | None
    ) -> tuple[dict[str, float], EstimatedShares | None, dict[str, Any] | None]:
        """Write the evaluation file; return the metrics and, if they could be estimated, shares and calibration."""
        names = self._manifest.class_names
        evidence = Evidence(source, target, mixes, class_directions(self._method.network.label_predictor))
        metrics = validation_metrics(evidence, names, self._config.score)
        estimate = self._label_shift(source, target)
        content = None if estimate is None else {**estimate.as_json(), "corrected": self._method.shift is not None}
        write_reports(self._folder / f"step_{step:08d}.json", step, [source, target], names, content)
        if target.sample is not None:
            write_predictions(self._run, step, target.sample.log_probabilities)
        fitted = fit_confidence(source.sample, estimate)
        confidence = None if fitted is None else fitted.as_json()
        if estimate is None:
            return metrics, None, confidence
        shares = EstimatedShares(estimate.trusted.tolist(), target.mean_probability.tolist())
        return metrics | estimate.metrics(names), shares, confidence

    def _label_shift(self, source: DomainReport, target: DomainReport) -> Estimate | None:
        """Estimate the class shares of the target, from the samples of both validation splits.

        None for a method that trains on target labels, and where the source has no labelled training split.
        """
        domain = self._domains[SOURCE]
        has_train = "train" in self._manifest.domains.get(domain, {})  # source-free methods do without
        counts = self._manifest.class_counts(domain, "train") if has_train else None
        if self._method.labelled == TARGET or counts is None or source.sample is None or target.sample is None:
            return None
        return estimate_shares(
            source.sample.log_probabilities, source.sample.labels, target.sample.log_probabilities, np.array(counts)
        )

    def test(self, chosen: Checkpoint) -> dict[str, float] | None:
        """Load the chosen checkpoint and evaluate the test splits; return None when all ranks agree to stop."""
        names = self._manifest.class_names
        load_weights(self._method, chosen.weights(), str(chosen.path))
        try:
            source, target = (self._report(role, "test") for role in DOMAINS)
        except EvaluationStopped:
            return None
        if self._accelerator.is_main_process:
            protocol = self._config.protocol
            write_reports(self._folder / "test.json", chosen.step, [source, target], names, protocol=protocol)
        return final_metrics(source, target, names)

    def close(self) -> None:
        """Close the shard store."""
        self._store.close()

    def __enter__(self) -> "Evaluator":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _report(self, role: str, split: str, probe_samples: int = 0, pictures: int = 0) -> DomainReport:
        if role not in self._evaluated:
            return DomainReport.absent(self._domains[role], split, len(self.class_names))
        return evaluate_domain(
            self._method,
            self._accelerator,
            self._manifest,
            self._store,
            self._domains[role],
            split,
            normalise=self._normalise,
            batch_size=self._config.evaluation.batch_size,
            threads=self._config.data.threads,
            probe_samples=probe_samples,
            pictures=pictures,
            stop=self._stop,
        )

    def _mixes(self, target: DomainReport) -> Mixes | None:
        """Predict mixes of the target's validation images; None where the report keeps no samples."""
        if target.sample is None:
            return None
        return predict_mixes(
            self._method,
            self._accelerator,
            self._manifest,
            self._store,
            target.domain,
            target.split,
            target.sample.predicted,
            normalise=self._normalise,
            batch_size=self._config.evaluation.batch_size,
            threads=self._config.data.threads,
            stop=self._stop,
        )

    def _normalise(self, images: Tensor) -> Tensor:
        data = self._config.data
        return normalise(images, data.mean, data.std, self._channels_last, data.standardize)

    def _target_images(self) -> Iterator[Tensor]:
        """Yield network input from the target training split, the same on every rank."""
        batches = read_split(
            self._manifest,
            self._store,
            self._domains[TARGET],
            "train",
            labelled=False,
            batch_size=ADAPTATION_BATCH,
            threads=self._config.data.threads,
        )
        for _, (images, _, _) in zip(range(ADAPTATION_BATCHES), batches):
            yield self._normalise(images.to(self._accelerator.device, non_blocking=True))
