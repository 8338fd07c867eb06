"""Set up Accelerate: ranks, precision, time-outs, and settings of torch for the machine."""

import os
import socket
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    InitProcessGroupKwargs,
    broadcast,
    check_cuda_p2p_ib_support,
)
from torch.distributed.distributed_c10d import _set_pg_timeout

from job.config.schema import Config
from job.system.errors import JobError
from job.system.launch_protocol import EXPECTED_RANKS, START_SECONDS
from job.system.memory import keep_freed_memory


def build_accelerator(config: Config) -> Accelerator:
    """Join the other ranks. Raises JobError for a precision that the device lacks or a wrong number of ranks.

    The time-out is set in code because NCCL_TIMEOUT has no effect: here that of the start, which grows with the number
    of nodes, and `limit_waiting` sets that of the run. The ranks are counted because `accelerate launch`
    starts a single process for some settings that request several.
    """
    if config.train.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = not config.train.deterministic
    torch.set_float32_matmul_precision("high" if config.train.tf32 else "highest")
    if torch.backends.cudnn.allow_tf32 != config.train.tf32:
        torch.backends.cudnn.allow_tf32 = config.train.tf32
    check_gpus()
    has_gpu = torch.cuda.is_available() and not _on_cpu()
    if not has_gpu:
        keep_freed_memory()
    if config.train.precision == "fp16" and not has_gpu:
        raise JobError("train.precision=fp16 needs a GPU and there is none here: use no, or bf16")
    if config.train.precision == "bf16" and has_gpu and not torch.cuda.is_bf16_supported():
        raise JobError(f"train.precision=bf16 is not supported by {torch.cuda.get_device_name()}: use fp16")
    if has_gpu:
        avoid_broken_p2p()
    accelerator = Accelerator(
        mixed_precision=config.train.precision,
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[
            InitProcessGroupKwargs(timeout=timedelta(seconds=_start_seconds(config))),
            DistributedDataParallelKwargs(gradient_as_bucket_view=True),
        ],
    )
    check_ranks(accelerator)
    if config.model.batch_norm == "sync" and accelerator.num_processes > 1 and accelerator.device.type != "cuda":
        raise JobError("model.batch_norm=sync needs GPUs when there are several ranks: use mixed")
    return accelerator


def _start_seconds(config: Config) -> int:
    return max(config.train.timeout_seconds, int(os.environ.get(START_SECONDS, 0)))


def limit_waiting(config: Config) -> None:
    """Set the time-out to train.timeout_seconds, now that all ranks have started."""
    if dist.is_initialized():
        set_timeout = getattr(dist, "set_timeout", None) or _set_pg_timeout  # its name before torch 2.14
        set_timeout(timedelta(seconds=config.train.timeout_seconds))


def check_ranks(accelerator: Accelerator) -> None:
    """Raise JobError unless as many ranks started as the launch script requested."""
    wanted = int(os.environ.get(EXPECTED_RANKS, accelerator.num_processes))
    if accelerator.num_processes != wanted:
        raise JobError(
            f"{wanted} ranks were requested and {accelerator.num_processes} started: with `accelerate launch` on CPUs "
            "use ACCELERATE_USE_CPU=true and --multi_gpu, or start it with launch/local.sh"
        )


def check_gpus() -> None:
    """Raise JobError when a launch script started more ranks on this node than it has GPUs."""
    rank, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if EXPECTED_RANKS in os.environ and not _on_cpu() and 0 < rank >= gpus:
        raise JobError(
            f"{socket.gethostname()} has {gpus} GPU(s) for {os.environ.get('LOCAL_WORLD_SIZE', rank + 1)} ranks: "
            "request as many on each node (--gpus-per-node), or set JOB_RANKS to how many there are"
        )


def avoid_broken_p2p() -> None:
    """Set what Accelerate requires of consumer GPUs (RTX 40) with an old driver, as `accelerate launch` does."""
    if not check_cuda_p2p_ib_support():
        os.environ.setdefault("NCCL_P2P_DISABLE", "1")
        os.environ.setdefault("NCCL_IB_DISABLE", "1")


def _on_cpu() -> bool:
    return os.environ.get("ACCELERATE_USE_CPU", "false").lower() in ("true", "1")


def share_buffers(model: torch.nn.Module) -> None:
    """Copy the main rank's BatchNorm statistics, which a checkpoint saves, to every rank.

    DDP makes them equal before a forward pass, and that pass updates them on each rank; without this copy, ranks would
    evaluate slightly different networks.
    """
    for buffer in model.buffers():
        buffer.copy_(broadcast(buffer, from_process=0))
