"""Methods x shifts: settings and checkpoints chosen without target labels, with one budget of trials for every method.

For each shift and method `python -m job search` tries --trials settings, with seed 0, and the best of them by the
label-free score is trained with every seed. --trials 0 trains the configuration unchanged. source_only has the same
budget; train_on_target, the upper bound, is trained as configured. Everything under --output is reused, so that an
interrupted study resumes. Target labels are read at the end, to report what the choice was worth.

    python -m benchmarks.study --data DATA --trials 16              # DATA/mnist, DATA/photos, DATA/usps.h5
    python -m benchmarks.study --only 'mcc/*' --only '*/faces' ...  # a part of it
    python -m benchmarks.study --draw                               # the table of docs/methods.md and docs/study.svg
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from benchmarks import study_draw
from benchmarks.common import arguments, write_result
from benchmarks.study_results import collect
from benchmarks.study_shifts import SHIFTS, Shift, make_shards
from job.config.load import load_config
from job.evaluation.compare import LOWER, UPPER
from job.run_folder.finished import is_finished
from job.system.errors import EXIT_STOPPED

ADAPTED = ("dann", "cdan", "mcc", "dann+mcc", "cdan+mcc", "coral", "dan", "deepjdot", "afn", "mcd", "adabn", "fixmatch")
METHODS = (LOWER, *ADAPTED, UPPER)
SPACE = "configs/search/methods.yaml"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], "study")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with mnist/, photos/ and usps.h5")
    parser.add_argument("--output", type=Path, default=Path("runs/study"), help="shards, searches and runs")
    parser.add_argument("--trials", type=int, default=16, help="trials of every method on every shift; 0: no search")
    parser.add_argument("--jobs", type=int, default=1, help="trials at a time")
    parser.add_argument("--seeds", type=int, help="seeds of every final run; default: 5 for faces, 3 for the others")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--shifts", nargs="+", default=list(SHIFTS), choices=list(SHIFTS))
    parser.add_argument("--only", action="append", help="METHOD/SHIFT with wildcards, such as 'mcc/*'; may be repeated")
    parser.add_argument("--words", nargs="*", default=[], help="key.sub=value for every run, such as train.steps=1000")
    parser.add_argument("--small", type=int, help="images of each split and class, for a trial of this program")
    parser.add_argument("--draw", action="store_true", help="only write the table and the figure of an earlier result")
    args = parser.parse_args()
    if args.draw:
        study_draw.draw(json.loads(args.out.read_text())["result"], Path("docs"))
        return
    for name in args.shifts:
        shift = SHIFTS[name]
        methods = [method for method in args.methods if _wanted(args.only, method, name)]
        if methods:
            shards = make_shards(shift, args.data, args.output, args.small)
            words = [*shift.words, f"data.shards={shards}", f"output={args.output}", *args.words]
            for method in methods:
                _run(shift, method, args.seeds or shift.seeds, words, args)
    result = {
        "trials": args.trials,
        "shifts": collect(args.output, [SHIFTS[name] for name in args.shifts], args.methods),
    }
    write_result(args.out, "study", result)
    print(study_draw.table(result))


def _wanted(only: Sequence[str] | None, method: str, shift: str) -> bool:
    return not only or any(fnmatch(f"{method}/{shift}", pattern) for pattern in only)


def _run(shift: Shift, method: str, seeds: int, words: Sequence[str], args) -> None:
    """Choose the settings of a method on a shift, and train it with every seed; what is finished is reused."""
    config, own = shift.config, [*words, f"objective.name={method}"]
    if args.trials and method != UPPER:
        study = f"{shift.name}-{method}-search"
        space = ["--space", SPACE, "--trials", str(args.trials), "--jobs", str(args.jobs), "--name", study]
        _call([sys.executable, "-m", "job", "search", config, *space, *own], study)
        config, own = str(args.output / study / "best.yaml"), []
    for seed in range(seeds):
        name = f"{shift.name}-{method}-{seed}"
        last = [*own, f"seed={seed}", f"name={name}"]
        if not is_finished(load_config(config, last)):
            _call(["launch/local.sh", config, *last], name)


def _call(command: Sequence[str], name: str) -> None:
    code = subprocess.run(command).returncode
    if code:
        print(f"{name} ended with {code}: run the same command again to resume", file=sys.stderr)
        sys.exit(EXIT_STOPPED if code < 0 else code)


if __name__ == "__main__":
    main()
