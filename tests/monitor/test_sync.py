"""launch/sync.sh against a fake server: each row is uploaded once, in order, however often it is called."""

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fake_wandb import FakeWandb
from tests.support.running import REPO
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow
KEY = "0123456789abcdef0123456789abcdef01234567"
RECORD = """
import sys, wandb
folder, first = sys.argv[1], int(sys.argv[2])
settings = wandb.Settings(silent=True, x_transaction_log_flush_interval=0.2)
run = wandb.init(dir=folder, id="abc", resume="allow", mode="offline", project="p", settings=settings)
for step in range(first, first + 5):
    run.log({"trainer/step": step})
sys.stdin.read()
"""


def record(folder: Path, first: int) -> subprocess.Popen:
    """Start a process that writes a segment of five steps and exits when its stdin is closed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    command = [sys.executable, "-c", RECORD, str(folder), str(first)]
    return subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.PIPE)


def sync(server: FakeWandb, *arguments) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "0.5"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    command = [str(REPO / "launch" / "sync.sh"), *map(str, arguments)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, cwd=arguments[-1].parent
    )


def steps(server: FakeWandb) -> list[int]:
    return [row["trainer/step"] for row in server.history if "trainer/step" in row]


@pytest.fixture
def run(tmp_path) -> Path:
    """Write a run folder with two finished segments."""
    folder = tmp_path / "run"
    (folder / "wandb").mkdir(parents=True)
    for first in (1, 6):
        process = record(folder, first)
        process.stdin.close()
        assert process.wait(300) == 0
        time.sleep(1.01 - time.time() % 1)  # names of segments differ by the second
    (folder / "status.json").write_text(json.dumps({"status": "finished"}))
    return folder


def test_finished_segments_are_uploaded_once(run):
    with FakeWandb() as server:
        first = sync(server, run)
        assert first.returncode == 0, first.stderr
        assert steps(server) == list(range(1, 11))
        again = sync(server, run)
        assert again.returncode == 0
        assert steps(server) == list(range(1, 11))
        assert KEY not in first.stdout + first.stderr


def test_unfinished_segment_is_skipped_or_followed_with_live(run):
    (run / "status.json").write_text(json.dumps({"status": "running"}))
    process = record(run, 11)
    try:
        eventually(lambda: len(list((run / "wandb").glob("offline-run-*/*.wandb"))) == 3, seconds=240)
        with FakeWandb() as server:
            first = sync(server, run)
            assert (
                "is still running: its newest segment is uploaded when it has ended, or now with --live" in first.stdout
            )
            assert steps(server) == list(range(1, 11))
            assert process.poll() is None
            with ThreadPoolExecutor(1) as pool:
                following = pool.submit(sync, server, "--live", run)
                eventually(lambda: 15 in steps(server) or following.done(), seconds=240)
                process.stdin.close()
                live = following.result()
            assert live.returncode == 0, live.stderr
            assert steps(server) == list(range(1, 16))
            assert sync(server, run).returncode == 0
            assert steps(server) == list(range(1, 16))
    finally:
        process.kill()
        process.wait()


def test_sync_can_be_repeated_after_a_failure(run):
    with FakeWandb(refuse=True) as refusing:
        assert sync(refusing, run).returncode == 1
    with FakeWandb() as server:
        assert sync(server, run).returncode == 0
        assert steps(server) == list(range(1, 11))


def test_folder_that_is_not_a_run_is_rejected(tmp_path):
    with FakeWandb() as server:
        done = sync(server, tmp_path)
    assert done.returncode == 2
    assert "give run folders such as runs/NAME" in done.stderr


def test_folders_that_are_not_runs_do_not_block_the_runs_after_them(run):
    """`launch/sync.sh runs/*` may include a comparison beside its runs."""
    comparison, other = run.parent / "a-comparison", run.parent / "b"
    for folder in (comparison, other):
        folder.mkdir()
    (comparison / "comparison.json").write_text("{}")
    with FakeWandb() as server:
        assert sync(server, comparison, run).returncode == 0
        assert steps(server) == list(range(1, 11))
        assert sync(server, comparison, other, run).returncode == 2
