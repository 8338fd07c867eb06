"""Whether W&B may be reached, and under which id a run is known there."""

import logging
import netrc
import os
import secrets
from pathlib import Path
from urllib.parse import urlparse

from job.config.schema import Wandb
from job.system.files import write_atomically

log = logging.getLogger("job")
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
    """`auto` becomes online where a key is at hand (environment or netrc), else offline. WANDB_MODE comes first."""
    if "WANDB_MODE" in os.environ:
        return os.environ["WANDB_MODE"]
    if settings.mode != "auto":
        return settings.mode
    return "online" if _has_key() else "offline"


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
