"""The health of GPUs, with a stand-in for NVML that behaves as the driver of a node with faults."""

from types import SimpleNamespace

import pytest

from job.doctor.findings import FAIL, OK, WARN, Finding
from job.doctor.gpu_health import GIB, check_gpus, expected_gpus


class NvmlError(Exception):
    def __init__(self, value: int, text: str = "") -> None:
        super().__init__(text)
        self.value = value


class FakeNvml:
    """NVML of a node with some GPUs. `faults` are attributes of single GPUs, by number."""

    NVMLError = NvmlError
    NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION = 2, 3, 4
    NVML_ERROR_TIMEOUT, NVML_ERROR_FUNCTION_NOT_FOUND, NVML_ERROR_GPU_IS_LOST = 10, 13, 15
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION = 230
    nvmlEventTypeXidCriticalError = 8

    def __init__(self, count: int = 4, driver: bool = True, **faults) -> None:
        usual = {"ecc": 0, "remapped": (0, 0, 0, 0), "recovery": 0, "used": [GIB], "uuid": "", "lost": False}
        self.gpus = [SimpleNamespace(number=number, xids=[], **usual) for number in range(count)]
        for name, (number, value) in faults.items():
            setattr(self.gpus[number], name, value)
        self.driver = driver
        self.shut_down = 0

    def nvmlInit(self):
        if not self.driver:
            raise NvmlError(9, "Driver Not Loaded")

    def nvmlShutdown(self):
        self.shut_down += 1

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):
        if number >= len(self.gpus):
            raise NvmlError(self.NVML_ERROR_INVALID_ARGUMENT, "Invalid Argument")
        return self.gpus[number]

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for gpu in self.gpus:
            if gpu.uuid == uuid:
                return gpu
        raise NvmlError(6, "Not Found")

    def nvmlDeviceGetIndex(self, gpu):
        return gpu.number

    def nvmlDeviceGetTotalEccErrors(self, gpu, kind, counter):
        assert (kind, counter) == (1, 0)
        if gpu.lost:
            raise NvmlError(self.NVML_ERROR_GPU_IS_LOST, "GPU is lost")
        if gpu.ecc is None:  # a consumer card
            raise NvmlError(self.NVML_ERROR_NOT_SUPPORTED, "Not Supported")
        return gpu.ecc

    def nvmlDeviceGetRemappedRows(self, gpu):
        return gpu.remapped

    def nvmlDeviceGetFieldValues(self, gpu, fields):
        assert fields == [230]
        return [SimpleNamespace(nvmlReturn=0, value=SimpleNamespace(uiVal=gpu.recovery))]

    def nvmlDeviceGetMemoryInfo(self, gpu):
        return SimpleNamespace(total=80 * GIB, used=gpu.used.pop(0) if len(gpu.used) > 1 else gpu.used[0])

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [SimpleNamespace(pid=4711)]

    def nvmlEventSetCreate(self):
        return []

    def nvmlDeviceRegisterEvents(self, gpu, types, events):
        assert types == 8
        events.append(gpu)

    def nvmlEventSetWait(self, events, milliseconds):
        for gpu in events:
            if gpu.xids:
                return SimpleNamespace(device=gpu, eventData=gpu.xids.pop())
        raise NvmlError(self.NVML_ERROR_TIMEOUT, "Timeout")

    def nvmlEventSetFree(self, events):
        events.clear()


def faults(nvml: FakeNvml, expected: int = 4, **settings) -> list[str]:
    """Results of the failed checks."""
    found = check_gpus(expected, **{"patience": 0, "nvml": nvml, **settings})
    assert nvml.shut_down == nvml.driver
    return [f"{finding.check}: {finding.result}" for finding in found if finding.level == FAIL]


def test_gpus_without_a_fault():
    (finding,) = check_gpus(4, nvml=FakeNvml(ecc=(1, None)))
    assert (finding.level, finding.result) == (OK, "4, no errors")


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        ({"ecc": (2, 7)}, "GPU errors: GPU 2 has 7 uncorrectable ECC errors"),
        ({"remapped": (0, (0, 1, 1, 0))}, "GPU errors: GPU 0 has a row remapping that waits for a reset"),
        ({"remapped": (0, (0, 1, 0, 1))}, "GPU errors: GPU 0 has a failed row remapping"),
        ({"recovery": (3, 2)}, "GPU errors: GPU 3 has an Xid error after which the driver wants a reboot of the node"),
        ({"used": (1, [70 * GIB])}, "GPU memory: 70.0 of 80.0 GiB of GPU 1 are in use by process 4711"),
        ({"lost": (1, True)}, "GPUs: the driver fails: GPU is lost"),
        ({"count": 3}, "GPUs: 3 of 4"),
        ({"driver": False}, "GPUs: none of 4: Driver Not Loaded"),
    ],
)
def test_each_fault_is_named(fault, result):
    assert faults(FakeNvml(**fault)) == [result]


def test_an_xid_error_during_the_work_is_found():
    nvml = FakeNvml()

    def work(count: int) -> list[Finding]:
        assert count == 4
        nvml.gpus[2].xids.append(79)
        return [Finding("GPU all-reduce", FAIL, "failed")]

    assert faults(nvml, work=work) == ["GPU all-reduce: failed", "GPU errors: Xid 79 on GPU 2"]


def test_memory_that_an_earlier_start_is_freeing_is_waited_for():
    assert faults(FakeNvml(used=(0, [70 * GIB, 70 * GIB, GIB])), patience=30) == []


def test_only_the_gpus_of_the_job_count():
    """Slurm names them by number or by UUID; another job's GPU may be full."""
    nvml = FakeNvml(used=(0, [70 * GIB]), uuid=(3, "GPU-3"))
    assert faults(nvml, 2, visible="1,GPU-3") == []
    assert faults(FakeNvml(), 2, visible="1,GPU-9") == ["GPUs: 1 of 2"]


def test_without_gpus_nothing_is_checked(monkeypatch):
    assert check_gpus(0, nvml=FakeNvml(driver=False)) == []
    monkeypatch.setattr("job.doctor.gpu_health.load_nvml", lambda: None)
    assert check_gpus(0) == []
    assert [finding.level for finding in check_gpus(4)] == [WARN]


def test_the_number_of_gpus_follows_the_request():
    assert expected_gpus({"SLURM_GPUS_PER_NODE": "h100:8", "JOB_GPUS": "7"}) == 8
    assert expected_gpus({"SLURM_GPUS_PER_NODE": "4"}) == 4
    assert expected_gpus({"SLURM_GPUS_ON_NODE": "4", "JOB_GPUS": "3"}) == 4
    assert expected_gpus({"JOB_GPUS": "2"}) == 2
    assert expected_gpus({}) == 0
