"""What clusters do to a run. One job on two nodes goes through all of it, one test after the other.

Every test leaves the job running again, and finds its losses equal, bit for bit, to those of a run that was left alone.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import time

import pytest

from tests.support.running import assert_same_weights, finish, rows, start, weights
from tests.support.slurm_cluster import Job, signal_all
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slurm, pytest.mark.slow]
STEPS = 400
NODES = ("node1", "node2")
TRAIN = {"steps": STEPS, "eval_every": 10 * STEPS, "checkpoint_every": 10}
EXACT = ("train/class_loss", "train/domain_loss", "domain/reversed_gradient_norm")


class Run:
    """A job and what its run folder says. Its ranks stand still between tests, so that it is not over too early."""

    def __init__(self, job: Job, config) -> None:
        self.job, self.config = job, config
        self._frozen: list[int] = []

    def step(self) -> int:
        with contextlib.suppress(OSError, IndexError, ValueError):
            return rows(self.config)[-1]["trainer/step"]
        return 0

    def checkpoint(self) -> str:
        return os.path.realpath(self.config.run_folder / "checkpoints" / "latest")

    def starts(self) -> int:
        """How many times training began or went on."""
        return len(re.findall(r"resuming from step|starting /", self.job.output()))

    def stops(self) -> int:
        """How many times the job saved and queued itself again."""
        return len(re.findall(r"stopped after step_\d+; queued again", self.job.output()))

    def goes_on(self, starts: int, steps: int = 8) -> None:
        """Wait until training began `starts` times and some further steps are done, and let it stand still there."""
        eventually(
            lambda: self.starts() >= starts,
            lambda: f"start {starts}; {self.job.show()}\n{self.job.output()[-4000:]}",
            seconds=240,
        )
        end = self.step() + steps
        assert end < STEPS, "the run is over too early: it needs more steps"
        ranks = [pid for node in NODES for pid in self.job.cluster.ranks(node)]
        eventually(lambda: self.step() >= end, lambda: f"step {end}\n{self.job.output()[-4000:]}")
        self._frozen = ranks
        signal_all(ranks, signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(self._frozen, signal.SIGCONT)
        self._frozen = []

    @contextlib.contextmanager
    def restart_in_place(self):
        """What happens in here makes the job's script start the ranks again, without Slurm."""
        starts, shown = self.starts(), self.job.show()
        yield
        self.thaw()
        self.goes_on(starts + 1, steps=12)  # with a new checkpoint
        now = self.job.show()
        assert [now[key] for key in ("Restarts", "StartTime")] == [shown[key] for key in ("Restarts", "StartTime")]

    @contextlib.contextmanager
    def restart(self):
        """What happens in here makes Slurm start the job once more, from no earlier a step than before."""
        starts, restarts, checkpoint = self.starts(), self.job.restarts, self.checkpoint()
        yield
        self.thaw()
        self.goes_on(starts + 1)
        assert self.job.restarts == restarts + 1
        assert self.checkpoint() >= checkpoint


@pytest.fixture(scope="module")
def undisturbed(on_slurm, tmp_path_factory):
    """The same run on two ranks without Slurm."""
    config, _ = on_slurm(name="undisturbed", train=TRAIN)
    finish(start(config, tmp_path_factory.mktemp("undisturbed"), ranks=2))
    return config


@pytest.fixture(scope="module")
def run(cluster, on_slurm, undisturbed):
    config, path = on_slurm(
        name="disturbed", output=str(cluster.disk), data={"record_keys": False}, train=TRAIN, wandb={"mode": "offline"}
    )
    job = cluster.submit("--nodes=2", "--signal=B:USR1@60", "slurm/train.sbatch", path, "name=disturbed", JOB_RANKS="1")
    run = Run(job, config)
    run.goes_on(1, steps=12)
    yield run
    cluster.call("scancel", "--full", "--signal=KILL", job.number, check=False)


@pytest.fixture(autouse=True)
def _same_losses_as_undisturbed(run, undisturbed):
    yield
    so_far, whole = rows(run.config), rows(undisturbed)
    assert [row["trainer/step"] for row in so_far] == list(range(1, len(so_far) + 1))
    for row, other in zip(so_far, whole, strict=False):
        assert [row[name] for name in EXACT] == [other[name] for name in EXACT], row["trainer/step"]


def test_one_worker_is_killed(cluster, run):
    with run.restart_in_place():
        (pid,) = cluster.ranks("node2")
        os.kill(pid, signal.SIGKILL)
    why = r"crashed \(.*rank \d on node\d.*\); restarted in place \(1 of at most 10\)$"
    assert re.search(f"^== {why}", run.job.output(), re.MULTILINE)
    assert re.search(f": {why}", (run.config.run_folder / "restarts.log").read_text())
    assert "resumed after a crash or a kill: " in (run.config.run_folder / "log.txt").read_text()


def test_the_launcher_of_one_node_is_killed(cluster, run):
    """Its rank ends with it; the other node's may hold the lock of the run folder for a while."""
    with run.restart_in_place():
        (pid,) = cluster.ranks("node1")
        launcher = int(cluster.call("ps", "-o", "ppid=", "-p", pid).stdout)
        os.kill(launcher, signal.SIGKILL)
    # the launcher, or what the other rank saw first: its connection to the store in the launcher, or to the rank
    why = r"crashed \((.* on node1.*|lost another rank \(rank 1 on node2: .*)\); restarted in place \(2 of"
    assert re.search(f"^== {why}", run.job.output(), re.MULTILINE)
    assert "(restart in place 2)" in (run.config.run_folder / "log.txt").read_text()


def test_scancel_signal_term(cluster, run):
    stops, before = run.stops(), len(run.job.output())
    with run.restart():
        cluster.call("scancel", "--signal=TERM", run.job.number)
    assert run.stops() == stops + 1
    told = run.job.output()[before:]
    assert "Traceback" not in told
    ending = told[: told.index("queued again")].splitlines()
    assert len([line for line in ending if not re.search(r" step \d+/", line)]) <= 8, told


def test_scontrol_requeue_and_scancel_signal_term_while_it_starts(cluster, run):
    starts, restarts = run.starts(), run.job.restarts
    cluster.call("scontrol", "requeue", run.job.number)
    run.thaw()
    eventually(
        lambda: run.job.restarts == restarts + 1 and run.job.state == "RUNNING" and cluster.ranks("node2"),
        lambda: run.job.output()[-4000:],
    )
    assert run.starts() == starts
    cluster.call("scancel", "--signal=TERM", run.job.number)
    run.goes_on(starts + 1)
    assert run.job.restarts == restarts + 2
    assert "stopped before it could save; queued again" in run.job.output()


def test_preemption_by_a_higher_partition(cluster, run):
    with run.restart():
        urgent = cluster.submit("--nodes=2", "--partition=urgent", "--wrap=true")
        eventually(lambda: run.job.state != "RUNNING", "preemption")
        run.thaw()
        urgent.wait()
        assert urgent.state == "COMPLETED"


def test_the_link_of_one_node_is_cut_for_30_seconds(cluster, run):
    starts, before = run.starts(), run.step()
    cluster.node("node2", "cut")
    run.thaw()
    time.sleep(30)
    assert run.step() < before + 8, "the link was not cut"
    cluster.node("node2", "mend")
    run.goes_on(starts)
    assert run.starts() == starts


def test_the_shared_folder_is_full_at_a_checkpoint_and_freed_later(cluster, run):
    with run.restart():
        filler = cluster.disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(cluster.disk).free - 64 * 1024))
        run.thaw()
        assert run.job.wait() == 2
        last = run.job.output().splitlines()[-1]
        assert re.match(
            r"error: cannot write the checkpoint of step \d+ .* No space left on device; the last good", last
        )
        filler.unlink()
        cluster.call("scontrol", "requeue", run.job.number)


def test_the_time_limit_is_near(cluster, run):
    stops = run.stops()
    with run.restart():
        minutes = 1 + (run.job.seconds() + 45) // 60
        cluster.call("scontrol", "update", f"JobId={run.job.number}", f"TimeLimit={minutes}")
        eventually((run.config.run_folder / "stop").exists, "the stop file", seconds=120)
        run.thaw()
        eventually(lambda: run.job.state != "RUNNING", "end of this start")
        cluster.call("scontrol", "update", f"JobId={run.job.number}", "TimeLimit=UNLIMITED")
    assert run.stops() == stops + 1
    assert "preempted or stopped: the time limit is near; " in (run.config.run_folder / "log.txt").read_text()


def test_a_node_is_lost_and_returns(cluster, run):
    settings = cluster.folder / "slurm.conf"
    text = settings.read_text()
    settings.write_text(re.sub("SlurmdTimeout=.*", "SlurmdTimeout=15", text))
    cluster.call("scontrol", "reconfigure")
    with run.restart():
        cluster.node("node2", "kill")
        eventually(lambda: "down" in cluster.call("sinfo", "-h", "-n", "node2", "-o", "%t").stdout, "node2 down")
        run.thaw()
        eventually(lambda: run.job.state == "PENDING", lambda: str(run.job.show()))
        cluster.node("node2", "start")
    assert "resumed after a crash or a kill: " in (run.config.run_folder / "log.txt").read_text()
    settings.write_text(text)
    cluster.call("scontrol", "reconfigure")


def test_in_the_end_it_has_the_weights_of_an_undisturbed_run_and_one_wandb_id(run, undisturbed):
    run.thaw()
    assert run.job.wait() == 0, run.job.output()
    assert len(rows(run.config)) == STEPS
    assert_same_weights(weights(run.config), weights(undisturbed))
    folder = run.config.run_folder
    segments = {path.name.rpartition("-")[2] for path in (folder / "wandb").glob("offline-run-*")}
    meta = json.loads((folder / "checkpoints" / "latest" / "meta.json").read_text())
    assert segments == {meta["wandb_id"]} == {(folder / "wandb" / "run_id").read_text()}
    assert not (folder / "stop").exists()
