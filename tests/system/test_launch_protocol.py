"""Which rank's message is reported when several fail."""

import pytest

from job.system.launch_protocol import report_crash, report_exit


@pytest.fixture
def status(tmp_path, monkeypatch):
    path = tmp_path / "status"
    monkeypatch.setenv("JOB_STATUS_FILE", str(path))
    monkeypatch.setenv("JOB_EXPECTED_RANKS", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("socket.gethostname", lambda: "node2")
    return path


GONE = RuntimeError("[/pytorch/pair.cc:561] Connection closed by peer [127.0.0.1]:46303. This is typical. More.")


def test_a_loss_of_another_rank_gives_way_to_the_cause(status):
    lost = report_crash(GONE)
    assert (
        lost
        == "lost another rank (rank 1 on node2: [/pytorch/pair.cc:561] Connection closed by peer [127.0.0.1]:46303)"
    )
    assert status.read_text() == f"1\n{lost}\n"
    report_exit(1, "rank 0 on node1 was killed by SIGKILL")
    assert status.read_text() == "1\nrank 0 on node1 was killed by SIGKILL\n"


@pytest.mark.parametrize("first", [(1, "rank 0 on node1: ValueError: x"), (2, "no shards"), (75, "")])
def test_a_crash_replaces_nothing_else(status, first):
    report_exit(*first)
    before = status.read_text()
    report_crash(GONE)
    assert report_crash(ValueError("later")) is None
    assert status.read_text() == before


def test_bad_input_replaces_a_crash(status):
    assert report_crash(ValueError("first\nsecond")) is None
    assert status.read_text() == "1\nrank 1 on node2: ValueError: first\n"
    report_exit(2, "no shards")
    assert status.read_text() == "2\nno shards\n"


def test_a_single_rank_has_no_other_to_lose(status, monkeypatch):
    monkeypatch.setenv("JOB_EXPECTED_RANKS", "1")
    assert report_crash(GONE) is None
    assert status.read_text().startswith("1\nrank 1 on node2: RuntimeError: [/pytorch")
