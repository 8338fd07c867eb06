"""Train or resume the runs of a cross-validation, and show their common results."""

import json
from collections.abc import Sequence
from pathlib import Path

from job.crossval.plan import RESULTS, Plan, make_plan
from job.crossval.predictions import check_shards, predictions_of
from job.crossval.results import results_of
from job.crossval.text import as_markdown, as_text
from job.crossval.work import Work
from job.many_runs.launcher import Launcher, count_gpus
from job.system.echo import echo
from job.system.errors import EXIT_OK, JobError
from job.system.files import make_folder, write_atomically, writing
from job.training.inputs import check_data, open_manifest


def crossval(
    path: Path,
    overrides: Sequence[str],
    *,
    folds: int | None = None,
    seeds: Sequence[int] = (),
    methods: Sequence[str] = (),
    jobs: int = 1,
    name: str | None = None,
    waits: bool = True,
    report: bool = False,
) -> int:
    """Train the unfinished runs, and write crossval.json and crossval.md. Returns the exit code: 0, or 75 stopped.

    With `report`, only show the results of finished runs, without shards where they have been shown before. Raises
    JobError for every mistake that the user can correct.
    """
    plan = make_plan(path, overrides, folds=folds, seeds=seeds, methods=methods, name=name, report=report)
    launcher = Launcher(jobs, 0 if report else count_gpus())
    work = Work(plan, launcher, jobs, waits)
    if not report:
        _check(plan, launcher)
        make_folder("output", plan.folder)
        exit_code = work.run()
        if exit_code != EXIT_OK:
            return exit_code
    if left := work.unfinished:
        total = len(plan.cells)
        if report:
            raise JobError(f"{left} of {total} runs in {plan.folder} are not finished: run it without --report")
        echo(f"{left} of {total} runs are left to other processes: --report shows the results when they are finished")
        return EXIT_OK
    check_shards(plan.cells)
    results = results_of(plan, [(cell, predictions_of(cell)) for cell in plan.cells])
    with writing(plan.folder, "make room, then run the same command again"):
        write_atomically(plan.folder / RESULTS, json.dumps(results, indent=1) + "\n")
        write_atomically(plan.folder / "crossval.md", as_markdown(results, plan.folder.name))
    echo(as_text(results))
    echo(f"\n{plan.folder / RESULTS}")
    return EXIT_OK


def _check(plan: Plan, launcher: Launcher) -> None:
    """Raise JobError if every run would fail: ranks, streams, labels, the network."""
    from job.methods.build import build_method

    checked = set()
    for cell in plan.cells:
        if cell.method not in checked:
            checked.add(cell.method)
            manifest = open_manifest(cell.config)
            check_data(cell.config, manifest, launcher.ranks)
            if not checked - {cell.method} and not manifest.labelled(cell.config.data.target, "test"):
                echo("warning: the target has no labels: only the accuracy on the source will be measured")
            build_method(cell.config, manifest.size, len(manifest.class_names))
