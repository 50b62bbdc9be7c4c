"""Attempts that arrive after all (SEMANTICS Q-3): a put or delete that was sent, stayed unanswered and comes late.

The newest settled change of a key that had such an attempt is kept with its body. When its time is over, one HEAD says
whether an older change of ours has replaced it meanwhile; then it waits again, and the pusher pushes it as any other.
What somebody else wrote is never replaced.
"""

import asyncio
import logging

from s3d.errors import S3Error, Unavailable
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push.conflicts import not_sent
from s3d.layers.queue.rows import aftermath, changes
from s3d.layers.queue.rows.changes import Change
from s3d.store.db import StoreFailed

log = logging.getLogger(__name__)

GLANCE = 5.0
"""Seconds between two looks at the clock, at most."""
PAUSE = 0.2
"""The same, at least."""
AGAIN = 1.0
"""Seconds until what could not be looked at is looked at again."""
AT_ONCE = 100
"""Changes that are looked at before the next look at the clock."""
PATIENCE = 3600.0
"""Seconds for which a look that the store refuses, for whatever reason, is made again; then the change is let go."""


async def watch(parts: Parts) -> None:
    """Look once at what is kept and whose time is over, and rest until the next time."""
    await parts.health.present()
    window = parts.settings.write_queue.zombie_window
    again = False
    try:
        for change, late in aftermath.settled(parts.db, parts.clock.now() - window, AT_ONCE):
            try:
                await look(parts, change, late)
            except Unavailable as error:
                log.debug("change %d is delivered, and could not be looked at: %s", change.seq, error)
                again = True
    except StoreFailed as error:
        log.error("settled changes cannot be looked at: %s", error)
        again = True
    since = aftermath.kept_since(parts.db)
    rest = GLANCE if since is None else AGAIN if again else since + window - parts.clock.now()
    await asyncio.sleep(min(max(rest, PAUSE), GLANCE))


async def look(parts: Parts, change: Change, late: tuple[str, ...]) -> None:
    """Let a settled change go, or push it again where the remote shows one of the ETags in `late`. Raises Unavailable.

    What was sent through and has no known ETag is taken for the one that shows where the object is not the change's.
    """
    others = {etag for etag in late if etag != change.etag}
    if others and change.op != "through":
        shown = await etag_of(parts, change)
        if shown in others or (changes.ANY in others and shown not in (None, change.etag)):
            parts.metrics.late_arrivals.inc()
            log.warning(
                "%s of %s/%s is pushed again: an older change arrived after it (ETag %s)",
                change.op,
                change.bucket,
                change.key,
                shown or "none",
            )
            if await parts.db.write(lambda db: aftermath.push_again(db, change, parts.clock.now())):
                parts.wake()
                return
    file = await parts.db.write(lambda db: aftermath.release(db, change.seq))
    if file is not None:
        await parts.bodies.delete(file)


async def etag_of(parts: Parts, change: Change) -> str | None:
    """The ETag that the remote shows for a change's key; "" where there is no object, None where it does not say."""
    try:
        there = await parts.client.acting(change.identity).head_object(change.bucket, change.key, fresh=True)
    except S3Error as error:
        if error.status == 404 and not error.unknown:
            return ""
        window = parts.settings.write_queue.zombie_window
        lately = parts.clock.now() - change.next_at < window + PATIENCE
        if error.unknown or lately or isinstance(error, Unavailable):
            raise not_sent(error) from error
        return None
    return there.etag or None
