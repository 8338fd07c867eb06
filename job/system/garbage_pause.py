"""Keep the garbage collector from searching where there is no garbage."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause the garbage collector: it would rescan the list of all images again and again and free nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def imports_without_collection() -> Iterator[None]:
    """Import libraries without the garbage collector, and exempt what they have made from it for good.

    They free nothing. It would take a fifth of the CPU time of `import torch`, and later scan them with every full
    collection, which in a forked rank also copies their memory.
    """
    with pause_garbage_collection():
        yield
    gc.freeze()


def exit_without_collection() -> None:
    """Let this process end without a search of all modules for garbage: after `import torch` half a second."""
    atexit.register(gc.freeze)
