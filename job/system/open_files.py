"""The limit on open files: raised at the start, and compared with what the ranks of a run need."""

import contextlib
import resource

MOST = 1 << 20  # some systems allow a billion, and programs that close every possible file then take minutes
_OWN = 128  # of a rank alone: libraries, log, W&B, shards; measured: 24 to 60, and 32 shards
_STORE = 3  # connections of a rank to the store on the first node: its own, those of the stop and of the watchdog


def raise_limit() -> int:
    """Raise the soft limit on open files of this process and its children to the hard one; return the limit.

    The usual soft limit of 1,024 is for programs that use select(). 512 ranks on CPUs need more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft


def limit_after_start() -> int:
    """Return the limit on open files that a process of this program has after `raise_limit`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if hard == resource.RLIM_INFINITY else hard


def needed(ranks: int) -> int:
    """Return the largest number of files that a process has open in a run of `ranks` ranks.

    That process is the first rank or its launcher, which has the store; a rank on CPUs also has a connection to each
    other rank (Gloo).
    """
    return _OWN + (_STORE + 1) * ranks
