"""Attempts that arrive after all (SEMANTICS Q-3): a put or delete that was sent, stayed unanswered and comes late.

The newest settled change of a key that had such an attempt is kept with its body. When its time is over, one HEAD says
whether an older change of ours has replaced it meanwhile; then it waits again, and the pusher pushes it as any other.
What somebody else wrote is never replaced.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from s3d.client import Client
from s3d.clock import Clock
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.push.conflicts import not_sent
from s3d.layers.queue.rows import changes, late_writes
from s3d.layers.queue.rows.changes import Change
from s3d.metrics import Metrics
from s3d.settings import WriteQueue
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

MAX_INTERVAL = 5.0
"""Seconds between two looks at the clock, at most."""
MIN_INTERVAL = 0.2
"""The same, at least."""
RETRY_INTERVAL = 1.0
"""Seconds until what could not be looked at is looked at again."""
MAX_BATCH = 100
"""Changes that are looked at before the next look at the clock."""
MAX_PATIENCE = 3600.0
"""Seconds for which a look that the store refuses, for whatever reason, is made again; then the change is let go."""


@dataclass(frozen=True, slots=True)
class Context:
    """What late writes are looked for with."""

    settings: WriteQueue
    db: Database
    clock: Clock
    client: Client
    health: Health
    metrics: Metrics
    garbage: Garbage
    wake: Callable[[], None]


async def watch(context: Context) -> None:
    """Look once at what is kept and whose time is over, and rest until the next time."""
    await context.health.present()
    window = context.settings.late_write_window
    again = False
    try:
        for change, late in late_writes.settled(context.db, context.clock.now() - window, MAX_BATCH):
            try:
                await look(context, change, late)
            except Unavailable as error:
                log.debug("change %d is delivered, and could not be looked at: %s", change.seq, error)
                again = True
    except StoreFailed as error:
        log.error("settled changes cannot be looked at: %s", error)
        again = True
    since = late_writes.kept_since(context.db)
    rest = MAX_INTERVAL if since is None else RETRY_INTERVAL if again else since + window - context.clock.now()
    await asyncio.sleep(min(max(rest, MIN_INTERVAL), MAX_INTERVAL))


async def look(context: Context, change: Change, late: tuple[str, ...]) -> None:
    """Let a settled change go, or push it again where the remote shows one of the ETags in `late`. Raises Unavailable.

    What was sent through and has no known ETag is taken for the one that shows where the object is not the change's.
    """
    others = {etag for etag in late if etag != change.etag}
    if others and change.op != "through":
        shown = await etag_of(context, change)
        if shown in others or (changes.ANY in others and shown not in (None, change.etag)):
            context.metrics.late_writes.inc()
            log.warning(
                "%s of %s/%s is pushed again: an older change arrived after it (ETag %s)",
                change.op,
                change.bucket,
                change.key,
                shown or "none",
            )
            if await context.db.write(lambda db: late_writes.push_again(db, change, context.clock.now())):
                context.wake()
                return
    await context.db.write(lambda db: late_writes.release(db, change.seq))
    if change.file is not None:
        context.garbage.wake()


async def etag_of(context: Context, change: Change) -> str | None:
    """The ETag that the remote shows for a change's key; "" where there is no object, None where it does not say."""
    try:
        there = await context.client.acting(change.identity).head_object(change.bucket, change.key, fresh=True)
    except S3Error as error:
        if error.status == 404 and not error.unknown:
            return ""
        window = context.settings.late_write_window
        lately = context.clock.now() - change.next_at < window + MAX_PATIENCE
        if error.unknown or lately or isinstance(error, Unavailable):
            raise not_sent(error) from error
        return None
    return there.etag or None
