"""W&B online and offline; its failures must not affect training."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from job.monitor.recorder import Recorder
from job.monitor.wandb.key import mode, run_id
from job.monitor.wandb.node import NodeMonitor
from job.monitor.wandb.run import tags
from job.run_folder.metrics_file import MetricsFile
from job.system.log import close_log, set_up_log
from job.train import train
from tests.support.fake_wandb import FakeWandb
from tests.support.running import REPO, finish, kill_at, rows, start
from tests.support.waiting import while_running

KEY = "0123456789abcdef0123456789abcdef01234567"
SHORT = {"train": {"steps": 8, "eval_every": 4, "timeout_seconds": 1200}}  # figures may take a quarter of the timeout
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def isolated_wandb(monkeypatch, tmp_path):
    """Isolate W&B: no key, URL or mode from the environment, and no service process of another test."""
    import wandb

    with contextlib.suppress(OSError):
        wandb.teardown()
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB__SERVICE_WAIT", "240")
    monkeypatch.setattr(wandb, "init", partial(patient_init, wandb.init))
    yield
    with contextlib.suppress(OSError):  # a test may have killed the service
        wandb.teardown()


def patient_init(init, *, settings, **words):
    """Start a run, with more time than the job allows, unless no server may answer: W&B's service may be slow."""
    if words["mode"] == "offline" or "refused" not in words["name"]:
        settings.init_timeout = 240
    return init(settings=settings, **words)


def online(monkeypatch, url: str) -> dict:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", url)
    return {"mode": "auto"}


def wandb_warnings(config) -> list[str]:
    """Return the W&B warnings in the log."""
    lines = (config.run_folder / "log.txt").read_text().splitlines()
    return [line for line in lines if "W&B" in line and "run id" not in line]


def inspect(segment: Path) -> list[dict]:
    command = [str(Path(sys.prefix) / "bin" / "wandb"), "leet", "inspect", "--json", str(segment)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]  # no NaN, no Infinity


def history(records: list[dict]) -> list[dict]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def on_disk(config, step: int) -> bool:
    """Whether W&B's service has written a step of a run that goes on."""
    entry = b"trainer/step\x82\x01\x02%d" % step  # in protobuf: `inspect` takes a second
    return any(entry in path.read_bytes() for path in (config.run_folder / "wandb").glob("offline-run-*/*.wandb"))


def segments(config) -> list[Path]:
    return sorted((config.run_folder / "wandb").glob("offline-run-*"))


def test_online_run_sends_all_metrics_and_no_key(small, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    with FakeWandb() as server:
        wandb = online(monkeypatch, server.url) | {"tags": ["mine"], "notes": "a note"}
        config = small(name="online", wandb=wandb, evaluation={"figures": True, "pictures": 4}, **SHORT)
        assert train(config) == 0
    sent = {name for row in server.history for name in row}
    assert not set().union(*rows(config)) - sent
    assert {"figures/confusion_source", "oracle/confusion_target", "figures/target_face_table"} <= sent
    assert all("trainer/step" in row for row in server.history)
    assert wandb_warnings(config) == []
    for word in ('"groupName":"dann"', '"jobType":"train"', "slurm-4711", "mine", "a note", "Slurm job 4711"):
        assert word in server.text, word
    assert KEY not in server.text


@pytest.mark.parametrize("trouble", ["wrong key", "malformed key", "no server"])
def test_run_is_recorded_offline_if_the_server_refuses_it(small, monkeypatch, trouble):
    with FakeWandb(refuse=True) as server:
        wandb = online(monkeypatch, "http://127.0.0.1:9" if trouble == "no server" else server.url)
        if trouble == "malformed key":
            monkeypatch.setenv("WANDB_API_KEY", "too-short-a-key")
        config = small(name="refused", wandb=wandb, train={**SHORT["train"], "timeout_seconds": 30})
        assert train(config) == 0
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, 9))
    (line,) = wandb_warnings(config)
    assert "recording offline; upload later with launch/sync.sh" in line
    assert KEY not in (config.run_folder / "log.txt").read_text()
    assert [row["trainer/step"] for row in history(inspect(segments(config)[0]))] == list(range(1, 9))


def test_tags_name_the_method_with_and_without_its_terms(small):
    config = small(objective={"also": [{"name": "mcc"}]}, wandb={"tags": ["mine"]})
    assert tags(config) == ["mine", "dann", "dann+mcc", "compact"]
    assert tags(small()) == ["dann", "compact"]


def recorder_of(config) -> Recorder:
    config.run_folder.mkdir(parents=True, exist_ok=True)
    set_up_log(config.run_folder, main=True)
    return Recorder(config, config.run_folder, MetricsFile(config.run_folder / "metrics.jsonl", 0), None, {})


def log_steps(recorder: Recorder, first: int, last: int) -> None:
    for step in range(first, last + 1):
        recorder.log(step, {"train/class_loss": 1 / step})
        time.sleep(0.02)


def check_complete(config, steps: int) -> None:
    close_log()
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, steps + 1))
    assert len(wandb_warnings(config)) == 1, wandb_warnings(config)


def test_network_fails_during_the_run(small, monkeypatch):
    with FakeWandb() as server:
        config = small(name="cut", wandb=online(monkeypatch, server.url), train={"timeout_seconds": 12})
        recorder = recorder_of(config)
        log_steps(recorder, 1, 10)
        server.cut()
        log_steps(recorder, 11, 30)
        began = time.monotonic()
        recorder.close(0)
        assert time.monotonic() - began < 120  # the other ranks wait
    check_complete(config, 30)
    assert "upload it with launch/sync.sh" in wandb_warnings(config)[0]


def test_service_process_dies(small):
    config = small(name="dead", wandb={"mode": "offline"})
    recorder = recorder_of(config)
    log_steps(recorder, 1, 5)
    process = service()
    os.kill(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # somebody else has waited for it
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    steps, deadline = 5, time.monotonic() + 120
    while not wandb_warnings(config):
        assert time.monotonic() < deadline
        steps += 1
        log_steps(recorder, steps, steps)
    log_steps(recorder, steps + 1, steps + 5)
    recorder.close(0)
    check_complete(config, steps + 5)
    assert "training continues without it" in wandb_warnings(config)[0]


def service() -> int:
    """Return the process id of the wandb-core that this process started."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[1]) == os.getpid() and b"wandb-core" in (folder / "cmdline").read_bytes():
                return int(folder.name)
        except OSError:
            continue
    raise AssertionError("no service process")


@pytest.mark.parametrize("when", ["from the start", "in the middle"])
def test_disk_of_the_wandb_folder_is_full(small, tmp_path, monkeypatch, when):
    monkeypatch.setenv("WANDB__TRANSACTION_LOG_FLUSH_INTERVAL", "0.1")
    monkeypatch.setattr("job.monitor.wandb.run.LOOK_EVERY", 0.0)
    config = small(name="full", wandb={"mode": "offline"})
    disk = config.run_folder / "wandb"
    disk.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        if when == "from the start":
            fill(disk)
        recorder = recorder_of(config)
        log_steps(recorder, 1, 10)
        if when == "in the middle":
            fill(disk)
        log_steps(recorder, 11, 40)
        recorder.close(0)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    close_log()
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, 41))
    assert 1 <= len(wandb_warnings(config)) <= (2 if when == "from the start" else 1), wandb_warnings(config)


def fill(disk: Path) -> None:
    with open(disk / "filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass


def test_one_id_and_every_metric_over_three_segments_after_two_kills(small, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB__TRANSACTION_LOG_FLUSH_INTERVAL", "0.05")
    config = small(
        name="killed", wandb={"mode": "offline"}, train={"steps": 60, "checkpoint_every": 5, "eval_every": 8}
    )
    for step in (20, 40):
        kill_at(config, tmp_path, step, when=lambda step=step: on_disk(config, step))
    finish(start(config, tmp_path))
    parts = segments(config)
    identity = (config.run_folder / "wandb" / "run_id").read_text()
    assert len(parts) == 3
    records = [inspect(part) for part in parts]
    histories = [history(part) for part in records]
    for part in records:
        (run,) = [record["run"] for record in part if record["type"] == "run"]
        assert run["run_id"] == identity
        axes = {
            record["metric"].get("glob_name"): record["metric"].get("step_metric")
            for record in part
            if record["type"] == "metric"
        }
        assert axes["*"] == "trainer/step"
    logged = [[row["trainer/step"] for row in part] for part in histories]
    assert all(steps == list(range(steps[0], steps[-1] + 1)) for steps in logged)  # no step twice or missing
    assert logged[0][0] == 1
    assert logged[-1][-1] == 60
    assert all(later[0] <= earlier[-1] + 6 for earlier, later in itertools.pairwise(logged))
    expected = set().union(*rows(config))
    assert not expected - {name for part in histories for row in part for name in row}
    assert [row["trainer/step"] for row in rows(config)] == list(range(1, 61))


def test_offline_run_contains_artifacts_alerts_and_figures(small):
    config = small(
        name="rich", wandb={"mode": "offline"}, evaluation={"figures": True, "pictures": 4}, train=SHORT["train"]
    )
    config.run_folder.mkdir(parents=True)
    (config.run_folder / "stop").touch()
    assert train(config) == 75
    assert train(config) == 0
    first, second = (inspect(segment) for segment in segments(config))
    alerts = [record["alert"]["title"] for part in (first, second) for record in part if record["type"] == "alert"]
    assert alerts == ["preempted or stopped", "preempted and resumed"]
    artifacts = {r["artifact"]["type"]: r["artifact"] for r in second if r["type"] == "artifact"}
    assert {"model", "dataset"} <= set(artifacts)
    model = artifacts["model"]
    assert {entry["path"] for entry in model["manifest"]["contents"]} == {"model.safetensors", "meta.json"}
    assert "best" in model["aliases"]
    metadata = json.loads(model["metadata"])
    assert {"step", "scores", "manifest", "class_names"} <= set(metadata)
    for entry in model["manifest"]["contents"]:
        assert Path(entry["local_path"]).is_file()  # for a later sync
    names = {name for row in history(second) for name in row}
    assert any(name.startswith("figures/features_by_emotion") for name in names)
    assert any(name.startswith("oracle/confusion_target") for name in names)


def test_modes(small, monkeypatch, tmp_path):
    settings = small().wandb.model_copy(update={"mode": "auto"})
    assert mode(settings) == "offline"
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai\n login user\n password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert mode(settings) == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "http://elsewhere.example")
    assert mode(settings) == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode(settings) == "disabled"


def test_run_id_of_the_folder_precedes_that_of_the_checkpoint(tmp_path):
    assert run_id(tmp_path / "a", "from-checkpoint") == "from-checkpoint"
    assert run_id(tmp_path / "a", "another") == "from-checkpoint"
    assert run_id(tmp_path / "b", None) == run_id(tmp_path / "b", None)


SECOND_NODE = """
import os, platform, sys, time
platform.node = lambda: "second-node"
from job.config.load import load_config
from job.monitor.wandb.node import NodeMonitor
from job.monitor.wandb.run import tags

class Accelerator:
    is_main_process, is_local_main_process = False, True

node = NodeMonitor(load_config(sys.argv[1]), Accelerator(), sys.argv[2], "online")
assert (node._run is not None) == (sys.argv[3] == "first")
if sys.argv[3] != "first":
    sys.exit()
end = time.monotonic() + 300
while not os.path.exists("{seen}") and time.monotonic() < end:
    time.sleep(0.05)
node.close()
"""


def test_each_node_sends_system_metrics_under_its_name(small, monkeypatch, tmp_path):
    """A process with another host name acts as the second node and joins the run of the main rank."""
    monkeypatch.setenv("WANDB__STATS_SAMPLING_INTERVAL", "0.5")
    monkeypatch.setenv("WANDB__FILE_STREAM_TRANSMIT_INTERVAL", "0.5")
    with FakeWandb() as server:
        wandb = online(monkeypatch, server.url) | {"every_node": True}
        config = small(name="nodes", wandb=wandb, train={"timeout_seconds": 1200})
        recorder = recorder_of(config)
        log_steps(recorder, 1, 3)
        (tmp_path / "c.yaml").write_text(config.to_yaml())
        program = SECOND_NODE.replace("{seen}", str(tmp_path / "seen"))
        command = [sys.executable, "-c", program, str(tmp_path / "c.yaml"), recorder.wandb_id]
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        first = subprocess.Popen([*command, "first"], cwd=REPO, env=environment)
        while_running(first, lambda: "/l:second-node" in server.text, 240)  # the label of the metrics of a node
        (tmp_path / "seen").touch()
        assert first.wait(240) == 0
        # one task per GPU that sees only this GPU: LOCAL_RANK is 0 in each task
        environment["SLURM_LOCALID"] = "1"
        subprocess.run([*command, "another"], check=True, cwd=REPO, env=environment, timeout=300)
        recorder.close(0)
    close_log()
    assert wandb_warnings(config) == []
    assert sorted(row["trainer/step"] for row in server.history if "trainer/step" in row) == [1, 2, 3]


def test_node_monitor_is_off_by_default(small):
    node = NodeMonitor(small(), None, None, "online")
    node.close()
