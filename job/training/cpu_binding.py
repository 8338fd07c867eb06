"""Bind each rank of a node to CPUs of its own: those near its GPU, or an equal share of the node's.

The kernel moves threads between all CPUs that a process may use. On a node with two sockets the threads that decode
then fill pinned memory of the other socket, from which the copy to the GPU is slower, and the ranks' threads displace
one another from their caches.
"""

import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

log = logging.getLogger("job")
FEWEST = 2  # CPUs of a bound rank: one trains, one decodes
SYSFS = Path("/sys")


class Place(NamedTuple):
    """Where a rank runs: its host, the CPUs that it may use, and the PCI address of its GPU (None: on the CPU)."""

    host: str
    cpus: tuple[int, ...]
    gpu: str | None


def bind_cpus(accelerator: Accelerator, sysfs: Path = SYSFS) -> tuple[int, ...] | None:
    """Bind this rank, with the threads that it starts later, and return its CPUs; None if it stays as it was.

    All ranks must call this. A rank that is alone on its node keeps all CPUs, and so does one that Slurm has given CPUs
    of its own, except that it leaves those far from its GPU. Nothing is bound where a rank would have fewer than
    FEWEST CPUs: on an overcommitted node the kernel does better.
    """
    if accelerator.num_processes == 1 or not hasattr(os, "sched_setaffinity"):
        return None
    address = pci_address(accelerator.device.index or 0) if accelerator.device.type == "cuda" else None
    here = Place(socket.gethostname(), tuple(sorted(os.sched_getaffinity(0))), address)
    places = [Place(*each) for each in gather_object([tuple(here)])]
    cpus = cpus_of(places, accelerator.process_index, sysfs)
    if cpus is None:
        return None
    try:
        os.sched_setaffinity(0, cpus)
    except OSError as error:  # the CPUs were taken from the process meanwhile
        log.warning("cannot bind this rank to CPUs %s: %s", as_text(cpus), error.strerror)
        return None
    log.info("rank %d uses the CPUs %s", accelerator.process_index, as_text(cpus))
    return cpus


def cpus_of(places: Sequence[Place], rank: int, sysfs: Path = SYSFS) -> tuple[int, ...] | None:
    """Return the CPUs of a rank; None if it is not to be bound.

    Ranks with the same CPUs on the same NUMA node share these equally, in the order of ranks; both threads of a core
    belong to one rank.
    """
    own = places[rank]
    if sum(place.host == own.host for place in places) == 1:
        return None
    numa, near = _near(own, sysfs)
    sharing = [
        number
        for number, place in enumerate(places)
        if (place.host, place.cpus) == (own.host, own.cpus) and _near(place, sysfs)[0] == numa
    ]
    cores = _cores(near, sysfs)
    index, count = sharing.index(rank), len(sharing)
    share = cores[index * len(cores) // count : (index + 1) * len(cores) // count]
    cpus = tuple(sorted(cpu for core in share for cpu in core))
    return cpus if len(cpus) >= FEWEST and cpus != own.cpus else None


def pci_address(index: int) -> str | None:
    """Return the PCI address of a GPU, such as 0000:3b:00.0; None if this version of torch does not know it."""
    about: Any = torch.cuda.get_device_properties(index)
    if not hasattr(about, "pci_bus_id"):
        return None
    return f"{about.pci_domain_id:04x}:{about.pci_bus_id:02x}:{about.pci_device_id:02x}.0"


def parse_cpus(text: str) -> tuple[int, ...]:
    """Return the numbers of a list as the kernel writes it, such as 0-3,8."""
    parts = (part.partition("-") for part in text.strip().split(",") if part)
    return tuple(cpu for first, _, last in parts for cpu in range(int(first), int(last or first) + 1))


def as_text(cpus: Sequence[int]) -> str:
    """Return CPUs in the kernel's notation."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def _near(place: Place, sysfs: Path) -> tuple[int | None, tuple[int, ...]]:
    """Return the NUMA node of a rank's GPU and the rank's CPUs on it; None and all its CPUs if there is none."""
    if place.gpu is None:
        return None, place.cpus
    try:
        node = int((sysfs / "bus/pci/devices" / place.gpu / "numa_node").read_text())
        on_node = parse_cpus((sysfs / f"devices/system/node/node{node}/cpulist").read_text()) if node >= 0 else ()
    except (OSError, ValueError):
        return None, place.cpus
    near = tuple(sorted({*on_node} & {*place.cpus}))
    return (node, near) if near else (None, place.cpus)


def _cores(cpus: Sequence[int], sysfs: Path) -> list[tuple[int, ...]]:
    """Group CPUs by core, in the order of the cores' first CPU."""
    cores: dict[tuple[int, ...], None] = {}
    for cpu in cpus:
        try:
            siblings = parse_cpus((sysfs / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except (OSError, ValueError):
            siblings = (cpu,)
        cores[tuple(each for each in siblings if each in cpus) or (cpu,)] = None
    return list(cores)
