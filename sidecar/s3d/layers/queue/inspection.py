"""Looks for rows that cannot be read, sets them aside and tells of them (SEMANTICS D-4, D-14).

Most are met by whoever reads them, but a change whose state or time is nonsense is in the way of nobody and is never
delivered. So all rows are looked at: the first ones, and those that were under way, before anything else is done with
the tables; the others while s3d serves, so that its start does not wait for them (Q-13). All are looked at once more
when there is a doubt: another program has written into the database, or a look-up met a text that is none.
"""

import asyncio
import logging
from collections.abc import Callable

import apsw

from s3d.layers.queue.rows import damage
from s3d.metrics import Metrics
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

MAX_AT_START = 10_000
"""Changes, and uploads, that are looked at before the door opens."""
POLL_INTERVAL = 1.0
"""Seconds between two looks at whether something was set aside."""
FOREIGN_LOOK_EVERY = 10
"""One in so many of them asks whether another program has written, where nothing of ours is written."""


async def before_all(db: Database) -> None:
    """Look at what every start needs, and at as many rows as do not hold it up. Raises StoreFailed."""

    def look(db: apsw.Connection) -> None:
        damage.look_at_knowledge(db)
        damage.look_at_attempts(db)
        damage.look(db, damage.MIN_ROWID, MAX_AT_START)
        damage.look_at_uploads(db, "", MAX_AT_START)

    await db.write(look)


async def run(db: Database, metrics: Metrics, wake: Callable[[], None]) -> None:
    """Look at the others, and report what was set aside, until cancelled."""
    seen, turn = -1, 0
    while True:
        try:
            turn += 1
            if not turn % FOREIGN_LOOK_EVERY:
                # Who else has written shows in a transaction of our own.
                await db.write(lambda _: None)
            if seen != db.doubts:
                seen = db.doubts
                await look_at_all(db)
            await tell(db, metrics, wake)
        except StoreFailed as error:
            log.error("rows cannot be looked at: %s", error)
        await asyncio.sleep(POLL_INTERVAL)


async def look_at_all(db: Database) -> None:
    """Look at every row, some at a time. Raises StoreFailed."""
    await db.write(damage.look_at_knowledge)
    after: int | None = damage.MIN_ROWID
    while after is not None:
        behind = after
        after = await db.write(lambda db, behind=behind: damage.look(db, behind, damage.MAX_BATCH))  # type: ignore[misc]
    upload: str | None = ""
    while upload is not None:
        last = upload
        upload = await db.write(
            lambda db, last=last: damage.look_at_uploads(db, last, damage.MAX_BATCH)  # type: ignore[misc]
        )


async def tell(db: Database, metrics: Metrics, wake: Callable[[], None]) -> None:
    """Tell the log and the metric of changes that were set aside. Raises StoreFailed."""
    while found := damage.untold(db):
        for one in found:
            log.error(
                "change %d is quarantined: %s; `s3d queue list` shows it, `export` writes what is left of it",
                one.seq,
                one.reason,
            )
            metrics.quarantined.inc()
        await db.write(lambda db, found=found: damage.told(db, found))  # type: ignore[misc]
        wake()
