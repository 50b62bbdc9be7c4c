"""The write queue as a layer: which call is queued, which is shown from what is pending, which waits, which passes.

A put or a delete is acknowledged when it is on stable storage (SEMANTICS D-1). Reads of a key with a pending change
answer from it. Every other call waits for the changes it depends on and is handed inward untouched; a write that the
queue does not take goes through in its key's turn. Nothing ever overtakes.
"""

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from multidict import CIMultiDict

from s3d import config
from s3d.api import S3, Body, BytesBody, Call, Headers, Reply, Wire, read_all
from s3d.errors import ConfigError, CorruptBody, S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.queue import bulk, changes, overlay, understood
from s3d.layers.queue.buckets import UNSETTLING, Buckets
from s3d.layers.queue.changes import Change, New, Queued
from s3d.layers.queue.pusher import Pusher, open_body
from s3d.layers.queue.room import Room
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.protocol import decode, encode
from s3d.protocol.model import OPERATIONS, Class
from s3d.store.bodies import Bodies
from s3d.store.db import Database, StoreFailed, StoreFull
from s3d.store.lock import make_private

log = logging.getLogger(__name__)

LARGEST_PUT = 5 << 30
LONGEST_KEY = 1024
MOST_METADATA = 2048
ORPHAN_GRACE = 3600.0
"""Seconds that a body without a row is left alone: its request may still be under way."""
# Multipart calls that leave the object as it is; only Complete changes it.
PREPARING = frozenset(["CreateMultipartUpload", "UploadPart", "UploadPartCopy", "AbortMultipartUpload"])


class Queue:
    """The write queue in front of `inner`."""

    def __init__(
        self,
        settings: config.Settings,
        db: Database,
        bodies: Bodies,
        inner: S3,
        health: Health,
        region: str,
        metrics: Metrics,
    ) -> None:
        """Take an open database, the directory of bodies and the remote's region; `open_queue` is the way in."""
        self._settings = settings.write_queue
        self._region = region
        self._db = db
        self._bodies = bodies
        self._inner = inner
        self._health = health
        self._metrics = metrics
        self._classes = {name: operation.klass for name, operation in OPERATIONS.items()}
        self.turns = Turns(db, health, settings.gateway.barrier_timeout)
        self.buckets = Buckets(db, inner, health, settings.remote.buckets)
        self.room = Room(db, settings.write_queue)
        self.pusher = Pusher(
            db, bodies, inner, health, self.turns, self.buckets, self.room, metrics, settings.write_queue.workers
        )

    async def __call__(self, call: Call) -> Reply:
        """Serve one call."""
        try:
            return await self._serve(call)
        except StoreFailed as error:
            raise refuse_store(error) from error

    async def _serve(self, call: Call) -> Reply:
        match call.operation:
            case "PutObject":
                return await self._put(call)
            case "DeleteObject":
                return await self._delete(call)
            case "DeleteObjects":
                return await self._delete_many(call)
            case "GetObject" | "HeadObject":
                return await self._read(call)
        if call.wire is not None and call.wire.method == "OPTIONS":
            return await self._inner(call)
        if call.wire is not None and is_form(call.wire):
            raise S3Error(
                "NotImplemented",
                "A browser's form upload carries a signature of its own, which cannot be forwarded",
                status=501,
                hint="upload with PUT",
            )
        match self._classes.get(call.operation, Class.BARRIER_BUCKET if not call.key else Class.BARRIER_KEY):
            case Class.PASS:
                return await self._pass(call)
            case Class.REFUSE:
                raise S3Error("NotImplemented", f"{call.operation} is not served by a gateway", status=501)
        return await self._after(call)

    async def _put(self, call: Call) -> Reply:
        wire = call.wire or encoded(call)
        if foreign := understood.foreign(wire, "PutObject"):
            return await self._through(call, foreign[0])
        body = call.body
        if body is None or body.length is None:
            raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
        size = body.length
        members = understood.kept(wire, {})
        check_limits(call.key, size, members)
        bucket = await self.buckets.get(call.bucket)
        if bucket.through:
            return await self._through(call, bucket.through)
        if size > self._settings.max_size:
            return await self._through(call, "larger than the queue")
        async with self.room.take(size):
            md5 = hashlib.md5(usedforsecurity=False)
            stored = await self._bodies.receive(body, md5.update)
            etag = md5.hexdigest()
            members = understood.kept(wire, getattr(body, "digests", {}))
            try:
                new = self._new(
                    call, call.key, "put", members=members, size=size, etag=etag, file=stored.id, inline=stored.inline
                )
                await self._enqueue([new])
            except StoreFull:
                # Nothing was committed. After any other failure the row may turn out to be stored: the body stays.
                if stored.id is not None:
                    await self._bodies.delete(stored.id)
                raise
        headers: Headers = CIMultiDict({"ETag": f'"{etag}"', "x-s3d-durability": "local"})
        sums = {name: value for name, value in members.items() if name in understood.CHECKSUMS}
        if sums:
            headers.update(sums)
            headers["x-amz-checksum-type"] = "FULL_OBJECT"
        return Reply(200, headers)

    async def _delete(self, call: Call) -> Reply:
        wire = call.wire or encoded(call)
        if foreign := understood.foreign(wire, "DeleteObject"):
            return await self._through(call, foreign[0])
        check_limits(call.key, 0, {})
        bucket = await self.buckets.get(call.bucket)
        if bucket.through:
            return await self._through(call, bucket.through)
        async with self.room.take(0):
            await self._enqueue([self._new(call, call.key, "delete")])
        return Reply(204, CIMultiDict({"x-s3d-durability": "local"}))

    async def _delete_many(self, call: Call) -> Reply:
        """Answer key by key (Q-20): plain keys in one commit, the others by the remote."""
        wire = call.wire or encoded(call)
        bucket = await self.buckets.get(call.bucket)
        if bucket.through or call.body is None or understood.foreign(wire, "DeleteObjects"):
            return await self._after(call)
        data = await read_document(call.body)
        operation = OPERATIONS["DeleteObjects"]
        if decode.unknown_elements(operation, data):
            return await self._after(replace(call, body=BytesBody(data)))
        wanted = bulk.of_document(decode.input_xml(operation, data))
        plain = [key for key in wanted.plain if len(key.encode()) <= LONGEST_KEY]
        async with self.room.take(0, files=len(plain)):
            await self._enqueue([self._new(call, key, "delete") for key in plain])
        rest = [o for o in wanted.objects if set(o) != {"Key"} or o["Key"] not in plain]
        forwarded, refusal = await self._delete_rest(call, rest) if rest else ({}, None)
        return Reply(
            200, CIMultiDict({"x-s3d-durability": "local"}), result=bulk.answer(wanted, plain, forwarded, refusal)
        )

    async def _delete_rest(self, call: Call, objects: list[Mapping[str, Any]]) -> tuple[dict[str, Any], S3Error | None]:
        """Forward what cannot be queued, after what is pending for its keys."""
        try:
            for key in dict.fromkeys(o["Key"] for o in objects):
                await self.turns.barrier(call.bucket, key)
            params = {"Bucket": call.bucket, "Delete": {"Objects": objects}}
            return (await self._inner(Call("DeleteObjects", params, identity=call.identity))).result or {}, None
        except S3Error as error:
            return {}, error

    def _new(self, call: Call, key: str, op: str, **what: Any) -> New:
        now = time.time()
        return New(call.bucket, key, call.identity, op, now, now + self._settings.delay, **what)

    async def _enqueue(self, news: list[New]) -> None:
        """Commit changes together (D-2): when this returns, they are on stable storage."""
        queued: list[Queued] = await self._db.write(lambda db: [changes.enqueue(db, new) for new in news])
        self.pusher.wake()
        for one in queued:
            for file in one.files:
                await self._bodies.delete(file)

    async def _read(self, call: Call) -> Reply:
        """Answer GetObject and HeadObject from a pending change, else from inside (R-1, R-2)."""
        change = changes.visible(self._db, call.bucket, call.key)
        if change is None:
            return await self._inner(call)
        if call.wire is not None and understood.foreign(call.wire, call.operation):
            await self.turns.barrier(call.bucket, call.key)
            return await self._inner(call)
        if change.state == "quarantined":
            raise S3Error(
                "ServiceUnavailable",
                f"The newest version of this object is damaged on the local dir: {change.reason}",
                status=503,
                hint="put the object again, or see `s3d status bucket/key`",
            )
        if change.op == "delete":
            raise S3Error("NoSuchKey", "The specified key does not exist.", status=404, details={"Key": call.key})
        try:
            return overlay.answer(call.operation, call.params, change, lambda: open_body(self._bodies, change))
        except CorruptBody as error:
            return await self._damaged(call, change, error)

    async def _damaged(self, call: Call, change: Change, error: CorruptBody) -> Reply:
        """Look again: either the change was settled meanwhile, or its body is bad and it is quarantined (D-4)."""
        again = changes.visible(self._db, call.bucket, call.key)
        if again is not None and again.seq == change.seq:
            log.error("change %d is quarantined: %s", change.seq, error)
            self._metrics.quarantined.inc()
            await self._db.write(lambda db: changes.quarantine(db, change.seq, str(error)))
        return await self._read(call)

    async def _pass(self, call: Call) -> Reply:
        try:
            return await self._inward(call)
        except Unavailable:
            if call.operation in ("HeadBucket", "GetBucketLocation") and self.buckets.vouched(call.bucket):
                return self._remembered(call)
            raise

    async def _inward(self, call: Call) -> Reply:
        """Hand a call inward; forget the bucket where the call changes what a queued write to it means."""
        reply = await self._inner(call)
        if call.operation in UNSETTLING and reply.status < 300:
            await self.buckets.forget(call.bucket)
        return reply

    def _remembered(self, call: Call) -> Reply:
        """Answer for a bucket that is known while the remote is away (R-9)."""
        region = self._region
        if call.operation == "HeadBucket":
            return Reply(200, CIMultiDict({"x-amz-bucket-region": region}))
        return Reply(200, result={"LocationConstraint": "" if region == "us-east-1" else region})

    async def _after(self, call: Call) -> Reply:
        """Hand a call inward when the changes that it depends on are pushed (R-3)."""
        source = copy_source(call.params.get("CopySource", ""))
        if source is not None:
            await self.turns.barrier(*source)
        writes = call.wire is None or call.wire.method not in ("GET", "HEAD")
        if call.key and writes and call.operation not in PREPARING:
            return await self._through(call, call.operation or "unknown operation")
        await self.turns.barrier(call.bucket, call.key or None)
        return await self._inward(call)

    async def _through(self, call: Call, reason: str) -> Reply:
        """Send a write to the remote while the client waits, in its key's turn."""
        self._metrics.written_through.labels(label(reason)).inc()
        if self._health.away:
            # Before the turn: nothing durable is owed to a request that cannot be served.
            raise Unavailable(
                f"This request must be decided by the remote ({reason}), which is away: {self._health.reason}"
            )
        async with self.turns.turn(call.bucket, call.key, call.identity):
            reply = await self._inner(call)
        self.pusher.wake()
        if reply.status < 300:
            reply.headers["x-s3d-durability"] = "remote"
        return reply

    async def sweep(self) -> None:
        """Remove bodies without a row, left by a crash between the two (D-2), and set strange files aside (D-4)."""
        swept = await self._bodies.sweep(lambda files: changes.files_known(self._db, files), ORPHAN_GRACE)
        for name in swept.quarantined:
            log.error("a strange file in the directory of bodies is quarantined: %s", name)

    @property
    def failure(self) -> str:
        """Why the local dir takes no writes at the moment; "" while it does."""
        return str(self._db.failure or "")

    async def drain(self, seconds: float) -> None:
        """Push what is pending for up to so long, then carry the WAL into the database."""
        await self.pusher.drained(seconds)
        with contextlib.suppress(StoreFailed):
            await self._db.checkpoint()

    # What the status door shows.

    def pending(self) -> dict[str, Any]:
        """What is pending: changes, bytes, the oldest one's age in seconds, parked and held changes."""
        states = changes.tally(self._db)
        oldest = changes.oldest(self._db)
        return {
            "changes": sum(count for count, _ in states.values()),
            "bytes": sum(size for _, size in states.values()),
            "oldest_age_seconds": None if oldest is None else max(0.0, time.time() - oldest),
            "parked": states["parked"][0],
            "held": states["held"][0],
        }

    def states(self) -> dict[str, int]:
        """Changes by state."""
        return {state: count for state, (count, _) in changes.tally(self._db).items()}

    def bucket_status(self, bucket: str) -> dict[str, Any]:
        """What is known of a bucket, and what is pending in it."""
        known = self.buckets.remembered(bucket)
        count, size = changes.bucket_tally(self._db, bucket)
        return {
            "bucket": bucket,
            "known": self.buckets.vouched(bucket),
            "writes": f"through: {known.through} ({known.detail})" if known and known.through else "queued",
            "pending": {"changes": count, "bytes": size},
        }

    def object_status(self, bucket: str, key: str) -> dict[str, Any]:
        """The changes of one key, oldest first; `settled` where nothing is pending."""
        pending = changes.of_key(self._db, bucket, key)
        shown = [
            {
                "seq": change.seq,
                "op": change.op,
                "state": change.state,
                "size": change.size,
                "etag": change.etag,
                "acked_at": change.acked_at,
                "attempts": change.attempts,
                "next_at": None if change.next_at >= changes.NEVER else change.next_at,
                "code": change.code,
                "reason": change.reason,
            }
            for change in pending
        ]
        return {"bucket": bucket, "key": key, "state": pending[-1].state if pending else "settled", "changes": shown}


@contextlib.asynccontextmanager
async def open_queue(
    settings: config.Settings, inner: S3, health: Health, endpoint: str, region: str, metrics: Metrics
) -> AsyncIterator[Queue]:
    """Open the queue of the local dir: what is left in it is pushed on. Raises ConfigError (D-9) and StoreFailed."""
    directory = settings.queue_dir
    await asyncio.to_thread(make_private, directory / "bodies")
    db = await asyncio.to_thread(Database.open, directory / "queue.db", changes.SCHEMA, metrics.count_commit)
    try:
        await adopt(db, endpoint)
        await db.write(changes.recover)
        bodies = await asyncio.to_thread(Bodies, directory / "bodies")
        try:
            yield Queue(settings, db, bodies, inner, health, region, metrics)
        finally:
            await bodies.close()
    finally:
        await db.close()


async def adopt(db: Database, endpoint: str) -> None:
    """Make the local dir belong to one remote; refuse another one while changes are pending (D-9)."""
    owner = changes.belongs_to(db)
    if owner == endpoint:
        return
    pending = sum(count for count, _ in changes.tally(db).values())
    if owner is not None and pending:
        raise ConfigError(
            f"The local dir holds {pending} changes for {owner}, and S3_ENDPOINT is {endpoint}",
            hint=f"start once with S3_ENDPOINT={owner} to deliver them, or use another S3D_LOCAL_DIR",
        )
    await db.write(changes.assign_to(endpoint))


def check_limits(key: str, size: int, members: dict[str, str]) -> None:
    """Refuse what the remote would refuse later, while the client is there (Q-15)."""
    if len(key.encode()) > LONGEST_KEY:
        raise S3Error("KeyTooLongError", "Your key is too long", details={"MaxSizeAllowed": str(LONGEST_KEY)})
    if size > LARGEST_PUT:
        raise S3Error(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            details={"ProposedSize": str(size), "MaxSizeAllowed": str(LARGEST_PUT)},
        )
    prefix = len(understood.METADATA)
    metadata = sum(
        len(name) - prefix + len(value.encode(errors="surrogateescape"))
        for name, value in members.items()
        if name.startswith(understood.METADATA)
    )
    if metadata > MOST_METADATA:
        raise S3Error(
            "MetadataTooLarge",
            "Your metadata headers exceed the maximum allowed metadata size",
            details={"Size": str(metadata), "MaxSizeAllowed": str(MOST_METADATA)},
        )


async def read_document(body: Body) -> bytes:
    """Read a request's document. Raises S3Error MalformedXML where it is too large."""
    try:
        return await read_all(body, bulk.LARGEST_DOCUMENT)
    except ValueError:
        raise S3Error("MalformedXML", "The XML you provided is larger than any valid one") from None


def is_form(wire: Wire) -> bool:
    """Whether a request is a form POST, which names its key in its body."""
    return wire.method == "POST" and wire.headers.get("Content-Type", "").lower().startswith("multipart/form-data")


def copy_source(source: object) -> tuple[str, str] | None:
    """Bucket and key that a copy reads; None where the call is no copy."""
    if not isinstance(source, str) or not source:
        return None
    bucket, _, key = source.removeprefix("/").partition("?")[0].partition("/")
    return unquote(bucket), unquote(key)


def encoded(call: Call) -> Wire:
    """The wire form of a call that a layer made."""
    method, path, query, headers, _ = encode.request(call.operation, call.params)
    return Wire(method, f"/{call.bucket}{path}", query, headers)


def label(reason: str) -> str:
    """A reason as a metric's label: what the client names must not make new ones."""
    return reason if reason in REASONS else "not queued"


REASONS = frozenset(["versioned", "locked", "encrypted", "etag", "larger than the queue", "if-match", "if-none-match"])


def refuse_store(error: StoreFailed) -> S3Error:
    """The 503 of a write or read that the local dir failed (D-3, Q-7)."""
    if isinstance(error, StoreFull):
        return S3Error(
            "SlowDown",
            "The local dir is full",
            status=503,
            headers={"Retry-After": "5"},
            hint="writes resume by themselves as changes are delivered",
        )
    return S3Error(
        "ServiceUnavailable",
        f"The local dir failed: {error}",
        status=503,
        headers={"Retry-After": "5"},
        hint=error.hint,
    )
