"""Read a run from its folder, for figures, reports and comparisons. Needs neither torch nor W&B."""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from job.config.schema import score_of
from job.run_folder.feature_layout import lay_out
from job.run_folder.metrics_file import read_alerts, read_metrics
from job.run_folder.stored_files import read_arrays, read_config, read_evaluation, read_object
from job.system.files import is_locked, was_locked_here, write_atomically

ROLES = ("source", "target")
_SAMPLE = "figures/sample.npz"
_QUIET = 600  # seconds without a line in the log, after which the run counts as killed


@dataclass(frozen=True)
class RunView:
    """The content of a run folder so far. `sample` maps names such as ``source_features`` to arrays."""

    folder: Path
    config: dict[str, Any]
    rows: list[dict[str, Any]]  # of metrics.jsonl
    evaluations: list[dict[str, Any]]  # of evaluation/step_*.json, by step
    test: dict[str, Any] | None  # of evaluation/test.json: the chosen checkpoint on the test splits
    summary: dict[str, Any]
    status: dict[str, Any]  # of status.json; "killed" if the process ended without writing it
    alerts: list[dict[str, Any]]
    facts: dict[str, Any]  # of facts.json: code version, ranks, device, Slurm job
    sample: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def class_names(self) -> list[str]:
        return self.evaluations[-1]["class_names"] if self.evaluations else []

    def logs(self, name: str) -> bool:
        """Return whether a metric was ever logged."""
        return any(name in row for row in self.rows)

    @property
    def score(self) -> str:
        """The score that selects the checkpoint, as configured."""
        return score_of(self.config)

    def series(self, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of one metric."""
        found = [(row["trainer/step"], row[name]) for row in self.rows if name in row]
        return [step for step, _ in found], [value for _, value in found]

    def last(self, name: str) -> Any:
        """Return the last value of a metric, or None."""
        return next((row[name] for row in reversed(self.rows) if name in row), self.summary.get(name))

    def confusion(self, role: str) -> np.ndarray | None:
        """Return int64 [C, C] of the last evaluation, rows are true classes; None when the domain has no labels."""
        matrix = self.evaluations[-1][role]["confusion"] if self.evaluations else None
        return None if matrix is None else np.array(matrix)

    @cached_property
    def feature_map(self) -> dict[str, np.ndarray] | None:
        """Return positions float [n, 2] of each role's features, laid out together; None without features."""
        parts = {role: self.sample[f"{role}_features"] for role in ROLES if f"{role}_features" in self.sample}
        if not parts or any(len(part) == 0 for part in parts.values()):
            return None
        together = lay_out(
            np.concatenate([*parts.values()]).astype(np.float64), self.config["evaluation"]["feature_map"]
        )
        ends = np.cumsum([len(part) for part in parts.values()])
        return dict(zip(parts, np.split(together, ends[:-1]), strict=True))

    @property
    def target_labels_known(self) -> bool:
        """Whether the sample has a true class of the target, which only ``oracle/...`` may show."""
        labels = self.sample.get("target_labels")
        return labels is not None and len(labels) > 0 and bool(labels.max() >= 0)


def read_run(folder: Path) -> RunView:
    """Read a run folder, finished or not. Raises JobError when it is not a run folder."""
    folder = Path(folder)
    config = read_config(folder)
    rows = read_metrics(folder / "metrics.jsonl")
    last_step = rows[-1]["trainer/step"] if rows else 0
    paths = sorted((folder / "evaluation").glob("step_*.json"))
    evaluations = [content for content in map(read_evaluation, paths) if content and content["step"] <= last_step]
    summary = read_object(folder / "summary.json")
    return RunView(
        folder=folder,
        config=config,
        rows=rows,
        evaluations=evaluations,
        test=read_evaluation(folder / "evaluation" / "test.json") if summary else None,
        summary=summary,
        status=_status(folder),
        alerts=read_alerts(folder / "alerts.jsonl"),
        facts=read_object(folder / "facts.json"),
        sample=read_arrays(folder / _SAMPLE) if evaluations else {},  # they have its class names
    )


def write_sample(folder: Path, step: int, samples: Mapping[str, Any], map_samples: int) -> None:
    """Write the samples (`job.evaluation.samples.Sample`) of each role to a file, for the figures."""
    arrays: dict[str, Any] = {"step": step}
    for role, sample in samples.items():
        arrays |= {
            f"{role}_features": sample.features[:map_samples],
            f"{role}_labels": sample.labels[:map_samples],
            f"{role}_predicted": sample.predicted[:map_samples],
            f"{role}_target_probability": sample.target_probability,
        }
        for name, faces in (("faces", sample.faces), ("mistakes", sample.mistakes)):
            arrays |= {f"{role}_{name}_{part}": np.asarray(value) for part, value in vars(faces).items()}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    path = folder / _SAMPLE
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _status(folder: Path) -> dict[str, Any]:
    status = read_object(folder / "status.json")
    return status | {"status": "killed"} if status.get("status") == "running" and _was_left(folder) else status


def _was_left(folder: Path) -> bool:
    """Return whether the process of a run has ended: no process has locked the folder.

    On some file systems a lock is visible only on its own node: a run of another node counts as ended only if its log
    has also been quiet for `_QUIET` seconds.
    """
    try:
        if is_locked(folder / "lock"):
            return False
        return was_locked_here(folder / "lock") or time.time() - (folder / "log.txt").stat().st_mtime > _QUIET
    except OSError:
        return False
