"""The write queue as a layer: which module serves which call. The rest is handed inward by its operation's class.

A call that no module understands waits for the changes it depends on and is handed inward untouched; nothing overtakes.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from s3d.api import S3, Body, Call, Reply
from s3d.client import Client
from s3d.clock import MACHINE, Clock, Machine
from s3d.errors import ConfigError, S3Error, Unavailable
from s3d.feed import Feed
from s3d.layers.health import Health
from s3d.layers.queue import binding, inspection, parked, status
from s3d.layers.queue.asking import Asking, text_of
from s3d.layers.queue.ballast import Ballast, Shed
from s3d.layers.queue.capacity import Capacity, disk_full
from s3d.layers.queue.consent import Consent
from s3d.layers.queue.documents import Documents
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.judging import Judging, Origin
from s3d.layers.queue.multipart import upkeep
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.push import late_writes, timekeeping
from s3d.layers.queue.push.pusher import HandOver, Look, Pusher, Work
from s3d.layers.queue.remote_facts.bucket_tags import BucketTags
from s3d.layers.queue.remote_facts.buckets import Buckets
from s3d.layers.queue.remote_facts.cors_rules import CorsRules
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.remote_facts.seen_etags import SeenEtags
from s3d.layers.queue.remote_facts.store_traits import StoreTraits
from s3d.layers.queue.remote_facts.write_profiles import WriteProfiles
from s3d.layers.queue.rows import lanes, lookups, ownership, times, transitions, uploads
from s3d.layers.queue.rows.schema import SCHEMA
from s3d.layers.queue.serve import (
    bulk_deletes,
    complete_calls,
    copies,
    form_upload,
    forward,
    list_uploads,
    listing,
    multipart_calls,
    part_copies,
    reads,
    tagging,
    writes,
)
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.layers.queue.wiring import Contexts, QueueContext, wire
from s3d.metrics import Metrics
from s3d.policy import Ask
from s3d.protocol import encode, forms
from s3d.protocol.model import OPERATIONS, Class
from s3d.settings import Settings
from s3d.spans import Tracer
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFailed, StoreFull
from s3d.store.lock import make_private
from s3d.store.opening import log_of
from s3d.store.place import Place

log = logging.getLogger(__name__)

ORPHAN_GRACE_SECONDS = 3600.0
"""Seconds that a body without a row is left alone: its request may still be under way."""
READING = frozenset(["GET", "HEAD"])
PLACE_INTERVAL = 0.5
KEYS = 1000
"""Keys in a page of what is pending."""
"""Seconds between two looks at whether the local dir is in its place."""
OUT_OF_PLACE = (
    "move it back where it was (a copy will not do), and writes go on; or restart s3d, which goes on with what is "
    "there: what is pending in the old files is then not delivered"
)
HANDLERS: Mapping[str, Callable[[Contexts, Call], Awaitable[Reply]]] = {
    "PutObject": lambda to, call: writes.put(to.writes, call),
    "CopyObject": lambda to, call: copies.copy(to.copies, call),
    "DeleteObject": lambda to, call: writes.delete(to.writes, call),
    "DeleteObjects": lambda to, call: bulk_deletes.delete_many(to.bulk_deletes, call),
    "DeleteBucket": lambda to, call: forward.delete_bucket(to.forward, call),
    "CreateMultipartUpload": lambda to, call: multipart_calls.create(to.multipart_calls, call),
    "UploadPart": lambda to, call: multipart_calls.upload_part(to.multipart_calls, call),
    "UploadPartCopy": lambda to, call: part_copies.copy_part(to.multipart_calls, call),
    "CompleteMultipartUpload": lambda to, call: complete_calls.complete(to.multipart_calls, call),
    "AbortMultipartUpload": lambda to, call: multipart_calls.abort(to.multipart_calls, call),
    "ListParts": lambda to, call: multipart_calls.list_parts(to.multipart_calls, call),
    "ListMultipartUploads": lambda to, call: list_uploads.list_uploads(to.list_uploads, call),
    "PutObjectTagging": lambda to, call: tagging.put(to.tagging, call),
    "DeleteObjectTagging": lambda to, call: tagging.delete(to.tagging, call),
    "GetObjectTagging": lambda to, call: tagging.get(to.tagging, call),
    "GetObject": lambda to, call: reads.get(to.reads, call),
    "HeadObject": lambda to, call: reads.get(to.reads, call),
    "GetObjectAttributes": lambda to, call: reads.attributes(to.reads, call),
    "ListObjects": lambda to, call: listing.list_objects(to.listing, call),
    "ListObjectVersions": lambda to, call: listing.list_versions(to.listing, call),
    "ListObjectsV2": lambda to, call: listing.list_objects(to.listing, call),
}


class Queue:
    """The write queue in front of a remote."""

    def __init__(
        self, context: QueueContext, contexts: Contexts, pusher: Pusher, judging: Judging, asking: Asking
    ) -> None:
        """Take the parts, and what each module gets of them; `open_queue` is the way in."""
        self._context = context
        self._contexts = contexts
        self._classes = {name: operation.klass for name, operation in OPERATIONS.items()}
        self.pusher = pusher
        self.judging = judging
        self.asking = asking
        self.cors = CorsRules(context.db)
        self.feed = context.feed
        """What has become of objects, for those who work on them in this process."""

    async def __call__(self, call: Call) -> Reply:
        """Serve one call. What the queue refuses is an answer; it raises what an S3 may raise."""
        writes = call.wire.method not in READING
        try:
            if writes:
                self._check_place()
            reply = forward.promised(call, await self._serve(call))
            if call.operation in forward.ADDRESSING:
                reply = await forward.addressed(call, reply)
            if writes and reply.headers.get("x-s3d-durability") != "remote":
                # What was committed meanwhile may be in a file that nobody finds any more.
                self._check_place()
            return reply
        except StoreFailed as error:
            if isinstance(error, StoreFull):
                await self._context.ballast.drop()
            return encode.refusal(call, refuse_store(error))
        except Unavailable:
            raise
        except S3Error as error:
            return encode.refusal(call, error)

    def _check_place(self) -> None:
        """Raise StoreFailed where files of the local dir are not where they were opened (D-12)."""
        place = self._context.db.place
        if place is not None and place.trouble:
            raise StoreFailed(place.trouble, hint=OUT_OF_PLACE)

    @property
    def trouble(self) -> str:
        """Which file of the local dir is not in its place, as of the latest look; "" where all are."""
        return "" if self._context.db.place is None else self._context.db.place.trouble

    async def watch_place(self) -> None:
        """Run until cancelled: look whether the local dir is still where it was."""
        known = ""
        place = self._context.db.place
        while place is not None:
            trouble = await asyncio.to_thread(place.look)
            if trouble and trouble != known:
                log.error("%s: no writes are taken; %s", trouble, OUT_OF_PLACE)
            elif known and not trouble:
                log.info("the local dir is in its place again: writes are taken")
            known = trouble
            await asyncio.sleep(PLACE_INTERVAL)

    def _serve(self, call: Call) -> Awaitable[Reply]:
        handler = HANDLERS.get(call.operation)
        return self._serve_other(call) if handler is None else handler(self._contexts, call)

    async def _serve_other(self, call: Call) -> Reply:
        """Serve a call that has no handler of its own."""
        if forms.is_form(call.wire):
            return await form_upload.post(self._contexts.form_upload, call)
        match self._classes.get(call.operation, Class.BARRIER_BUCKET if not call.key else Class.BARRIER_KEY):
            case Class.PASS:
                return await forward.pass_through(self._contexts.forward, call)
            case Class.REFUSE:
                raise S3Error("NotImplemented", f"{call.operation} is not served by a gateway", status=501)
        return await forward.after(self._contexts.forward, call)

    async def sweep(self) -> None:
        """Remove bodies without a row, left by a crash between the two (D-2), and set strange files aside (D-4)."""
        context = self._context
        if context.db.place is not None:
            trouble = await asyncio.to_thread(context.db.place.look)
            if trouble:
                return
        others: set[str] = set()

        def known(files: list[str]) -> set[str]:
            ours = binding.known(context.db, files)
            others.update(binding.of_others(context.db, files) - ours)
            return ours | others

        swept = await context.bodies.sweep(known, ORPHAN_GRACE_SECONDS)
        if others:
            log.error(
                "bodies (%d) are newer than the database, and are left alone: it is an older copy, in the place of the "
                "one that knows them",
                len(others),
            )
        for name in swept.quarantined:
            log.error("a strange file in the directory of bodies is quarantined: %s", name)

    async def look_after_rows(self) -> None:
        """Run until cancelled: find rows that cannot be read, and report them."""
        await inspection.run(self._context.db, self._context.metrics, self._context.wake)

    async def look_after_uploads(self) -> None:
        """Run until cancelled: expire, clean up and spill uploads."""
        await upkeep.run(self._contexts.upkeep)

    @property
    def failure(self) -> str:
        """Why the local dir takes no writes at the moment; "" while it does."""
        return str(self._context.db.failure or self.trouble)

    @property
    def disk_is_full(self) -> bool:
        """Whether no writes are taken because the disk is full."""
        return self._context.ballast.dropped

    def fullness(self) -> float:
        """The share of its limits that is used."""
        return self._context.capacity.fullness()

    async def drain(self, seconds: float) -> None:
        """Push what is pending for up to so long, delete what it leaves, then carry the WAL into the database."""
        await self.pusher.drained(seconds)
        with contextlib.suppress(StoreFailed):
            await self._context.garbage.collect()
            await self._context.db.checkpoint()

    # What the status doors show.

    def pending(self) -> dict[str, Any]:
        """What is pending, in counts. The gauge of the disk is set here: only the loop reads the tables."""
        self._context.metrics.disk_bytes.set(self._context.capacity.used)
        return status.pending(self._context.db, self._context.clock)

    def states(self) -> dict[str, int]:
        """Changes by state."""
        return status.states(self._context.db)

    def paused_lanes(self) -> int:
        """How many lanes are paused."""
        return lanes.paused(self._context.db)

    def bucket_status(self, bucket: str) -> dict[str, Any]:
        """What is known of a bucket, and what is pending in it."""
        return status.of_bucket(self._context.db, self._context.facts.buckets, bucket)

    def object_status(self, bucket: str, key: str) -> dict[str, Any]:
        """The changes of one key."""
        return status.of_object(self._context.db, self._context.clock, bucket, key)

    def lanes(self) -> list[dict[str, Any]]:
        """The lanes that the remote refuses."""
        return status.of_lanes(self._context.db, self._context.clock)

    def tried(self) -> list[dict[str, Any]]:
        """Changes that were tried again and again."""
        return status.tried(self._context.db)

    def under_way(self) -> list[dict[str, Any]]:
        """The oldest changes that are to be pushed."""
        return status.under_way(self._context.db, self._context.clock)

    def pending_keys(self, bucket: str, prefix: str, after: str) -> list[str]:
        """A page of the keys under a prefix, in order behind one, that have a put or a delete which is pending."""
        low = f"{after}\0" if after else prefix
        found = lookups.listed(self._context.db, bucket, low, None, KEYS)
        return [change.key for change in found if change.key.startswith(prefix)]

    # What waits for a person, and what a person asks for.

    def kept(self, bucket: str, prefix: str, seq: int | None, after: int) -> list[dict[str, Any]]:
        """A page of what waits for a person."""
        return parked.listed(self._contexts.parked, bucket, prefix, seq, after)

    def why(self, seq: int) -> dict[str, Any]:
        """What each rule says of a pending change. Raises S3Error."""
        return parked.why(self._contexts.parked, seq)

    def body(self, seq: int) -> Body | None:
        """The body of one of those. Raises S3Error."""
        return parked.body(self._contexts.parked, seq)

    async def retry(self, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
        """Try parked changes again."""
        return await parked.retry(self._contexts.parked, bucket, prefix, seq)

    async def discard(self, bucket: str, prefix: str, seq: int | None) -> dict[str, Any]:
        """Drop changes that wait for a person."""
        return await parked.discard(self._contexts.parked, bucket, prefix, seq)

    async def flush(self, bucket: str, prefix: str, upto: int | None) -> dict[str, Any]:
        """How much is left of what was acknowledged up to the change `upto`; None: hurry what is pending now."""
        return await parked.flush(self._contexts.parked, bucket, prefix, upto)


@contextlib.asynccontextmanager
async def open_queue(
    settings: Settings,
    inner: S3,
    health: Health,
    endpoint: str,
    region: str,
    metrics: Metrics,
    machine: Machine = MACHINE,
    *,
    origin: Origin | None = None,
    ask: Ask | None = None,
    shed: Shed | None = None,
    hand_over: HandOver | None = None,
    tracer: Tracer | None = None,
) -> AsyncIterator[Queue]:
    """Open the queue of the local dir: what is left in it is pushed on, by a clock of that machine.

    `origin` says where the push filter and the policy come from; None: from the settings as they are. `ask` asks the
    policy; None: there is nobody to ask. Where the disk is full `shed` is asked for room first. What is delivered is
    handed over by `hand_over`. `tracer` records pushes; None: nobody does.

    Raises ConfigError (D-9) and StoreFailed.
    """
    directory = settings.queue_dir
    await asyncio.to_thread(make_private, directory / "bodies")
    await asyncio.to_thread(binding.refuse_new, directory / "queue.db", directory / "bodies")
    db = await asyncio.to_thread(Database.open, directory / "queue.db", SCHEMA, metrics.count_commit)
    try:
        with contextlib.suppress(StoreFull):  # the look is made again while s3d serves
            await inspection.before_all(db)
        bodies = await asyncio.to_thread(Bodies, directory / "bodies", make_room=shed)
        try:
            await binding.bind(db, bodies)
            with contextlib.suppress(StoreFull):  # such a disk takes no body that could be forgotten
                await binding.note_run(db, bodies)
            await adopt(db, endpoint)
            clock = await times.start(db, machine, timekeeping.longest(settings))
            await db.write(transitions.recover)
            await db.write(lanes.recover)
            db.place = await asyncio.to_thread(watched, settings)
            ballast = await asyncio.to_thread(Ballast, directory / "ballast", settings.write_queue.ballast, shed)
            await ballast.lay()
            queue = assemble(
                settings, db, clock, bodies, ballast, inner, health, region, metrics, ask, hand_over, tracer
            )
            origin = origin or Origin(str(settings.write_queue.push_filter), policy=text_of(settings.opa))
            await queue.judging.begin(origin)
            await queue.asking.begin(origin)
            yield queue
        finally:
            await bodies.close()
    finally:
        await db.close()
        if db.place is not None:
            db.place.close()


def watched(settings: Settings) -> Place:
    """What must stay where it is while it is in use, the locks among it where there are some. Blocks."""
    directory = settings.queue_dir
    files = [directory / "queue.db", log_of(directory / "queue.db"), directory / "bodies"]
    locks = {place / "lock" for place in (settings.gateway.local_dir, directory)}
    place = Place([*files, *filter(Path.exists, locks)])
    place.expect(files[0], files[0].stat().st_size)
    return place


def assemble(
    settings: Settings,
    db: Database,
    clock: Clock,
    bodies: Bodies,
    ballast: Ballast,
    inner: S3,
    health: Health,
    region: str,
    metrics: Metrics,
    ask: Ask | None,
    hand_over: HandOver | None,
    tracer: Tracer | None,
) -> Queue:
    """Put the parts together."""
    work = Work()
    feed = Feed()
    metrics.limit_changes.set_function(lambda: settings.write_queue.max_files)
    metrics.limit_bytes.set_function(lambda: settings.write_queue.max_size)
    capacity = Capacity(db, clock, settings.write_queue, ballast)
    owed = Owed(db, ballast)
    staging = Staging()
    client = Client(inner, "queue")
    versioned = settings.write_queue.versioned == "Queue"
    buckets = Buckets(db, clock, client, health, settings.remote.buckets, queue_versioned=versioned)
    turns = Turns(db, clock, owed, health, settings.gateway.barrier_timeout, work.set, feed)

    def judged(bucket: str) -> None:
        """Tell who waits that changes of a bucket were held or released."""
        capacity.freed()
        work.set()
        turns.moved(bucket)

    asking = Asking(db, clock, settings, ask, judged)

    def wake() -> None:
        """Say that there may be something to push, or to ask about."""
        work.set()
        asking.wake()

    def queued(at: float) -> None:
        """The same of what was queued, and is due at a time."""
        work.come(at)
        asking.wake()

    judging = Judging(db, clock, settings, judged)
    facts = RemoteFacts(
        buckets,
        BucketTags(db, clock, client, health, judging),
        SeenEtags(),
        StoreTraits(db),
        WriteProfiles(db),
        metrics,
    )
    context = QueueContext(
        settings,
        db,
        clock,
        bodies,
        inner,
        client,
        health,
        region,
        metrics,
        owed=owed,
        turns=turns,
        facts=facts,
        feed=feed,
        capacity=capacity,
        ballast=ballast,
        staging=staging,
        garbage=Garbage(db, bodies, staging.is_read),
        consent=Consent(db, settings.opa, ask),
        wake=wake,
        queued=queued,
        hand_over=hand_over,
        tracer=tracer,
        documents=Documents(settings.gateway.client_timeout),
    )
    contexts = wire(context)
    looks: dict[str, Look] = {
        "times": partial(timekeeping.watch, db, clock, settings, work.set),
        "late writes": partial(late_writes.watch, contexts.late_writes),
        "tags of buckets": facts.bucket_tags.watch,
        "the push filter": judging.watch,
        "the policy": asking.watch,
        "a full disk": ballast.watch,
        "garbage": context.garbage.watch,
        "what is owed to the tables": owed.run,
    }
    return Queue(context, contexts, Pusher(contexts.pusher, work, looks), judging, asking)


async def adopt(db: Database, endpoint: str) -> None:
    """Make the local dir belong to one remote; refuse another one while changes are pending (D-9)."""
    owner = ownership.belongs_to(db)
    if owner == endpoint:
        return
    pending = sum(count for count, _ in lookups.tally(db).values())
    begun = uploads.open_ones(db)
    if owner is not None and (pending or begun):
        what = " and ".join(
            [*([f"{pending} changes"] if pending else []), *([f"{begun} multipart uploads"] if begun else [])]
        )
        raise ConfigError(
            f"The local dir holds {what} for {owner}, and S3_ENDPOINT is {endpoint}",
            hint=f"start once with S3_ENDPOINT={owner} to deliver or abort them, or use another S3D_LOCAL_DIR",
        )
    await db.write(ownership.assign_to(endpoint))


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
