"""Rows on a disk that fills up, and in a folder that disappears."""

import errno
import io

import pytest

from job.run_folder import metrics_file
from job.run_folder.metrics_file import MetricsFile, read_metrics


class Full(io.FileIO):
    """Takes a few bytes and then says that the disk is full, as a nearly full disk does."""

    taken = 0

    def write(self, data):
        if Full.taken:
            raise OSError(errno.ENOSPC, "No space left on device", self.name)
        Full.taken = super().write(data[:7])
        return Full.taken


def test_a_row_that_did_not_fit_is_written_once_later(tmp_path, monkeypatch):
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    file.write({"trainer/step": 1, "a": 0.5})
    with monkeypatch.context() as patch:
        patch.setattr(metrics_file, "open", lambda path, mode, buffering: Full(path, mode), raising=False)
        with pytest.raises(OSError, match="No space"):
            file.write({"trainer/step": 2, "a": 0.5})
    assert [row["trainer/step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1]
    assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b"}\n")
    file.write({"trainer/step": 3, "a": 0.5})
    assert [row["trainer/step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_a_deleted_file_is_not_created_again(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl", 0)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(FileNotFoundError):
        file.write({"trainer/step": 1})
    assert not list(tmp_path.iterdir())
