"""A run whose folder disappears stops at a step boundary, where the failing checkpoint reports it."""

import shutil
from datetime import timedelta

import pytest

from job.training.stop import Stop


@pytest.mark.parametrize("left", ["nothing", "a file that was written meanwhile"])
def test_a_deleted_run_folder_is_a_reason_to_stop(tmp_path, left):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").touch()
    stop = Stop(folder / "stop", timedelta(seconds=10))
    try:
        assert not stop.agreed()
        stop._looked_at = 0.0  # it looks once a second
        shutil.rmtree(folder)
        if left != "nothing":
            folder.mkdir()
            (folder / "metrics.jsonl").touch()
        assert stop.agreed()
        assert stop.reason == f"{folder} was deleted"
    finally:
        stop.close()
