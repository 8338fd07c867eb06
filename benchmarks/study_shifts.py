"""The shifts of the study: which data sets, how their shards are made, which configuration trains on them."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks.digit_files import read_mnist, read_usps, write_folders

FACES, MNISTM = "configs/faces.yaml", "benchmarks/study_mnist_mnistm.yaml"
DIGITS = "configs/digits.yaml"


class Shift(NamedTuple):
    """A shift: `layout` are the first arguments of `python -m job shards`; {data} and {folders} stand for folders."""

    name: str
    title: str
    config: str
    layout: tuple[str, ...]
    words: tuple[str, ...] = ()
    seeds: int = 3


def _pair(source: str, target: str) -> tuple[str, ...]:
    sides = ("--source", f"folders:{{folders}}/{source}", "--target", f"folders:{{folders}}/{target}")
    return ("pair", *sides, "--option", "classes=folders", "--size", "28")


# One budget for every method: a fifth to a third of the recipes' steps, so that the study fits hours on one core. The
# faces train in bfloat16, which takes a third less time on processors that multiply it.
_SHORT = ("train.ema=0.99", "train.log_every=100")
_STEPS = ("train.steps=1200", "train.eval_every=300", "train.checkpoint_every=1200")
_SHORT_FACES = (*_STEPS, "train.precision=bf16", *_SHORT)
_SHORT_DIGITS = ("train.steps=600", "train.eval_every=150", "train.checkpoint_every=600", *_SHORT)
_FACES = ("faces", "--size", "48")
SHIFTS = {
    shift.name: shift
    for shift in (
        Shift("faces", "faces: men to women", FACES, _FACES, _SHORT_FACES, seeds=5),
        Shift("faces-joy", "faces, joy tripled", FACES, (*_FACES, "--option", "target_shares=joy:3"), _SHORT_FACES),
        Shift("mnist-mnistm", "MNIST to MNIST-M", MNISTM, ("mnist-m", "--root", "{data}"), _SHORT_DIGITS),
        Shift("mnist-usps", "MNIST to USPS", DIGITS, _pair("mnist", "usps"), _SHORT_DIGITS),
        Shift("usps-mnist", "USPS to MNIST", DIGITS, _pair("usps", "mnist"), _SHORT_DIGITS),
    )
}


def make_shards(shift: Shift, data: Path, output: Path, small: int | None = None) -> Path:
    """Write the shards of a shift unless they exist, with target labels for the bounds and the oracle. Returns them.

    With `small`, at most so many images of each split (faces, MNIST-M) or of each split and class (the others).
    """
    out, folders = output / "shards" / shift.name, output / "digits"
    if (out / "manifest.json").exists():
        return out
    if shift.layout[0] == "pair":
        for name, read in (("mnist", read_mnist), ("usps", read_usps)):
            complete = folders / f"{name}.complete"
            if not complete.exists():
                write_folders(folders / name, read(data), small)
                complete.touch()
    words = [word.format(data=data, folders=folders) for word in shift.layout]
    if small and shift.layout[0] != "pair":
        words += [each for split in ("train", "val", "test") for each in ("--option", f"{split}={small}")]
    command = [sys.executable, "-m", "job", "shards", *words, "--out", str(out), "--keep-target-labels"]
    code = subprocess.run(command).returncode
    if code:
        sys.exit(code)  # the command has said why
    return out
