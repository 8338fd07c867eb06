"""Start many runs on this machine, each on a share of its GPUs or CPUs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from job.config.schema import Config
from job.system.launch_protocol import LOCK_WAIT, STATUS_FILE
from job.system.processes import cores

ROOT = Path(__file__).parents[2]  # the repository, or the folder that the package is installed in
_OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", STATUS_FILE)
OUTPUT = "output.txt"  # in the folder of a run: what its processes print


def count_gpus() -> int:
    """Return the number of GPUs of this machine: JOB_GPUS, or the number that torch finds."""
    if os.environ.get("JOB_GPUS", "").isdigit():
        return int(os.environ["JOB_GPUS"])
    from torch.cuda import device_count

    return device_count()


class Launcher:
    """Starts runs, at most `jobs` at a time, each in its own slot. `gpus` is the number of GPUs of the machine."""

    def __init__(self, jobs: int, gpus: int) -> None:
        self._jobs = jobs
        self._gpus = gpus

    @property
    def ranks(self) -> int:
        """The number of ranks of each run: JOB_RANKS, or one for each GPU of its share, or one."""
        return int(os.environ.get("JOB_RANKS") or max(self._gpus // self._jobs, 1))

    def start(self, config: Config, slot: int, lock: int) -> subprocess.Popen:
        """Start or resume the run of `config`, whose folder exists. Its processes inherit the file descriptor `lock`.

        The run has its own session, so Ctrl-C does not reach it; the search passes signals on.
        """
        path = config.run_folder / "config.yaml"
        path.write_text(config.to_yaml(), encoding="utf-8")
        with open(config.run_folder / OUTPUT, "ab") as output:
            return subprocess.Popen(
                [*self._command(), "train", "--config", str(path), *self._permission(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment(config, slot),
                pass_fds=(lock,),
                start_new_session=True,
            )

    def _command(self) -> list[str]:
        script = ROOT / "launch" / "node.sh"  # absent if only the package is installed
        return [str(script)] if script.exists() else [sys.executable, "-m", "job"]

    @staticmethod
    def _permission(config: Config) -> list[str]:
        return ["data.allow_pipe=true"] if config.data.allow_pipe else []  # never stored in a file

    def _environment(self, config: Config, slot: int) -> Mapping[str, str]:
        environment = {
            key: value
            for key, value in os.environ.items()
            if key not in _OF_LAUNCHERS and not key.startswith("SLURM_")  # each run uses this machine alone
        }
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
        environment |= {"JOB_HOSTS": "localhost", "JOB_RUN_FOLDER": str(config.run_folder.absolute())}
        environment |= {"JOB_RANKS": str(self.ranks), "JOB_GPUS": str(min(self._gpus, self.ranks))}
        environment.setdefault(LOCK_WAIT, "60")
        if self._gpus and self._jobs > 1:
            visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
            names = visible if len(visible) == self._gpus else [str(number) for number in range(self._gpus)]
            share = [names[(slot * self.ranks + rank) % self._gpus] for rank in range(self.ranks)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(share)
        if self._jobs > 1:  # node.sh assumes the whole machine; one CPU of a rank is for decoding
            threads = cores() // (self._jobs * self.ranks) - 1
            environment.setdefault("OMP_NUM_THREADS", str(max(threads, 1)))
        return environment


def last_line(path: Path) -> str:
    """Return the last line of a run's output, without its prefix `error:`."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].removeprefix("error: ") if lines else f"a run failed and wrote nothing to {path}"
