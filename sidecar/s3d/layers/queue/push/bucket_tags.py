"""Asks what the tags of buckets say, and holds or releases changes by it (SEMANTICS Q-11).

A bucket is asked when it is looked up, when a change of its tags passes, and now and then while something waits in it:
its tags may be changed elsewhere. One that does not answer is held to say what it said last.
"""

import asyncio
import functools
import logging
from collections.abc import Mapping
from typing import Any

import apsw

from s3d.errors import S3Error
from s3d.layers.queue.buckets import SILENT
from s3d.layers.queue.context import QueueContext
from s3d.layers.queue.rows import claims, holds
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

RETAGGING = frozenset(["PutBucketTagging", "DeleteBucketTagging"])
POLL_INTERVAL = 10.0
"""Seconds after which a bucket in which something waits is asked again."""
IDLE_POLL_INTERVAL, MAX_IDLE = 300.0, 10
"""The same where nothing waits, and how many of those are asked in one round."""
BATCH = 500
"""Changes that are judged in one transaction."""
MAX_BUCKETS = 100
"""Buckets that are asked in one round."""


async def ask(context: QueueContext, bucket: str) -> None:
    """Ask a bucket for its tags and judge what waits in it. Raises S3Error and StoreFailed."""
    tags: Mapping[str, Any] = {}
    try:
        tags = (await context.client.ask("GetBucketTagging", {"Bucket": bucket}, fresh=True)).result
    except S3Error as error:
        # No tags; or a remote, or an identity, that has no such notion.
        if error.status not in SILENT or error.code == "NoSuchBucket":
            raise
    if await context.db.write(holds.remember(bucket, tags, context.clock.now())):
        log.info("bucket %s: what waits in it is judged anew by its tags", bucket)
        await judge(context, bucket)


async def judge(context: QueueContext, bucket: str) -> None:
    """Hold or release what waits in a bucket. Where that breaks off, the next `ask` begins anew."""
    after: int | None = 0

    def some(db: apsw.Connection, behind: int, now: float) -> int | None:
        last = claims.judge_holds(db, bucket, behind, BATCH, now)
        if last is None:
            holds.judged(db, bucket)
        return last

    while after is not None:
        after = await context.db.write(functools.partial(some, behind=after, now=context.clock.now()))
    context.capacity.freed()
    context.wake()
    context.turns.moved(bucket)


async def watch(context: QueueContext) -> None:
    """Rest, and ask the buckets again whose time has come."""
    await asyncio.sleep(POLL_INTERVAL)
    await context.health.present()
    now = context.clock.now()
    busy = claims.buckets_with_waiting(context.db, MAX_BUCKETS)
    due = [bucket for bucket in busy if now - holds.asked_at(context.db, bucket) >= POLL_INTERVAL / 2]
    for bucket in dict.fromkeys(due + holds.long_ago(context.db, now - IDLE_POLL_INTERVAL, MAX_IDLE)):
        try:
            await ask(context, bucket)
        except S3Error as error:
            log.debug("bucket %s does not tell its tags: %s", bucket, error)
        except StoreFailed as error:
            log.error("the tags of bucket %s cannot be remembered: %s", bucket, error)
