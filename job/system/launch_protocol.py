"""The protocol between ranks and launch scripts: environment variables and a small file."""

import contextlib
import os
import re
import socket
from pathlib import Path

from job.system.errors import EXIT_CRASH, EXIT_OK, EXIT_STOPPED, first_line
from job.system.files import write_atomically
from job.system.secrets import scrub
from job.system.text import printable

EXPECTED_RANKS = "JOB_EXPECTED_RANKS"  # number of ranks that the launch script starts
STATUS_FILE = "JOB_STATUS_FILE"  # path for the exit code, shared by the ranks of all nodes
START_SECONDS = "JOB_START_SECONDS"  # in which all ranks must have met
LOCK_WAIT = "JOB_LOCK_WAIT"  # seconds to wait for a run folder that an earlier start may still lock

LOST = "lost another rank"  # begins the reason of a rank that failed only because another one had failed
_SIGNS_OF_A_LOST_RANK = (  # in the messages of Gloo, NCCL and the store of torch.distributed
    "connection closed by peer",
    "connection reset",
    "connection refused",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "connection was likely closed",
    "recvvalue failed",
    "failed to recv",
)
_SIGNS_OF_A_TIMEOUT = (  # the other rank may be lost, or slow
    "timed out waiting",
    "timeout caused pair closure",
    "wait timeout",
    "watchdog",
)
# Places in torch's C++ source, such as `[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:561] `: they tell a user
# nothing. The traceback of a rank that failed by itself has them.
_SOURCE = re.compile(r"( in: )?\[?/[\w./+-]+\.(?:cc|cpp|cu|h|hpp):\d+[\],:]*\s*")
_PEER = re.compile(r" \[?([\w.:]+?)\]?:\d+$")  # the address of the rank that is gone, with its port
_LOOK = (
    "the message of the lost rank, above or in the log of its node, says why; if there is none it was killed (for want "
    "of memory, say), or its node or the network failed"
)


def report_exit(exit_code: int, message: str = "") -> None:
    """Write the exit code and, on a second line, the reason to the file that the launch script reads.

    A launcher of several ranks passes on neither, and srun returns the code of the node that it killed last. A crash
    does not replace the message of another rank, unless that rank only lost others.
    """
    if STATUS_FILE not in os.environ:
        return
    path = Path(os.environ[STATUS_FILE])
    with contextlib.suppress(OSError):  # a full disk: without the file the launch script assumes a crash
        if exit_code == EXIT_CRASH and (message.startswith(LOST) or not _says_lost(path)) and _is_written(path):
            return
        write_atomically(path, f"{exit_code}\n{_one_line(message)}\n")


def _one_line(message: str) -> str:
    return printable(scrub(" ".join(message.split())), keep="")[:1000]


def _is_written(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _says_lost(path: Path) -> bool:
    return _is_written(path) and path.read_text(errors="replace").startswith(f"{EXIT_CRASH}\n{LOST}")


def report_crash(error: Exception) -> str | None:
    """Report to the launch script why this rank failed. Returns the reason if it only lost another rank.

    Such a rank's traceback would hide that of the rank that failed first.
    """
    if STATUS_FILE not in os.environ:
        return None
    first = _SOURCE.sub(lambda place: ": " if place[1] else "", _one_line(first_line(error))).partition(". ")[0]
    text = str(error).lower()
    late = any(sign in text for sign in _SIGNS_OF_A_TIMEOUT)
    if int(os.environ.get(EXPECTED_RANKS, 1)) > 1 and (late or any(sign in text for sign in _SIGNS_OF_A_LOST_RANK)):
        reason = f"{LOST} ({this_rank()}: {_PEER.sub(_named, first)}{_other_rank(late)}): {_LOOK}"
        report_exit(EXIT_CRASH, reason)
        return reason
    report_exit(EXIT_CRASH, f"{this_rank()}: {type(error).__name__}: {first}")
    return None


def _named(peer: re.Match[str]) -> str:
    """Return the address of the lost rank without its port; nothing for one of this machine, which says nothing."""
    address = peer[1].removeprefix("::ffff:")  # of an IPv4 address in a socket of IPv6
    return "" if address.startswith("127.") or address == "::1" else f" {address}"


def _other_rank(late: bool) -> str:
    """Return which rank is lost, or `late`, where that is known: of two, the other one."""
    two = os.environ.get(EXPECTED_RANKS) == "2"
    return f"; rank {1 - int(os.environ.get('RANK', 0))} {'does not answer' if late else 'is lost'}" if two else ""


def this_rank() -> str:
    return f"rank {os.environ.get('RANK', 0)} on {socket.gethostname()}"


def process_exit_code(exit_code: int) -> int:
    """Return the process's own exit code: 0 for a stop if the launcher reads the file, to avoid its traceback."""
    return EXIT_OK if exit_code == EXIT_STOPPED and STATUS_FILE in os.environ else exit_code
