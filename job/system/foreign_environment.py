"""Keep the environment of other programs out of a run.

The configuration and this project's launch scripts determine a run. Accelerate and torch.distributed read further
settings from the environment, where another project's profile, or a shell inside another job, may have left them.

    kept       ACCELERATE_USE_CPU, and settings that concern only speed or messages (ACCELERATE_CPU_AFFINITY, ...)
    ignored    settings that would change results silently, with a warning that names the key of the configuration
    refused    requests for another way of training
    ranks      RANK, WORLD_SIZE, MASTER_ADDR, ... count only if a launcher has set them
"""

import os
from collections.abc import MutableMapping

from job.system.errors import JobError
from job.system.launch_protocol import EXPECTED_RANKS

OFF = ("", "0", "1", "no", "none", "false", "default")  # values that change nothing; `accelerate launch` sets some
IGNORED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "train.accumulate",
    "ACCELERATE_GRADIENT_CLIPPING": "optimizer.clip_norm",
    "ACCELERATE_MIXED_PRECISION": "train.precision",
    "ACCELERATE_DOWNCAST_BF16": "train.precision",
    "ACCELERATE_DYNAMO_BACKEND": "model.compile",
    "ACCELERATE_DYNAMO_MODE": "model.compile",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "model.compile",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "model.compile",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "model.compile",
    "ACCELERATE_TORCH_DEVICE": "CUDA_VISIBLE_DEVICES or ACCELERATE_USE_CPU=true",
}
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
MPI_RANKS = (  # Accelerate reads the number of ranks from these too
    *(f"{mpi}_{what}" for mpi in ("OMPI_COMM_WORLD", "MV2_COMM_WORLD") for what in ("RANK", "SIZE", "LOCAL_RANK")),
    *("OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE"),
    *("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
)
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHED_BY = ("TORCHELASTIC_RUN_ID", EXPECTED_RANKS)  # set by `accelerate launch` and torchrun, and launch/node.sh


def clean_environment(
    environment: MutableMapping[str, str] = os.environ, distributed: bool = True, accelerate: bool = True
) -> list[str]:
    """Remove variables of other programs; return warnings. Call it before Accelerate or torch.distributed start.

    `distributed`: whether the command can be started as several ranks. `accelerate`: whether it uses Accelerate.
    Raises JobError for a request that must not be ignored: another way of training, or several ranks without a
    launcher.
    """
    warnings = []
    if accelerate:
        _refuse_other_ways(environment)
        warnings += _ignore_settings(environment)
    if not any(name in environment for name in LAUNCHED_BY):
        warnings += _ignore_ranks(environment, distributed)
    return warnings


def _refuse_other_ways(environment: MutableMapping[str, str]) -> None:
    for name, way in REFUSED.items():
        if environment.get(name, "").lower() in ("true", "1", "yes"):
            raise JobError(
                f"{name}={environment[name]} requests {way}, which this job does not support: unset {name}, and start "
                "it with launch/local.sh, slurm/train.sbatch or the files of launch/accelerate"
            )
        environment.pop(name, None)


def _ignore_settings(environment: MutableMapping[str, str]) -> list[str]:
    warnings = []
    for name, key in IGNORED.items():
        value = environment.pop(name, "")
        if value.lower() not in OFF:
            warnings.append(f"{name}={value} of the environment is ignored: use {key}")
    return warnings


def _ignore_ranks(environment: MutableMapping[str, str], distributed: bool) -> list[str]:
    """Drop ranks that no launcher has set. Raises JobError if this process may be meant as one of several ranks."""
    left = [name for name in (*RANKS, *MPI_RANKS) if name in environment]
    several = [name for name in left if name in SIZES and environment[name] not in ("", "0", "1")]
    values = {name: environment.pop(name) for name in left}
    if distributed and several:
        raise JobError(
            f"{several[0]}={values[several[0]]} is set, but no launcher started this process, so there may be no "
            f"other ranks to wait for: unset {' '.join(left)}, and start several ranks with launch/local.sh, "
            "`accelerate launch` or slurm/train.sbatch"
        )
    named = [name for name in left if name in RANKS]  # srun sets PMI_RANK and the like for a single task too
    return [f"{', '.join(named)} of the environment ignored: no launcher has set them"] if named else []
