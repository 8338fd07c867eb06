"""What a process on a CPU does with the memory of tensors it has freed."""

import contextlib
import ctypes


def keep_freed_memory() -> None:
    """Let the C library keep the memory of freed tensors for the next ones, where they live in the processor's memory.

    By default glibc returns every large block to the system at once, which has to clear its pages when it hands them
    out again: 13,000 page faults and a quarter of the time of a step of the compact network. Other C libraries are left
    as they are.
    """
    m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
