"""Judges what waits and what is held anew, when the rules or the tags of a bucket have changed (SEMANTICS Q-11, F-4a).

What is queued is judged in its own transaction (rows/holds.py). This is about what was queued before: some hundred
changes a transaction, in their order, so that nobody waits for long. A bucket is noted as unjudged in the transaction
that changes what holds there, and no longer when all of it is judged; a restart goes on with it.
"""

import asyncio
import functools
import logging
from collections.abc import Callable

import apsw

from s3d.clock import Clock
from s3d.layers.queue.rows import claims, holds
from s3d.settings import WriteQueue
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks at the filter."""
BATCH = 500
"""Changes that are judged in one transaction."""


class Judging:
    """Judges anew."""

    def __init__(self, db: Database, clock: Clock, settings: WriteQueue, judged: Callable[[str], None]) -> None:
        """Take what is called with a bucket when what waits in it was held or released."""
        self._db = db
        self._clock = clock
        self._settings = settings
        self._judged = judged
        self._one = asyncio.Lock()
        """One change of what holds at a time: the end of one judgement must not end another one's."""

    async def remember(self, bucket: str, write: Callable[[apsw.Connection], bool]) -> None:
        """Commit what a bucket's tags say, and judge what waits in it where it answers that this is due."""
        async with self._one:
            if await self._db.write(write):
                log.info("bucket %s: what waits in it is judged anew by its tags", bucket)
                await self._judge(bucket)

    async def look(self) -> None:
        """Put the push filter of the settings in force, and judge what is not judged yet. Raises StoreFailed."""
        async with self._one:
            wanted = str(self._settings.push_filter)
            if wanted != holds.filter_text(self._db):
                await self._db.write(holds.adopt(wanted))
                log.info("the push filter is another one: what waits is judged anew")
            for bucket in holds.unjudged(self._db):
                await self._judge(bucket)

    async def watch(self) -> None:
        """Look, and rest."""
        try:
            await self.look()
        except StoreFailed as error:
            log.error("what waits cannot be judged anew: %s", error)
        await asyncio.sleep(INTERVAL)

    async def _judge(self, bucket: str) -> None:
        """Hold or release what waits in a bucket. Where that breaks off, it begins anew."""
        after: int | None = 0

        def some(db: apsw.Connection, behind: int, now: float) -> int | None:
            last = claims.judge_holds(db, bucket, behind, BATCH, now)
            if last is None:
                holds.judged(db, bucket)
            return last

        while after is not None:
            after = await self._db.write(functools.partial(some, behind=after, now=self._clock.now()))
        self._judged(bucket)
