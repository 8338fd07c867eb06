"""Weights & Biases: one run id for life, offline without a key, and never a reason for the training to end."""

import logging
import netrc
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from job.config import Config, Wandb
from job.monitor.files import write_atomically

log = logging.getLogger("job")


def run_id(folder: Path, from_checkpoint: str | None) -> str:
    """The run's id: the one in its folder, else the checkpoint's, else a new one, which is written down."""
    path = folder / "wandb" / "run_id"
    if path.exists():
        return path.read_text().strip()
    value = from_checkpoint or secrets.token_hex(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, value)
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
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        in_netrc = netrc.netrc(os.environ.get("NETRC")).authenticators(host or "") is not None
    except (OSError, netrc.NetrcParseError):
        in_netrc = False
    return in_netrc or bool(os.environ.get("WANDB_API_KEY"))


class WandbRun:
    """The calls to W&B. After the first that fails it says so once and does nothing any more."""

    def __init__(self, config: Config, folder: Path, identity: str, extra: dict[str, Any]) -> None:
        self._run = None
        self.mode = mode(config.wandb)
        if self.mode == "disabled":
            return
        with _Guard(self, "start"):
            import wandb

            self._run = wandb.init(
                id=identity,
                resume="allow",
                dir=folder,
                mode=self.mode,
                name=config.name,
                config=config.model_dump(mode="json") | extra,
                **config.wandb.model_dump(exclude={"mode"}),
                settings=wandb.Settings(silent=True, init_timeout=60),
            )
            self._run.define_metric("trainer/step")
            self._run.define_metric("*", step_metric="trainer/step")  # never step=: it cannot go back on resume

    def log(self, metrics: dict[str, Any]) -> None:
        if self._run is not None:
            with _Guard(self, "log"):
                self._run.log(metrics)

    def summarise(self, metrics: dict[str, Any]) -> None:
        if self._run is not None:
            with _Guard(self, "summarise"):
                self._run.summary.update(metrics)

    def finish(self, exit_code: int) -> None:
        """Flush. To be called on every way out: the tail of an offline log that is not finished is lost."""
        if self._run is not None:
            with _Guard(self, "finish"):
                self._run.finish(exit_code=exit_code)
            self._run = None


class _Guard:
    def __init__(self, owner: WandbRun, what: str) -> None:
        self._owner, self._what = owner, what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, trace) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._owner._run = None
        first_line = (str(error).splitlines() or [""])[0]
        log.warning("W&B failed to %s (%s: %s); going on without it", self._what, kind.__name__, first_line)
        return True
