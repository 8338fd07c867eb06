"""A progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Result = TypeVar("Result")

_LINE_SECONDS = 5.0  # between two lines, without a terminal


class _Bar(tqdm):
    monitor_interval = 0  # no monitor thread: a process with threads cannot fork (processes.py)


def follow(
    results: Iterable[Result], total: int, count: Callable[[Result], int], doing: str, progress: bool = True
) -> Iterator[Result]:
    """Yield results as they come; show a bar on a terminal, or a line every 5 s elsewhere, and the rate at the end.

    `total` and `count(result)` are in images; `doing` names the activity. Without `progress`, show nothing.
    """
    done = 0
    begun = last_line = time.monotonic()

    def print_line() -> None:
        rate = done / max(time.monotonic() - begun, 1e-9)
        print(f"{doing}: {done} of {total} images, {rate:.0f} images/s", file=sys.stderr, flush=True)

    with _Bar(total=total, unit="image", desc=doing, disable=not (progress and sys.stderr.isatty())) as bar:
        for result in results:
            yield result
            done += count(result)
            bar.update(count(result))
            if progress and bar.disable and time.monotonic() - last_line >= _LINE_SECONDS:
                last_line = time.monotonic()
                print_line()
    if progress:
        print_line()
