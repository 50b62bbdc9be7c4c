"""Pushes what is pending to the remote, each key in order, different keys side by side (SEMANTICS Q-1, Q-3, Q-8, Q-12).

A change is claimed in the table before its first byte is sent. Some workers take nothing that is large or was tried
before, so that one such change does not hold up the others (Q-10). An attempt that was not sent in full has failed; one
that was sent and stays unanswered is in doubt, keeps its claim and is pushed again until it is answered. A push is the
client's own request, sent again with the digests that it came with.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import apsw

from s3d import spans
from s3d.api import Body, Delivered
from s3d.background import for_ever, until_done
from s3d.client import Answer
from s3d.clock import Clock
from s3d.errors import CorruptBody, S3Error, Unavailable
from s3d.feed import Feed, Why
from s3d.layers.health import Health
from s3d.layers.queue import owed
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.push import change_body, confirm, conflicts
from s3d.layers.queue.push.change_body import open_body, open_change
from s3d.layers.queue.push.pace import Pace
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import claims, lanes, lookups, order, transitions
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.lanes import Claimed
from s3d.layers.queue.rows.states import ON_THE_WAY, Op, State
from s3d.layers.queue.rules import retry
from s3d.layers.queue.staging import Staging
from s3d.layers.queue.turns import Turns
from s3d.metrics import Metrics
from s3d.settings import WriteQueue
from s3d.spans import Span, Tracer
from s3d.store.bodies import Bodies
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

T = TypeVar("T")
log = logging.getLogger(__name__)

IDLE_INTERVAL = 5.0
"""Seconds after which an idle pusher looks again by itself; whatever makes work wakes it at once."""
RESERVED_SHARE = 4
"""One in so many workers takes neither large changes nor such that were tried before."""
FRESH_SECONDS = 10.0
"""Seconds for which a delivered change says that its lane is open: a refusal is then held against the object first."""


Look = Callable[[], Awaitable[None]]
"""Something that is done again and again."""


HandOver = Callable[[Delivered, Body], Awaitable[None]]
"""Takes what was delivered, and closes its body."""


@dataclass(frozen=True, slots=True)
class Context:
    """What changes are claimed and pushed with, and what is told when one has moved."""

    settings: WriteQueue
    db: Database
    clock: Clock
    bodies: Bodies
    health: Health
    metrics: Metrics
    capacity: Capacity
    facts: RemoteFacts
    feed: Feed
    garbage: Garbage
    owed: Owed
    staging: Staging
    turns: Turns
    confirm: confirm.Context
    conflicts: conflicts.Context
    hand_over: HandOver | None
    content: change_body.Context
    tracer: Tracer | None


class Work(asyncio.Event):
    """Says that there may be something to push."""

    rests_until = math.inf
    """When the pusher will look by itself; it never will while it is looking."""

    def come(self, at: float) -> None:
        """Say that something was queued that is due at a time of the steady clock: it may be seen by then anyway."""
        if at < self.rests_until:
            self.set()


class Pusher:
    """The workers that drain the queue."""

    def __init__(self, context: Context, work: Work, looks: Mapping[str, Look]) -> None:
        """Take the event that says that there may be something to push, and what else is looked at meanwhile."""
        self._context = context
        self._looks = looks
        self._db = context.db
        self._clock = context.clock
        self._health = context.health
        self._metrics = context.metrics
        self._workers = context.settings.workers
        self._slow_workers = self._workers - self._workers // RESERVED_SHARE
        self._under_way: dict[int, bool] = {}
        """By seq, whether it is slow."""
        self._refused = {lanes.key_of(lane) for lane in lanes.shut(context.db)}
        """The lanes that have a row, so that nobody looks for one in vain."""
        self._passed: dict[tuple[str, str], float] = {}
        """By lane, when the attempt began that was the latest to succeed."""
        self._pace = Pace()
        self._latest = ("", "")
        self._more = False
        """Whether the last claim took all that it might: then the next one need not look whether something is due."""
        self._work = work
        self._settled = asyncio.Event()

    def wake(self) -> None:
        """Say that there may be something to push."""
        self._work.set()

    async def run(self) -> None:
        """Push until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, look in self._looks.items():
                tasks.create_task(for_ever(name, look, self._metrics))
            await for_ever("deliveries", partial(self._look, tasks), self._metrics)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Claim what is due and start to push it, or rest until there is more."""
        await self._health.present()
        self._work.clear()
        claimed = await self._claim()
        for change in claimed.changes:
            self._under_way[change.seq] = claims.is_slow(change)
            self._latest = lanes.key_of(change)
            tasks.create_task(self._carry(change))
        if not claimed.changes:
            await self._rest(claimed.due)

    async def _carry(self, change: Change) -> None:
        """Push a change. A bug that is met beside the attempt itself leaves it in doubt: the change is pushed
        again, since a claim that nobody works on would never end."""
        try:
            with spans.within(self._span_of(change)):
                await self._push(change)
        except Exception as bug:
            log.exception("a bug: what came of %s is not known", describe(change))
            self._metrics.background_failures.labels("deliveries").inc()
            reason = repr(bug)
            later = self._clock.now() + retry.MIN_PROBE_BACKOFF
            forget = partial(self._record, change, State.IN_DOUBT, code="InternalError", reason=reason, next_at=later)
            await until_done("deliveries", forget, self._metrics)
            self._context.turns.moved(change.bucket)

    def _span_of(self, change: Change) -> Span | None:
        """The span of a push, where one of the requests that queued it is recorded (O-6)."""
        tracer, requests = self._context.tracer, change.trace.split()
        if tracer is None or not requests:
            return None
        about: dict[str, spans.Value] = {
            spans.BUCKET: change.bucket,
            spans.KEY: change.key,
            "s3d.attempts": change.attempts + 1,
        }
        return tracer.push(f"push {change.op}", about, requests)

    def _count(self, outcome: str, code: str = "") -> None:
        """Tell of an attempt that has ended."""
        self._metrics.pushes.labels(outcome).inc()
        spans.tell({spans.OUTCOME: outcome} | ({spans.ERROR: code} if code else {}), failed=outcome != "delivered")

    async def drained(self, seconds: float) -> bool:
        """Push what is pending, whatever its time, for up to so long. True when nothing that can be pushed is left."""
        now = self._clock.now()
        await self._db.write(lambda db: hasten(db, now))
        self._pace.forget()
        self.wake()
        deadline = time.monotonic() + seconds
        while sum(lookups.tally(self._db)[state][0] for state in ON_THE_WAY) > order.stalled(self._db):
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
            slowed = self._pace.slowed(now)
            claimed = await self._db.write(
                lambda db: lanes.claim(db, now=now, limit=free, slow=slow, slowed=slowed, after=self._latest)
            )
            for lane in {lanes.key_of(change) for change in claimed.changes} & slowed.keys():
                self._pace.tried(lane, now, random.random())  # noqa: S311 - spreads tries, guards nothing
            if not claimed.changes and (again := self._pace.due(now)) is not None:
                claimed = Claimed([], again if claimed.due is None else min(claimed.due, again))
            self._more = len(claimed.changes) >= free
            return claimed
        except StoreFailed as error:
            log.error("nothing can be claimed: %s", error)
            await self._context.owed.make_room(error)
            await asyncio.sleep(owed.RETRY_INTERVAL)
            return Claimed([], None)

    async def _rest(self, due: float | None) -> None:
        """Wait until something becomes due or there is news. What waits for its turn is news when that comes."""
        pause = IDLE_INTERVAL if due is None else max(0.0, due - self._clock.now())
        self._work.rests_until = math.inf if due is None else due
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(pause, IDLE_INTERVAL)):
                    await self._work.wait()
        finally:
            self._work.rests_until = math.inf

    async def _push(self, change: Change) -> None:
        """Make one attempt and record what came of it. A bug costs this change an attempt, and no other its own."""
        began = self._clock.now()
        try:
            try:
                answer = await conflicts.push(self._context.conflicts, change)
                answer = await confirm.confirmed(self._context.confirm, change, answer, began)
            except CorruptBody as error:
                await self._quarantine(change, error)
            except conflicts.Conflict as error:
                await self._keep_both(change, error)
            except S3Error as error:
                await self._judge(change, error)
            except Exception as bug:
                log.exception("a bug: %s could not be pushed", describe(change))
                await self._judge(change, S3Error("InternalError", str(bug), status=500))
            else:
                # Before anybody sees it delivered.
                await self._context.facts.delivered(change, answer)
                await self._settle(change, answer)
                await self._opened(change, began)
        finally:
            self._under_way.pop(change.seq, None)
            self._context.turns.moved(change.bucket)
            self._context.capacity.freed()
            if change.upload is not None:
                self._context.staging.wake()
            self._settled.set()
            self.wake()

    async def _settle(self, change: Change, answer: Answer) -> None:
        await self._hand_over(change, answer)
        window = self._context.settings.late_write_window
        shown = answer.etag or change.etag
        await self._write(
            lambda db: transitions.settle(db, change.seq, now=self._clock.now(), window=window, shown=shown)
        )
        if change.op in (Op.PUT, Op.COMPLETE):
            self._context.feed.publish(change.bucket, change.key, shown, Why.DELIVERED)
        self._count("delivered")
        if change.file is not None:
            self._context.garbage.wake()

    async def _hand_over(self, change: Change, answer: Answer) -> None:
        """Hand over the body of a put, or of an upload, whose ETag the remote shows as it was acknowledged, before its
        row goes. Nothing that fails there concerns the delivery."""
        hand_over = self._context.hand_over
        if hand_over is None or change.op not in (Op.PUT, Op.COMPLETE) or answer.etag != change.etag:
            return
        try:
            what = Delivered(change.bucket, change.key, change.identity, change.members, answer.headers)
            await hand_over(what, open_change(self._context.content, change))
        except Exception:
            log.exception("a bug, or a disk that fails: %s is not handed to the read cache", describe(change))
            self._metrics.background_failures.labels("the hand-over to the read cache").inc()

    async def _keep_both(self, change: Change, error: conflicts.Conflict) -> None:
        """Park a change beside what somebody else wrote. A person who has it tried again means to replace that, and
        nobody else does: what was queued behind it was made upon what it was made upon."""
        now = self._clock.now()
        self._pace.answered(lanes.key_of(change))
        await self._record(change, State.PARKED, code=error.code, reason=error.message, next_at=now, base=error.shown)
        self._count("parked", error.code)

    async def _opened(self, change: Change, began: float) -> None:
        """Note that a lane delivers."""
        lane = lanes.key_of(change)
        self._passed[lane] = max(began, self._passed.get(lane, 0.0))
        self._pace.answered(lane)
        if lane in self._refused:
            self._refused.discard(lane)
            if await self._write(lambda db: lanes.open_lane(db, *lane)):
                log.info("deliveries to bucket %s go on", change.bucket)

    async def _judge(self, change: Change, error: S3Error) -> None:
        """Record an attempt that failed, by the table of errors (Q-8)."""
        await self._context.facts.refused(change, error)
        verdict = retry.judge(error)
        if verdict is retry.Verdict.REHASH and not await self._intact(change):
            return
        now, attempts, refusals = self._clock.now(), change.attempts + 1, 0
        # A claim that was in doubt stays so without an answer: an earlier attempt may still arrive.
        unanswered = isinstance(error, Unavailable) and change.state == State.IN_DOUBT
        state = State.IN_DOUBT if error.unknown or unanswered else State.WAITING
        pause = retry.pause(attempts, random.random())  # noqa: S311 - spreads retries, guards nothing
        if verdict is retry.Verdict.REFUSED and not error.unknown:
            refusals = retry.counted(change.refusals, None if change.attempt_at is None else now - change.attempt_at)
            pause = max(pause, retry.MIN_INTERVAL)
        if verdict is not retry.Verdict.TRANSIENT and not error.unknown:
            self._pace.answered(lanes.key_of(change))
        elif verdict is retry.Verdict.TRANSIENT and not self._health.away:
            self._pace.failed(lanes.key_of(change), change.seq, now, random.random())  # noqa: S311 - as above
        alone = verdict is retry.Verdict.LANE and self._refused_alone(change, error)
        if (
            verdict is retry.Verdict.OBJECT
            or refusals >= retry.MAX_ATTEMPTS
            or (alone and error.code == "AccessDenied" and not error.unknown)
        ):
            state = State.PARKED
            log.error("%s is refused for good: %s", describe(change), error)
        if verdict is retry.Verdict.LANE and not (alone or self._passed_lately(change, error, now)):
            await self._shut(change, error, state, now + pause if state == State.IN_DOUBT else now)
        else:
            await self._record(
                change, state, code=error.code, reason=error.message, next_at=now + pause, refusals=refusals
            )
        self._count("retried" if state == State.WAITING else state, error.code)
        if state != State.PARKED:
            self._metrics.push_retries.labels(verdict.value).inc()

    async def _shut(self, change: Change, error: S3Error, state: State, next_at: float) -> None:
        """Put a change back, and note that its lane is refused."""
        now = self._clock.now()
        self._refused.add(lanes.key_of(change))

        def refuse(db: apsw.Connection) -> bool:
            transitions.put_back(db, change, state=state, next_at=next_at, code=error.code, reason=error.message)
            pause = lambda attempts: retry.probe_pause(attempts, random.random())  # noqa: S311, E731 - as above
            return lanes.refuse(db, change, code=error.code, reason=error.message, now=now, pause=pause)

        if await self._write(refuse):
            log.error(
                "deliveries to bucket %s are paused, nothing is lost: %s; one change is tried again and again",
                change.bucket,
                error,
            )
        if error.code == "NoSuchBucket":
            await self._context.facts.bucket_refused(change.bucket, error.code)

    def _refused_alone(self, change: Change, error: S3Error) -> bool:
        """Whether others of its lane were delivered since a change met the same before: then it alone is refused."""
        passed = self._passed.get(lanes.key_of(change), 0.0)
        return change.code == error.code and change.attempt_at is not None and passed > change.attempt_at

    def _passed_lately(self, change: Change, error: S3Error, now: float) -> bool:
        """Whether a refused change deserves another try before its lane is suspected."""
        return change.code != error.code and now - self._passed.get(lanes.key_of(change), 0.0) < FRESH_SECONDS

    async def _intact(self, change: Change) -> bool:
        """Hash the body of a put once more, which the remote says arrived otherwise; a bad one is quarantined."""
        if change.op != Op.PUT:
            return True
        try:
            async with contextlib.aclosing(open_body(self._context.bodies, change)) as body:
                async for _ in body.chunks():
                    pass
        except CorruptBody as error:
            await self._quarantine(change, error)
            return False
        return True

    async def _quarantine(self, change: Change, error: CorruptBody) -> None:
        log.error("%s is quarantined: %s", describe(change), error)
        self._metrics.quarantined.inc()
        await self._record(change, State.QUARANTINED, code="CorruptBody", reason=str(error))

    async def _write(self, write: Callable[[apsw.Connection], T]) -> T:
        """Record an outcome; while the local dir fails, this worker waits: the claim must not be forgotten."""
        return await self._context.owed.insist(write)

    async def _record(
        self,
        change: Change,
        state: State,
        *,
        code: str,
        reason: str,
        next_at: float = 0,
        refusals: int = 0,
        base: str | None = None,
    ) -> None:
        again = self._clock.now() + retry.MIN_PROBE_BACKOFF

        def record(db: apsw.Connection) -> None:
            if lanes.key_of(change) in self._refused:
                lanes.end_probe(db, change.seq, again)
            if base is not None:
                transitions.based_on(change.seq, base)(db)
            transitions.put_back(db, change, state=state, next_at=next_at, code=code, reason=reason, refusals=refusals)

        await self._write(record)


def hasten(db: apsw.Connection, now: float) -> None:
    """Make everything due that waits for its time."""
    claims.expedite(db, now)
    lanes.hasten(db, now)


def describe(change: Change) -> str:
    """A change in words, for the log."""
    return f"{change.op} of {change.bucket}/{change.key} (change {change.seq})"
