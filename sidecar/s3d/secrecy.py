"""Keeps the memory of this process to itself: it has the keys of the remote, and those of clients."""

import contextlib
import ctypes

PR_SET_DUMPABLE = 4
"""Of prctl(2)."""


def hide_memory() -> None:
    """From now on the kernel writes no core dump, and shows neither memory nor environment to others of the same user;
    root may still look."""
    with contextlib.suppress(OSError, AttributeError):  # another kernel than Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
