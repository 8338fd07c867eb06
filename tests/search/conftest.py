"""A study of fake runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from job.many_runs.launcher import Launcher
from job.search import command
from tests.support.fake_search import fake_trials

SPACE = "optimizer.lr: {low: 0.0001, high: 1, log: true}\n"


@pytest.fixture
def files(small, tmp_path):
    """`files(space, **changes)`: a configuration and a space -> the words of `job search` that name them."""

    def make(space: str = SPACE, **changes: Any) -> list[str]:
        config, path = small(**changes), tmp_path / "small.yaml"
        path.write_text(config.to_yaml())
        (tmp_path / "space.yaml").write_text(space)
        return [str(path), "--space", str(tmp_path / "space.yaml"), "--name", "study"]

    return make


@pytest.fixture
def study(tmp_path) -> Path:
    return tmp_path / "runs" / "study"


@pytest.fixture
def search(job, files, monkeypatch):
    """`search(*words, space=...)` -> exit code, stdout, stderr of `python -m job search` with fake runs."""
    for owner, name in ((Launcher, "_command"), (command, "_check"), (command, "count_gpus")):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # so that they are put back
    fake_trials()

    def call(*words: object, space: str = SPACE, **changes: Any) -> tuple[int, str, str]:
        return job("search", *files(space, **changes), *words)

    return call


@pytest.fixture
def trials(study):
    """`trials()` -> the trials in search.json."""
    return lambda: json.loads((study / "search.json").read_text())["trials"]
