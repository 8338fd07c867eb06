"""Every message shortens errors with first_line."""

import re

from job.system.errors import first_line
from job.system.secrets import brief
from tests.support.running import REPO


def test_first_line_skips_blank_lines():
    assert first_line(ValueError("\n  \nwhat happened \nwhere\n")) == "what happened"
    assert first_line("one\ntwo") == "one"


def test_first_line_of_an_empty_message_is_the_type():
    assert first_line(ValueError()) == "ValueError"
    assert brief(ValueError()) == "ValueError"
    assert brief(ValueError("a\nb")) == "ValueError: a"
    assert first_line("") == ""


def test_no_module_shortens_errors_itself():
    copies = re.compile(r"(?:str\(\w*err\w*\)|str\(e\))\S*\.(?:splitlines\(\)|split\(.\\n.\))")
    found = [
        f"{path.relative_to(REPO)}:{number}"
        for path in sorted((REPO / "job").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if copies.search(line) and path.name != "text.py"
    ]
    assert not found, f"use first_line of job.system.errors: {', '.join(found)}"
