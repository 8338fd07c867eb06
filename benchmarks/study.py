"""Methods x shifts: settings and checkpoints chosen without target labels, with one budget of trials for every method.

For each shift and method the search of `python -m job search` tries --trials settings with seed 0, the first of them
the configuration unchanged. The best by the label-free score is the result of seed 0, and is trained with the other
seeds. --trials 0 trains the configuration unchanged. source_only has the same budget; train_on_target, the upper bound,
is trained as configured. Seed 0 of all shifts comes first. Everything under --output is reused, so that an interrupted
study resumes. Target labels are read at the end, to report what the choice was worth.

    python -m benchmarks.study --data DATA --trials 16              # DATA/mnist, DATA/photos, DATA/usps.h5
    python -m benchmarks.study --only 'mcc/*' --only '*/faces' ...  # a part of it
    python -m benchmarks.study --only 'mcd/*' --add ...             # a part of it, added to the result of others
    python -m benchmarks.study --draw                               # the table of docs/methods.md and docs/study.svg
"""

import argparse
import json
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from benchmarks import study_draw
from benchmarks.common import arguments, read_seeds, write_result
from benchmarks.study_results import collect, join, search_name
from benchmarks.study_runs import launcher, train
from benchmarks.study_shifts import SHIFTS, Shift, make_shards
from job.commands.lists import join_lists
from job.config.load import load_config
from job.evaluation.compare import LOWER, UPPER
from job.many_runs.launcher import Launcher
from job.run_folder.finished import is_finished
from job.search.command import search
from job.system.errors import EXIT_STOPPED

ADAPTED = ("dann", "cdan", "mcc", "dann+mcc", "cdan+mcc", "coral", "dan", "deepjdot", "afn", "mcd", "adabn", "fixmatch")
METHODS = (LOWER, *ADAPTED, UPPER)
SPACE = Path("configs/search/methods.yaml")
COMMON = ("evaluation.figures=false", "wandb.mode=disabled", "train.keep_last=1")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "study")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with mnist/, photos/ and usps.h5")
    parser.add_argument("--output", type=Path, default=Path("runs/study"), help="shards, searches and runs")
    parser.add_argument("--trials", type=int, default=16, help="trials of every method on every shift; 0: no search")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--seeds", help="how many, or which (0 1 2); default: 5 for faces, 3 else")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--shifts", nargs="+", default=list(SHIFTS), choices=list(SHIFTS))
    parser.add_argument("--only", action="append", help="METHOD/SHIFT with wildcards, such as 'mcc/*'; may be repeated")
    parser.add_argument("--words", nargs="*", default=[], help="key.sub=value for every run, such as train.steps=1000")
    parser.add_argument("--small", type=int, help="images of each split and class, for a trial of this program")
    parser.add_argument("--collect", action="store_true", help="train nothing: collect the runs that have finished")
    parser.add_argument("--add", action="store_true", help="add to the figures of --out, of runs that are not here")
    parser.add_argument("--draw", action="store_true", help="only write the table and the figure of an earlier result")
    args = parser.parse_args(join_lists(sys.argv[1:], ["--seeds"]))
    if args.draw:
        costs = json.loads(args.out.with_name("method_cost.json").read_text())["result"]["cases"]
        study_draw.draw(json.loads(args.out.read_text())["result"], costs, Path("docs"))
        return
    if not args.collect:
        _train_all(args)
    shifts = collect(args.output, [SHIFTS[name] for name in args.shifts], args.methods)
    if args.add:
        shifts = join(json.loads(args.out.read_text())["result"]["shifts"], shifts)
    result = {"trials": args.trials, "shifts": shifts}
    write_result(args.out, "study", result)
    print(study_draw.table(result, {}))


def _train_all(args: argparse.Namespace) -> None:
    start = launcher(args.jobs)
    plans = [plan for name in args.shifts if (plan := _plan(SHIFTS[name], args))]
    for seed in sorted({seed for plan in plans for seed in plan.seeds}):  # if time ends, complete shifts exist
        for plan in plans:
            for method in plan.methods if seed in plan.seeds else ():
                _run(plan, method, seed, args, start)


class Plan(NamedTuple):
    """What is trained on a shift; `words` hold for every run."""

    shift: Shift
    methods: list[str]
    seeds: list[int]
    words: list[str]


def _plan(shift: Shift, args: argparse.Namespace) -> Plan | None:
    """Return what is to be trained on a shift, whose shards are made; None if nothing is."""
    patterns = args.only or ["*"]
    methods = [each for each in args.methods if any(fnmatch(f"{each}/{shift.name}", pattern) for pattern in patterns)]
    if not methods:
        return None
    shards = make_shards(shift, args.data, args.output, args.small)
    words = [*shift.words, *COMMON, f"data.shards={shards}", f"output={args.output}", *args.words]
    return Plan(shift, methods, read_seeds(args.seeds, shift.seeds), words)


def _run(plan: Plan, method: str, seed: int, args: argparse.Namespace, start: Launcher) -> None:
    """Search the settings of a method if seed is 0, or train the best of them with a seed; reuse what is finished."""
    shift, own = plan.shift, [*plan.words, f"objective.name={method}"]
    config = Path(shift.config)
    if args.trials and method != UPPER:
        study = search_name(shift.name, method)
        if seed == 0:  # its best trial is the run of seed 0
            code = search(
                config, SPACE, [*own, "seed=0"], trials=args.trials, jobs=args.jobs, name=study, launcher=start
            )
            return _stop_unless_finished(code, study)
        config, own = args.output / study / "best.yaml", []
    name = f"{shift.name}-{method}-{seed}"
    words = [*own, f"seed={seed}", f"name={name}", f"output={args.output}"]
    if not is_finished(load_config(config, words)):
        print(f"training {name}", flush=True)
        _stop_unless_finished(train(config, words, start), name)


def _stop_unless_finished(code: int, name: str) -> None:
    if code:
        print(f"{name} ended with {code}: run the same command again to resume", file=sys.stderr)
        sys.exit(EXIT_STOPPED if code < 0 else code)


if __name__ == "__main__":
    main()
