"""The W&B mode: what a user switched off stays off, even with a key."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from job.config.schema import Wandb
from job.monitor.wandb.key import mode

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _with_a_key(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def settings(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[default]\n{text}\n")


def test_online_with_a_key():
    assert mode(Wandb()) == "online"
    assert mode(Wandb(mode="offline")) == "offline"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("WANDB_DISABLED", "true", "disabled"),
        ("WANDB_DISABLED", "1", "disabled"),
        ("WANDB_DISABLED", "false", "online"),
        ("WANDB_DISABLED", "", "online"),
        ("WANDB_MODE", "offline", "offline"),
        ("WANDB_MODE", "dryrun", "offline"),
        ("WANDB_MODE", "Disabled", "disabled"),
        ("WANDB_MODE", "", "online"),
    ],
)
def test_environment_takes_precedence(monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert mode(Wandb()) == expected


@pytest.mark.parametrize("command", ["disabled", "offline"])
def test_wandb_command_switches_off(command, tmp_path):
    """Run `wandb disabled` and `wandb offline` of the installed version."""
    wandb = Path(sys.prefix) / "bin" / "wandb"
    subprocess.run([wandb, command], cwd=tmp_path / "work", check=True, capture_output=True)
    assert mode(Wandb()) == command
    assert mode(Wandb(mode="online")) == command
    subprocess.run([wandb, "online"], cwd=tmp_path / "work", check=True, capture_output=True)
    assert mode(Wandb()) == "online"


@pytest.mark.parametrize("text", ["mode = disabled", "disabled = true", "mode=DISABLED\nentity = a%b"])
def test_settings_of_the_user_and_of_the_folder(tmp_path, monkeypatch, text):
    settings(tmp_path / "home" / ".config" / "wandb" / "settings", text)
    assert mode(Wandb()) == "disabled"
    settings(Path("wandb") / "settings", "mode = offline")  # the folder precedes the user
    assert mode(Wandb()) == "offline"
    monkeypatch.setenv("WANDB_MODE", "online")  # the environment precedes both
    assert mode(Wandb()) == "online"


def test_settings_in_configured_folders(tmp_path, monkeypatch):
    settings(tmp_path / "elsewhere" / "settings", "mode = offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "elsewhere"))
    assert mode(Wandb()) == "offline"
    settings(tmp_path / "data" / "wandb" / "settings", "mode = disabled")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "data"))
    assert mode(Wandb()) == "disabled"


def test_damaged_settings_file_is_ignored():
    (Path("wandb")).mkdir()
    (Path("wandb") / "settings").write_bytes(b"\xff\xfenonsense")
    assert mode(Wandb()) == "online"
