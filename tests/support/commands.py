"""The command line in this process, as a fixture."""

import sys

import pytest

from job.__main__ import run


@pytest.fixture
def job(monkeypatch, capfd):
    """`job("train", "--config", path)` -> exit code, stdout, stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["job", *map(str, words)])
        code = run()
        return code, *capfd.readouterr()

    return call
