"""Train the runs of a cross-validation, several at a time and by any number of processes, until all are finished."""

import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from job.crossval.plan import Cell, Plan
from job.many_runs.launcher import OUTPUT, Launcher, last_line
from job.many_runs.together import STOP_FILE, StopFiles, collect_signals, release, try_lock
from job.run_folder.finished import is_finished
from job.run_folder.stored_files import read_object
from job.system.echo import echo
from job.system.errors import EXIT_BAD_INPUT, EXIT_OK, EXIT_STOPPED, JobError

_POLL_SECONDS = 0.5
_MOST_CRASHES = 2  # of a run, in this process


@dataclass
class _Running:
    cell: Cell
    slot: int
    lock: TextIO
    process: subprocess.Popen


@dataclass
class Work:
    """Trains the runs of a plan, `jobs` at a time. `waits` for runs of other processes at the end."""

    plan: Plan
    launcher: Launcher
    jobs: int
    waits: bool = True
    _running: list[_Running] = field(default_factory=list)
    _done: set[Path] = field(default_factory=set)
    _crashes: dict[Path, int] = field(default_factory=dict)
    _signals: list[int] = field(default_factory=list)
    _stopping: bool = False

    def run(self) -> int:
        """Train runs until none is left. Returns the exit code: 0, or 75 after a stop.

        Interrupted runs resume. Raises JobError when a run cannot be started, or crashes twice.
        """
        stop = StopFiles([self.plan.folder / "stop", *map(Path, filter(None, [os.environ.get(STOP_FILE)]))])
        said_waiting = False
        with collect_signals(self._signals):
            try:
                while True:
                    if stop.requested() and not self._stopping:
                        self._signals.append(signal.SIGTERM)
                    self._pass_on_signals()
                    left = self._start_runs()
                    if not self._running:
                        if self._stopping or not left or not self.waits:
                            break
                        if not said_waiting:
                            echo(f"waiting for {left} run(s) of other processes", err=True)
                            said_waiting = True
                    self._poll()
                    time.sleep(_POLL_SECONDS)
            except BaseException:
                self._abandon()
                raise
        if self._stopping:
            echo(f"stopped: run the same command again to resume the runs in {self.plan.folder}", err=True)
            return EXIT_STOPPED
        return EXIT_OK

    @property
    def unfinished(self) -> int:
        """The number of runs that are not finished."""
        return sum(not self._finished(cell) for cell in self.plan.cells)

    def _finished(self, cell: Cell) -> bool:
        if cell.folder not in self._done and is_finished(cell.config):
            self._done.add(cell.folder)
        return cell.folder in self._done

    def _start_runs(self) -> int:
        """Start runs in the free slots; return the number of runs that are neither finished nor running here."""
        here = {each.cell.folder for each in self._running}
        left = 0
        for cell in self.plan.cells:
            if cell.folder in here or self._finished(cell):
                continue
            left += 1
            if self._stopping or len(self._running) >= self.jobs:
                continue
            cell.folder.mkdir(parents=True, exist_ok=True)
            held = try_lock(cell.folder / "crossval.lock")
            if held is None:
                continue
            if self._finished(cell):  # another process finished it between the two checks
                release(held)
                continue
            (cell.folder / "stop").unlink(missing_ok=True)  # of an earlier start
            slot = min({*range(self.jobs)} - {each.slot for each in self._running})
            echo(f"{cell.folder.name}: {'resuming' if (cell.folder / 'log.txt').exists() else 'training'}")
            process = self.launcher.start(cell.config, slot, held.fileno())
            self._running.append(_Running(cell, slot, held, process))
            left -= 1
        return left

    def _poll(self) -> None:
        for each in list(self._running):
            os.utime(each.lock.fileno())  # shows processes on other nodes that this one is alive
            code = each.process.poll()
            if code is not None:
                self._running.remove(each)
                release(each.lock)
                self._conclude(each.cell, code)

    def _conclude(self, cell: Cell, code: int) -> None:
        if code == EXIT_OK and self._finished(cell):
            left = self.unfinished
            echo(f"{cell.folder.name}: finished; {len(self.plan.cells) - left} of {len(self.plan.cells)}")
            return
        if self._stopping:  # also if it was killed before it handled the signal
            return
        if code == EXIT_STOPPED:  # only this run was stopped
            self._signals.append(signal.SIGTERM)
            return
        status = read_object(cell.folder / "status.json")
        reason = str(status.get("message") or last_line(cell.folder / OUTPUT))
        crashes = self._crashes[cell.folder] = self._crashes.get(cell.folder, 0) + 1
        if code == EXIT_BAD_INPUT or status.get("kind") == "NotFinite" or crashes >= _MOST_CRASHES:
            raise JobError(f"{cell.folder.name} ended with exit code {code}: {reason}")

    def _pass_on_signals(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if not self._stopping:
                echo("stopping the runs after a checkpoint", err=True)
            self._stopping = True
            for each in self._running:
                self._signal(each, number)

    def _abandon(self) -> None:
        """Stop the other runs after an error; they resume later. Their processes keep their locks."""
        for each in self._running:
            self._signal(each, signal.SIGTERM)
            each.lock.close()

    @staticmethod
    def _signal(running: _Running, number: int) -> None:
        if running.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(number)
