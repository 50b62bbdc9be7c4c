"""Pushes what is pending to the remote, each key in order, different keys side by side (SEMANTICS Q-1, Q-3, Q-8, Q-12).

A change is claimed in the table before its first byte is sent. Some workers take nothing that is large or was tried
before, so that one such change does not hold up the others (Q-10). An attempt that was not sent in full has failed; one
that was sent and stays unanswered is unknown, keeps its claim and is pushed again until it is answered. A push is the
client's own request, sent again with the digests that it came with.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import apsw

from s3d.api import Reply
from s3d.errors import CorruptBody, S3Error, Unavailable
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push import conflicts, releases, retry, timekeeping, zombies
from s3d.layers.queue.push.content import open_body
from s3d.layers.queue.rows import claims, lanes, outcomes, views
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.lanes import Claimed
from s3d.layers.queue.serve import proving
from s3d.store.db import StoreFailed, StoreFull

T = TypeVar("T")
log = logging.getLogger(__name__)

STORE_PAUSE = 1.0
"""Seconds between two tries to write to a local dir that fails."""
IDLE = 5.0
"""Seconds after which an idle pusher looks again by itself; whatever makes work wakes it at once."""
RESERVED = 4
"""One in so many workers takes neither large changes nor such that were tried before."""
FRESH = 10.0
"""Seconds for which a delivered change says that its lane is open: AccessDenied is then held against the object."""


class Pusher:
    """The workers that drain the queue."""

    def __init__(self, parts: Parts, work: asyncio.Event) -> None:
        """Take the event that says that there may be something to push."""
        self._parts = parts
        self._db = parts.db
        self._clock = parts.clock
        self._health = parts.health
        self._metrics = parts.metrics
        self._workers = parts.settings.write_queue.workers
        self._slow_workers = self._workers - self._workers // RESERVED
        self._under_way: dict[int, bool] = {}
        """By seq, whether it is slow."""
        self._refused = {lanes.key_of(lane) for lane in lanes.shut(parts.db)}
        """The lanes that have a row, so that nobody looks for one in vain."""
        self._passed: dict[tuple[str, str], float] = {}
        """By lane, when the attempt began that was the latest to succeed."""
        self._latest = ("", "")
        self._more = False
        """Whether the last claim took all that it might: then the next one need not look whether something is due."""
        self._work = work
        self._settled = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to push."""
        self._work.set()

    async def run(self) -> None:
        """Push for life."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(timekeeping.watch(self._parts))
            tasks.create_task(zombies.watch(self._parts))
            tasks.create_task(releases.watch(self._parts))
            tasks.create_task(self._parts.ballast.watch())
            while True:
                await self._health.present()
                self._work.clear()
                claimed = await self._claim()
                for change in claimed.changes:
                    self._under_way[change.seq] = is_slow(change)
                    self._latest = lanes.key_of(change)
                    tasks.create_task(self._push(change))
                if not claimed.changes:
                    await self._rest(claimed.due)

    async def drained(self, seconds: float) -> bool:
        """Push what is pending, whatever its time, for up to so long. True when nothing that can be pushed is left."""
        now = self._clock.now()
        await self._db.write(lambda db: hasten(db, now))
        self.wake()
        deadline = time.monotonic() + seconds
        while sum(views.tally(self._db)[state][0] for state in ("waiting", "pushing", "unknown")):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, 1.0)):
                    await self._settled.wait()
        return True

    async def _claim(self) -> Claimed:
        free = self._workers - len(self._under_way)
        if free <= 0:
            return Claimed([], None)
        slow = max(0, self._slow_workers - sum(self._under_way.values()))
        try:
            # Each write wakes us, and a claim is a transaction in the writers' way.
            now = self._clock.now()
            if not self._more:
                due = lanes.next_due(self._db, slow=slow > 0, refused=bool(self._refused))
                if due is None or due > now:
                    return Claimed([], due)
            claimed = await self._db.write(
                lambda db: lanes.claim(db, now=now, limit=free, slow=slow, after=self._latest)
            )
            self._more = len(claimed.changes) >= free
            return claimed
        except StoreFailed as error:
            log.error("nothing can be claimed: %s", error)
            await self._make_room(error)
            await asyncio.sleep(STORE_PAUSE)
            return Claimed([], None)

    async def _make_room(self, error: StoreFailed) -> None:
        if isinstance(error, StoreFull):
            await self._parts.ballast.drop()

    async def _rest(self, due: float | None) -> None:
        """Wait until something becomes due or there is news. What waits for its turn is news when that comes."""
        pause = IDLE if due is None else max(0.0, due - self._clock.now())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, IDLE)):
                await self._work.wait()

    async def _push(self, change: Change) -> None:
        """Make one attempt and record what came of it. A bug costs this change an attempt, and no other its own."""
        began = self._clock.now()
        try:
            try:
                reply = await conflicts.push(self._parts, change)
            except CorruptBody as error:
                await self._quarantine(change, error)
            except conflicts.Conflict as error:
                await self._record(change, "parked", code=error.code, reason=error.message, next_at=self._clock.now())
                self._metrics.pushes.labels("parked").inc()
            except S3Error as error:
                await self._judge(change, error)
            except Exception as bug:
                log.exception("a bug: %s could not be pushed", describe(change))
                await self._judge(change, S3Error("InternalError", str(bug), status=500))
            else:
                # Before anybody sees it delivered.
                await proving.delivered(self._parts, change, reply)
                await self._settle(change, reply)
                await self._opened(change, began)
        finally:
            self._under_way.pop(change.seq, None)
            self._parts.turns.moved(change.bucket)
            self._parts.room.freed()
            if change.upload is not None:
                self._parts.staging.wake()
            self._settled.set()
            self.wake()

    async def _settle(self, change: Change, reply: Reply) -> None:
        window = self._parts.settings.write_queue.zombie_window
        shown = reply.headers.get("ETag", "").strip('"') or change.etag
        if change.op != "tag":
            # Before the row goes: what is queued from here on is made upon it, what was queued before is told so there.
            self._parts.sights.saw(change.bucket, change.key, shown)
        orphans = await self._write(
            lambda db: outcomes.settle(db, change.seq, now=self._clock.now(), window=window, shown=shown)
        )
        self._metrics.pushes.labels("settled").inc()
        for file in orphans:
            await self._parts.bodies.delete(file)

    async def _opened(self, change: Change, began: float) -> None:
        """Note that a lane delivers."""
        lane = lanes.key_of(change)
        self._passed[lane] = max(began, self._passed.get(lane, 0.0))
        if lane in self._refused:
            self._refused.discard(lane)
            if await self._write(lambda db: lanes.open_lane(db, *lane)):
                log.info("deliveries to bucket %s go on", change.bucket)

    async def _judge(self, change: Change, error: S3Error) -> None:
        """Record an attempt that failed, by the table of errors (Q-8)."""
        await proving.refused(self._parts, change, error)
        verdict = retry.judge(error)
        state, refusals = "waiting", 0
        if verdict is retry.Verdict.REHASH and not await self._intact(change):
            return
        if isinstance(error, Unavailable):
            # A claim that was unknown stays so: an earlier attempt may still arrive.
            state = "unknown" if error.sent or change.state == "unknown" else "waiting"
        elif verdict is retry.Verdict.REFUSED:
            refusals = change.refusals + 1
        if (
            verdict is retry.Verdict.OBJECT
            or refusals >= retry.ATTEMPTS
            or (error.code == "AccessDenied" and self._denied_alone(change))
        ):
            state = "parked"
            log.error("%s is refused for good: %s", describe(change), error)
        now, attempts = self._clock.now(), change.attempts + 1
        if verdict is retry.Verdict.LANE and state == "waiting" and not self._passed_lately(change, error, now):
            await self._shut(change, error)
        else:
            next_at = now + retry.pause(attempts, random.random())  # noqa: S311 - spreads retries, guards nothing
            await self._record(change, state, code=error.code, reason=error.message, next_at=next_at, refusals=refusals)
        self._metrics.pushes.labels("retried" if state == "waiting" else state).inc()
        if state != "parked":
            self._metrics.push_retries.labels(verdict.value).inc()

    async def _shut(self, change: Change, error: S3Error) -> None:
        """Put a change back, and note that its lane is refused."""
        now = self._clock.now()
        self._refused.add(lanes.key_of(change))

        def refuse(db: apsw.Connection) -> tuple[str | None, bool]:
            orphan = outcomes.put_back(db, change, state="waiting", next_at=now, code=error.code, reason=error.message)
            pause = lambda attempts: retry.probe_pause(attempts, random.random())  # noqa: S311, E731 - as above
            return orphan, lanes.refuse(db, change, code=error.code, reason=error.message, now=now, pause=pause)

        orphan, pauses = await self._write(refuse)
        if orphan is not None:
            await self._parts.bodies.delete(orphan)
        if pauses:
            log.error(
                "deliveries to bucket %s are paused, nothing is lost: %s; one change is tried again and again",
                change.bucket,
                error,
            )
        if error.code == "NoSuchBucket":
            await self._parts.buckets.refute(change.bucket, error.code)

    def _denied_alone(self, change: Change) -> bool:
        """Whether others of its lane were delivered since a change was denied before: then it is denied for itself."""
        passed = self._passed.get(lanes.key_of(change), 0.0)
        return change.code == "AccessDenied" and change.attempt_at is not None and passed > change.attempt_at

    def _passed_lately(self, change: Change, error: S3Error, now: float) -> bool:
        """Whether a denied change deserves another try before its lane is suspected."""
        lately = now - self._passed.get(lanes.key_of(change), 0.0) < FRESH
        return error.code == "AccessDenied" and change.code != "AccessDenied" and lately

    async def _intact(self, change: Change) -> bool:
        """Hash the body of a put once more, which the remote says arrived otherwise; a bad one is quarantined."""
        if change.op != "put":
            return True
        try:
            async with contextlib.aclosing(open_body(self._parts.bodies, change)) as body:
                async for _ in body.chunks():
                    pass
        except CorruptBody as error:
            await self._quarantine(change, error)
            return False
        return True

    async def _quarantine(self, change: Change, error: CorruptBody) -> None:
        log.error("%s is quarantined: %s", describe(change), error)
        self._metrics.quarantined.inc()
        await self._record(change, "quarantined", code="CorruptBody", reason=str(error))

    async def _write(self, write: Callable[[apsw.Connection], T]) -> T:
        """Record an outcome; while the local dir fails, this worker waits: the claim must not be forgotten."""
        while True:
            try:
                return await self._db.write(write)
            except StoreFailed as error:
                log.error("the outcome of a push cannot be recorded: %s", error)
                await self._make_room(error)
                await asyncio.sleep(STORE_PAUSE)

    async def _record(
        self, change: Change, state: str, *, code: str, reason: str, next_at: float = 0, refusals: int = 0
    ) -> None:
        again = self._clock.now() + retry.PROBE_BASE

        def record(db: apsw.Connection) -> str | None:
            if lanes.key_of(change) in self._refused:
                lanes.end_probe(db, change.seq, again)
            return outcomes.put_back(
                db, change, state=state, next_at=next_at, code=code, reason=reason, refusals=refusals
            )

        orphan = await self._write(record)
        if orphan is not None:
            await self._parts.bodies.delete(orphan)


def hasten(db: apsw.Connection, now: float) -> None:
    """Make everything due that waits for its time."""
    claims.expedite(db, now)
    lanes.hasten(db, now)


def is_slow(change: Change) -> bool:
    """Whether a change may keep its worker for long: it is large, or was tried before."""
    return change.size > claims.LARGE or change.attempts > 0


def describe(change: Change) -> str:
    """A change in words, for the log."""
    return f"{change.op} of {change.bucket}/{change.key} (change {change.seq})"
