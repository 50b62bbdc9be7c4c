"""Keeps the times of the tables true (SEMANTICS D-10): what the steady clock shows is noted now and then, for
a start after which nobody could tell, and what is due further ahead than anything waits is due at once.

The clock itself never goes back. What is found here comes from elsewhere: a local dir of another machine, a damaged
column, or a delay that the settings have shortened since.
"""

import asyncio
import logging
from collections.abc import Callable

import apsw

from s3d.clock import Clock
from s3d.layers.queue.rows import lookups, times
from s3d.layers.queue.rows.states import ON_THE_WAY
from s3d.layers.queue.rules import retry
from s3d.settings import Settings
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

POLL_INTERVAL = 10.0
"""Seconds between two looks while something is on its way."""
NOTE_INTERVAL = 60.0
"""Seconds after which what the clock shows is noted again: by so much an age may be short after the machine was off."""


async def watch(db: Database, clock: Clock, settings: Settings, wake: Callable[[], None]) -> None:
    """Look until cancelled. The start has looked before."""
    noted = 0.0
    while True:
        await asyncio.sleep(POLL_INTERVAL)
        now = clock.now()
        try:
            tally = lookups.tally(db)
            if any(tally[state][0] for state in ON_THE_WAY):
                notes = now - noted >= NOTE_INTERVAL
                if await look(db, clock, now, longest(settings), notes=notes):
                    wake()
                noted = now if notes else noted
        except StoreFailed as error:
            log.error("the times of the tables cannot be looked at: %s", error)


async def look(db: Database, clock: Clock, now: float, most: float, *, notes: bool = False) -> bool:
    """Mend what is due later than `most` seconds from now, and note the time where asked to. Whether there was any.

    Raises StoreFailed.
    """

    def write(connection: apsw.Connection) -> int:
        if notes:
            times.note(connection, clock)
        return times.mend(connection, now, most)

    mended = await db.write(write)
    if mended:
        log.warning("%d times in the tables were further ahead than anything waits: they are now", mended)
    return bool(mended)


def longest(settings: Settings) -> float:
    """Seconds that a change waits at most for its next attempt, and a lane for its next probe."""
    return max(retry.MAX_PAUSE, settings.write_queue.delay)
