"""The pre-flight of one node: what can be wrong with a single node of a job, found in seconds before its ranks start.

slurm/preflight.sh runs it on every node; slurm/nodes.sh reads the lines and decides.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from job.config.schema import Config
from job.doctor.findings import FAIL, Finding
from job.doctor.gpu_health import all_reduce_within, check_gpus, expected_gpus
from job.doctor.shards import read_shards
from job.doctor.storage import file_system, node_folder
from job.shards.manifest import is_remote

WORD = "preflight"  # begins every line
SECONDS = 1.0  # of reading shards


def preflight(
    config: Config, environment: Mapping[str, str] = os.environ, *, needs_shards: bool = True
) -> list[Finding]:
    """Return the failed checks of this node, without those that JOB_PREFLIGHT_SKIP names (separated by commas).

    Without `needs_shards` it is no failure that there are none.
    """
    skipped = {name.strip() for name in environment.get("JOB_PREFLIGHT_SKIP", "").split(",")}
    return [
        one for one in _findings(config, environment, needs_shards) if one.level == FAIL and one.check not in skipped
    ]


def _findings(config: Config, environment: Mapping[str, str], needs_shards: bool) -> Iterator[Finding]:
    run_folder = file_system(config)
    yield Finding("run folder", run_folder.level, run_folder.result, run_folder.advice)
    data = config.data
    if data.cache_dir is not None and (data.stage or is_remote(data.shards)):
        yield node_folder("cache folder", Path(data.cache_dir).expanduser())
    if stage := environment.get("JOB_STAGE"):
        yield node_folder("stage folder", Path(stage))
    yield from read_shards(config, int(environment.get("SLURM_NODEID", 0)), SECONDS, needed=needs_shards)[0]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    work: Callable[[int], list[Finding]] = all_reduce_within
    if "MIG" in (visible or ""):  # NCCL knows one of them for each process only
        work = lambda count: []  # noqa: E731
    yield from check_gpus(expected_gpus(environment), visible=visible, work=work)


def lines(findings: list[Finding]) -> str:
    """Format failed checks as lines of four fields, separated by tabs: preflight, node, check, result."""
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    return "\n".join("\t".join((WORD, node, f.check, " ".join(f.result.split()))) for f in findings)
