"""Settings of OpenMP threads on a machine that other programs use too."""

import os
from collections.abc import Mapping, MutableMapping

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_threads_sleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads sleep while they wait for one another, unless the user or a batch system decides.

    By default they spin. If other programs use the cores, a thread spins through its whole time slice while the thread
    that it waits for cannot run: a small network on two threads and two busy cores processed 12 to 193 images/s, and
    480 to 910 with sleeping threads; on idle cores sleeping costs about a quarter. A batch system reserves cores for a
    job. Call it before torch is imported: its OpenMP library reads the variable when it is loaded.
    """
    if "SLURM_JOB_ID" not in environment and not any(name in environment for name in WAITING):
        environment["OMP_WAIT_POLICY"] = "PASSIVE"


def threads_spin(threads: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether OpenMP's `threads` spin while they wait for one another."""
    sleeps = environment.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE" or environment.get("GOMP_SPINCOUNT") == "0"
    return threads > 1 and not sleeps
