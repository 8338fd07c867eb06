"""Whether W&B may be reached, and under which id a run is known there."""

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
_FROM_STRICT_TO_OPEN = ("disabled", "offline", "online")
_OLD_MODES = {"dryrun": "offline", "dry": "offline", "run": "online"}
DEFAULT_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # of the service, by its older and its newer name


def run_id(folder: Path, from_checkpoint: str | None) -> str:
    """The run's id: the one in its folder, else the checkpoint's, else a new one, which is written down."""
    path = folder / "wandb" / "run_id"
    value = from_checkpoint or secrets.token_hex(4)
    try:
        if path.exists():
            return path.read_text().strip() or value
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, value)
    except OSError as error:  # checkpoints hold it too
        log.warning("cannot write %s: %s", path, error.strerror)
    return value


def mode(settings: Wandb) -> str:
    """Return online, offline or disabled: what the environment, W&B's settings files and the configuration allow.

    WANDB_DISABLED and then WANDB_MODE come first. Without them, ``wandb disabled`` and ``wandb offline`` (kept in W&B's
    settings files) can only take away from what the configuration asks for, where `auto` means online with a key at
    hand (environment or netrc) and offline without one.
    """
    if os.environ.get("WANDB_DISABLED", "").strip().lower() not in ("", "0", "false", "no", "off"):
        return "disabled"
    if os.environ.get("WANDB_MODE", "").strip():
        given = os.environ["WANDB_MODE"].strip().lower()
        return _OLD_MODES.get(given, given)
    asked = settings.mode
    if asked == "auto":
        asked = "online" if _has_key() else "offline"
    return min(asked, _settings_mode(), key=_FROM_STRICT_TO_OPEN.index)


def _settings_mode() -> str:
    """The mode in W&B's settings files, the folder's before the user's; online where they say nothing."""
    folders = [Path(place) for place in (os.environ.get("WANDB_DIR"), ".") if place]
    files = [folder / name / "settings" for folder in folders for name in ("wandb", ".wandb")]
    files.append(Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb") / "settings")
    for path in files:
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read(path.expanduser(), encoding="utf-8")
        except (OSError, RuntimeError, UnicodeDecodeError, configparser.Error) as error:
            log.warning("cannot read %s (%s): W&B is used as if it were not there", path, brief(error))
            continue
        held = dict(parser["default"]) if parser.has_section("default") else {}
        given = held.get("mode", "").strip().lower()
        given = _OLD_MODES.get(given, given)
        if held.get("disabled", "").strip().lower() == "true":  # written by `wandb off` of older versions
            given = "disabled"
        if given in _FROM_STRICT_TO_OPEN:
            return given
    return "online"


def _has_key() -> bool:
    """Whether a key is at hand, found without asking anybody: `wandb login` leaves it in netrc."""
    given = os.environ.get("WANDB_BASE_URL")
    hosts = [urlparse(given).hostname] if given else DEFAULT_HOSTS
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
        in_netrc = any(known.authenticators(host or "") for host in hosts)
    except (OSError, netrc.NetrcParseError):
        in_netrc = False
    return in_netrc or bool(os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"))
