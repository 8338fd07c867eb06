"""No secret in what is written."""

import json

import pytest

from job.config.load import load_config
from job.monitor.report.write import write_report
from job.run_folder.run_view import read_run
from job.system.errors import JobError
from job.system.secrets import scrub, scrub_all
from tests.support.running import finish, start

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"key {KEY}!", "key [secret]!"),
        ("https://me:hunter22@example.org/a", "https://[secret]@example.org/a"),
        ("https://b.example/s?X-Amz-Credential=AK/1&X-Amz-Signature=ab12&x=1",
         "https://b.example/s?X-Amz-Credential=[secret]&X-Amz-Signature=[secret]&x=1"),
        ("pipe:curl -H 'Authorization: Bearer abc.def-12345' u", "pipe:curl -H 'Authorization: [secret]' u"),
        ("a usual line: lr=0.1, http://example.org:8080/x@y", "a usual line: lr=0.1, http://example.org:8080/x@y"),
    ],
)  # fmt: skip
def test_scrubbing(text, clean, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert scrub(text) == clean
    assert scrub_all({"a": [text, 1]}) == {"a": [clean, 1]}


def test_a_secret_in_the_configuration_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.yaml"
    path.write_text("name: x\n")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with pytest.raises(
        JobError, match="wandb.notes holds the value of the environment variable WANDB_API_KEY, .* take it out"
    ):
        load_config(path, [f"wandb.notes={KEY}"])
    with pytest.raises(JobError, match="holds a URL with a password"):
        load_config(path, ["data.shards=https://me:hunter22@example.org/shards"])


def test_a_report_shows_no_secret_wherever_it_came_from(small, tmp_path, monkeypatch):
    config = small(wandb={"notes": KEY})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    alert = {"trainer/step": 1, "title": "t", "text": f"https://me:hunter22@example.org/{KEY}", "level": "WARN"}
    (tmp_path / "alerts.jsonl").write_text(json.dumps(alert) + "\n")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    page = write_report(read_run(tmp_path)).read_text()
    assert KEY not in page
    assert "hunter22" not in page
    assert page.count("[secret]") >= 3


@pytest.mark.slow
def test_no_file_of_a_run_holds_a_key(small, tmp_path, monkeypatch):
    """Offline, with keys in the environment, and one in a message that is logged."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY")
    config = small(
        name="secret",
        wandb={"mode": "offline"},
        train={"steps": 4, "eval_every": 2, "timeout_seconds": 1200},
        evaluation={"figures": True},
    )
    output = finish(start(config, tmp_path))
    assert (config.run_folder / "report.html").exists()
    held = [path for path in config.run_folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in held)
    for secret in (KEY, "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"):
        assert secret not in output
        assert not [path for path in held if secret.encode() in path.read_bytes()]
