"""A real Slurm for the tests, and jobs on it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.running import REPO
from tests.support.waiting import eventually

SCRIPTS = REPO / "slurm" / "cluster"


def what_is_missing() -> str | None:
    """Why a cluster cannot be started here, and what to do about it; None where it can."""
    if os.geteuid() != 0:
        return "a test cluster needs root: run the tests with sudo"
    programs = [name for name in ("slurmctld", "slurmd", "munged", "ip", "nsenter") if not shutil.which(name)]
    if programs:
        return f"{', '.join(programs)} not found: apt-get install slurm-wlm munge iproute2"
    if subprocess.run(["unshare", "--net", "--uts", "--mount", "true"], capture_output=True).returncode:
        return "this machine lets root make no network namespace: use a virtual machine or a privileged container"
    return None


@dataclass
class Cluster:
    """A cluster that slurm/cluster/up made, and the environment for sbatch and scontrol."""

    folder: Path
    scratch: Path  # for logs, and what jobs leave in their temporary folder
    disk: Path  # a small file system that all nodes share

    @property
    def environment(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "JOB_"))}
        return own | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "JOB_SITE": str(self.scratch / "site.env"),
            "TMPDIR": str(self.scratch),
        }

    def call(self, *command, check: bool = True, cwd: Path = REPO, **environment: str) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def node(self, name: str, *action: object) -> subprocess.CompletedProcess:
        """slurm/cluster/node: start, kill, cut, mend, run COMMAND."""
        return self.call(SCRIPTS / "node", self.folder, name, *action)

    def stop_controller(self) -> None:
        """Take slurmctld away: scontrol, sbatch and the creation of steps fail, running jobs continue."""
        pid = int((self.folder / "slurmctld.pid").read_text())
        os.kill(pid, signal.SIGTERM)  # saves what it knows
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of slurmctld")

    def start_controller(self) -> None:
        self.call("slurmctld", "-f", self.folder / "slurm.conf")

    def step_daemon(self, node: str, step: str) -> int:
        """Process id of the slurmstepd of a step such as 12.0 on a node."""
        space = f"slurm{self.folder.suffix[1:]}-{node}"
        for pid in self.call("ip", "netns", "pids", space).stdout.split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(f"slurmstepd: [{step}]".encode()):
                    return int(pid)
        return 0

    def fake_ranks(self, name: str, scenario: str) -> dict[str, str]:
        """Environment of a job whose scripts are real and whose ranks are `scenario`, some lines of bash.

        The scenario runs on each node in place of the launcher, with what launch/node.sh exported, and tells how
        it ended with `tell CODE REASON`.
        """
        folder = self.scratch / name
        folder.mkdir()
        python = folder / "python"
        python.write_text(
            "#!/bin/bash\n"
            'tell() { printf "%s\\n%s\\n" "$1" "$2" >"$JOB_STATUS_FILE"; }\n'
            f"start=${{SLURM_RESTART_COUNT:-0}} here={folder}\n"
            'case "$*" in\n'
            f'  *--check*) tell 0 ""; echo "1 0 {folder}/run" ;;\n'
            f"  *job.system.launch*)\n{scenario}\n;;\n"
            f'  *) exec {sys.executable} "$@" ;;\n'
            "esac\n"
        )
        python.chmod(0o755)
        (folder / "site.env").write_text(f'PATH={folder}:$PATH JOB_PREFLIGHT="${{JOB_PREFLIGHT:-false}}"\n')
        return {"JOB_SITE": str(folder / "site.env"), "JOB_RANKS": "1"}

    def submit(self, *words, **environment: str) -> "Job":
        """sbatch; `words` are its options, a script, and the script's arguments."""
        output = f"--output={self.scratch}/%j.out"
        done = self.call("sbatch", "--parsable", output, *words, **environment)
        number = int(done.stdout)
        return Job(self, number, self.scratch / f"{number}.out")

    def ranks(self, node: str) -> list[int]:
        """Process ids of the ranks that train on a node."""
        space = f"slurm{self.folder.suffix[1:]}-{node}"
        found = []
        for pid in self.call("ip", "netns", "pids", space).stdout.split():
            with contextlib.suppress(OSError):
                process = Path("/proc") / pid
                ended = not (process / "cmdline").read_bytes()  # and not waited for yet
                if not ended and (process / "comm").read_text().startswith("job-rank-"):
                    found.append(int(pid))
        return sorted(found)


def signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


@dataclass
class Job:
    cluster: Cluster
    number: int
    log: Path

    def show(self) -> dict[str, str]:
        """What `scontrol show job` says."""
        text = self.cluster.call("scontrol", "--oneliner", "show", "job", self.number).stdout
        return dict(re.findall(r"(\w+)=(\S*)", text))

    @property
    def state(self) -> str:
        return self.show()["JobState"]

    @property
    def restarts(self) -> int:
        return int(self.show()["Restarts"])

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait(self, seconds: float = 240) -> int:
        """Wait until the job has ended for good. Returns the batch script's exit code."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        eventually(lambda: self.state in ended, lambda: f"end of the job\n{self.output()[-4000:]}", seconds)
        return int(self.show()["ExitCode"].partition(":")[0])

    def seconds(self) -> int:
        """How long it ran."""
        hours, minutes, seconds = self.show()["RunTime"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + int(seconds)
