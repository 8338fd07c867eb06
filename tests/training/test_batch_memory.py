"""A batch that no machine can hold is refused before anything is allocated."""

import pytest

from job.config.load import build_config
from job.system.errors import JobError
from job.training.batch_memory import check_batch_memory


def test_a_batch_beyond_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"total": 8 * 2**30}))
    config = build_config({"data": {"global_batch_size": 1_000_000}}, "test")
    with pytest.raises(JobError, match="needs 51 GiB for the images of a rank, and this machine has 8: lower one"):
        check_batch_memory(config, size=32, domains=2, ranks=1)
    check_batch_memory(config, size=32, domains=2, ranks=16)  # each holds its part
    check_batch_memory(build_config({}, "test"), size=224, domains=2, ranks=1)
