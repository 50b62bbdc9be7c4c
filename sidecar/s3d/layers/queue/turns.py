"""Order between what is queued and what goes straight to the remote (SEMANTICS R-3, R-4).

A *barrier* waits until the changes that a request depends on are pushed. A *turn* does the same for a request that
writes, and then holds the key: a row without a body stands in the table for it, so nothing overtakes in either
direction. What somebody waits for is pushed at once, whatever delay the settings give it. Neither outlives its request;
a turn that a crash leaves behind is dropped at the next start.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import apsw

from s3d.clock import Clock
from s3d.errors import S3Error
from s3d.feed import Feed, Why
from s3d.layers.health import Health
from s3d.layers.queue.owed import Owed
from s3d.layers.queue.rows import changes, claims, late_writes, lookups, order
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.states import KEPT_BACK
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

# How often a waiter looks at the clock and at the remote's health; what it waits for wakes it at once.
POLL_INTERVAL = 0.25


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for changes of one key of a bucket, or of all under a prefix."""

    bucket: str
    key: str | None
    seq: int
    prefix: str = ""
    turn: int = 0
    """Of a request that writes: its own row."""
    identity: str = ""
    """Who waits: one that names no key itself is told no other identity's (A-8)."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Turn:
    """The turn of a request that is written through."""

    etag: str | None = None
    """The ETag that the request gives the object, "" where it deletes it; None as long as nobody knows."""
    keeps: bool = False
    """Whether it leaves the object's content as it is, whatever becomes of it."""
    changed: bool = False
    """Whether it was answered, and the object is another now."""
    replaced: bool = False
    """Whether the object is a new one, so that a settled change that is kept of the key is of no use any more."""
    lost: bool = False
    """Whether it was sent and stayed unanswered."""
    spared: frozenset[str] = frozenset()
    """Keys that it left as they were, though it was answered."""


class Turns:
    """Everybody who waits for changes to be pushed."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        owed: Owed,
        health: Health,
        timeout: float,
        wake: Callable[[], None],
        feed: Feed,
    ) -> None:
        """Take the time in seconds after which a waiter gives up, and what says that there is something to push."""
        self._db = db
        self._clock = clock
        self._owed = owed
        self._health = health
        self._timeout = timeout
        self._wake = wake
        self._feed = feed
        self._waiters: dict[str, set[Waiter]] = {}

    def moved(self, bucket: str) -> None:
        """Wake those who wait for a bucket: a change of it was settled, or a turn ended."""
        for waiter in self._waiters.get(bucket, ()):
            waiter.woken.set()

    async def barrier(self, bucket: str, key: str | None, prefix: str = "", identity: str = "") -> None:
        """Wait until the changes that are pending now on a key (None: on all under `prefix`) are pushed; `identity` is
        who waits for several.

        Raises S3Error SlowDown (503) when the remote is away, a change is held or parked, or it takes too long.
        """
        waiter = Waiter(bucket, key, lookups.newest(self._db), prefix, identity=identity)
        if self._obstacle(waiter) is None:
            return
        with self._waiting(waiter):
            await self._until(waiter)

    @contextlib.asynccontextmanager
    async def turn(self, bucket: str, keys: Sequence[str], identity: str) -> AsyncIterator["Turn"]:
        """Hold keys for a request that is written through, after everything that was acknowledged before it.

        One that ends without an answer may still arrive, and is remembered at each of the keys for that.
        """
        waiters = [Waiter(bucket, key, 0) for key in keys]
        with contextlib.ExitStack() as waiting:
            for waiter in waiters:
                waiting.enter_context(self._waiting(waiter))
            now, deadline = self._clock.now(), time.monotonic() + self._timeout
            # All at once, so that of two requests with a key in common one is behind the other at each of them.
            standing = asyncio.ensure_future(
                self._db.write(lambda db: [_stand_in_line(db, bucket, key, identity, now) for key in keys])
            )
            turn: Turn | None = None
            try:
                for waiter, (seq, started) in zip(waiters, await asyncio.shield(standing), strict=True):
                    waiter.seq, waiter.turn = seq - 1, seq
                    if not started:
                        await self._start(waiter, deadline)
                turn = Turn()
                try:
                    yield turn
                except BaseException as error:
                    turn.lost = not isinstance(error, S3Error) or error.unknown
                    raise
            finally:
                # A client that left while its row was asked for has one nevertheless: the key would wait behind it.
                await asyncio.shield(self._leave(standing, bucket, keys, turn))

    async def _start(self, waiter: Waiter, deadline: float) -> None:
        """Wait until a key's turn has come, and take it."""
        while True:
            await self._until(waiter)
            waiter.woken.clear()
            if await self._db.write(lambda db: changes.start_turn(db, waiter.turn)):
                return
            await self._glance(waiter, deadline, None)

    async def _leave(
        self, standing: asyncio.Future[list[tuple[int, bool]]], bucket: str, keys: Sequence[str], turn: "Turn | None"
    ) -> None:
        """Leave the line once the places in it are known; where they could not be stored, there are none.

        Where leaving cannot be stored it is repeated, while the client has its answer.
        """
        try:
            places = await standing
        except StoreFailed:
            return

        def left() -> None:
            self.moved(bucket)
            self._wake()

        now = self._clock.now()

        def leave(db: apsw.Connection) -> None:
            for key, (seq, _) in zip(keys, places, strict=True):
                _leave(db, seq, None if turn is not None and key in turn.spared else turn, now)

        await self._owed.make(leave, left)
        # Before the client has its answer, also where that is not stored yet.
        if turn is not None and (turn.changed or turn.lost):
            for key in (key for key in keys if key not in turn.spared):
                self._feed.publish(bucket, key, None if turn.lost else turn.etag, Why.THROUGH)

    @contextlib.contextmanager
    def _waiting(self, waiter: Waiter) -> Iterator[None]:
        waiters = self._waiters.setdefault(waiter.bucket, set())
        waiters.add(waiter)
        try:
            yield
        finally:
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(waiter.bucket, None)

    def _obstacle(self, waiter: Waiter) -> Change | None:
        return lookups.obstacle(self._db, waiter.bucket, waiter.key, waiter.seq, waiter.prefix)

    async def _until(self, waiter: Waiter) -> None:
        deadline = time.monotonic() + self._timeout
        while True:
            waiter.woken.clear()
            change = self._obstacle(waiter)
            if change is None:
                return
            await self._hurry(waiter, change)
            await self._glance(waiter, deadline, change)

    async def _hurry(self, waiter: Waiter, change: Change) -> None:
        """Have what is waited for pushed now where only its delay keeps it; the pause after a refusal stays."""
        now = self._clock.now()
        if change.after is not None:
            await self._db.write(lambda db: order.hurry(db, change.seq, now))
            self._wake()
        elif change.state == "waiting" and not change.attempts and change.next_at > now:
            await self._db.write(lambda db: claims.hurry(db, waiter.bucket, waiter.key, waiter.prefix, waiter.seq, now))
            self._wake()

    async def _glance(self, waiter: Waiter, deadline: float, change: Change | None) -> None:
        """Wait a moment, or until something moved; refuse where waiting is in vain."""
        named = waiter.key is not None or change is None or change.identity == waiter.identity
        if change is not None and change.state in ("held", "parked", "quarantined"):
            raise refusal(change, f"is {change.state}", moves=False, named=named)
        if change is not None and (first := lookups.held_up_by(self._db, change)) and first.state in KEPT_BACK:
            why = f"waits for change {first.seq}, which must be delivered before it and is {first.state}"
            raise refusal(change, why, moves=False, named=named)
        if change is not None and waiter.turn and change.seq > waiter.turn:
            # It is behind this request, and what this request was to see will not be delivered.
            raise refusal(change, "has taken the place of an older one, which is not delivered any more")
        if self._health.away:
            raise refusal(change, "waits for the remote, which is away", named=named)
        if time.monotonic() >= deadline:
            raise refusal(change, f"was not pushed within {self._timeout:g} s", named=named)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_INTERVAL):
                await waiter.woken.wait()


def _stand_in_line(db: apsw.Connection, bucket: str, key: str, identity: str, now: float) -> tuple[int, bool]:
    seq = changes.take_turn(db, bucket=bucket, key=key, identity=identity, now=now)
    return seq, changes.start_turn(db, seq)


def _leave(db: apsw.Connection, seq: int, turn: Turn | None, now: float) -> None:
    """Leave the line, with all that the request has made of its key."""
    if turn is not None and turn.replaced:
        late_writes.drop_kept(db, seq)
    if turn is not None and turn.lost and not turn.keeps:
        changes.lose_turn(db, seq, etag=changes.ANY if turn.etag is None else turn.etag, now=now)
    elif turn is None or not turn.changed:
        changes.end_turn(db, seq)
    else:
        changes.end_turn(db, seq, made=changes.ANY if turn.etag is None else turn.etag)


def refusal(change: Change | None, why: str, *, moves: bool = True, named: bool = True) -> S3Error:
    """The 503 of a request that depends on a change which is not pushed; its key is said where it may be `named`.

    Where the change does not move by itself the client is not told to come again: a person has to.
    """
    details: dict[str, str] = {}
    if change is None:
        what = "another request on this key"
    elif named:
        what = f"{change.op} of {change.bucket}/{change.key}"
        details = {"PendingBucket": change.bucket, "PendingKey": change.key}
    else:
        what = f"{change.op} in {change.bucket} by another identity"
    return S3Error(
        "SlowDown",
        f"This request depends on a pending change: the {what} {why}",
        status=503,
        headers={"Retry-After": "1"} if moves else {},
        details=details,
        hint="see `s3d status bucket/key`",
    )
