"""No output contains a secret."""

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from job.config.load import build_config, load_config
from job.monitor.report.write import write_report
from job.run_folder.run_view import read_run
from job.system import secrets
from job.system.errors import JobError
from job.system.secrets import find_secret, scrub, scrub_all, secret_values
from tests.support.running import REPO, finish, start

KEY = "0123456789abcdef0123456789abcdef01234567"


SCRUBBED = [
    (f"key {KEY}!", "key [secret]!"),
    ("https://me:hunter22@example.org/a", "https://[secret]@example.org/a"),
    ("https://me:p@ss@example.org/a", "https://[secret]@example.org/a"),
    ("https://ghp_0123456789abcdefghijklmnopqrstuvwxyz@h/a", "https://[secret]@h/a"),
    (
        "https://b.example/s?X-Amz-Credential=AK/1&X-Amz-Signature=ab12&x=1",
        "https://b.example/s?X-Amz-Credential=[secret]&X-Amz-Signature=[secret]&x=1",
    ),
    ("https://a.example/c?sv=1&sig=a%2Fb&se=2", "https://a.example/c?sv=1&sig=[secret]&se=2"),
    ("https://a.example/c?X-Goog-Signature=a1", "https://a.example/c?X-Goog-Signature=[secret]"),
    ("https://a.example/c?api_key=a1", "https://a.example/c?api_key=[secret]"),
    ("pipe:curl -H 'Authorization: Bearer abc.def-12345' u", "pipe:curl -H 'Authorization: [secret]' u"),
    ("pipe:curl -H 'PRIVATE-TOKEN: a1b2c3' u", "pipe:curl -H 'PRIVATE-TOKEN: [secret]' u"),
    ('pipe:curl --header="X-Auth: a1" u', 'pipe:curl --header="X-Auth: [secret]" u'),
    ("pipe:curl -u me:hunter22 u", "pipe:curl -u me:[secret] u"),
    ("pipe:curl --oauth2-bearer abc123 u", "pipe:curl --oauth2-bearer [secret] u"),
    ("pipe:curl -b 'session=a1' u", "pipe:curl -b '[secret]' u"),
    ("pipe:wget --http-password=abc u", "pipe:wget --http-password=[secret] u"),
    ("pipe:AWS_SECRET_ACCESS_KEY=abc aws s3 cp u -", "pipe:AWS_SECRET_ACCESS_KEY=[secret] aws s3 cp u -"),
    ("pipe:GITHUB_PAT='abc' fetch", "pipe:GITHUB_PAT='[secret]' fetch"),
    ("Authorization: Basic bWU6aHVudGVyMjI=", "Authorization: Basic [secret]"),
    ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
    ("az: AccountName=mine;AccountKey=abc/+== x", "az: AccountName=mine;AccountKey=[secret] x"),
    ("the token is hf_0123456789abcdefghijklmnopqrstuv", "the token is [secret]"),
]
CLEAN = [
    "a usual line: lr=0.1, http://example.org:8080/x@y",
    "override 'data.record_keys=true': step 3/4, eta 00:12",
    "pipe:curl -sfL --netrc https://example.org/shards",
    "pipe:curl -sfL -H 'Authorization: Bearer $TOKEN' u",
    'pipe:curl -sfL -H "PRIVATE-TOKEN: ${TOKEN}" u',
    "pipe:curl -u me:$PASSWORD -H 'Accept: */*' u",
    "pipe:AWS_PROFILE=mine aws s3 cp s3://bucket/key -",
    "git@example.org:x/y ssh://git@example.org/x https://[::1]:80/x",
    "s3://bucket/shards",
    "C:/shards and shards/faces",
]


@pytest.mark.parametrize(("text", "clean"), SCRUBBED)
def test_scrub_replaces_secrets(text, clean, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert scrub(text) == clean
    assert scrub(clean) == clean
    assert find_secret(text)
    assert scrub_all({"a": [text, 1]}) == {"a": [clean, 1]}
    assert str(JobError(f"cannot read {text}")) == f"cannot read {clean}"


@pytest.mark.parametrize("text", CLEAN)
def test_scrub_keeps_other_text(text):
    assert scrub(text) == text
    assert find_secret(text) is None


def test_scrub_of_long_text_is_fast():
    began = time.process_time()
    for piece in ("a-", "a.", "https://a:", "token", "-H a", "x=", "bearer "):
        scrub(piece * 20_000)
    assert time.process_time() - began < 60  # some patterns would take hours


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("GITHUB_PAT", "a1b2c3d4", True),
        ("DB_PASS", "a1b2c3d4", True),
        ("PGPASSWORD", "a1b2c3d4", True),
        ("AWS_ACCESS_KEY_ID", "A1B2C3D4E5F6G7", True),
        ("AWS_SESSION_TOKEN", "a1b2c3d4", True),
        ("SESSION_COOKIE", "a1b2c3d4", True),
        ("AZURE_STORAGE_CONNECTION_STRING", "a1b2c3d4", True),
        ("SORT_KEY", "accuracy", False),  # too short for a key, and an everyday word
        ("PWD", "/tmp", False),
        ("DEPLOY_KEY", "/usr/bin/env", False),  # where it lies
        ("PYTHONPATH", "a1b2c3d4e5f6", False),
    ],
)
def test_which_environment_variables_hold_secrets(monkeypatch, name, value, secret):
    monkeypatch.setenv(name, value)
    assert (name in secret_values()) is secret
    assert (scrub(f"x {value}!") == "x [secret]!") is secret


def test_variables_are_examined_once_and_again_when_one_has_changed(monkeypatch):
    examined = []
    is_secret = secrets._is_secret
    monkeypatch.setattr(secrets, "_is_secret", lambda name, value: examined.append(name) or is_secret(name, value))
    monkeypatch.setenv("A_TOKEN", "first-secret")
    assert scrub("a first-secret, a second-secret") == "a [secret], a second-secret"
    before = len(examined)
    assert scrub("a first-secret") == "a [secret]"
    assert len(examined) == before
    monkeypatch.setenv("A_TOKEN", "second-secret")  # changed
    assert scrub("a first-secret, a second-secret") == "a first-secret, a [secret]"
    os.environ["B_TOKEN"] = "second-secret-and-more"  # a new one, which contains the other
    assert scrub("a second-secret-and-more, a second-secret") == "a [secret], a [secret]"
    del os.environ["B_TOKEN"]
    assert "B_TOKEN" not in secret_values()


@pytest.mark.parametrize("text", [text for text, _ in SCRUBBED] + ["https://example.org/shards?x=1"])
@pytest.mark.parametrize("way", ["file", "override"])
def test_a_secret_in_the_configuration_is_refused(tmp_path, monkeypatch, text, way):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"data": {"shards": text, "allow_pipe": True}}) if way == "file" else "{}\n")
    with pytest.raises(JobError, match=r"data\.shards contains .*: remove it") as error:
        load_config(path, [f"data.shards={json.dumps(text)}"] if way == "override" else [])
    secret = text if "[secret]" not in scrub(text) else None
    assert str(error.value) == scrub(str(error.value))
    assert secret is None or secret not in str(error.value)
    with pytest.raises(JobError, match=r"wandb\.tags contains the value of the environment variable WANDB_API_KEY"):
        load_config(path, ["data.shards=x", f"wandb.tags=[a, {KEY}]"])


def test_a_stored_configuration_has_no_secret_and_no_permission(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    shards = "pipe:curl -H 'PRIVATE-TOKEN: a1b2c3' u"
    config = build_config({"data": {"shards": shards, "allow_pipe": True}, "wandb": {"notes": KEY}}, "test")
    for text in (config.to_yaml(), json.dumps(config.stored())):
        assert "a1b2c3" not in text
        assert KEY not in text
    assert config.stored()["data"]["allow_pipe"] is False
    assert config.data.allow_pipe is True


def test_no_output_of_a_command_shows_a_secret(tmp_path, monkeypatch):
    """stderr, the status file of the launch script, and the arguments of the command, which W&B records."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport job.__main__ as program\n"
        "@program.main.command()\n@program.click.argument('words', nargs=-1)\n"
        "def leak(words):\n    print(sys.argv, file=sys.stderr)\n    raise {error}\n"
        "sys.exit(program.run())\n"
    )
    text = script.read_text()
    environment = {**os.environ, "WANDB_API_KEY": KEY, "JOB_STATUS_FILE": str(tmp_path / "status")}
    url = "https://me:hunter22@example.org/a?sig=b1c2"
    for error in ("program.JobError(words[0] + chr(27) + '[2J')", "OSError(words[0] + chr(27) + '[2J')"):
        script.write_text(text.replace("{error}", error))
        command = [sys.executable, str(script), "leak", f"{url} {KEY}"]
        ended = subprocess.run(command, cwd=REPO, env=environment | {"PYTHONPATH": "."}, capture_output=True, text=True)
        assert ended.returncode == (2 if "JobError" in error else 1)
        output = ended.stderr + ((tmp_path / "status").read_text() if "JobError" in error else "")
        assert "[secret]" in output
        for secret in (KEY, "hunter22", "b1c2", "\x1b"):
            assert secret not in output


def test_a_report_shows_no_secret(small, tmp_path, monkeypatch):
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
def test_no_file_of_a_run_contains_a_key(small, tmp_path, monkeypatch):
    """Offline, with keys in the environment, and one in a message that is logged."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY")
    config = small(
        name="secret",
        wandb={"mode": "offline"},
        train={"steps": 4, "eval_every": 4, "timeout_seconds": 1200},
        evaluation={"figures": True},
    )
    output = finish(start(config, tmp_path))
    assert (config.run_folder / "report.html").exists()
    files = [path for path in config.run_folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for secret in (KEY, "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"):
        assert secret not in output
        assert not [path for path in files if secret.encode() in path.read_bytes()]
