"""The test predictions of a finished run, computed once and stored in its folder."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from job.crossval.plan import Cell
from job.evaluation.predictions import Predictions, predict_rows
from job.evaluation.rows import Rows
from job.many_runs.together import ANOTHER_NAME
from job.run_folder.stored_files import read_arrays, read_object
from job.system.errors import JobError
from job.system.files import write_atomically
from job.vocabulary import DOMAINS

NAME = "test_rows.npz"  # in evaluation/ of the run folder


def check_shards(cells: Sequence[Cell]) -> None:
    """Raise JobError when two runs of a fold were trained on different shards."""
    first: dict[int, tuple[Path, str]] = {}
    for cell in cells:
        trained = _trained_on(cell)
        if trained is None:
            continue
        folder, shards = first.setdefault(cell.fold, (cell.folder, trained))
        if trained != shards:
            raise JobError(f"{cell.folder} was trained on other shards than {folder}: {ANOTHER_NAME}")


def _trained_on(cell: Cell) -> str | None:
    """Return the hash of the shards that a run was trained on, None where it is not known."""
    trained: str | None = read_object(cell.folder / "facts.json").get("manifest")
    return trained


def predictions_of(cell: Cell) -> dict[str, Predictions]:
    """Return the predictions of a run's chosen checkpoint for the test splits of both domains, by role.

    Raises JobError when the run was trained on other shards than the present ones.
    """
    trained = _trained_on(cell)
    if None not in (trained, cell.manifest) and trained != cell.manifest:
        raise JobError(f"{cell.folder} was trained on other shards than {cell.config.data.shards}: {ANOTHER_NAME}")
    path = cell.folder / "evaluation" / NAME
    step = int(read_object(cell.folder / "summary.json").get("selection/chosen_step", -1))
    arrays = read_arrays(path) if path.exists() else {}
    if arrays and int(arrays["step"]) == step:
        roles = [role for role in DOMAINS if f"{role}_keys" in arrays]
        return {role: _read(arrays, role, cell.config.protocol) for role in roles}
    found = predict_rows(
        cell.folder, Accelerator(), DOMAINS, allow_pipe=cell.config.data.allow_pipe, trained_on=trained
    )
    _write(path, step, found)
    return found


def _write(path: Path, step: int, found: dict[str, Predictions]) -> None:
    arrays: dict[str, Any] = {"step": np.array(step)}
    for role, each in found.items():
        arrays |= {
            f"{role}_keys": np.array(each.rows.keys),
            f"{role}_labels": each.rows.labels,
            f"{role}_log_probabilities": each.rows.log_probabilities,
            f"{role}_subjects": np.array([subject or "" for subject in each.subjects]),
            f"{role}_shards": np.array(each.shards),
            "class_names": np.array(each.class_names),
        }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _read(arrays: dict[str, np.ndarray], role: str, protocol: str) -> Predictions:
    rows = Rows(arrays[f"{role}_keys"].tolist(), arrays[f"{role}_labels"], arrays[f"{role}_log_probabilities"])
    subjects = [subject or None for subject in arrays[f"{role}_subjects"].tolist()]
    shards = tuple(arrays[f"{role}_shards"].tolist())
    return Predictions(rows, subjects, tuple(arrays["class_names"].tolist()), protocol, shards)
