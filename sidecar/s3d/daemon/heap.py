"""How much memory the process keeps: the heaps of the C library, and the look for cycles."""

import contextlib
import ctypes
import gc

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of mallopt(3)."""
LARGE_BLOCK = 128 << 10
"""Bytes of memory from which on a block is the system's own."""
MAX_HEAPS = 2
COLLECT_AFTER = 5000
"""Objects made and not freed since the last look for cycles that make the next one due."""


def return_memory() -> None:
    """Have the C library give large blocks back as they are freed, from few heaps. Left to itself it keeps more of them
    with each large one that it has met, in a heap for each thread: after a burst nothing would ever be given back."""
    with contextlib.suppress(OSError, AttributeError):  # a C library that has no such thing
        tune = ctypes.CDLL(None).mallopt
        tune(M_MMAP_THRESHOLD, LARGE_BLOCK)
        tune(M_ARENA_MAX, MAX_HEAPS)


def settle_memory() -> None:
    """Tell the garbage collector that what was made at start stays: the S3 model alone is most of all objects, and a
    full collection would walk it again and again. Requests make few cycles, so it may look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 20)
