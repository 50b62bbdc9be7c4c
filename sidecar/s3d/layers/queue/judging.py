"""Judges what waits and what is held anew, when the rules or the tags of a bucket have changed (SEMANTICS Q-11, F-4a).

What is queued is judged in its own transaction (rows/holds.py). This is about what was queued before: some hundred
changes a transaction, in their order, so that nobody waits for long. A bucket is noted as unjudged in the transaction
that changes what holds there, and no longer when all of it is judged; a restart goes on with it.

What left cannot be called back. So a start goes on with the filter that was in force, where its settings file cannot be
read, or is gone: nothing leaves because nobody could say what holds it.
"""

import asyncio
import functools
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

import apsw

from s3d import config
from s3d.clock import Clock
from s3d.errors import ConfigError
from s3d.layers.queue.rows import changes, holds
from s3d.settings import Settings
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull

log = logging.getLogger(__name__)

INTERVAL = 1.0
"""Seconds between two looks at the filter."""
MAX_BATCH = 500
"""Changes that are judged in one transaction."""
SETTING = "S3D_WRITE_QUEUE_PUSH_FILTER"
MAX_SHOWN = 500
"""Characters of a filter that the log shows."""
NOTHING = "!*"
"""The filter under which nothing leaves."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the push filter and the policy of a start come from."""

    at_start: str
    """What the start-up values say, as text."""
    policy: str = ""
    """What they say of the policy, as text."""
    said: Collection[str] = ()
    """The settings that the settings file has said by now."""
    refused: bool = False
    """Whether there is a settings file that cannot be read or is refused."""


class Judging:
    """Judges anew."""

    def __init__(self, db: Database, clock: Clock, settings: Settings, judged: Callable[[str], None]) -> None:
        """Take what is called with a bucket when what waits in it was held or released."""
        self._db = db
        self._clock = clock
        self._settings = settings
        self._judged = judged
        self._one = asyncio.Lock()
        """One change of what holds at a time: the end of one judgement must not end another one's."""
        self._keeps_beside: Collection[str] | None = None

    async def begin(self, origin: Origin) -> None:
        """Put the filter in force that a start goes on with. Raises StoreFailed.

        The one that was in force stays where nobody can say another, and where only the start-up values could and have
        not changed since: then it came by a settings file that is gone. The settings say it from then on.
        """
        last = holds.filter_text(self._db)
        is_unchanged = holds.filter_at_start(self._db) == origin.at_start
        may_stay = SETTING not in origin.said and (origin.refused or is_unchanged)
        if last is not None and may_stay and last != self._wanted:
            log.warning(
                "the settings do not say which push filter holds: the last one stays in force: %s",
                last if len(last) <= MAX_SHOWN else last[:MAX_SHOWN] + "...",
            )
            try:
                config.reload(self._settings, {SETTING: last})
            except ConfigError as error:
                log.error("it cannot be read, and nothing leaves: %s", error)
                config.reload(self._settings, {SETTING: NOTHING})
            self._keeps_beside = origin.said
        at_start = None if origin.refused else origin.at_start
        with suppress(StoreFull):  # the look is made again while s3d serves
            await self._db.write(holds.adopt(self._wanted, at_start))

    @property
    def _wanted(self) -> str:
        return str(self._settings.write_queue.push_filter)

    @property
    def keeps(self) -> bool:
        """Whether the filter in force is the one of an earlier life, and nobody has said one in this life."""
        return self._keeps_beside is not None and SETTING not in self._keeps_beside

    async def remember(self, bucket: str, write: Callable[[apsw.Connection], bool]) -> None:
        """Commit what a bucket's tags say, and judge what waits in it where it answers that this is due."""
        async with self._one:
            if await self._db.write(write):
                log.info("bucket %s: what waits in it is judged anew by its tags", bucket)
                await self._judge(bucket)

    async def look(self) -> None:
        """Put the push filter of the settings in force, and judge what is not judged yet. Raises StoreFailed."""
        async with self._one:
            wanted = self._wanted
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
            last = changes.judge_holds(db, bucket, behind, MAX_BATCH, now)
            if last is None:
                holds.judged(db, bucket)
            return last

        while after is not None:
            after = await self._db.write(functools.partial(some, behind=after, now=self._clock.now()))
        self._judged(bucket)
