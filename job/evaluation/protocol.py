"""State the protocol of a test: on held-out images of the target, or transductive."""

from collections.abc import Mapping
from typing import Any

from job.vocabulary import HELD_OUT, TRANSDUCTIVE

NOTE = (
    "transductive: the network was adapted to the same images, without their labels; results on held-out images do not "
    "compare"
)


def protocol_of(config: Mapping[str, Any]) -> str:
    """Return the protocol of a configuration as stored in a run folder, which may be older than the key."""
    return config.get("protocol") or HELD_OUT


def note(protocol: str) -> list[str]:
    """Return the line that every table of transductive results shows; none for held-out images."""
    return [NOTE] if protocol == TRANSDUCTIVE else []


def described(protocol: str) -> str:
    """Return the protocol for a row of a table."""
    return NOTE if protocol == TRANSDUCTIVE else "held-out images of the target"
