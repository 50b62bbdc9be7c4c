"""How long the daemon's loop works without letting others have their turn, in processor time of its thread: a busy
machine is not counted, and neither are the test's own clients.
"""

import asyncio
import time
from pathlib import Path

from s3d.daemon import heap

REST = 0.005
"""Seconds between two looks. The first turn of the loop that ends after them is over the limit by what it worked."""


def watch(path: Path) -> None:
    """From when the daemon serves on, keep the longest time in a file, in seconds."""
    settle = heap.settle_memory

    def settled() -> None:
        settle()
        heap.turns = asyncio.ensure_future(look(path))  # type: ignore[attr-defined] # kept from the collector

    heap.settle_memory = settled


async def look(path: Path) -> None:
    """Measure until cancelled."""
    worst = 0.0
    while True:
        before = time.thread_time()
        await asyncio.sleep(REST)
        spent = time.thread_time() - before - REST
        if spent > worst:
            worst = spent
            path.write_text(f"{worst:.6f}")  # noqa: ASYNC240 # a few bytes, when it is worse than ever
