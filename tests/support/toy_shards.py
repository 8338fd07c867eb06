"""Tiny shards for the tests of the data side."""

import shutil
from pathlib import Path

import pytest

from job.shards.writing.write_shards import write_shards
from tests.support import toy_layout


def make(out, **settings):
    """The toy dataset in 12 training shards of 5 samples."""
    return write_shards(toy_layout.LAYOUT, None, out, **{"shards": 12, "workers": 1, "progress": False, **settings})


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """The folder of the toy shards: not to be written to."""
    out = tmp_path_factory.mktemp("shards") / "toy"
    make(out)
    return out


@pytest.fixture(scope="session")
def made_with_target_labels(tmp_path_factory):
    """The same with the labels of the target kept."""
    out = tmp_path_factory.mktemp("shards") / "toy-labelled"
    make(out, keep_target_labels=True)
    return out


@pytest.fixture
def shards(made, tmp_path):
    """A copy of the toy shards that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "toy"))
