"""Stop early, on a file or a signal, when all ranks agree at a step boundary."""

import itertools
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from job.training.agreement import Agreement

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_uses = itertools.count()  # of the store by this process: equal on all ranks


class Stop:
    """Decides at every step boundary, together on all ranks, whether any rank has a request to stop.

    Rank 0 looks for `file`, at most once a second; the text in it, if any, is the reason. Every rank handles SIGTERM,
    SIGINT and SIGUSR1 (a second SIGINT interrupts at once). A boundary costs less than a microsecond on any number of
    ranks: a thread asks the store of torch.distributed by time, and all ranks stop at the boundary after the last that
    any of them has passed (`job/training/agreement.py`). `on_boundary` is called at every boundary.
    """

    def __init__(self, file: Path, timeout: timedelta, on_boundary: Callable[[], None] = lambda: None) -> None:
        self.file = file
        self._on_boundary = on_boundary
        self.reason: str | None = None
        self._looked_at = 0.0
        self._locked = file.with_name("lock").exists()
        ranks = dist.is_initialized()
        self._looks = not ranks or dist.get_rank() == 0
        self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self._agreement: Agreement | None = None
        if ranks:
            store = dist.PrefixStore(f"stop/{next(_uses)}", _get_default_store().clone())
            store.set_timeout(timeout)
            self._agreement = Agreement(store, dist.get_rank(), dist.get_world_size(), self._wanted, timeout)

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    def _wanted(self) -> str | None:
        now = time.monotonic()
        if self.reason is None and self._looks and now - self._looked_at >= 1:
            self._looked_at = now
            requested = self._requested_by_file()
            # assign only a reason: a signal may have arrived meanwhile, and None must not overwrite its reason
            if requested is not None:
                self.reason = requested
        return self.reason

    def _requested_by_file(self) -> str | None:
        """Return the reason to stop if the file exists or the run folder was deleted, otherwise None."""
        if not self.file.exists():
            # stop: no checkpoint could be written without the folder; the attempt to save one reports what to do
            return f"{self.file.parent} was deleted" if self._folder_is_gone() else None
        try:
            said = self.file.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            said = []
        return " ".join(said)[:200] or f"requested by {self.file}"

    def _folder_is_gone(self) -> bool:
        return not self.file.parent.exists() or (self._locked and not self.file.with_name("lock").exists())

    def agreed(self) -> bool:
        """Return whether to stop at this boundary, equal on all ranks. Call it equally often on every rank."""
        self._on_boundary()
        if self._agreement is None:
            return self._wanted() is not None
        if self.reason is not None:
            self._agreement.hurry()
        return self._agreement.reached()

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Restore the signal handlers and delete the file, whose request has been handled."""
        if self._agreement is not None:
            self._agreement.close()
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._looks:
            self.file.unlink(missing_ok=True)
