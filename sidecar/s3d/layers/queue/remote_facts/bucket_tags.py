"""Asks what the tags of buckets say, and holds or releases changes by it (SEMANTICS Q-11).

A bucket is asked when it is looked up, when a change of its tags passes, and now and then while something waits in it:
its tags may be changed elsewhere. One that does not answer is held to say what it said last.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from s3d.client import Client
from s3d.clock import Clock
from s3d.errors import S3Error
from s3d.layers.health import Health
from s3d.layers.queue.judging import Judging
from s3d.layers.queue.remote_facts.buckets import FORBIDDEN, OWN, SILENT
from s3d.layers.queue.rows import claims, holds, remote_facts
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

RETAGGING = frozenset(["PutBucketTagging", "DeleteBucketTagging"])
POLL_INTERVAL = 10.0
"""Seconds after which a bucket in which something waits is asked again."""
IDLE_POLL_INTERVAL, MAX_IDLE = 300.0, 10
"""The same where nothing waits, and how many of those are asked in one round."""
MAX_ASKING = 5
"""Identities on whose behalf one bucket is asked, of each kind."""
MAX_BUCKETS = 100
"""Buckets that are asked in one round."""


class BucketTags:
    """What the tags of buckets say of the delivery."""

    def __init__(self, db: Database, clock: Clock, client: Client, health: Health, judging: Judging) -> None:
        """Take who judges what waits in a bucket by its tags."""
        self._db = db
        self._clock = clock
        self._client = client
        self._health = health
        self._judging = judging

    def known(self, bucket: str) -> bool:
        """Whether the bucket's tags were ever asked for."""
        return bool(holds.asked_at(self._db, bucket))

    async def ask(self, bucket: str, *identities: str) -> None:
        """Ask a bucket for its tags and judge what waits in it. Raises S3Error and StoreFailed.

        Who may know them says them: some identities are asked, then those that were shown the bucket.
        """
        tags: Mapping[str, Any] | None = None
        some = dict.fromkeys([*identities, *remote_facts.shown_to(self._db, bucket, MAX_ASKING)])
        for identity in some or (OWN,):
            client = self._client.acting(identity)
            try:
                tags = (await client.ask("GetBucketTagging", {"Bucket": bucket}, fresh=True)).result
            except S3Error as error:
                # No tags; or a remote, or an identity, that has no such notion.
                if error.status not in SILENT or error.code == "NoSuchBucket":
                    raise
                if error.status == FORBIDDEN:
                    continue
                tags = {}
            break
        await self._judging.remember(bucket, holds.remember(bucket, tags, self._clock.now()))

    async def watch(self) -> None:
        """Rest, and ask the buckets again whose time has come."""
        await asyncio.sleep(POLL_INTERVAL)
        await self._health.present()
        now = self._clock.now()
        busy = claims.buckets_with_waiting(self._db, MAX_BUCKETS)
        due = [bucket for bucket in busy if now - holds.asked_at(self._db, bucket) >= POLL_INTERVAL / 2]
        for bucket in dict.fromkeys(due + holds.long_ago(self._db, now - IDLE_POLL_INTERVAL, MAX_IDLE)):
            try:
                await self.ask(bucket, *claims.identities_waiting(self._db, bucket, MAX_ASKING))
            except S3Error as error:
                log.debug("bucket %s does not tell its tags: %s", bucket, error)
            except StoreFailed as error:
                log.error("the tags of bucket %s cannot be remembered: %s", bucket, error)
