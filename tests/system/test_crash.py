"""The frames and lines of a traceback."""

import subprocess
import sys

from tests.support.running import REPO

CODE = """
import click
from job.system.crash import scrub_tracebacks
scrub_tracebacks()
def inner(): raise ValueError("a bug")
@click.command()
def command(): inner()
command(CALL)
"""


def stderr(call: str) -> list[str]:
    code = CODE.replace("CALL", call)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_a_traceback_begins_with_the_command_and_not_with_the_command_line():
    lines = stderr("[], standalone_mode=False")
    assert lines[0] == "Traceback (most recent call last):"
    assert [line.rpartition(" in ")[2] for line in lines[1:-1]] == ["command", "inner"]
    assert lines[-1] == "ValueError: a bug"


def test_a_traceback_of_the_command_line_itself_is_whole():
    lines = stderr("['--unknown'], standalone_mode=False")
    assert any("/click/" in line for line in lines)
    assert lines[-1].startswith("click.exceptions.NoSuchOption: ")
