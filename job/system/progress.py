"""A bar that says how far something is; plain lines where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")

_LINE_SECONDS = 5.0  # between two lines of progress where there is no terminal


class _Bar(tqdm):
    monitor_interval = 0  # no thread that watches over it: a process with threads cannot be copied (processes.py)


def follow(
    results: Iterable[Result], total: int, count: Callable[[Result], int], doing: str, progress: bool = True
) -> Iterator[Result]:
    """Hand on results as they come: a bar on a terminal, a line now and then elsewhere, and the rate at the end.

    `total` and `count(result)` are in images; `doing` says what happens to them. Without `progress`, silent.
    """
    done = 0
    begun = said = time.monotonic()

    def say() -> None:
        rate = done / max(time.monotonic() - begun, 1e-9)
        print(f"{doing}: {done} of {total} images, {rate:.0f} images/s", file=sys.stderr, flush=True)

    with _Bar(total=total, unit="image", desc=doing, disable=not (progress and sys.stderr.isatty())) as bar:
        for result in results:
            yield result
            done += count(result)
            bar.update(count(result))
            if progress and bar.disable and time.monotonic() - said >= _LINE_SECONDS:
                said = time.monotonic()
                say()
    if progress:
        say()
