"""The runs of a cross-validation: one for each method, fold and seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job.config.load import build_config, load_config
from job.config.objectives import method_label
from job.config.schema import Config, mirror_below
from job.many_runs.together import ANOTHER_NAME, with_run_defaults
from job.run_folder.stored_files import read_object
from job.shards.folds import arrange, count_folds
from job.shards.manifest import load_manifest
from job.system.errors import JobError

RESULTS = "crossval.json"


@dataclass(frozen=True)
class Cell:
    """One run. `manifest` is the hash of the shards in the arrangement of its fold; None if they were not read."""

    method: str
    fold: int
    seed: int
    config: Config
    manifest: str | None

    @property
    def folder(self) -> Path:
        return self.config.run_folder


@dataclass(frozen=True)
class Plan:
    """All runs, in the order in which they are trained: every method of a fold, every fold of a seed."""

    folder: Path
    cells: list[Cell]
    methods: list[str]
    folds: int
    seeds: list[int]
    protocol: str


def make_plan(
    path: Path,
    overrides: Sequence[str],
    *,
    folds: int | None = None,
    seeds: Sequence[int] = (),
    methods: Sequence[str] = (),
    name: str | None = None,
    report: bool = False,
) -> Plan:
    """Return the runs that a configuration and its overrides describe.

    `folds` is the number that the shards must have; None: any. `seeds` and `methods` are by default those of the
    configuration. Runs are in OUTPUT/NAME. For a `report` of a cross-validation that was finished before, the shards
    are not read: their number of folds is in its crossval.json. Raises JobError when the shards are not in so many
    folds, or the configuration sets what the cross-validation varies.
    """
    for word in overrides:
        if "=" not in word:
            raise JobError(
                f"{word} is not key.sub=value: to name methods or seeds, put --methods dann mcc or --seeds 0 1"
            )
    fixed = {override.partition("=")[0] for override in overrides}
    for key, option in (("seed", "--seeds"), ("data.fold", "--folds")):
        if key in fixed:
            raise JobError(f"{key} differs from run to run: leave it out, and see {option}")
    config = load_config(path, overrides)
    if config.data.fold is not None:
        raise JobError(f"{path} sets data.fold, which differs from run to run: leave it out")
    name = name or (config.name if "name" in fixed else f"{path.stem}-crossval")
    folder = Path(config.output) / name
    if (folder / "checkpoints").exists():
        raise JobError(f"{folder} is the folder of a run: {ANOTHER_NAME}")
    hashes = _hashes(config, folds, _stored_count(folder) if report else 0)
    labels = list(dict.fromkeys(methods)) or [method_label(config.model_dump()["objective"])]
    seeds = list(seeds) or [config.seed]
    cells = []
    for seed in seeds:
        for fold, manifest in enumerate(hashes):
            for method in labels:
                own = load_config(path, [*overrides, f"objective.name={method}"]) if methods else config
                changed = _for_runs(own, folder, name, f"{method}-fold-{fold}-seed-{seed}", fixed)
                changed |= {"seed": seed, "data": changed["data"] | {"fold": fold}}
                run = build_config(changed, str(path)).with_pipe(config.data.allow_pipe)
                cells.append(Cell(method, fold, seed, run, manifest))
    return Plan(folder, cells, labels, len(hashes), seeds, config.protocol)


def _stored_count(folder: Path) -> int:
    """Return the number of folds in the results of a cross-validation that was finished before; 0: there are none."""
    count = read_object(folder / RESULTS).get("folds")
    return count if type(count) is int and count > 0 else 0


def _hashes(config: Config, folds: int | None, stored: int) -> list[str | None]:
    """Return the hash of the shards in the arrangement of each fold; None for those of a `stored` number of folds.

    Raises JobError when the number is not `folds`, or the shards are not in folds.
    """
    data = config.data
    if stored:
        _check_count(stored, data.shards, folds)
        return [None] * stored
    manifest = load_manifest(data.shards, allow_pipe=data.allow_pipe)
    count = count_folds(manifest)
    _check_count(count, data.shards, folds)
    return [arrange(manifest, fold, config.protocol, data.source, data.target).hash for fold in range(count)]


def _check_count(count: int, place: str, folds: int | None) -> None:
    """Raise JobError when the number of folds of the shards is not `folds`, or there are none."""
    if not count:
        raise JobError(
            f"{place} is not in folds: write the shards again with --option folds={folds or 5}, which divides them by "
            "subject"
        )
    if folds is not None and folds != count:
        raise JobError(f"{place} has {count} folds: give --folds {count}, or write other shards with folds={folds}")


def _for_runs(config: Config, folder: Path, group: str, name: str, fixed: set[str]) -> dict[str, Any]:
    """Return the configuration of a run: in one W&B group, with few files. Overrides win."""
    content: dict[str, Any] = config.model_dump(mode="json") | {"output": str(folder), "name": name}
    content["mirror"] = mirror_below(config.mirror, folder.name)
    return with_run_defaults(content, group, "crossval", fixed)
