"""The pre-flight of one node. What its results lead to: tests/test_nodes.py and tests/slurm/test_bad_nodes.py."""

import subprocess

from job.doctor.preflight import lines, preflight
from tests.support.running import REPO


def checks(config, **environment) -> dict[str, str]:
    return {finding.check: finding.result for finding in preflight(config, environment)}


def test_a_node_without_fault(small, tmp_path):
    cache = tmp_path / "new" / "cache"
    assert checks(small(data={"stage": True, "cache_dir": str(cache)}), JOB_STAGE=str(tmp_path)) == {}
    assert cache.is_dir()


def test_each_fault_is_a_line_with_the_name_of_the_node(small, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    data = {"shards": "/nowhere", "stage": True, "cache_dir": str(file / "cache")}
    found = checks(small(data=data, output=str(file)), JOB_STAGE=str(file))
    assert set(found) == {"shards", "cache folder", "stage folder"}
    assert found["stage folder"] == f"cannot make {file}: File exists"
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    text = lines(preflight(small(data=data), {"JOB_PREFLIGHT_SKIP": "cache folder, stage folder"}))
    assert text.startswith("preflight\tnode7\tshards\tno shards at /nowhere: write them")
    assert "\n" not in text


def test_a_cache_that_the_run_does_not_use_may_be_bad(small, tmp_path):
    (tmp_path / "file").touch()
    assert checks(small(data={"cache_dir": str(tmp_path / "file" / "cache")})) == {}


def script(*command, check: str = "", seconds: int = 200) -> str:
    environment = {"PATH": "/usr/bin:/bin", "SLURMD_NODENAME": "node3", "JOB_SITE_CHECK": check}
    return subprocess.run(
        [REPO / "slurm" / "preflight.sh", str(seconds), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_script_on_a_node_has_a_line_for_every_end():
    good = script("true").split("\t")
    assert good[:3] == ["preflight", "node3", "ok"]
    assert int(good[3]) > 1.7e9
    fault = r"printf 'preflight\tnode3\tshards\tgone\n'; exit 2"
    assert script("bash", "-c", f"echo a line of a prolog; {fault}") == "preflight\tnode3\tshards\tgone\n"
    assert script("bash", "-c", "echo No such file >&2; exit 127") == "preflight\tnode3\tsoftware\tNo such file\n"
    assert script("bash", "-c", "exit 9") == "preflight\tnode3\tsoftware\texit code 9\n"
    assert script("sleep", "1000", seconds=1) == "preflight\tnode3\tsoftware\tno result within 1 s\n"
    assert script("true", check="echo fan 3; echo; exit 1") == "preflight\tnode3\tsite check\tfan 3\n"
