"""Run the benchmarks of speed and compare their ratios with the committed results.

    python -m benchmarks.compare                    # runs all of BENCHMARKS: `make bench`
    python -m benchmarks.compare loader step --fail # only these; the exit code is 1 if anything is worse
    python -m benchmarks.compare --new FOLDER       # runs nothing: compares the files of an earlier run

A time says little about another machine or another hour; a ratio of two times of one run does. So only such ratios are
compared, in the direction in which each is better. A ratio is worse if it falls short of the committed one by more than
its noise: what it varies between runs of one machine that other programs use too. The committed files are not changed:
new results are written to a folder of their own, and `--out` of a benchmark replaces a committed one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import print_table

COMMITTED = Path("benchmarks/results")
BENCHMARKS = ("loader", "resume", "step", "shards", "scaling")


class Ratio(NamedTuple):
    """A ratio in a result: where it is, whether more is better, and its noise, as a share of the committed value.

    `path` are keys; `*` stands for every row of a list, which is named by the values of `names`.
    """

    path: tuple[str, ...]
    more_is_better: bool = True
    noise: float = 0.1
    names: tuple[str, ...] = ()


RATIOS = {
    "loader": (
        Ratio(("of_decoder",)),
        Ratio(("of_decoder_cold",)),
        Ratio(("verified_of_unverified",)),
        Ratio(("times_webdataset",), noise=0.15),
        Ratio(("threads", "rows", "*", "of_decoder"), noise=0.2, names=("threads",)),
        Ratio(("threads", "rows", "*", "step"), False, noise=0.2, names=("threads",)),
    ),
    "resume": (Ratio(("met",), noise=0.5),),  # it measures seconds, with a limit of its own
    "step": (
        Ratio(("rows", "*", "ratio"), noise=0.08, names=("backbone", "decodes")),
        Ratio(("rows", "*", "ratio_beside"), noise=0.08, names=("backbone", "decodes")),
    ),
    "shards": (Ratio(("sizes", "*", "of_bare"), noise=0.15, names=("pixels",)),),
    "scaling": (Ratio(("rows", "*", "efficiency"), noise=0.15, names=("ranks",)),),
    "start": (Ratio(("rows", "*", "of_separate", "cpu"), False, noise=0.15, names=("ranks",)),),
    "photos": (Ratio(("rows", "*", "times_faster"), noise=0.15, names=("size", "crop")),),
    "gpu": (
        Ratio(("rows", "*", "of_bare"), noise=0.03, names=("backbone", "mode", "precision")),
        Ratio(("rows", "*", "of_matrix_rate"), noise=0.1, names=("backbone", "mode", "precision")),
    ),
}


class Compared(NamedTuple):
    """A ratio now and in the committed result; `change` is a share of that, above 0 where it is better."""

    benchmark: str
    name: str
    committed: float
    now: float
    change: float
    noise: float

    @property
    def worse(self) -> bool:
        return self.change < -self.noise


def values_of(result: Any, ratio: Ratio, row: str = "") -> Iterator[tuple[str, float]]:
    """Yield the name and the value of a ratio in a result, one for each row of a list; nothing where it is missing."""
    key, rest = ratio.path[0], ratio._replace(path=ratio.path[1:])
    if key == "*":
        for each in result if isinstance(result, list) else ():
            yield from values_of(each, rest, ", ".join(f"{name} {each.get(name)}" for name in ratio.names))
    elif isinstance(result, dict) and key in result:
        if rest.path:
            yield from values_of(result[key], rest, row)
        elif isinstance(result[key], int | float):
            yield f"{key} ({row})" if row else key, float(result[key])


def compare(name: str, committed: dict[str, Any], now: dict[str, Any]) -> list[Compared]:
    """Return the ratios of a benchmark that both results have; the argument is the `result` of each file."""
    found = []
    for ratio in RATIOS.get(name, ()):
        before = dict(values_of(committed, ratio))
        for shown, value in values_of(now, ratio):
            if before.get(shown):
                change = value / before[shown] - 1
                found.append(
                    Compared(
                        name, shown, before[shown], value, change if ratio.more_is_better else -change, ratio.noise
                    )
                )
    return found


def show(found: Sequence[Compared], missing: Sequence[str]) -> None:
    """Print all ratios, then what is worse."""
    rows: list[tuple[Any, ...]] = [("ratio", "committed", "now", "better by", "noise")]
    for each in found:
        rows.append(
            (f"{each.benchmark}: {each.name}", each.committed, each.now, f"{each.change:+.1%}", f"{each.noise:.0%}")
        )
    print()
    print_table(rows)
    print()
    for reason in missing:
        print(f"not compared: {reason}")
    for each in (each for each in found if each.worse):
        print(
            f"WORSE {each.benchmark}: {each.name} is {each.now:.3g}, and was {each.committed:.3g} when it was committed"
        )
    if not any(each.worse for each in found):
        print(f"none of {len(found)} ratios is worse than the committed one by more than its noise")


def measure(names: Sequence[str], folder: Path) -> None:
    """Run benchmarks, one after the other, with their results in a folder."""
    for name in names:
        print(f"\nbenchmarks.{name}", flush=True)
        words = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            "--out",
            str(folder / f"{name}.json"),
        ]
        if subprocess.run(words).returncode:
            print(f"benchmarks.{name} failed", flush=True)


def read(path: Path) -> dict[str, Any] | None:
    """Return the result in a file; None if there is none."""
    try:
        result: dict[str, Any] = json.loads(path.read_text())["result"]
    except (OSError, ValueError, KeyError):
        return None
    return result


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("benchmarks", nargs="*", choices=[*RATIOS, []], help=f"default: {' '.join(BENCHMARKS)}")
    parser.add_argument("--new", type=Path, help="folder of new results, which are then not measured")
    parser.add_argument("--committed", type=Path, default=COMMITTED)
    parser.add_argument("--fail", action="store_true", help="exit with 1 if a ratio is worse")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.new or Path(scratch)
        names = options.benchmarks or (BENCHMARKS if options.new is None else list(RATIOS))
        if options.new is None:
            measure(names, folder)
        found, missing = [], []
        for name in names:
            committed, now = read(options.committed / f"{name}.json"), read(folder / f"{name}.json")
            if committed is None or now is None:
                missing.append(f"{name} has no {'committed' if committed is None else 'new'} result")
                continue
            compared = compare(name, committed, now)
            found += compared
            if not compared:
                missing.append(f"{name}: both results have no ratio in common")
    show(found, missing)
    return int(options.fail and any(each.worse for each in found))


if __name__ == "__main__":
    sys.exit(main())
