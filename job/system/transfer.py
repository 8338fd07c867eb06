"""Transfers that fail: the error, and repeating them."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from job.system.errors import first_line
from job.system.text import shortened

ATTEMPTS = 3
RETRY_SECONDS = 1.0  # doubled after every attempt

log = logging.getLogger(__name__)
Result = TypeVar("Result")


class RemoteError(Exception):
    """A transfer failed; the message is the reason, in one line, without the address.

    `permanent` says that a repetition would fail in the same way.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


def with_retries(
    action: Callable[[], Result], what: str, attempts: int = ATTEMPTS, closed: threading.Event | None = None
) -> Result:
    """Return the result of `action`, which is repeated after a RemoteError or OSError, with longer and longer pauses.

    `what` names the transfer in the log. Raises RemoteError, whose message ends with the number of attempts.
    """
    for attempt in range(1, attempts + 1):
        try:
            return action()
        except (RemoteError, OSError) as error:
            permanent = getattr(error, "permanent", False) or (closed is not None and closed.is_set())
            if attempt == attempts or permanent:
                tried = "1 attempt" if attempt == 1 else f"{attempt} attempts"
                raise RemoteError(f"{shortened(first_line(error))}; {tried}", permanent=permanent) from error
            log.warning("%s failed (%s): trying again", what, error)
        (time.sleep if closed is None else closed.wait)(RETRY_SECONDS * 2 ** (attempt - 1))
    raise AssertionError("unreachable")
