"""The garbage collector rests while libraries are imported, and at the end of a process."""

import gc
import subprocess
import sys

from job.system.garbage_pause import imports_without_collection
from tests.support.running import REPO

GARBAGE = """
from job.system.garbage_pause import exit_without_collection
class Node:
    def __init__(self): self.itself = self
    def __del__(self): print("collected")
Node()
"""


def test_what_is_imported_is_not_collected_then_or_later():
    assert gc.isenabled()
    try:
        with imports_without_collection():
            assert not gc.isenabled()
            made = [[]]
        assert gc.isenabled()
        assert not any(one is made for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_process_ends_without_collecting():
    def output(end: str) -> str:
        command = [sys.executable, "-c", GARBAGE + end]
        return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True).stdout

    assert output("") == "collected\n"
    assert output("exit_without_collection()") == ""
