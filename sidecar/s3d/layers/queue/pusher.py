"""Pushes what is pending to the remote, each key in order, different keys side by side (SEMANTICS Q-1, Q-3, Q-8, Q-12).

A change is claimed in the table before its first byte is sent. An attempt that was not sent in full has failed; one
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
from s3d.layers.queue import changes, retry
from s3d.layers.queue.changes import Change
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.pushes import PUSHES
from s3d.store.db import StoreFailed

T = TypeVar("T")
log = logging.getLogger(__name__)

STORE_PAUSE = 1.0
"""Seconds between two tries to write to a local dir that fails."""
IDLE = 5.0
"""Seconds after which an idle pusher looks again by itself; whatever makes work wakes it at once."""


class Pusher:
    """The workers that drain the queue."""

    def __init__(self, parts: Parts, work: asyncio.Event) -> None:
        """Take the event that says that there may be something to push."""
        self._parts = parts
        self._db = parts.db
        self._health = parts.health
        self._metrics = parts.metrics
        self._workers = parts.settings.write_queue.workers
        self._under_way: set[int] = set()
        self._work = work
        self._settled = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to push."""
        self._work.set()

    async def run(self) -> None:
        """Push for life."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._health.present()
                self._work.clear()
                claimed = await self._claim()
                for change in claimed:
                    self._under_way.add(change.seq)
                    tasks.create_task(self._push(change))
                if not claimed:
                    await self._rest()

    async def drained(self, seconds: float) -> bool:
        """Push what is pending, whatever its time, for up to so long. True when nothing that can be pushed is left."""
        await self._db.write(lambda db: changes.expedite(db, time.time()))
        self.wake()
        deadline = time.monotonic() + seconds
        while sum(changes.tally(self._db)[state][0] for state in ("waiting", "pushing", "unknown")):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            self._settled.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, 1.0)):
                    await self._settled.wait()
        return True

    async def _claim(self) -> list[Change]:
        free = self._workers - len(self._under_way)
        if free <= 0:
            return []
        try:
            # Each write wakes us, and a claim is a transaction in the writers' way.
            due = changes.next_due(self._db)
            if due is None or due > time.time():
                return []
            return await self._db.write(lambda db: changes.claim(db, now=time.time(), limit=free))
        except StoreFailed as error:
            log.error("nothing can be claimed: %s", error)
            await asyncio.sleep(STORE_PAUSE)
            return []

    async def _rest(self) -> None:
        """Wait until something is due or there is news."""
        due = changes.next_due(self._db) if len(self._under_way) < self._workers else None
        pause = IDLE if due is None else due - time.time()
        if pause <= 0:
            # Due, but not its turn: what is ahead of it wakes us when it is done.
            pause = IDLE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, IDLE)):
                await self._work.wait()

    async def _push(self, change: Change) -> None:
        """Make one attempt and record what came of it. A bug costs this change an attempt, and no other its own."""
        try:
            try:
                reply = await PUSHES[change.op](self._parts, change)
            except CorruptBody as error:
                log.error("%s is quarantined: %s", describe(change), error)
                self._metrics.quarantined.inc()
                await self._record(change, "quarantined", code="CorruptBody", reason=str(error))
            except S3Error as error:
                await self._refused(change, error)
            except Exception as bug:
                log.exception("a bug: %s could not be pushed", describe(change))
                await self._refused(change, S3Error("InternalError", str(bug), status=500))
            else:
                await self._settle(change, reply)
        finally:
            self._under_way.discard(change.seq)
            self._parts.turns.moved(change.bucket)
            self._parts.room.freed()
            self._settled.set()
            self.wake()

    async def _settle(self, change: Change, reply: Reply) -> None:
        await self._write(lambda db: changes.settle(db, change.seq))
        self._metrics.pushes.labels("settled").inc()
        if change.file is not None:
            await self._parts.bodies.delete(change.file)
        version = reply.headers.get("x-amz-version-id", "null")
        etag = reply.headers.get("ETag", "").strip('"')
        if version != "null":
            await self._parts.buckets.learn(change.bucket, "versioned", f"x-amz-version-id {version}")
        elif change.op == "put" and etag and etag != change.etag:
            self._metrics.etag_mismatch.inc()
            log.warning("%s: acknowledged with ETag %s, the remote shows %s", describe(change), change.etag, etag)
            await self._parts.buckets.learn(change.bucket, "etag", f"{etag} where the MD5 is {change.etag}")

    async def _refused(self, change: Change, error: S3Error) -> None:
        verdict = retry.judge(error)
        state, attempts = "waiting", change.attempts + 1
        if isinstance(error, Unavailable):
            # A claim that was unknown stays so: an earlier attempt may still arrive.
            state = "unknown" if error.sent or change.state == "unknown" else "waiting"
        elif verdict is retry.Verdict.OBJECT or (verdict is retry.Verdict.REFUSED and attempts >= retry.ATTEMPTS):
            state = "parked"
            log.error("%s is refused for good: %s", describe(change), error)
        pause = retry.pause(attempts, random.random())  # noqa: S311 - spreads retries, guards nothing
        await self._record(change, state, code=error.code, reason=error.message, next_at=time.time() + pause)
        self._metrics.pushes.labels("retried" if state == "waiting" else state).inc()
        if state != "parked":
            self._metrics.push_retries.labels(verdict.value).inc()

    async def _write(self, write: Callable[[apsw.Connection], T]) -> T:
        """Record an outcome; while the local dir fails, this worker waits: the claim must not be forgotten."""
        while True:
            try:
                return await self._db.write(write)
            except StoreFailed as error:
                log.error("the outcome of a push cannot be recorded: %s", error)
                await asyncio.sleep(STORE_PAUSE)

    async def _record(self, change: Change, state: str, *, code: str, reason: str, next_at: float = 0) -> None:
        orphan = await self._write(
            lambda db: changes.put_back(db, change, state=state, next_at=next_at, code=code, reason=reason)
        )
        if orphan is not None:
            await self._parts.bodies.delete(orphan)


def describe(change: Change) -> str:
    """A change in words, for the log."""
    return f"{change.op} of {change.bucket}/{change.key} (change {change.seq})"
