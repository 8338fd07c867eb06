"""Open a study for a configuration and a space, work on it, and show the result."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from job.config.load import build_config, load_config
from job.config.schema import Config
from job.config.training import NEEDS_LABELS
from job.evaluation.score_sums import COMPARISON
from job.many_runs.launcher import Launcher, count_gpus
from job.many_runs.together import with_run_defaults
from job.run_folder.stored_files import read_object
from job.search.comparison import check_comparison, guide_of
from job.search.figure import draw_search
from job.search.results import table, write_results
from job.search.search import Search
from job.search.space import load_space
from job.search.study import Study
from job.system.echo import echo
from job.system.errors import EXIT_OK, JobError
from job.training.inputs import open_manifest
from job.vocabulary import TARGET


def search(
    path: Path,
    space_path: Path,
    overrides: Sequence[str],
    *,
    trials: int,
    jobs: int = 1,
    name: str | None = None,
    seed: int = 0,
    seeds: Sequence[int] = (),
    pruner: str = "median",
    compare_by: str | None = None,
    waits: bool = True,
    report: bool = False,
    launcher: Launcher | None = None,
) -> int:
    """Run or resume the search that the arguments describe. Returns the exit code: 0 finished, 75 stopped.

    `compare_by` is the score that compares the trials, at the checkpoints that selection.score chose. By default it is
    selection.score if that is set, and else COMPARISON. With `report`, only show the results so far.
    `launcher` starts the runs; by default each is a new process with a share of this machine. Raises JobError for every
    mistake that the user can correct.
    """
    config = load_config(path, overrides)
    fixed = [override.partition("=")[0] for override in overrides]
    _check_label_free(config)
    if name is None:
        name = config.name if "name" in fixed else f"{path.stem}-search-{space_path.stem}"
    config = _as_begun(config, Path(config.output) / name)
    seeds = list(seeds) or [config.seed]
    base = _for_trials(config, name, fixed).model_dump(mode="json")
    space = load_space(space_path, base, fixed)
    folder = Path(config.output) / name
    if report and not (folder / "study.json").exists():
        raise JobError(f"no search at {folder}: give its name (--name or name=), or leave --report out to begin it")
    launcher = launcher or Launcher(jobs, 0 if report else count_gpus())
    if report:  # the table needs no shards
        shards = read_object(folder / "study.json").get("shards")
    else:
        manifest = open_manifest(config)
        _check(config, manifest, launcher)
        shards = manifest.hash
    settings: dict[str, Any] = {
        "config": _for_trials(config, name, fixed).decisive(),
        "space": space.content,
        "shards": shards,
    }
    settings |= {"score": config.score, "seed": seed, "seeds": seeds, "pruner": pruner}
    compare_by = compare_by or _comparison(config, folder)
    check_comparison(compare_by)
    guide = guide_of(compare_by, config.score)
    if compare_by != config.score:
        settings["compare_by"] = compare_by
    study = Study(folder, space, base, settings, original=_scored(config).model_dump(mode="json"))
    exit_code = EXIT_OK
    if not report:
        work = Search(study, launcher, guide, seeds, trials, jobs, config.data.allow_pipe, waits)
        exit_code = work.run()
    write_results(study, guide)
    draw_search(study, guide, folder / "search.png")
    echo(table(study, guide))
    return exit_code


def _comparison(config: Config, folder: Path) -> str:
    """Return the default of `compare_by`. A study that exists keeps the one that it began with."""
    if (folder / "study.json").exists():
        return str(read_object(folder / "study.json").get("compare_by") or config.score)
    return COMPARISON if config.selection.score is None else config.score


def _as_begun(config: Config, folder: Path) -> Config:
    """Return the configuration with the number of streams that a study of version 0.1 began with: its default.

    In a newer study each trial chooses its own, which depends on its batch.
    """
    if config.data.streams is not None or not (folder / "study.json").exists():
        return config
    begun = read_object(folder / "study.json").get("config") or {}
    return config.with_streams((begun.get("data") or {}).get("streams"))


def _check_label_free(config: Config) -> None:
    if config.objective.labelled == TARGET or config.score == NEEDS_LABELS:
        raise JobError(
            f"objective.name={config.objective.name} with selection.score={config.score} needs target labels: a search "
            "chooses without them; search another method, with a score such as selection.score=infomax"
        )


def _check(config: Config, manifest: Any, launcher: Launcher) -> None:
    """Raise JobError if every run would fail: ranks, streams, the network."""
    from job.methods.build import build_method
    from job.training.inputs import check_data

    check_data(config, manifest, launcher.ranks)
    build_method(config, manifest.size, len(manifest.class_names))


def _scored(config: Config) -> Config:
    """Return the configuration with its score set explicitly, because the default differs between methods."""
    return build_config(config.model_dump(mode="json") | {"selection": {"score": config.score}}, "the configuration")


def _for_trials(config: Config, name: str, fixed: Sequence[str]) -> Config:
    """Return the configuration of the trials: in one W&B group, with few files each. `fixed` keys keep their values."""
    content = _scored(config).model_dump(mode="json")
    return build_config(with_run_defaults(content, name, "search", fixed), "the configuration")
