"""Looks that go on until the daemon ends: a bug in one of them ends neither it nor the daemon.

What a look raises is logged with its traceback and counted by the look's name, and the look is made again after a
pause, so that a bug which comes each time does not keep the processor busy. A look waits by itself for its next time.
Only cancellation ends it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from s3d.metrics import Metrics

log = logging.getLogger(__name__)

RESTART_PAUSE = 1.0
"""Seconds after a bug."""
LAG_INTERVAL = 1.0
"""Seconds between two looks at how late the loop is."""


async def for_ever(name: str, look: Callable[[], Awaitable[object]], metrics: Metrics) -> None:
    """Make a look again and again."""
    while True:
        await until_done(name, look, metrics)


async def until_done(name: str, work: Callable[[], Awaitable[object]], metrics: Metrics) -> None:
    """Do a piece of work, as often as it takes until no bug comes of it."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a bug: the look at %s failed, and is made again", name)
            metrics.background_failures.labels(name).inc()
            await asyncio.sleep(RESTART_PAUSE)
        else:
            return


async def watch_loop(metrics: Metrics) -> None:
    """Rest, and see how late the loop comes back: nothing else shows that requests wait for each other's work."""
    loop = asyncio.get_running_loop()
    due = loop.time() + LAG_INTERVAL
    await asyncio.sleep(LAG_INTERVAL)
    metrics.loop_lag.observe(max(0.0, loop.time() - due))
