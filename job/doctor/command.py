"""`python -m job doctor`, alone or as one task on each node under srun."""

import os
import secrets
import socket
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from job.config.schema import Config
from job.doctor.findings import FAIL, OK, Finding, differing, table, worst
from job.doctor.machine import examine
from job.doctor.network import all_reduce, clock, clock_offset, gather
from job.doctor.nodes import Nodes
from job.doctor.shards import read_shards
from job.doctor.storage import existing
from job.system.errors import EXIT_BAD_INPUT, EXIT_OK, JobError, first_line
from job.system.network_interface import interface_towards


def doctor(
    config: Config, nodes: Nodes, timeout: float = 60.0, ranks: int | None = None, *, needs_shards: bool = True
) -> tuple[str, int]:
    """Check every node for a run of `ranks` ranks in all, by default as many as the nodes would start.

    Return the table (empty except on the head) and the exit code: 2 when a check failed. Without `needs_shards`, which
    is for the shards of the defaults, it is no failure that there are none.

    Raises JobError when the nodes cannot connect within `timeout` seconds.
    """
    own = examine(config, ranks or nodes.count * ranks_of_node())
    if nodes.count == 1:
        own += read_shards(config, needed=needs_shards)[0]
        return _report(own, 1)
    store = _join(nodes, timeout)
    offset = clock_offset(store, nodes.rank, nodes.count)
    of_shards, manifest = read_shards(config, nodes.rank, needed=needs_shards)
    own += [*of_shards, clock(offset), _shared_folder(config, store, nodes)]
    own = [Finding(f.check, f.level, f.result, f.advice, nodes.hosts[nodes.rank]) for f in own]
    gpus = min(gather(store, "gpus", nodes.rank, nodes.count, torch.cuda.device_count()))
    for backend in ["gloo", "nccl"] if gpus else ["gloo"]:
        own += all_reduce(store, nodes.rank, nodes.hosts, backend, timeout=timeout)
    gathered = gather(store, "findings", nodes.rank, nodes.count, [finding.to_dict() for finding in own])
    manifests = gather(store, "manifest", nodes.rank, nodes.count, manifest)
    findings = [Finding(**finding) for of_node in gathered for finding in of_node] + _disagreements(
        gathered, manifests, nodes
    )
    text, code = _report(findings, nodes.count)
    store.set(f"done/{nodes.rank}", "")
    if nodes.rank > 0:
        return "", code
    store.wait([f"done/{rank}" for rank in range(nodes.count)])  # the store ends with this process
    return text, code


def ranks_of_node() -> int:
    """Return how many ranks a launch script would start on this node."""
    return int(os.environ.get("JOB_RANKS") or torch.cuda.device_count() or 1)


def _join(nodes: Nodes, timeout: float) -> dist.Store:
    """Connect to the store on the head. Raises JobError that names the nodes that did not connect."""
    peer = nodes.hosts[1 if nodes.rank == 0 else 0]
    try:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface_towards(peer))
        os.environ.setdefault("NCCL_SOCKET_IFNAME", os.environ["GLOO_SOCKET_IFNAME"])
    except OSError as error:
        raise JobError(f"no route from {socket.gethostname()} to {peer} ({error}): set GLOO_SOCKET_IFNAME") from None
    limit = timedelta(seconds=timeout)
    try:
        store = dist.TCPStore(nodes.head, nodes.port, None, nodes.rank == 0, limit, wait_for_workers=False)
    except (RuntimeError, OSError) as error:  # DistNetworkError is a RuntimeError
        why = first_line(error)[:160]
        do = "is the port in use? set JOB_PORT to another" if nodes.rank == 0 else "is the address of the head right?"
        raise JobError(
            f"{socket.gethostname()} cannot connect to the others at {nodes.head}:{nodes.port} ({why}): {do}"
        ) from None
    store.set(f"here/{nodes.rank}", "")
    missing = []
    for rank, host in enumerate(nodes.hosts):
        try:
            store.wait([f"here/{rank}"], limit if not missing else timedelta(seconds=1))
        except RuntimeError:
            missing.append(host)
    if missing:
        raise JobError(f"{', '.join(missing)} did not join within {timeout:.0f} s: check it, or exclude it (--exclude)")
    return store


def _shared_folder(config: Config, store: dist.Store, nodes: Nodes) -> Finding:
    """Check that this node sees a file that the head writes where the run folder is, or will be."""
    folder = existing(config.run_folder)
    path = folder / f".doctor-{secrets.token_hex(4)}"
    if nodes.rank == 0:
        try:
            path.touch()
        except OSError:
            path = Path()
        store.set("shared", str(path))
    path = Path(store.get("shared").decode())
    seen = path.name != "" and path.exists()
    gather(store, "looked", nodes.rank, nodes.count, True)
    if nodes.rank == 0 and path.name:
        path.unlink(missing_ok=True)
    if seen:
        return Finding("run folder", OK, f"shared by all nodes, in {path.parent}")
    return Finding(
        "run folder", FAIL, f"{path.parent} is not the head's folder of that name", "choose an `output` that is shared"
    )


def _disagreements(gathered: list[list[dict]], manifests: list[str], nodes: Nodes) -> list[Finding]:
    """Return failures for values that must be the same on every node and are not."""
    findings = []
    for check, advice in (
        ("versions", "install the same software on every node, or use one container"),
        ("GPUs", "take nodes of one kind: --constraint, or another partition"),
    ):
        values = {
            host: next(f["result"] for f in of_node if f["check"] == check)
            for host, of_node in zip(nodes.hosts, gathered)
        }
        findings += differing(check, values, advice)
    hashes = {host: value[:12] for host, value in zip(nodes.hosts, manifests) if value}
    return findings + (differing("shards", hashes, "copy the same shards to every node") if hashes else [])


def _report(findings: list[Finding], hosts: int) -> tuple[str, int]:
    return table(findings, hosts), EXIT_BAD_INPUT if worst(findings) == FAIL else EXIT_OK
