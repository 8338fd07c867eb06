"""Profile some steps: a trace of all operations, and a page that shows how the time is spent."""

import contextlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from job.run_folder.profile_files import FOLDER, SUMMARY, TRACE
from job.system.files import write_atomically
from job.training.step_clock import Waits

log = logging.getLogger("job")
SLOWEST = 10
COMMUNICATION = "communication"
CLASSES = (  # of operations, by their names: the first that matches
    (COMMUNICATION, r"nccl|gloo|c10d|all_?reduce|allgather|broadcast_coalesced|reducer"),
    ("copies", r"memcpy|memset|copy_|aten::to\b|_to_copy|pin_memory"),
    ("optimiser", r"optimizer|adam|sgd|multi_tensor|foreach"),
    ("convolutions", r"conv|wgrad|dgrad|winograd|implicit_gemm|mkldnn"),
    ("matrix products", r"gemm|addmm|\bmm\b|bmm|matmul|linear|cutlass|attention|flash"),
    ("normalisation", r"norm"),
    ("pooling and interpolation", r"pool|grid_sampl|affine_grid|interpolat|upsample"),
    ("losses and softmax", r"softmax|nll|cross_entropy|loss"),
    ("reductions", r"reduce|sum|mean|amax|argmax|cumsum"),
    (
        "elementwise",
        r"elementwise|vectorized|aten::(add|sub|mul|div|relu|clamp|fill|zero|threshold|where|exp|log|sqrt|neg)",
    ),
)


class Operation(NamedTuple):
    """An operation on the device, or without a GPU on the CPU: its own time, without that of operations inside it."""

    name: str
    calls: int
    seconds: float


class StepProfile:
    """Profiles the steps [first, last] of this rank, `steps`; nothing if that is None.

    Writes `profile/trace.json.gz`, for chrome://tracing or ui.perfetto.dev, and `profile/summary.md` into `folder`, the
    run folder. `waits` counts the seconds spent waiting for data.
    """

    def __init__(self, steps: tuple[int, int] | None, waits: Waits, folder: Path) -> None:
        self._steps, self._waits, self._folder = steps, waits, folder / FOLDER
        self._running: profile | None = None
        self._began = self._waited = 0.0
        self._first = 0

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surround step `number` (from 1). A profile begins and ends with a step, and is lost with an error in it."""
        if self._steps is not None and self._running is None and self._steps[0] <= number <= self._steps[1]:
            self._start(number)
        try:
            yield
        except BaseException:
            if self._running is not None:
                self._running.stop()
            raise
        if self._running is not None and self._steps is not None and number >= self._steps[1]:
            self._finish(number)

    def _start(self, number: int) -> None:
        activities = [ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(ProfilerActivity.CUDA)
            torch.cuda.synchronize()
        os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # otherwise it prints an error about a missing GPU
        self._running = profile(activities=activities)
        self._running.start()
        self._first, self._began, self._waited = number, time.perf_counter(), self._waits.wait_seconds

    def _finish(self, number: int) -> None:
        assert self._running is not None
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self._began
        waited = self._waits.wait_seconds - self._waited
        running, self._running, self._steps = self._running, None, None
        running.stop()
        try:
            self._folder.mkdir(exist_ok=True)
            running.export_chrome_trace(str(self._folder / TRACE))
            text = summary(operations(running.key_averages()), self._first, number, seconds, waited)
            write_atomically(self._folder / SUMMARY, text)
            log.info("profile of the steps %d to %d: %s", self._first, number, self._folder / SUMMARY)
        except OSError as error:
            log.warning("cannot write the profile: %s", error)


def operations(averages: Sequence[Any]) -> list[Operation]:
    """Return the operations of a profile with their own time, slowest first: those on the device, if there are any."""
    on_device = [Operation(each.key, each.count, each.self_device_time_total / 1e6) for each in averages]
    if not any(each.seconds for each in on_device):
        on_device = [Operation(each.key, each.count, each.self_cpu_time_total / 1e6) for each in averages]
    return sorted((each for each in on_device if each.seconds > 0), key=lambda each: -each.seconds)


def class_of(name: str) -> str:
    """Return the class of an operation, by its name."""
    found = (kind for kind, pattern in CLASSES if re.search(pattern, name, re.IGNORECASE))
    return next(found, "other")


def summary(found: Sequence[Operation], first: int, last: int, seconds: float, waited: float) -> str:
    """Return the page as Markdown: a step, waiting for data, communication, time by class, the slowest operations."""
    steps = last - first + 1
    by_class: dict[str, float] = {}
    for each in found:
        kind = class_of(each.name)
        by_class[kind] = by_class.get(kind, 0.0) + each.seconds
    total = sum(by_class.values()) or 1.0

    def row(*cells: object) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    def milliseconds(value: float) -> str:
        return f"{1000 * value / steps:.3f}"

    def share(value: float) -> str:
        return f"{100 * value / total:.1f} %"

    communication = by_class.get(COMMUNICATION, 0.0)
    lines = [
        f"# Profile of the steps {first} to {last}",
        "",
        row("a step", "ms", "share of the step"),
        row("---", "---:", "---:"),
        row("the whole step, while it is profiled", milliseconds(seconds), "100 %"),
        row("waiting for data", milliseconds(waited), f"{100 * waited / seconds:.1f} %"),
        row("communication, which may overlap", milliseconds(communication), f"{100 * communication / seconds:.1f} %"),
        row("all operations, which may overlap", milliseconds(total), f"{100 * total / seconds:.1f} %"),
        "",
        row("operations by class", "ms a step", "share"),
        row("---", "---:", "---:"),
    ]
    lines += [row(kind, milliseconds(t), share(t)) for kind, t in sorted(by_class.items(), key=lambda kind: -kind[1])]
    lines += [
        "",
        row("slowest", "class", "calls a step", "ms a step", "share"),
        row("---", "---", "---:", "---:", "---:"),
    ]
    for each in found[:SLOWEST]:
        name = re.sub(r"[|`\n]", " ", each.name)[:100]
        calls = f"{each.calls / steps:.1f}"
        lines.append(row(f"`{name}`", class_of(each.name), calls, milliseconds(each.seconds), share(each.seconds)))
    lines += ["", f"All operations on a time line: `{TRACE}`, in ui.perfetto.dev or chrome://tracing.", ""]
    return "\n".join(lines)
