"""The nodes to check: this machine alone, or one task on each node under srun."""

import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from job.system.errors import JobError


@dataclass(frozen=True)
class Nodes:
    """The hosts, this process's rank among them, and the port of the head."""

    hosts: list[str]  # the head first
    rank: int
    port: int

    @property
    def count(self) -> int:
        return len(self.hosts)

    @property
    def head(self) -> str:
        return self.hosts[0]


def find_nodes(environment: Mapping[str, str] = os.environ) -> Nodes:
    """Read the nodes from the environment that srun sets. Raises JobError when a node has several tasks."""
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1:
        return Nodes([socket.gethostname()], 0, 0)
    nodes = int(environment["SLURM_STEP_NUM_NODES"])
    if tasks != nodes:
        raise JobError(f"{tasks} tasks on {nodes} nodes: start the doctor with srun --ntasks-per-node=1")
    hosts = environment.get("JOB_HOSTS", "").split() or _expand(environment["SLURM_STEP_NODELIST"])
    port = int(environment.get("JOB_PORT") or 20000 + int(environment["SLURM_JOB_ID"]) % 12000)
    return Nodes(hosts, int(environment["SLURM_PROCID"]), port)


def _expand(nodelist: str) -> list[str]:
    try:
        done = subprocess.run(
            ["scontrol", "show", "hostnames", nodelist], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        raise JobError(
            f"cannot list the nodes of {nodelist} without scontrol, as in a container: set JOB_HOSTS to their names"
        ) from None
    return done.stdout.split()
