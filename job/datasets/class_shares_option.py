"""Read class shares from an option such as `target_shares=joy:3,fear:0`, and draw labels with these shares."""

import difflib
import math
from collections.abc import Sequence

import numpy as np

from job.system.errors import JobError
from job.system.text import shortened

LARGEST = 1000  # factor of a class relative to the classes that are not listed


def read_shares(option: str, text: str, class_names: Sequence[str]) -> np.ndarray:
    """Return the class shares float64 [C], which sum to 1, that `text` describes: CLASS:FACTOR,...

    A factor is relative to the classes that are not listed, whose factor is 1; 0 leaves a class out. Raises JobError
    for an unknown class, a class listed twice, a factor out of range, or all classes left out.
    """
    factors: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        where = f"--option {option}={shortened(text, 60)}"
        if not colon:
            raise JobError(f"{where}: {part.strip()!r} is not of the form CLASS:FACTOR, such as {class_names[0]}:3")
        if name not in class_names:
            near = difflib.get_close_matches(name, class_names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(class_names)}"
            raise JobError(f"{where}: unknown class {name!r}: {hint}")
        if name in factors:
            raise JobError(f"{where}: {name} is listed twice")
        factors[name] = _factor(number, where)
    weights = np.array([factors.get(name, 1.0) for name in class_names])
    if not weights.sum():
        raise JobError(f"--option {option}={shortened(text, 60)}: every class has the factor 0")
    return weights / weights.sum()


def share_out(count: int, shares: np.ndarray) -> np.ndarray:
    """Return int64 [count] labels in ascending order whose counts differ from `count * shares` by less than 1.

    The largest remainders are rounded up; equal ones in the order of the classes.
    """
    exact = count * shares
    counts = np.floor(exact).astype(np.int64)
    rounded_up = np.argsort(counts - exact, kind="stable")[: count - counts.sum()]
    counts[rounded_up] += 1
    return np.repeat(np.arange(len(shares)), counts)


def _factor(number: str, where: str) -> float:
    try:
        factor = float(number)
    except ValueError:
        factor = math.nan
    if not 0 <= factor <= LARGEST:  # false for NaN
        raise JobError(f"{where}: {number!r} is not a factor: expected a number from 0 to {LARGEST}")
    return factor
