"""Start the runs of the study: on a CPU as forks of this process, which has imported torch, so they start at once."""

import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from job.config.load import load_config
from job.config.schema import Config
from job.many_runs.launcher import OUTPUT, Launcher, count_gpus
from job.system.errors import EXIT_BAD_INPUT, EXIT_CRASH, JobError

_SLOW = (
    "torch._dynamo",
    "sklearn.cluster",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.neighbors",
    "job.train",
)


class Fork:
    """A forked process with the methods of subprocess.Popen that a search uses."""

    def __init__(self, config: Config) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=_train, args=(config,))
        self._process.start()

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self) -> int:
        self._process.join()
        return self._process.exitcode or 0


class ForkLauncher(Launcher):
    """Starts each run as a fork: a run of a minute would otherwise spend a sixth of it on imports."""

    def __init__(self, jobs: int, gpus: int) -> None:
        super().__init__(jobs, gpus)
        for module in _SLOW:
            importlib.import_module(module)

    def start(self, config: Config, slot: int, lock: int) -> Any:
        """Start or resume the run of `config`. The fork inherits the file descriptor `lock`."""
        config.run_folder.mkdir(parents=True, exist_ok=True)
        (config.run_folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
        return Fork(config)


def launcher(jobs: int) -> Launcher:
    """Return what starts the runs on this machine, at most `jobs` at a time."""
    gpus = count_gpus()
    return Launcher(jobs, gpus) if gpus else ForkLauncher(jobs, 0)


def train(config: Path, words: list[str], start: Launcher) -> int:
    """Train a configuration, or resume its run. Returns the exit code."""
    resolved = load_config(config, words)
    resolved.run_folder.mkdir(parents=True, exist_ok=True)
    (resolved.run_folder / "stop").unlink(missing_ok=True)  # of an earlier start
    with open(os.devnull) as lock:
        return start.start(resolved, 0, lock.fileno()).wait()


def _train(config: Config) -> None:
    """Be the run: its output goes to a file in its folder, and a signal stops it after a checkpoint."""
    from job.train import train as run

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    output = os.open(config.run_folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(output, descriptor)
    os.setsid()
    try:
        code = run(config)
    except JobError as error:
        print(f"error: {error}", file=sys.stderr)
        code = EXIT_BAD_INPUT
    except Exception:
        traceback.print_exc()
        code = EXIT_CRASH
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
