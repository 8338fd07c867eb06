"""Checks of one machine: versions, GPUs, limits, memory, W&B."""

import os
import platform
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlparse

import torch

from job.config.schema import Config
from job.doctor.environment import environment
from job.doctor.findings import FAIL, OK, WARN, Finding, below
from job.doctor.limits import file_size, open_files, processes, shared_memory
from job.doctor.storage import disk, file_system
from job.monitor.wandb.run import mode

LIBRARIES = ("torch", "torchvision", "accelerate", "numpy", "wandb")


def examine(config: Config, ranks: int = 1) -> list[Finding]:
    """Run all checks that need neither shards nor other nodes, for a run of `ranks` ranks."""
    limits = [open_files(ranks), processes(), file_size(), shared_memory()]
    return [versions(), environment(), gpus(), cpus(), *limits, disk(config), file_system(config), wandb(config)]


def versions() -> Finding:
    installed = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return Finding("versions", OK, f"python {platform.python_version()}, {installed}")


def gpus() -> Finding:
    """Check GPUs and driver; fail when the driver shows GPUs that torch cannot use."""
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    driver = _nvidia_smi("driver_version")
    if names:
        kinds = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
        return Finding("GPUs", OK, f"{kinds}, driver {driver[0] if driver else 'unknown'}, CUDA {torch.version.cuda}")
    if driver and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        return Finding(
            "GPUs",
            FAIL,
            f"torch {torch.__version__} can use none of the {len(driver)} with driver {driver[0]}",
            "install a torch for that driver (https://pytorch.org/get-started), or update the driver",
        )
    if driver:
        return Finding("GPUs", WARN, f"none of {len(driver)} allocated to this job", "request them: --gpus-per-node=N")
    if Path("/proc/driver/nvidia/version").exists() or "SLURM_GPUS_ON_NODE" in os.environ:
        return Finding("GPUs", FAIL, "there are GPUs, but nvidia-smi shows none", "container: add --nv (Apptainer)")
    return Finding("GPUs", OK, "none: training runs on the CPUs")


def _nvidia_smi(what: str) -> list[str]:
    try:
        command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def cpus() -> Finding:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allocated = int(os.environ.get("SLURM_CPUS_ON_NODE", usable))
    count = min(usable, allocated)
    needed = 2 * max(torch.cuda.device_count(), 1)
    advice = f"a rank needs at least two, to decode and to train: --cpus-per-task={needed} or more"
    return below("CPUs", count, needed, 0, f"{count}", advice)


def wandb(config: Config, timeout: float = 5.0) -> Finding:
    """Check the mode in force, and that the server answers."""
    how = mode(config.wandb)
    if how == "disabled":
        return Finding("W&B", OK, "disabled")
    url = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    try:
        socket.create_connection((url.hostname, url.port or (443 if url.scheme == "https" else 80)), timeout).close()
        answers = True
    except OSError:
        answers = False
    if how == "offline":
        later = "" if answers else f"; {url.hostname} does not answer here: run launch/sync.sh where it does"
        return Finding("W&B", OK, f"offline, into the run folder{later}")
    if answers:
        return Finding("W&B", OK, f"online, {url.hostname} answers")
    return Finding(
        "W&B",
        WARN,
        f"online, but {url.hostname} does not answer",
        "set WANDB_MODE=offline, and upload with launch/sync.sh from a machine with internet",
    )
