"""Check the health of a node's GPUs by NVML, the driver's management library, without a CUDA context."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from job.doctor.findings import FAIL, OK, WARN, Finding
from job.system.errors import first_line

GIB = 2**30
USED = 0.1  # share of a GPU's memory that may be in use before the ranks start
_RECOVERY = {1: "a reset", 2: "a reboot of the node", 3: "to drain peer-to-peer traffic", 4: "to be drained and reset"}


def load_nvml() -> ModuleType | None:
    """Return the module pynvml of nvidia-ml-py; None if it is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def expected_gpus(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many GPUs the job requested on each node, or else how many Slurm gives, or the ranks of a node use."""
    per_node = environment.get("SLURM_GPUS_PER_NODE", "").rpartition(":")[2]  # 4, h100:4
    if per_node.isdigit():
        return int(per_node)
    return int(environment.get("SLURM_GPUS_ON_NODE") or environment.get("JOB_GPUS") or 0)


def check_gpus(
    expected: int,
    patience: float = 20.0,
    nvml: Any = None,
    visible: str | None = None,
    work: Callable[[int], list[Finding]] = lambda count: [],
) -> list[Finding]:
    """Check that this node has the `expected` GPUs and that the driver reports no fault of those of the job.

    Memory in use may take `patience` seconds to be freed, as by the ranks of an earlier start. Xid errors that the
    driver reports while `work` runs, which is called with the number of GPUs, are found too. `visible` names the GPUs
    of the job, as CUDA_VISIBLE_DEVICES does; None: all of the node. Without a driver, and with none expected, there is
    no finding.
    """
    nvml = nvml or load_nvml()
    if nvml is None:
        return [Finding("GPUs", WARN, "not checked", "pip install nvidia-ml-py")] if expected else []
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [Finding("GPUs", FAIL, f"none of {expected}: {error}", "exclude the node")] if expected else []
    try:
        return _check(nvml, expected, patience, visible, work)
    except nvml.NVMLError as error:  # GPU is lost, unknown error: the driver has lost a device
        return [Finding("GPUs", FAIL, f"the driver fails: {error}", "exclude the node")]
    finally:
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _check(
    nvml: Any, expected: int, patience: float, visible: str | None, work: Callable[[int], list[Finding]]
) -> list[Finding]:
    handles = _handles(nvml, visible)
    if len(handles) < expected:
        return [Finding("GPUs", FAIL, f"{len(handles)} of {expected}", "exclude the node")]
    findings, end = [], time.monotonic() + patience
    for name, handle in handles.items():
        findings += [_errors(nvml, name, handle), _memory(nvml, name, handle, end)]
    bad = [finding for finding in findings if finding is not None]
    with _xid_errors(nvml, handles) as xids:
        bad += work(len(handles))
    bad += [Finding("GPU errors", FAIL, f"Xid {number} on GPU {name}", "exclude the node") for name, number in xids]
    return bad or [Finding("GPUs", OK, f"{len(handles)}, no errors")]


def _handles(nvml: Any, visible: str | None) -> dict[str, Any]:
    """Return NVML's handles of the job's GPUs by the names that Slurm uses: numbers or UUIDs."""
    if visible is None:
        return {str(number): nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())}
    handles: dict[str, Any] = {}
    for name in filter(None, (word.strip() for word in visible.split(","))):
        try:
            by_index = name.isdigit()
            handles[name] = (
                nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else nvml.nvmlDeviceGetHandleByUUID(name)
            )
        except nvml.NVMLError:
            continue  # this one is missing
    return handles


def _errors(nvml: Any, name: str, handle: Any) -> Finding | None:
    """Report what the driver has recorded: memory errors that cannot be corrected, and that it wants a reset."""
    found = []
    with _if_supported(nvml):
        kinds = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        if count := nvml.nvmlDeviceGetTotalEccErrors(handle, *kinds):
            found.append(f"{count} uncorrectable ECC errors")
    with _if_supported(nvml):
        *_, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
        found += ["a failed row remapping"] * bool(failed) + ["a row remapping that waits for a reset"] * bool(pending)
    with _if_supported(nvml):  # drivers from 565 on
        (field,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
        action = field.value.uiVal if field.nvmlReturn == 0 else 0
        if action:
            found.append(f"an Xid error after which the driver wants {_RECOVERY.get(action, 'a recovery')}")
    if not found:
        return None
    return Finding("GPU errors", FAIL, f"GPU {name} has {', '.join(found)}", "exclude the node, and reset the GPU")


def _memory(nvml: Any, name: str, handle: Any, end: float) -> Finding | None:
    """Report memory that other processes use, unless they free it before the time `end`."""
    while (memory := nvml.nvmlDeviceGetMemoryInfo(handle)).used > USED * memory.total:
        if time.monotonic() >= end:
            used = f"{memory.used / GIB:.1f} of {memory.total / GIB:.1f} GiB"
            result = f"{used} of GPU {name} are in use{_users(nvml, handle)}"
            return Finding("GPU memory", FAIL, result, "end those processes, or exclude the node")
        time.sleep(0.5)
    return None


def _users(nvml: Any, handle: Any) -> str:
    with _if_supported(nvml):
        processes = [str(process.pid) for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
        return f" by process {', '.join(processes)}" if processes else ""
    return ""


@contextlib.contextmanager
def _xid_errors(nvml: Any, handles: Mapping[str, Any]) -> Iterator[list[tuple[str, int]]]:
    """Yield a list that, after the block, has the GPU and number of each Xid error that occurred inside it."""
    xids: list[tuple[str, int]] = []
    events = None
    with _if_supported(nvml):
        events = nvml.nvmlEventSetCreate()
        for handle in handles.values():
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
    yield xids
    if events is None:
        return
    with _if_supported(nvml):
        while True:  # until it times out
            event = nvml.nvmlEventSetWait(events, 1)
            index = str(nvml.nvmlDeviceGetIndex(event.device))
            xids.append((index, int(event.eventData)))
    with _if_supported(nvml):
        nvml.nvmlEventSetFree(events)


@contextlib.contextmanager
def _if_supported(nvml: Any) -> Iterator[None]:
    """Skip what this GPU, its driver or the installed bindings do not support."""
    skipped = {nvml.NVML_ERROR_NOT_SUPPORTED, nvml.NVML_ERROR_TIMEOUT, nvml.NVML_ERROR_NO_PERMISSION}
    skipped |= {nvml.NVML_ERROR_FUNCTION_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT}
    try:
        yield
    except AttributeError:
        pass
    except nvml.NVMLError as error:
        if error.value not in skipped:
            raise


def all_reduce_within(count: int, megabytes: int = 64) -> list[Finding]:
    """Check the sum of a tensor over this node's GPUs; this process uses all of them. One GPU needs no check."""
    if count < 2:
        return []
    try:
        import torch
        from torch.cuda import nccl

        tensors = [torch.full((megabytes * 2**18,), number + 1.0, device=f"cuda:{number}") for number in range(count)]
        nccl.all_reduce(tensors)
        total = count * (count + 1) / 2
        wrong = [number for number, tensor in enumerate(tensors) if not bool((tensor == total).all())]
    except RuntimeError as error:  # errors of CUDA and NCCL are RuntimeErrors
        return [Finding("GPU all-reduce", FAIL, f"failed: {first_line(error)[:160]}", "exclude the node")]
    if wrong:
        result = f"wrong sum on GPU {', '.join(map(str, wrong))} of {count}"
        return [Finding("GPU all-reduce", FAIL, result, "exclude the node")]
    return []
