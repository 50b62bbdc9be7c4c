"""What is known of buckets (SEMANTICS R-6): whether they exist, and why writes to them must go through.

A bucket is looked up before its first put is acknowledged and remembered on disk. One that the settings name is taken
at its word until the remote can be asked. What the remote later shows to the contrary is remembered too. Not to be
allowed to look is no knowledge: an identity may write to a bucket that it may not list, which its first write tells.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s3d.client import Client
from s3d.clock import Clock
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.queue.rows import holds, remote_facts
from s3d.store.db import Database

log = logging.getLogger(__name__)

# Operations that change what a queued write to the bucket means.
UNSETTLING = frozenset(
    "DeleteBucket CreateBucket PutBucketVersioning PutObjectLockConfiguration PutBucketEncryption "
    "DeleteBucketEncryption".split()
)
VERSIONS = frozenset(["versioned", "locked"])
"""Of a bucket that keeps every write."""
REFUTED = "refuted"
"""Of a bucket that the settings name and the remote refuses."""
MAX_KNOWN = 10_000
"""Names whose row, or absence, is kept in memory."""
# Answers to a look-up that say "not configured here", or that this remote or identity has no such notion.
SILENT = frozenset([400, 403, 404, 405, 501])


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is known of a bucket: why its writes go through ("": they are queued), in the remote's own word.

    Of a bucket whose writes are queued, that word is how it encrypts a write that does not say so itself.
    """

    name: str
    through: str = ""
    detail: str = ""


class Buckets:
    """The buckets that were seen."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        client: Client,
        health: Health,
        named: tuple[str, ...],
        *,
        queue_versioned: bool = False,
    ) -> None:
        """Take the names that the settings vouch for, and whether versioned buckets are queued for."""
        self._queue_versioned = queue_versioned
        self._db = db
        self._clock = clock
        self._client = client
        self._health = health
        self._named = frozenset(named)
        self._known: dict[str, Bucket | None] = {}
        self._looking: dict[str, asyncio.Future[Bucket]] = {}
        self._hidden: dict[str, Bucket] = {}
        """Buckets that the remote lets nobody look at, and what is known of them; no write has passed yet."""

    def remembered(self, name: str) -> Bucket | None:
        """What is known without asking; None where the bucket was never seen."""
        if name not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            row = remote_facts.remembered_bucket(self._db, name)
            self._known[name] = Bucket(name, *row) if row else None
        return self._known[name]

    async def get(self, name: str) -> Bucket:
        """What is known of a bucket, asking the remote where it was never seen.

        Raises the remote's own error (NoSuchBucket), or Unavailable where it is away and nothing vouches.
        """
        bucket = self.remembered(name)
        if bucket is not None and bucket.through != REFUTED:
            return bucket
        if self._health.away:
            if self.vouched(name):
                return Bucket(name)
            raise Unavailable(
                f"The bucket {name} was {'refused' if bucket else 'never seen'} and the remote is away",
                hint=f"to write to it before it is seen, name it in S3D_BUCKETS={name}",
            )
        try:
            return await self._look_up_once(name)
        except Unavailable:
            if self.vouched(name):
                return Bucket(name)
            raise

    def vouched(self, name: str) -> bool:
        """Whether a bucket was seen, or the settings vouch for it and the remote has not said otherwise."""
        bucket = self.remembered(name)
        return name in self._named if bucket is None else bucket.through != REFUTED

    def named(self, name: str) -> bool:
        """Whether the settings vouch for a bucket and the remote has not said otherwise: it is there and writable. One
        that nobody may look at has its first write judged by the remote."""
        return name in self._named and name not in self._hidden and self.vouched(name)

    def through(self, bucket: Bucket) -> str:
        """Why writes to a bucket go through under these settings; "" where they are queued."""
        return "" if self._queue_versioned and bucket.through in VERSIONS else bucket.through

    def ordered(self, name: str) -> bool:
        """Whether each write to a bucket is a version of its own, so that none supersedes another."""
        bucket = self.remembered(name)
        return bucket is not None and bucket.through in VERSIONS

    async def refute(self, name: str, code: str) -> None:
        """Note that the remote says of a bucket that it is not there, or not ours; the settings' word is void."""
        if name in self._named:
            await self._remember(Bucket(name, REFUTED, code))
        else:
            await self.forget(name)

    def encryption(self, name: str) -> str:
        """How the bucket encrypts a queued write that does not say so itself; "" where it does not."""
        bucket = self.remembered(name)
        return bucket.detail if bucket is not None and not bucket.through else ""

    async def passed(self, name: str) -> None:
        """Note that the remote took a write: a bucket that nobody may look at is there, and writable. Raises
        StoreFailed."""
        if (bucket := self._hidden.pop(name, None)) is not None:
            await self._remember(bucket)

    async def forget(self, name: str) -> None:
        """Ask again before the next put."""
        self._hidden.pop(name, None)
        await self._db.write(remote_facts.forget_bucket(name))
        self._known.pop(name, None)

    async def learn(self, bucket: Bucket) -> None:
        """Remember what the remote showed of a bucket. Raises StoreFailed."""
        if (known := self.remembered(bucket.name)) is not None and known.through == bucket.through:
            return
        log.warning("bucket %s is not as it was before: %s (%s)", bucket.name, bucket.through, bucket.detail)
        await self._remember(bucket)

    async def _remember(self, bucket: Bucket) -> None:
        await self._db.write(
            remote_facts.remember_bucket(bucket.name, bucket.through, bucket.detail, self._clock.wall())
        )
        self._known[bucket.name] = bucket

    async def _look_up_once(self, name: str) -> Bucket:
        """One look-up for all who ask at once; it outlives each of them."""
        future = self._looking.get(name)
        if future is None:
            future = self._looking[name] = asyncio.ensure_future(self._look_up(name))
            future.add_done_callback(lambda _: self._looking.pop(name, None))
        return await asyncio.shield(future)

    async def _look_up(self, name: str) -> Bucket:
        shown, versioning, lock, encryption, tags = await asyncio.gather(
            self._exists(name),
            self._ask("GetBucketVersioning", name),
            self._ask("GetObjectLockConfiguration", name),
            self._ask("GetBucketEncryption", name),
            self._ask("GetBucketTagging", name),
        )
        bucket = Bucket(name, *judge(versioning, lock, encryption))
        await self._db.write(holds.remember_first(name, tags, self._clock.now()))
        if shown:
            self._hidden.pop(name, None)
            await self._remember(bucket)
        else:
            if len(self._hidden) >= MAX_KNOWN:
                self._hidden.clear()
            self._hidden[name] = bucket
        return bucket

    async def _exists(self, name: str) -> bool:
        """Ask whether the bucket is there; False where the identity may not know. A HEAD has no document, so its error
        gets the name that a PUT's has."""
        try:
            await self._client.head_bucket(name, fresh=True)
        except S3Error as error:
            if error.status == 404:
                await self.refute(name, "NoSuchBucket")
                raise S3Error(
                    "NoSuchBucket", "The specified bucket does not exist", status=404, details={"BucketName": name}
                ) from error
            if error.status == 403:
                return False
            raise
        return True

    async def _ask(self, operation: str, name: str) -> Mapping[str, Any]:
        try:
            return (await self._client.ask(operation, {"Bucket": name}, fresh=True)).result
        except S3Error as error:
            if error.status in SILENT:
                return {}
            raise


def judge(versioning: Mapping[str, Any], lock: Mapping[str, Any], encryption: Mapping[str, Any]) -> tuple[str, str]:
    """Why writes to a bucket like this go through ("" where they need not), and the remote's word.

    A version id, a retention and the ETag of an encrypted object are the remote's to give (Q-4, Q-14).
    """
    if versioning.get("Status"):
        return "versioned", versioning["Status"]
    if lock.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled":
        return "locked", "object lock"
    for rule in encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", []):
        algorithm = rule.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm", "")
        if algorithm:
            return ("" if algorithm == "AES256" else "encrypted"), algorithm
    return "", ""
