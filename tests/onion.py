"""The onion on a loop that runs only when it is told to: a queue over a remote behind faults, and its crashes.

Between two calls of `Onion.run` nothing moves but threads that are at work already. A crash copies the local dir as it
is then, throws everything of the old life away, and opens the queue again on the copy.
"""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import apsw

from s3d import config
from s3d.api import NO_TERMS, S3, Call, Terms, read_all
from s3d.errors import S3Error, Unavailable
from s3d.layers.cache import Cache, open_cache
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.layers.queue.rows import order, verdicts
from s3d.metrics import Metrics
from s3d.policy import Answer as Said
from s3d.policy import Question, Verdict
from s3d.settings import Gateway, Opa, ReadCache, Remote, Settings, WriteQueue
from tests.callers import Answer, ask
from tests.crashes import Disk
from tests.fakes.flaky import Flaky, Journal
from tests.model import Wrong, md5

T = TypeVar("T")

PATIENCE = 0.03
"""Seconds after which a client leaves where the remote does not answer."""
PATIENT = 10.0
"""Seconds in which everything is answered where it does."""
DRAINING = 10.0
"""Seconds in which all that is pending is pushed."""
KEEPING = 900.0
"""Seconds for which what is delivered is kept, unless a drain looks at once."""
FORBIDDEN = 403
KEPT = ("quarantined", "superseded", "held", "parked")
"""States of what stays for a person to look at."""
BROKEN = """SELECT seq, key, op, state FROM change WHERE state IN ('held', 'parked', 'quarantined') AND EXISTS (
    SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
    AND newer.identity = change.identity AND newer.seq > change.seq AND newer.op IN ('put', 'delete', 'complete'))"""
"""What must never be in the table (Q-9b): something that is kept back behind a newer acknowledged change of its key."""
EXPECTING = """SELECT 1 FROM change WHERE key = ? AND late_writes LIKE '%"?"%'"""
POLICY = "http://policy.test"
LEFT = Unavailable("the client left")
REVOKED = Unavailable("the remote refuses the keys")
"""In the place of the remote's own refusal, where the keys of who asks are revoked."""


class Onion:
    """A gateway without its door, life after life, in front of one remote."""

    def __init__(
        self,
        root: Path,
        remote: S3,
        disk: Disk,
        loop: asyncio.AbstractEventLoop,
        bucket: str,
        *,
        cache: bool = False,
    ) -> None:
        """Take an empty directory, and a bucket that plain writes are vouched for; `start` begins the first life. With
        `cache` there is a read cache behind the queue."""
        self.limits = ReadCache(enabled=cache, validate_timeout=PATIENT)
        """Those of the cache, over all lives."""
        self._root = root
        self._bucket = bucket
        self._remote = remote
        self._disk = disk
        self.loop = loop
        self._lives = itertools.count(1)
        self._names = itertools.count(1)
        self.journal = Journal()
        self.directory = root / "life-0"
        self._push_filter = ""
        self._policy = ""
        self.queue: Queue
        self.cache: Cache | None = None
        self.flaky: Flaky
        self.health: Health
        self.metrics: Metrics
        self._settings: Settings
        self._stack: contextlib.AsyncExitStack
        self._working: list[asyncio.Task[None]]

    def run(self, what: Awaitable[T]) -> T:
        """Let the loop run until something is done."""
        return self.loop.run_until_complete(what)

    async def start(self) -> None:
        """Begin a life on what is in the directory."""
        self._settings = settings = Settings(
            gateway=Gateway(local_dir=self.directory),
            remote=Remote(buckets=(self._bucket,)),
            write_queue=WriteQueue(dir=self.directory / "queue", versioned="Queue", push_filter=self._push_filter),
            opa=Opa(url=POLICY if self._policy else "", path=f"s3d/{self._policy or Verdict.ALLOW}"),
            read_cache=self.limits,
        )
        self.health = health = Health(5.0, 30.0, self._probe)
        self.flaky = Flaky(self._remote, health, self.journal)
        self._stack = contextlib.AsyncExitStack()
        self.metrics = metrics = Metrics()
        endpoint = "http://remote.test"
        near: S3 = self.flaky
        self.cache = cache = None
        if self.limits.enabled:
            near = self.cache = cache = await self._stack.enter_async_context(
                open_cache(settings, near, endpoint, metrics)
            )
        opened = open_queue(
            settings,
            near,
            health,
            endpoint,
            "us-east-1",
            metrics,
            ask=self._decide,
            shed=cache.capacity.shed if cache else None,
            hand_over=cache.hand_over if cache else None,
        )
        self.queue = await self._stack.enter_async_context(opened)
        lives = [self.queue.pusher.run()] + ([cache.run()] if cache else [])
        self._working = [self.loop.create_task(life) for life in lives]

    def govern(self, push_filter: str, policy: str) -> None:
        """Put other rules in force: a push filter, and what a policy answers, "" where there is none."""
        self._push_filter, self._policy = push_filter, policy
        named = {"S3D_OPA_URL": POLICY if policy else "", "S3D_OPA_PATH": f"s3d/{policy or Verdict.ALLOW}"}
        config.reload(self._settings, {"S3D_WRITE_QUEUE_PUSH_FILTER": push_filter, **named})
        self.run(self._governed())

    async def _governed(self) -> None:
        """Wait until the rules of the settings are in force, and what waits is judged by them."""
        asking, db = self.queue.asking, self.queue._context.db
        while verdicts.in_force(db) != asking.wanted:
            asking.wake()
            await asyncio.sleep(0.0005)
        await self.queue.judging.look()
        asking.wake()

    async def _decide(self, question: Question) -> Said:
        """Answer as the policy of the settings."""
        return Said(Verdict(self._settings.opa.path.removeprefix("s3d/")), "d1", "a policy of the tests")

    async def _probe(self) -> None:
        """The test says when the remote is back."""

    async def end(self) -> None:
        """Throw a life away."""
        self.flaky.dead = True
        for task in self._working:
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        await self._stack.aclose()
        shutil.rmtree(self.directory, ignore_errors=True)

    def crash(self, *, power_cut: bool, arrives: bool) -> None:
        """End the life at this very instant and begin the next on what it leaves."""
        after = self._root / f"life-{next(self._lives)}"
        self._disk.copy(self.directory / "queue", after / "queue", power_cut=power_cut)
        if self.limits.enabled:
            self._disk.copy_cache(self.directory / "cache", after / "cache", power_cut=power_cut)

        async def next_life() -> None:
            late, revoked = self.flaky.late, self.flaky.revoked
            await self.flaky.die(arrives=arrives)
            await self.end()
            self.directory = after
            await self.start()
            self.flaky.late, self.flaky.revoked = late, revoked

        self.run(next_life())

    async def ask(
        self,
        operation: str,
        params: dict[str, Any],
        data: bytes | None = None,
        *,
        owed: bool,
        identity: str = "",
        terms: Terms = NO_TERMS,
    ) -> tuple[Answer | S3Error, str]:
        """Ask as a client: the answer, or the error, and the name under which the journal knows the request.

        What is not `owed` while the remote is silent, or refuses somebody's keys, is not waited for then: the client
        leaves.
        """
        name = f"client-{next(self._names)}"
        self.journal.authors[name] = identity
        patience = PATIENCE if (self.flaky.stalled or self.flaky.revoked) and not owed else PATIENT
        headers = {"User-Agent": name}
        asking = self.loop.create_task(
            ask(self.queue, operation, params, data, headers=headers, identity=identity, terms=terms)
        )
        done, _ = await asyncio.wait({asking}, timeout=patience)
        if not done:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, S3Error):
                return await asking, name
            if patience == PATIENT:
                raise Wrong(f"{operation} {params.get('Key')} is not answered within {PATIENT:g} s")
            return LEFT, name
        try:
            return asking.result(), name
        except S3Error as error:
            refused = error.status == FORBIDDEN and identity in self.flaky.revoked
            return (REVOKED if refused else error), name

    def begin(self, operation: str, params: dict[str, Any], identity: str = "") -> asyncio.Task[Answer]:
        """Begin to ask as a client that stays; `end_of` waits for the answer."""
        headers = {"User-Agent": "client-between"}
        return self.loop.create_task(ask(self.queue, operation, params, None, headers=headers, identity=identity))

    async def end_of(self, asking: asyncio.Task[Answer]) -> None:
        """Wait for an answer, whatever it is."""
        done, _ = await asyncio.wait({asking}, timeout=PATIENT)
        if not done:
            asking.cancel()
            raise Wrong(f"a request is not answered within {PATIENT:g} s")
        with contextlib.suppress(S3Error):
            asking.result()

    def broken(self) -> list[tuple[Any, ...]]:
        """What the table holds against its own rule, asked through a connection of its own."""
        table = apsw.Connection(str(self.directory / "queue" / "queue.db"), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            return table.execute(BROKEN).fetchall()
        finally:
            table.close()

    def expects_anything(self, key: str) -> bool:
        """Whether a write of this gateway may still arrive at a key of which nobody knows the ETag: then it takes
        what somebody else writes there for its own (Q-3d)."""
        return bool(self.queue._context.db.read(EXPECTING, (key,)))

    async def breathe(self) -> None:
        """Let what runs in the background go on for a moment."""
        for _ in range(2):
            await asyncio.sleep(0.0005)

    async def filled(self) -> None:
        """Let what the cache reads just now come to its end."""
        while self.cache is not None and (tasks := self.cache._fills._tasks):
            await asyncio.wait(set(tasks))

    async def quiet(self, bucket: str, key: str) -> None:
        """Let what is on its way of a key be delivered, where nothing hinders it."""
        for _ in range(100):
            if self.queue.object_status(bucket, key)["state"] not in ("waiting", "pushing", "in_doubt"):
                return
            await asyncio.sleep(0.001)

    async def drain(self) -> None:
        """End every outage, and push until nothing is left. Raises Wrong where something stays."""
        self.flaky.release()
        self.flaky.come_back()
        self.flaky.fates.clear()
        self.flaky.revoked = frozenset()
        await self.queue.drain(DRAINING)
        left = {state: count for state, count in self.queue.states().items() if count and state not in KEPT}
        if sum(left.values()) > order.stalled(self.queue._context.db):
            raise Wrong(f"still pending after a drain: {left}")
        await self._arrive()

    async def _arrive(self) -> None:
        """Let arrive what is late and can be put right, and wait until the gateway has looked at all that it keeps."""
        settled = [(call, at) for call, at in self.flaky.late if self._is_settled(call)]
        # A client's own write that nobody confirmed may be the newest of all: then its arrival needs no putting right.
        late = [call for call, at in settled if self.journal.pushed_last(call.key, at)]
        late = [call for call in late if await self._differs(call)]
        self.flaky.late.clear()
        for call in late:
            with contextlib.suppress(S3Error):
                await self._remote(call)
        self._look(0.0)
        end = self.loop.time() + DRAINING
        while self._unfinished():
            if self.loop.time() > end:
                raise Wrong("what may arrive late is not looked at")
            await asyncio.sleep(0.002)
        self._look(KEEPING)

    def _is_settled(self, call: Call) -> bool:
        return bool(self.queue.object_status(call.bucket, call.key)["state"] == "delivered")

    async def _differs(self, call: Call) -> bool:
        """Whether a late request would show: the same bytes with other metadata have the same ETag."""
        try:
            shown = (await ask(self._remote, "HeadObject", {"Bucket": call.bucket, "Key": call.key}, typed=True)).etag
        except S3Error:
            shown = ""
        return shown != ("" if call.operation == "DeleteObject" else md5(await read_all(call.body, 64 << 20)))

    def reload(self, values: dict[str, Any]) -> None:
        """Change settings while it runs; those of the cache hold for all lives."""
        config.reload(self._settings, values)

    def _look(self, window: float) -> None:
        self.reload({"S3D_WRITE_QUEUE_LATE_WRITE_WINDOW": window})

    def _unfinished(self) -> int:
        """Changes that are on their way, or kept for what may arrive late, at one moment: one becomes the other.

        The queue itself is asked: a commit that it does not know of yet is not done in `object_status` either.
        """
        found = self.queue._context.db.read(
            "SELECT count(*) FROM change WHERE state IN ('settled', 'waiting', 'pushing', 'in_doubt')"
        )
        return int(found[0][0]) - order.stalled(self.queue._context.db)
