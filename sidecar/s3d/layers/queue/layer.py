"""The write queue as a layer: which module serves which call. The rest is handed inward by its operation's class.

A call that no module understands waits for the changes it depends on and is handed inward untouched; nothing overtakes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from s3d import config
from s3d.api import S3, Body, Call, Reply
from s3d.errors import ConfigError, S3Error
from s3d.layers.health import Health
from s3d.layers.queue import inspection, parked, status
from s3d.layers.queue.ballast import Ballast
from s3d.layers.queue.buckets import Buckets
from s3d.layers.queue.multipart import calls, inprogress, upkeep
from s3d.layers.queue.parts import Handler, Parts
from s3d.layers.queue.push.pusher import Pusher
from s3d.layers.queue.room import Room, disk_full
from s3d.layers.queue.rows import knowledge, lanes, outcomes, uploads, views
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.rows.shapes import Shapes
from s3d.layers.queue.serve import copies, forward, listing, posts, reads, tagging, writes
from s3d.layers.queue.sights import Sights
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.protocol.model import OPERATIONS, Class
from s3d.store.bodies import Bodies
from s3d.store.db import Database, StoreFailed, StoreFull
from s3d.store.lock import make_private

log = logging.getLogger(__name__)

ORPHAN_GRACE = 3600.0
"""Seconds that a body without a row is left alone: its request may still be under way."""
HANDLERS: Mapping[str, Handler] = {
    "PutObject": writes.put,
    "CopyObject": copies.copy,
    "DeleteObject": writes.delete,
    "DeleteObjects": writes.delete_many,
    "DeleteBucket": forward.delete_bucket,
    "CreateMultipartUpload": calls.create,
    "UploadPart": calls.upload_part,
    "UploadPartCopy": calls.copy_part,
    "CompleteMultipartUpload": calls.complete,
    "AbortMultipartUpload": calls.abort,
    "ListParts": calls.list_parts,
    "ListMultipartUploads": inprogress.list_uploads,
    "PutObjectTagging": tagging.put,
    "DeleteObjectTagging": tagging.delete,
    "GetObjectTagging": tagging.get,
    "GetObject": reads.get,
    "HeadObject": reads.get,
    "GetObjectAttributes": reads.attributes,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects,
}


class Queue:
    """The write queue in front of a remote."""

    def __init__(self, parts: Parts, pusher: Pusher) -> None:
        """Take the parts; `open_queue` is the way in."""
        self._parts = parts
        self._classes = {name: operation.klass for name, operation in OPERATIONS.items()}
        self.pusher = pusher

    async def __call__(self, call: Call) -> Reply:
        """Serve one call."""
        try:
            return forward.promised(call, await self._serve(call))
        except StoreFailed as error:
            if isinstance(error, StoreFull):
                await self._parts.ballast.drop()
            raise refuse_store(error) from error

    async def _serve(self, call: Call) -> Reply:
        handler = HANDLERS.get(call.operation)
        if handler is not None:
            return await handler(self._parts, call)
        if call.wire is not None and call.wire.method == "OPTIONS":
            return await self._parts.inner(call)
        if call.wire is not None and posts.is_form(call.wire):
            return await posts.post(self._parts, call)
        match self._classes.get(call.operation, Class.BARRIER_BUCKET if not call.key else Class.BARRIER_KEY):
            case Class.PASS:
                return await forward.pass_through(self._parts, call)
            case Class.REFUSE:
                raise S3Error("NotImplemented", f"{call.operation} is not served by a gateway", status=501)
        return await forward.after(self._parts, call)

    async def sweep(self) -> None:
        """Remove bodies without a row, left by a crash between the two (D-2), and set strange files aside (D-4)."""
        parts = self._parts
        swept = await parts.bodies.sweep(
            lambda files: views.files_known(parts.db, files) | uploads.files_known(parts.db, files), ORPHAN_GRACE
        )
        for name in swept.quarantined:
            log.error("a strange file in the directory of bodies is quarantined: %s", name)

    async def look_after_rows(self) -> None:
        """Run for life: find rows that cannot be read, and tell of them."""
        await inspection.run(self._parts)

    async def look_after_uploads(self) -> None:
        """Run for life: expire, clean up and spill uploads."""
        await upkeep.run(self._parts)

    @property
    def failure(self) -> str:
        """Why the local dir takes no writes at the moment; "" while it does."""
        return str(self._parts.db.failure or "")

    async def drain(self, seconds: float) -> None:
        """Push what is pending for up to so long, then carry the WAL into the database."""
        await self.pusher.drained(seconds)
        with contextlib.suppress(StoreFailed):
            await self._parts.db.checkpoint()

    # What the status doors show.

    def pending(self) -> dict[str, Any]:
        """What is pending, in counts."""
        return status.pending(self._parts)

    def states(self) -> dict[str, int]:
        """Changes by state."""
        return status.states(self._parts)

    def paused_lanes(self) -> int:
        """How many lanes are paused."""
        return lanes.paused(self._parts.db)

    def bucket_status(self, bucket: str) -> dict[str, Any]:
        """What is known of a bucket, and what is pending in it."""
        return status.of_bucket(self._parts, bucket)

    def object_status(self, bucket: str, key: str) -> dict[str, Any]:
        """The changes of one key."""
        return status.of_object(self._parts, bucket, key)

    def lanes(self) -> list[dict[str, Any]]:
        """The lanes that the remote refuses."""
        return status.of_lanes(self._parts)

    # What waits for a person, and what a person asks for.

    def kept(self, bucket: str, prefix: str, seq: int | None, after: int) -> list[dict[str, Any]]:
        """A page of what waits for a person."""
        return parked.listed(self._parts, bucket, prefix, seq, after)

    def body(self, seq: int) -> Body | None:
        """The body of one of those. Raises S3Error."""
        return parked.body(self._parts, seq)

    async def retry(self, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
        """Try parked changes again."""
        return await parked.retry(self._parts, bucket, prefix, seq)

    async def discard(self, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
        """Drop changes that wait for a person."""
        return await parked.discard(self._parts, bucket, prefix, seq)

    async def flush(self, bucket: str, prefix: str, upto: int | None) -> dict[str, Any]:
        """How much is left of what was acknowledged up to the change `upto`; None: hurry what is pending now."""
        return await parked.flush(self._parts, bucket, prefix, upto)


@contextlib.asynccontextmanager
async def open_queue(
    settings: config.Settings, inner: S3, health: Health, endpoint: str, region: str, metrics: Metrics
) -> AsyncIterator[Queue]:
    """Open the queue of the local dir: what is left in it is pushed on. Raises ConfigError (D-9) and StoreFailed."""
    directory = settings.queue_dir
    await asyncio.to_thread(make_private, directory / "bodies")
    db = await asyncio.to_thread(Database.open, directory / "queue.db", SCHEMA, metrics.count_commit)
    try:
        await inspection.before_all(db)
        await adopt(db, endpoint)
        await db.write(outcomes.recover)
        await db.write(lanes.recover)
        bodies = await asyncio.to_thread(Bodies, directory / "bodies")
        try:
            ballast = await asyncio.to_thread(Ballast, directory / "ballast", settings.write_queue.ballast)
            await ballast.lay()
            yield assemble(settings, db, bodies, ballast, inner, health, region, metrics)
        finally:
            await bodies.close()
    finally:
        await db.close()


def assemble(
    settings: config.Settings,
    db: Database,
    bodies: Bodies,
    ballast: Ballast,
    inner: S3,
    health: Health,
    region: str,
    metrics: Metrics,
) -> Queue:
    """Put the parts together."""
    work = asyncio.Event()
    metrics.limit_changes.set_function(lambda: settings.write_queue.max_files)
    metrics.limit_bytes.set_function(lambda: settings.write_queue.max_size)
    parts = Parts(
        settings,
        db,
        bodies,
        inner,
        health,
        region,
        metrics,
        turns=Turns(db, health, settings.gateway.barrier_timeout, work.set),
        buckets=Buckets(
            db, inner, health, settings.remote.buckets, queue_versioned=settings.write_queue.versioned == "Queue"
        ),
        room=Room(db, settings.write_queue, ballast),
        ballast=ballast,
        shapes=Shapes(db),
        sights=Sights(db),
        wake=work.set,
    )
    return Queue(parts, Pusher(parts, work))


async def adopt(db: Database, endpoint: str) -> None:
    """Make the local dir belong to one remote; refuse another one while changes are pending (D-9)."""
    owner = knowledge.belongs_to(db)
    if owner == endpoint:
        return
    pending = sum(count for count, _ in views.tally(db).values())
    if owner is not None and pending:
        raise ConfigError(
            f"The local dir holds {pending} changes for {owner}, and S3_ENDPOINT is {endpoint}",
            hint=f"start once with S3_ENDPOINT={owner} to deliver them, or use another S3D_LOCAL_DIR",
        )
    await db.write(knowledge.assign_to(endpoint))
    await Shapes(db).forget("")


def refuse_store(error: StoreFailed) -> S3Error:
    """The 503 of a write or read that the local dir failed (D-3, Q-7)."""
    if isinstance(error, StoreFull):
        return disk_full()
    return S3Error(
        "ServiceUnavailable",
        f"The local dir failed: {error}",
        status=503,
        headers={"Retry-After": "5"},
        hint=error.hint,
    )
