"""Keeps the times of the tables true, for life (SEMANTICS D-10): what the steady clock shows is noted now and then, for
a start after which nobody could tell, and what is due further ahead than anything waits is due at once.

The clock itself never goes back. What is found here comes from elsewhere: a local dir of another machine, a damaged
column, or a delay that the settings have shortened since.
"""

import asyncio
import logging

import apsw

from s3d import config
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import times, views
from s3d.layers.queue.rows.changes import ON_THE_WAY
from s3d.layers.queue.rules import retry
from s3d.store.db import StoreFailed

log = logging.getLogger(__name__)

AGAIN = 10.0
"""Seconds between two looks while something is on its way."""
NOTED = 60.0
"""Seconds after which what the clock shows is noted again: by so much an age may be short after the machine was off."""


async def watch(parts: Parts) -> None:
    """Look for life. The start has looked before."""
    noted = 0.0
    while True:
        await asyncio.sleep(AGAIN)
        now = parts.clock.now()
        try:
            tally = views.tally(parts.db)
            if any(tally[state][0] for state in ON_THE_WAY):
                notes = now - noted >= NOTED
                await look(parts, now, notes=notes)
                noted = now if notes else noted
        except StoreFailed as error:
            log.error("the times of the tables cannot be looked at: %s", error)


async def look(parts: Parts, now: float, *, notes: bool = False) -> None:
    """Mend what cannot be, and note the time where asked to. Raises StoreFailed."""

    def write(db: apsw.Connection) -> int:
        if notes:
            times.note(db, parts.clock)
        return times.mend(db, now, longest(parts.settings))

    if mended := await parts.db.write(write):
        log.warning("%d times in the tables were further ahead than anything waits: they are now", mended)
        parts.wake()


def longest(settings: config.Settings) -> float:
    """Seconds that a change waits at most for its next attempt, and a lane for its next probe."""
    return max(retry.LONGEST, settings.write_queue.delay)
