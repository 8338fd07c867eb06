"""Describe the environment of a run (code, host, versions, Slurm job) for its report and for W&B."""

import importlib.metadata
import os
import platform
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

SLURM = {  # environment variable -> name
    "SLURM_JOB_ID": "job_id",
    "SLURM_ARRAY_JOB_ID": "array_job_id",
    "SLURM_ARRAY_TASK_ID": "array_task_id",
    "SLURM_JOB_NAME": "job_name",
    "SLURM_JOB_PARTITION": "partition",
    "SLURM_JOB_NODELIST": "nodes",
    "SLURM_RESTART_COUNT": "restarts",
    "JOB_RESTARTED_IN_PLACE": "restarts_in_place",
}


@lru_cache
def code_version() -> str | None:
    """Return the commit of the code, with ``+changes`` if the working tree has any; None outside of a repository."""
    folder = Path(os.environ.get("JOB_REPOSITORY", Path(__file__).parent))  # slurm/stage.sh copies the code alone

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def slurm() -> dict[str, str]:
    """Return Slurm's ids and names of the job; empty outside of a Slurm job."""
    return {name: os.environ[variable] for variable, name in SLURM.items() if os.environ.get(variable)}


def facts() -> dict[str, Any]:
    """Return code version, host, package versions and Slurm's names of the job, by plain names."""
    found: dict[str, Any] = {
        "code_version": code_version(),
        "host": platform.node(),
        "python": platform.python_version(),
    }
    for package in ("torch", "accelerate", "wandb"):
        found[package] = importlib.metadata.version(package)
    found |= {f"slurm_{name}": value for name, value in slurm().items()}
    return {name: value for name, value in found.items() if value is not None}
