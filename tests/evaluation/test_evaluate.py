"""What an evaluation is asked to do reaches the reader of the shards."""

import pytest

from job.evaluation import evaluate as module
from job.train import train


@pytest.mark.parametrize("threads", [1, 3])
def test_the_threads_of_the_configuration_decode_in_an_evaluation_too(small, monkeypatch, threads):
    used = []

    def read_split(*args, real=module.read_split, **settings):
        used.append(settings["threads"])
        return real(*args, **settings)

    monkeypatch.setattr(module, "read_split", read_split)
    assert train(small(train={"steps": 1}, data={"threads": threads})) == 0
    assert set(used) == {threads}
