"""Stop early, on a file or a signal, when all ranks agree at a step boundary."""

import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop:
    """Decides at every step boundary, together on all ranks, whether any rank has a request to stop.

    Rank 0 looks for `file`, at most once a second; the text in it, if any, is the reason. Every rank handles SIGTERM,
    SIGINT and SIGUSR1 (a second SIGINT interrupts at once). A request at one boundary takes effect at the next: the
    reduction of a host flag over Gloo runs while the step computes, so that neither the device nor the host waits for
    it.
    """

    def __init__(self, file: Path, timeout: timedelta) -> None:
        self.file = file
        self.reason: str | None = None
        self._looked_at = 0.0
        self._locked = file.with_name("lock").exists()
        self._pending: tuple[torch.Tensor, dist.Work] | None = None
        self._ranks: Any = dist.new_group(backend="gloo", timeout=timeout) if dist.is_initialized() else None
        self._looks = self._ranks is None or dist.get_rank() == 0
        self._previous = {number: signal.signal(number, self._on_signal) for number in SIGNALS}

    def _on_signal(self, number: int, frame: object) -> None:
        if number == signal.SIGINT and self.reason is not None:
            raise KeyboardInterrupt
        self.reason = signal.Signals(number).name

    def _wanted(self) -> bool:
        now = time.monotonic()
        if self.reason is None and self._looks and now - self._looked_at >= 1:
            self._looked_at = now
            requested = self._requested_by_file()
            # assign only a reason: a signal may have arrived meanwhile, and None must not overwrite its reason
            if requested is not None:
                self.reason = requested
        return self.reason is not None

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
        """Return whether to stop at this boundary, equal on all ranks. Call it once a step on every rank."""
        if self._ranks is None:
            return self._wanted()
        answer = self._collect()
        flag = torch.tensor([int(self._wanted())])
        work = dist.all_reduce(flag, dist.ReduceOp.MAX, self._ranks, async_op=True)
        assert work is not None  # None only on ranks outside the group
        self._pending = flag, work
        return answer

    def _collect(self) -> bool:
        if self._pending is None:
            return False
        flag, work = self._pending
        self._pending = None
        work.wait()
        return bool(flag.item())

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Restore the signal handlers and delete the file, whose request has been handled."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._looks:
            self.file.unlink(missing_ok=True)
