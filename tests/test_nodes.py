"""What slurm/nodes.sh does with the results of the pre-flight. Slurm's commands are fakes here."""

import subprocess
from pathlib import Path

import pytest

from tests.support.running import REPO

COMMANDS = {
    # a step fails on all nodes if one of them cannot be reached
    "srun": """
for word in "$@"; do [[ $word != --nodelist=* ]] || IFS=, read -ra hosts <<<"${word#*=}"; done
echo "${hosts[*]}" >>steps
for host in "${hosts[@]}"; do
  [[ -e answers/$host ]] || { echo "srun: error: Task launch failed on node $host: Communication failure" >&2; exit 1; }
done
now=$(date +%s)
for host in "${hosts[@]}"; do
  while IFS= read -r line; do
    [[ $line != *OK* ]] || line=${line%OK*}ok$'\\t'$((now + ${line#*OK}))
    echo "$line"
  done <"answers/$host"
done
""",
    "scontrol": """
echo "$*" >>scontrol.log
[[ $1 != update || ! -e refuse ]] || { rm refuse; echo "slurm_update error: busy" >&2; exit 1; }
[[ $* != "show hostnames"* ]] || tr , '\\n' <<<"$3"
[[ $* != *"show job"* ]] || echo "JobState=RUNNING Reason=None Restarts=0 ExcNodeList=$(<given) NodeList=$(<left)"
""",
    "sinfo": "cat partition",
    "sleep": "",
}
START = """
set -euo pipefail
id=12 restarts=0 config=c.yaml words=() again=x stopping=false run=$PWD/run
SLURM_NNODES=$1 nodes=$2 SLURM_JOB_PARTITION=main
all_hosts=$(head -n "$1" hosts | paste -sd ' ') JOB_HOSTS=$all_hosts
head=${all_hosts%% *} JOB_SRUN_OPTIONS=() JOB_CONTAINER=() JOB_PREFLIGHT_SECONDS=120
remove_stage() { :; }
source "$repository/slurm/requeue.sh"
source "$repository/slurm/nodes.sh"
${first:-choose_nodes} || { echo "the request is wrong"; exit; }
echo "start on $JOB_HOSTS, head $head"
"""
FULL = "cache folder\tcannot write to /scratch: No space left on device"


def good(ahead: int = 0) -> str:
    """The answer of a node without fault, whose clock is some seconds ahead when it gives it."""
    return f"OK{ahead}"


class Nodes:
    """A job on nodes n1, n2, ..., with what each of them answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("bin", "answers", "slurm/logs", "run"):
            (folder / name).mkdir(parents=True)
        for name, text in COMMANDS.items():
            (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / "bin" / name).chmod(0o755)
        names = [f"n{number}" for number in range(1, 7)]
        (folder / "hosts").write_text("\n".join(names) + "\n")
        (folder / "partition").write_text("\n".join(names) + "\n")
        (folder / "given").write_text("(null)")
        (folder / "left").write_text("n1,n3,n4")
        for name in names:
            self.answers(name, good())

    def answers(self, node: str, *texts: str) -> None:
        lines = "".join(f"preflight\t{node}\t{text}\n" for text in texts)
        (self.folder / "answers" / node).write_text(lines)

    def start(self, count: int, wanted: int | None = None, **variables: str) -> subprocess.CompletedProcess:
        """Let a job of `count` nodes choose `wanted` of them, by default all."""
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "repository": str(REPO), **variables}
        words = ["bash", "-c", START, "bash", str(count), str(wanted or count)]
        return subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=200)

    def updates(self) -> list[str]:
        return [line for line in (self.folder / "scontrol.log").read_text().splitlines() if line.startswith("update")]


@pytest.fixture
def nodes(tmp_path):
    return Nodes(tmp_path)


def test_good_nodes_start_at_once(nodes):
    done = nodes.start(4)
    assert (done.returncode, done.stdout, done.stderr) == (0, "start on n1 n2 n3 n4, head n1\n", "")
    assert (nodes.folder / "steps").read_text() == "n1 n2 n3 n4\n"
    assert list((nodes.folder / "slurm" / "logs").iterdir()) == []


def test_a_bad_node_is_excluded_and_the_job_queued_again(nodes):
    nodes.answers("n3", FULL, "shards\tgone")
    (nodes.folder / "given").write_text("n9")
    (nodes.folder / "refuse").touch()
    done = nodes.start(4)
    assert done.returncode == 75
    reason = "excluded after the pre-flight: n3: cache folder: cannot write to /scratch: No space left on device"
    assert done.stdout == f"== {reason}; queued again\n"
    assert reason in (nodes.folder / "run" / "restarts.log").read_text()
    assert nodes.updates()[-1] == "update JobId=12 ExcNodeList=n9,n3"


def test_spare_nodes_replace_bad_ones(nodes):
    nodes.answers("n1", "GPUs\t3 of 4")
    done = nodes.start(4, 3)
    assert done.stdout == "== left out: n1: GPUs: 3 of 4\nstart on n2 n3 n4, head n2\n"
    nodes.answers("n2", "GPUs\t3 of 4")
    done = nodes.start(4, 3)
    assert "excluded after the pre-flight: n1 and 1 more: GPUs: 3 of 4" in done.stdout
    assert nodes.updates()[-1] == "update JobId=12 ExcNodeList=n1,n2"
    assert nodes.start(6, 3, JOB_PREFLIGHT="false").stdout == "start on n1 n2 n3, head n1\n"


def test_a_fault_of_all_nodes_ends_the_job_and_excludes_none(nodes):
    for name in ("n1", "n2", "n3"):
        nodes.answers(name, "shards\tno shards at /wrong")
    done = nodes.start(3)
    assert done.returncode == 2
    assert done.stderr == "error: the pre-flight fails on every node: n1 and 2 more: shards: no shards at /wrong\n"
    assert not (nodes.folder / "scontrol.log").exists()


def test_a_single_node_is_excluded_only_for_what_is_its_own(nodes):
    nodes.answers("n1", "shards\tno shards at /wrong")
    assert nodes.start(1).returncode == 2
    nodes.answers("n1", FULL)
    assert nodes.start(1).returncode == 75
    (nodes.folder / "hosts").write_text("n2\n")
    nodes.answers("n2", "GPU errors\tXid 79 on GPU 0")
    assert nodes.start(1).returncode == 75
    (nodes.folder / "hosts").write_text("n3\n")
    nodes.answers("n3", "GPU errors\tXid 79 on GPU 2")  # on a second node in a row: not the node
    assert nodes.start(1).returncode == 2
    assert nodes.updates()[-1] == "update JobId=12 ExcNodeList=n1,n2"


def test_a_node_that_does_not_answer_is_found_by_asking_each(nodes):
    (nodes.folder / "answers" / "n2").unlink()
    done = nodes.start(3)
    assert "n2: no answer: srun: error: Task launch failed on node n2: Communication failure" in done.stdout
    assert sorted((nodes.folder / "steps").read_text().splitlines()) == ["n1", "n1 n2 n3", "n2", "n3"]


def test_a_node_that_the_job_has_lost_is_not_asked(nodes):
    """As with --no-kill, after the restart in place: a step that named it would wait for it."""
    done = nodes.start(4, 3, in_place="1")
    assert done.stdout == "== left out: n2: lost: Slurm has taken it out of the job\nstart on n1 n3 n4, head n1\n"
    assert (nodes.folder / "steps").read_text() == "n1 n3 n4\n"
    assert "n2: lost" in nodes.start(4, 3, in_place="1", JOB_PREFLIGHT="false").stdout


def test_a_wrong_clock_is_that_of_the_node_or_of_the_first_one(nodes):
    nodes.answers("n2", good(-3000))
    assert "excluded after the pre-flight: n2: clock: -30" in nodes.start(3).stdout
    for name in ("n2", "n3"):
        nodes.answers(name, good(3000))
    assert "excluded after the pre-flight: n1: clock: differs from that of all other" in nodes.start(3).stdout


def test_when_the_check_fails_only_on_the_first_node_another_one_repeats_it(nodes):
    nodes.answers("n1", "shards\tno shards at /data")
    assert nodes.start(3, 2, first="another_head").stdout.endswith("start on n2 n3, head n2\n")
    assert nodes.start(3, first="another_head").returncode == 75
    nodes.answers("n2", "shards\tno shards at /data")
    nodes.answers("n1", good())  # the first node is good: it is the request
    assert nodes.start(2, first="another_head").stdout == "the request is wrong\n"
    for name in ("n1", "n2"):
        nodes.answers(name, "software\terror: unknown key `data.shard`")
    assert nodes.start(2, first="another_head").stdout == "the request is wrong\n"
    assert nodes.start(1, first="another_head").stdout == "the request is wrong\n"


def test_exclusion_is_bounded(nodes):
    nodes.answers("n2", FULL)
    done = nodes.start(6)
    assert done.returncode == 1
    assert done.stderr.endswith("without it the partition main has too few nodes\n")
    (nodes.folder / "slurm" / "logs" / "12.excluded").unlink()
    assert nodes.start(2).returncode == 75
    again = nodes.start(2)
    assert again.returncode == 1
    assert again.stderr.endswith("Slurm has allocated n2 again, which this job excluded\n")
    nodes.answers("n3", FULL)
    nodes.answers("n2", good())
    assert "more than 1 nodes that this job has excluded" in nodes.start(3, JOB_MAX_EXCLUDED="1").stderr
