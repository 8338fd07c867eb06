"""The processes that tests fork."""

import os

import pytest

from tests.support.preloaded import call_on_ranks

LARGE = "TEST_LARGE"


def check_environment(rank: int, size: int) -> None:
    assert (os.environ["RANK"], len(os.environ[LARGE])) == (str(rank), size)


@pytest.mark.slow
def test_the_environments_of_several_ranks_may_be_larger_than_a_message(monkeypatch):
    monkeypatch.setenv(LARGE, "x" * 60_000)
    call_on_ranks(check_environment, 60_000, ranks=4)
