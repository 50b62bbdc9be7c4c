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
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import claims, holds
from s3d.store.db import StoreFailed

log = logging.getLogger(__name__)

RETAGGING = frozenset(["PutBucketTagging", "DeleteBucketTagging"])
AGAIN = 10.0
"""Seconds after which a bucket in which something waits is asked again."""
IDLE_AGAIN, MOST_IDLE = 300.0, 10
"""The same where nothing waits, and how many of those are asked in one round."""
AT_ONCE = 500
"""Changes that are judged in one transaction."""
MOST_BUCKETS = 100
"""Buckets that are asked in one round."""


async def ask(parts: Parts, bucket: str) -> None:
    """Ask a bucket for its tags and judge what waits in it. Raises S3Error and StoreFailed."""
    tags: Mapping[str, Any] = {}
    try:
        tags = (await parts.client.ask("GetBucketTagging", {"Bucket": bucket}, fresh=True)).result
    except S3Error as error:
        # No tags; or a remote, or an identity, that has no such notion.
        if error.status not in SILENT or error.code == "NoSuchBucket":
            raise
    if await parts.db.write(holds.remember(bucket, tags, parts.clock.now())):
        log.info("bucket %s: what waits in it is judged anew by its tags", bucket)
        await judge(parts, bucket)


async def judge(parts: Parts, bucket: str) -> None:
    """Hold or release what waits in a bucket. Where that breaks off, the next `ask` begins anew."""
    after: int | None = 0

    def some(db: apsw.Connection, behind: int, now: float) -> int | None:
        last = claims.judge_holds(db, bucket, behind, AT_ONCE, now)
        if last is None:
            holds.judged(db, bucket)
        return last

    while after is not None:
        after = await parts.db.write(functools.partial(some, behind=after, now=parts.clock.now()))
    parts.room.freed()
    parts.wake()
    parts.turns.moved(bucket)


async def watch(parts: Parts) -> None:
    """Rest, and ask the buckets again whose time has come."""
    await asyncio.sleep(AGAIN)
    await parts.health.present()
    now = parts.clock.now()
    busy = claims.buckets_with_waiting(parts.db, MOST_BUCKETS)
    due = [bucket for bucket in busy if now - holds.asked_at(parts.db, bucket) >= AGAIN / 2]
    for bucket in dict.fromkeys(due + holds.long_ago(parts.db, now - IDLE_AGAIN, MOST_IDLE)):
        try:
            await ask(parts, bucket)
        except S3Error as error:
            log.debug("bucket %s does not tell its tags: %s", bucket, error)
        except StoreFailed as error:
            log.error("the tags of bucket %s cannot be remembered: %s", bucket, error)
