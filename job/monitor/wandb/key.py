"""The mode of W&B (online, offline or disabled) and the W&B id of a run."""

import configparser
import logging
import netrc
import os
import secrets
from pathlib import Path
from urllib.parse import urlparse

from job.config.schema import Wandb
from job.system.files import write_atomically
from job.system.secrets import brief

log = logging.getLogger("job")
_STRICTEST_FIRST = ("disabled", "offline", "online")
_OLD_MODES = {"dryrun": "offline", "dry": "offline", "run": "online"}
DEFAULT_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # older and newer host of the service


def run_id(folder: Path, from_checkpoint: str | None) -> str:
    """Return the id in the run folder, else that of the checkpoint, else a new one. Write it to the run folder."""
    path = folder / "wandb" / "run_id"
    value = from_checkpoint or secrets.token_hex(4)
    try:
        if path.exists():
            return path.read_text().strip() or value
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, value)
    except OSError as error:  # not fatal: checkpoints store it too
        log.warning("cannot write %s: %s", path, error.strerror)
    return value


def mode(settings: Wandb) -> str:
    """Return online, offline or disabled, from the environment, W&B's settings files and the configuration.

    WANDB_DISABLED and then WANDB_MODE take precedence. Otherwise the result is the stricter of the configured mode and
    the mode in W&B's settings files (written by ``wandb disabled`` and ``wandb offline``). The configured mode `auto`
    is online with a key in the environment or netrc, and offline without one.
    """
    if os.environ.get("WANDB_DISABLED", "").strip().lower() not in ("", "0", "false", "no", "off"):
        return "disabled"
    if os.environ.get("WANDB_MODE", "").strip():
        value = os.environ["WANDB_MODE"].strip().lower()
        return _OLD_MODES.get(value, value)
    configured = settings.mode
    if configured == "auto":
        configured = "online" if _has_key() else "offline"
    return min(configured, _settings_mode(), key=_STRICTEST_FIRST.index)


def _settings_mode() -> str:
    """Return the mode in W&B's settings files; the current folder precedes the user's. Online without a setting."""
    folders = [Path(place) for place in (os.environ.get("WANDB_DIR"), ".") if place]
    files = [folder / name / "settings" for folder in folders for name in ("wandb", ".wandb")]
    files.append(Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb") / "settings")
    for path in files:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path.expanduser(), encoding="utf-8")
        except (OSError, RuntimeError, UnicodeDecodeError, configparser.Error) as error:
            log.warning("cannot read %s (%s): ignoring this file of W&B settings", path, brief(error))
            continue
        content = dict(parser["default"]) if parser.has_section("default") else {}
        value = content.get("mode", "").strip().lower()
        value = _OLD_MODES.get(value, value)
        if content.get("disabled", "").strip().lower() == "true":  # written by `wandb off` of older versions
            value = "disabled"
        if value in _STRICTEST_FIRST:
            return value
    return "online"


def _has_key() -> bool:
    """Return whether the environment or netrc (written by `wandb login`) contains a key. Needs no network."""
    base_url = os.environ.get("WANDB_BASE_URL")
    hosts = [urlparse(base_url).hostname] if base_url else DEFAULT_HOSTS
    try:
        entries = netrc.netrc(os.environ.get("NETRC"))
        in_netrc = any(entries.authenticators(host or "") for host in hosts)
    except (OSError, netrc.NetrcParseError):
        in_netrc = False
    return in_netrc or bool(os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))
