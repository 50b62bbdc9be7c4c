"""Pushes what is pending to the remote, each key in order, different keys side by side (SEMANTICS Q-1, Q-3, Q-8, Q-12).

A change is claimed in the table before its first byte is sent. An attempt that was not sent in full has failed; one
that was sent and stays unanswered is unknown, keeps its claim and is pushed again until it is answered. A push is the
client's own request, sent again with the digests that it came with.
"""

import asyncio
import base64
import contextlib
import hashlib
import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

import apsw
from multidict import CIMultiDict

from s3d.api import S3, Body, BytesBody, Call, Headers, Reply, Wire, read_all
from s3d.errors import CorruptBody, S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.queue import changes, retry
from s3d.layers.queue.buckets import Buckets
from s3d.layers.queue.changes import Change
from s3d.layers.queue.room import Room
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.protocol import decode
from s3d.store.bodies import Bodies
from s3d.store.db import Database, StoreFailed

T = TypeVar("T")
log = logging.getLogger(__name__)

DOCUMENT_LIMIT = 1 << 20
STORE_PAUSE = 1.0
"""Seconds between two tries to write to a local dir that fails."""
IDLE = 5.0
"""Seconds after which an idle pusher looks again by itself; whatever makes work wakes it at once."""


class Pusher:
    """The workers that drain the queue."""

    def __init__(
        self,
        db: Database,
        bodies: Bodies,
        inner: S3,
        health: Health,
        turns: Turns,
        buckets: Buckets,
        room: Room,
        metrics: Metrics,
        workers: int,
    ) -> None:
        """Take how many changes may be pushed at once."""
        self._db = db
        self._bodies = bodies
        self._inner = inner
        self._health = health
        self._turns = turns
        self._buckets = buckets
        self._room = room
        self._metrics = metrics
        self._workers = workers
        self._under_way: set[int] = set()
        self._work = asyncio.Event()
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
                reply = await self._attempt(change)
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
            self._turns.moved(change.bucket)
            self._room.freed()
            self._settled.set()
            self.wake()

    async def _attempt(self, change: Change) -> Reply:
        """Send the change; raise what the remote says against it, or CorruptBody."""
        path = f"/{quote(change.bucket, safe='-_.~')}/{quote(change.key, safe='/-_.~')}"
        params = {"Bucket": change.bucket, "Key": change.key}
        headers: Headers = CIMultiDict(change.members)
        if change.op == "delete":
            reply = await self._inner(Call("DeleteObject", params, wire=Wire("DELETE", path, "", headers)))
        else:
            headers["Content-MD5"] = md5_base64(change.etag)
            body = open_body(self._bodies, change)
            wire = Wire("PUT", path, "", headers)
            try:
                reply = await self._inner(Call("PutObject", params, body=body, wire=wire))
            finally:
                await body.aclose()
        document = await read_all(reply.body, DOCUMENT_LIMIT)
        gone = (
            change.op == "delete"
            and reply.status == 404
            and decode.error(404, reply.headers, document).code == "NoSuchKey"
        )
        if reply.status >= 300 and not gone:
            raise decode.error(reply.status, reply.headers, document)
        return reply

    async def _settle(self, change: Change, reply: Reply) -> None:
        await self._write(lambda db: changes.settle(db, change.seq))
        self._metrics.pushes.labels("settled").inc()
        if change.file is not None:
            await self._bodies.delete(change.file)
        version = reply.headers.get("x-amz-version-id", "null")
        etag = reply.headers.get("ETag", "").strip('"')
        if version != "null":
            await self._buckets.learn(change.bucket, "versioned", f"x-amz-version-id {version}")
        elif change.op == "put" and etag and etag != change.etag:
            self._metrics.etag_mismatch.inc()
            log.warning("%s: acknowledged with ETag %s, the remote shows %s", describe(change), change.etag, etag)
            await self._buckets.learn(change.bucket, "etag", f"{etag} where the MD5 is {change.etag}")

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
            await self._bodies.delete(orphan)


def open_body(bodies: Bodies, change: Change) -> Body:
    """The body of a put, verified against its MD5 when it is read whole. Raises CorruptBody."""
    if change.file is not None:
        return bodies.open(change.file, change.size, change.etag)
    data = change.inline or b""
    if len(data) != change.size or hashlib.md5(data, usedforsecurity=False).hexdigest() != change.etag:
        raise CorruptBody(f"The body in row {change.seq} does not match its digest")
    return BytesBody(data)


def md5_base64(etag: str) -> str:
    """The Content-MD5 of a body whose MD5 in hex is its ETag."""
    return base64.b64encode(bytes.fromhex(etag)).decode()


def describe(change: Change) -> str:
    """A change in words, for the log."""
    return f"{change.op} of {change.bucket}/{change.key} (change {change.seq})"
