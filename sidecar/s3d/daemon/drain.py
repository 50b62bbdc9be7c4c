"""The end: what is pending is pushed until a deadline, or until nothing is left that can be pushed."""

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import Sequence

from s3d import __version__
from s3d.daemon.daemon import Daemon
from s3d.layers.queue import ON_THE_WAY, Queue
from s3d.settings import Settings
from s3d.store.lock import LockFile

log = logging.getLogger(__name__)
LEFT_BEHIND = 75
"""Exit code where changes are left on the local dir (EX_TEMPFAIL): the next process pushes them."""
ASKED_INTERVAL = 1.0
"""Seconds between two looks, while nothing but a drain is done, at whether another process waits for the local dir."""


async def deliver(queue: Queue | None, stop: asyncio.Event, locks: Sequence[LockFile]) -> None:
    """Push until nothing is left that can be pushed, or until told to stop, or another process waits for the local dir,
    which pushes as well and serves besides: then at once."""
    if queue is None:
        return
    log.info("s3d %s delivers what is pending and takes nothing: %d changes", __version__, queue.pending()["changes"])
    async with asyncio.TaskGroup() as tasks:
        ends = stop.wait(), asked_for(locks), queue.drain(math.inf)
        either = [tasks.create_task(end) for end in ends]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()


async def asked_for(locks: Sequence[LockFile]) -> None:
    """Wait until another process waits for the local dir."""
    while True:
        if any(lock.is_asked_for() for lock in locks):
            log.info("another s3d waits for the local dir: it goes on with what is left")
            return
        await asyncio.sleep(ASKED_INTERVAL)


async def drain(
    settings: Settings, daemon: Daemon, queue: Queue | None, deadline: float, *, unsent: Sequence[int] = ()
) -> int:
    """Push until the deadline; say in one line what is left (Q-12), how many files of each folder are unsent (S-9), and
    how many of the mount are no objects (M-5)."""
    if queue is not None:
        await queue.drain(max(0.0, deadline - time.monotonic()))
    status = daemon.status()
    pending, states = status["pending"], status["states"]
    unpublished = status["mount"]["unpublished"] if status["mount"] else 0
    left = {
        "changes": pending["changes"],
        "bytes": pending["bytes"],
        "oldest": pending["oldest_age_seconds"],
        # What no process delivers before a person has looked at it.
        "parked": pending["changes"] - sum(states.get(state, 0) for state in ON_THE_WAY),
        **({"unsent": sum(unsent)} if any(unsent) else {}),
        # By number: names of folders could be longer than what a kubelet reads of this.
        **({"unsent_by_folder": list(unsent)} if any(unsent) and len(unsent) > 1 else {}),
        **({"unpublished": unpublished} if unpublished else {}),
    }
    is_left = bool(pending["changes"] or any(unsent) or unpublished)
    if settings.gateway.termination_log and is_left:
        with contextlib.suppress(OSError):
            settings.gateway.termination_log.write_text(json.dumps(left), encoding="utf-8")
    if unpublished:
        log.warning("left on the local dir: %d files of the mount; the next start makes objects of them", unpublished)
    if pending["changes"]:
        log.warning(
            "left on the local dir: %d changes, %d bytes, %d of them parked and %d held; the next start goes on",
            left["changes"],
            left["bytes"],
            pending["parked"],
            pending["held"],
        )
    elif queue is not None:
        log.info("drained: everything is delivered")
    return LEFT_BEHIND if is_left else 0
