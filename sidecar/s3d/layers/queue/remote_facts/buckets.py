"""What is known of buckets (SEMANTICS R-6): whether they exist, and why writes to them must go through.

A bucket is looked up before its first put is acknowledged and remembered on disk. One that the settings name is taken
at its word until the remote can be asked. What the remote later shows to the contrary is remembered too. Not to be
allowed to look is no knowledge: an identity may write to a bucket that it may not list, which its first write tells.

That a bucket is there is known to all identities; whom the remote has shown it is each one's own (A-8).
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
OWN = ""
"""The gateway's own identity."""
FORBIDDEN = 403
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


Seat = tuple[str, str]
"""A bucket and an identity."""


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
        self._looking: dict[Seat, asyncio.Future[Bucket]] = {}
        self._hidden: dict[Seat, Bucket] = {}
        """Buckets that the remote does not let an identity look at, and what is known of them; no write of it has
        passed yet."""
        self._shown: dict[Seat, bool] = {}

    def remembered(self, name: str) -> Bucket | None:
        """What is known without asking; None where the bucket was never seen."""
        if name not in self._known:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            row = remote_facts.remembered_bucket(self._db, name)
            self._known[name] = Bucket(name, *row) if row else None
        return self._known[name]

    def at_hand(self, name: str) -> Bucket | None:
        """What is known of a bucket that writes go by; None where the remote must be asked."""
        bucket = self.remembered(name)
        if bucket is not None and bucket.through != REFUTED:
            return bucket
        return Bucket(name) if self._health.away and self.vouched(name) else None

    async def get(self, name: str, identity: str) -> Bucket:
        """What is known of a bucket, asking the remote on behalf of an identity where it was never seen.

        Raises the remote's own error (NoSuchBucket), or Unavailable where it is away and nothing vouches.
        """
        if (bucket := self.at_hand(name)) is not None:
            return bucket
        if self._health.away:
            seen = "refused" if self.remembered(name) else "never seen"
            raise Unavailable(
                f"The bucket {name} was {seen} and the remote is away",
                hint=f"to write to it before it is seen, name it in S3D_BUCKETS={name}",
            )
        try:
            return await self._look_up_once((name, identity))
        except Unavailable:
            if self.vouched(name):
                return Bucket(name)
            raise

    def vouched(self, name: str) -> bool:
        """Whether a bucket was seen, or the settings vouch for it and the remote has not said otherwise."""
        bucket = self.remembered(name)
        return name in self._named if bucket is None else bucket.through != REFUTED

    def named(self, name: str, identity: str) -> bool:
        """Whether the settings vouch for a bucket and the remote has not said otherwise: it is there, and the gateway
        may write to it. One that it may not look at has its first write judged by the remote, and so have other
        identities."""
        return identity == OWN and name in self._named and (name, OWN) not in self._hidden and self.vouched(name)

    def is_shown_to(self, name: str, identity: str) -> bool:
        """Whether a bucket is there, and the remote has shown it to an identity, or the settings vouch for that."""
        if not self.vouched(name):
            return False
        return self._is_shown((name, identity)) or self.named(name, identity)

    def _is_shown(self, seat: Seat) -> bool:
        if seat not in self._shown:
            if len(self._shown) >= MAX_KNOWN:
                self._shown.clear()
            self._shown[seat] = remote_facts.is_bucket_shown(self._db, *seat)
        return self._shown[seat]

    async def show(self, name: str, identity: str) -> None:
        """Note that the remote has shown a bucket to an identity. Raises StoreFailed."""
        seat = (name, identity)
        if not self._is_shown(seat):
            await self._db.write(remote_facts.show_bucket(*seat, self._clock.wall()))
            self._shown[seat] = True

    async def hide(self, name: str, identity: str) -> None:
        """Note that it does not do that any more. Raises StoreFailed."""
        seat = (name, identity)
        if self._is_shown(seat):
            await self._db.write(remote_facts.hide_bucket(*seat))
            self._shown[seat] = False

    def through(self, bucket: Bucket) -> str:
        """Why writes to a bucket go through under these settings; "" where they are queued."""
        return "" if self._queue_versioned and bucket.through in VERSIONS else bucket.through

    def ordered(self, name: str) -> bool:
        """Whether each write to a bucket is a version of its own, so that none supersedes another."""
        bucket = self.remembered(name)
        return bucket is not None and bucket.through in VERSIONS

    async def refute(self, name: str, code: str) -> None:
        """Note that the remote says of a bucket that it is not there, or not ours; the settings' word is void."""
        await self.forget(name)
        if name in self._named:
            await self._remember(Bucket(name, REFUTED, code))

    def encryption(self, name: str) -> str:
        """How the bucket encrypts a queued write that does not say so itself; "" where it does not."""
        bucket = self.remembered(name)
        return bucket.detail if bucket is not None and not bucket.through else ""

    async def passed(self, name: str, identity: str) -> None:
        """Note that the remote took a write of an identity: a bucket that it may not look at is there, and writable.
        Raises StoreFailed."""
        if (bucket := self._hidden.pop((name, identity), None)) is not None:
            await self._remember(bucket)
        await self.show(name, identity)

    async def forget(self, name: str) -> None:
        """Ask again before the next put."""
        for kept in (self._hidden, self._shown):
            for seat in [seat for seat in kept if seat[0] == name]:
                del kept[seat]
        await self._db.write(remote_facts.forget_bucket(name))
        self._known.pop(name, None)

    async def learn(self, bucket: Bucket, identity: str) -> None:
        """Remember what the remote showed of a bucket to an identity. Raises StoreFailed."""
        if (known := self.remembered(bucket.name)) is not None and known.through == bucket.through:
            return
        log.warning("bucket %s is not as it was before: %s (%s)", bucket.name, bucket.through, bucket.detail)
        await self._remember(bucket)
        await self.show(bucket.name, identity)

    async def _remember(self, bucket: Bucket) -> None:
        await self._db.write(
            remote_facts.remember_bucket(bucket.name, bucket.through, bucket.detail, self._clock.wall())
        )
        self._known[bucket.name] = bucket

    async def _look_up_once(self, seat: Seat) -> Bucket:
        """One look-up for all of an identity who ask at once; it outlives each of them."""
        future = self._looking.get(seat)
        if future is None:
            future = self._looking[seat] = asyncio.ensure_future(self._look_up(*seat))
            future.add_done_callback(lambda _: self._looking.pop(seat, None))
        return await asyncio.shield(future)

    async def _look_up(self, name: str, identity: str) -> Bucket:
        client = self._client.acting(identity)
        shown, versioning, lock, encryption, tags = await asyncio.gather(
            self._exists(client, name),
            ask(client, "GetBucketVersioning", name),
            ask(client, "GetObjectLockConfiguration", name),
            ask(client, "GetBucketEncryption", name),
            ask(client, "GetBucketTagging", name),
        )
        bucket = Bucket(name, *judge(versioning or {}, lock or {}, encryption or {}))
        if tags is not None:
            await self._db.write(holds.remember_first(name, tags, self._clock.now()))
        if shown:
            self._hidden.pop((name, identity), None)
            await self._remember(bucket)
            await self.show(name, identity)
        else:
            if len(self._hidden) >= MAX_KNOWN:
                self._hidden.clear()
            self._hidden[name, identity] = bucket
        return bucket

    async def _exists(self, client: Client, name: str) -> bool:
        """Ask whether the bucket is there; False where the identity may not know. A HEAD has no document, so its error
        gets the name that a PUT's has."""
        try:
            await client.head_bucket(name, fresh=True)
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


async def ask(client: Client, operation: str, name: str) -> Mapping[str, Any] | None:
    """What a bucket says of itself, {} where it is not configured or the remote has no such notion; None where the
    identity may not know."""
    try:
        return (await client.ask(operation, {"Bucket": name}, fresh=True)).result
    except S3Error as error:
        if error.status == FORBIDDEN:
            return None
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
