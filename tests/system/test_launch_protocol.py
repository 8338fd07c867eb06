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


SOURCE = "/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561"
GONE = RuntimeError(f"[{SOURCE}] Connection closed by peer [127.0.0.1]:46303. This is typical. More.")


def test_a_loss_of_another_rank_gives_way_to_the_cause(status):
    lost = report_crash(GONE)
    assert lost.startswith("lost another rank (rank 1 on node2: Connection closed by peer; rank 0 is lost): the mess")
    assert status.read_text() == f"1\n{lost}\n"
    report_exit(1, "rank 0 on node1 was killed by SIGKILL")
    assert status.read_text() == "1\nrank 0 on node1 was killed by SIGKILL\n"


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (f"[{SOURCE}] Connection closed by peer [10.1.0.7]:46303", "Connection closed by peer 10.1.0.7"),
        (f"[{SOURCE}] Connection closed by peer [fe80::5:1]:46303", "Connection closed by peer fe80::5:1"),
        (f"[{SOURCE}] Connection closed by peer [::ffff:127.0.0.1]:46303", "Connection closed by peer"),
        (f"[{SOURCE}] Connection closed by peer [::ffff:10.1.0.7]:46303", "Connection closed by peer 10.1.0.7"),
        (f"[{SOURCE}] Timed out waiting 60000ms for recv operation", "Timed out waiting 60000ms for recv operation"),
        (
            "NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3690, remote process exited or "
            "there was a network error, NCCL version 2.27.5",
            "NCCL error: remote process exited or there was a network error, NCCL version 2.27.5",
        ),
    ],
)
def test_the_message_of_torch_has_no_path_of_its_source(status, monkeypatch, message, says):
    monkeypatch.setenv("JOB_EXPECTED_RANKS", "3")
    lost = report_crash(RuntimeError(message))
    assert lost.startswith(f"lost another rank (rank 1 on node2: {says}): the message of the lost rank")


@pytest.mark.parametrize("first", [(1, "rank 0 on node1: ValueError: x"), (2, "no shards"), (75, "")])
def test_a_crash_replaces_nothing_else(status, first):
    report_exit(*first)
    before = status.read_text()
    report_crash(GONE)
    assert report_crash(ValueError("later")) is None
    assert status.read_text() == before


@pytest.mark.parametrize("message", ["Timed out waiting 60000ms for recv", "wait timeout after 60000ms"])
def test_after_a_timeout_the_other_rank_may_be_slow(status, message):
    assert report_crash(RuntimeError(f"[{SOURCE}] {message}")).startswith(
        f"lost another rank (rank 1 on node2: {message}; rank 0 does not answer): the message of the lost rank"
    )


def test_bad_input_replaces_a_crash(status):
    assert report_crash(ValueError("first\nsecond")) is None
    assert status.read_text() == "1\nrank 1 on node2: ValueError: first\n"
    report_exit(2, "no shards")
    assert status.read_text() == "2\nno shards\n"


def test_a_single_rank_has_no_other_to_lose(status, monkeypatch):
    monkeypatch.setenv("JOB_EXPECTED_RANKS", "1")
    assert report_crash(GONE) is None
    assert status.read_text().startswith("1\nrank 1 on node2: RuntimeError: Connection closed")
