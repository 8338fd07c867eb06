"""What is set up before ranks meet."""

import os

import pytest

from job.training import distributed


@pytest.mark.parametrize("works", [True, False])
def test_consumer_gpus_with_an_old_driver_start_without_p2p(monkeypatch, works):
    """Accelerate ends with NotImplementedError where srun starts each rank."""
    monkeypatch.setattr(distributed, "check_cuda_p2p_ib_support", lambda: works)
    monkeypatch.delenv("NCCL_P2P_DISABLE", raising=False)
    monkeypatch.setenv("NCCL_IB_DISABLE", "0")  # the user's own choice
    distributed.avoid_broken_p2p()
    assert (os.environ.get("NCCL_P2P_DISABLE"), os.environ["NCCL_IB_DISABLE"]) == (None if works else "1", "0")
