"""The process keeps the memory of freed tensors; otherwise the system clears its pages again at every step."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, statistics, torch
from job.system.memory import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    tensors = [torch.ones(40 << 18) for _ in range(4)]  # 40 MiB each, over glibc's own limit (32), freed at the end
def usual():
    counts = []
    for _ in range(11):  # in some the heap still grows, where something small lies in the way
        before = faults()
        use()
        counts.append(faults() - before)
    return statistics.median(counts)
print(usual())
keep_freed_memory()
print(usual())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_step_reuses_memory():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    cleared, kept = map(float, done.stdout.split())
    assert kept < 0.01 * cleared
