"""Memory of freed tensors stays with the process: the system would clear its pages again for every step."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from job.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    tensors = [torch.ones(16 << 18) for _ in range(4)]  # 16 MiB each, freed at the end
for _ in range(3):
    use()
before = faults()
for _ in range(10):
    use()
print((faults() - before) / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to")
def test_a_step_does_not_ask_the_system_for_memory_again():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
        return float(done.stdout)

    pages = 4 * 16 * 2**20 / 4096
    assert faults("keep") < 0.01 * pages
