"""The recipes of the image: valid, the same for Docker and Apptainer, and from files that are there."""

import re
import subprocess
from fnmatch import fnmatch

from tests.support.running import REPO

IMAGE = REPO / "slurm" / "image"
INSTRUCTIONS = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "CMD"}
SECTIONS = {"arguments", "files", "post", "test", "help"}


def dockerfile() -> list[tuple[str, str]]:
    """The instructions with their arguments."""
    text = re.sub(r"\\\n", " ", (IMAGE / "Dockerfile").read_text())
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [tuple(line.split(maxsplit=1)) for line in lines]


def definition() -> tuple[dict[str, str], dict[str, list[str]]]:
    """The header and the lines of each section."""
    header, *sections = re.split(r"^%", (IMAGE / "image.def").read_text(), flags=re.M)
    found = {}
    for section in sections:
        name, *lines = section.splitlines()
        found[name] = [line.strip() for line in lines if line.strip()]
    return dict(line.split(": ") for line in header.split("\n") if line), found


def copied() -> list[str]:
    return [word for name, words in dockerfile() if name == "COPY" for word in words.split()[:-1]]


def test_both_recipes_install_the_same():
    header, sections = definition()
    assert header["Bootstrap"] == "docker"
    assert [words for name, words in dockerfile() if name == "FROM"] == [header["From"]]
    assert {name for name, _ in dockerfile()} <= INSTRUCTIONS
    assert set(sections) == SECTIONS
    assert [line.split()[0] for line in sections["files"]] == copied()
    assert all((REPO / name).is_file() for name in copied())
    (run,) = [words for name, words in dockerfile() if name == "RUN"]
    assert run.replace("$PACKAGES", "{{ PACKAGES }}") == sections["post"][-1]


def test_the_build_sees_the_files_that_it_copies():
    rules = (IMAGE / "Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "*"
    assert all(any(fnmatch(name, rule.removeprefix("!")) for rule in rules[1:]) for name in copied())


def test_the_scripts_are_bash_and_the_python_is_the_tested_one():
    subprocess.run(["bash", "-n", IMAGE / "install.sh"], check=True)
    subprocess.run(["bash", "-n"], input="\n".join(definition()[1]["post"]), text=True, check=True)
    version = re.match(r"python:(\d\.\d+)-", definition()[0]["From"])[1]
    assert f"Python {version}:" in (REPO / "constraints.txt").read_text().splitlines()[0]
