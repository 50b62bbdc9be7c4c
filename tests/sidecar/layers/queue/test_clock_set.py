"""The clock of the day is set forward or back, while the gateway runs or over a restart: nothing that waits is late or
early, and its age is right (SEMANTICS D-10). All clocks are the test's: no time passes but what it lets pass.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from s3d import config
from s3d.clock import Machine
from s3d.errors import S3Error
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.layers.queue.multipart import upkeep
from s3d.layers.queue.push import late_writes as late_checks
from s3d.layers.queue.remote_facts import bucket_tags
from s3d.layers.queue.rows import holds, late_writes
from s3d.layers.queue.rules import retry
from s3d.metrics import Metrics
from s3d.settings import Gateway as GatewaySettings
from s3d.settings import Remote, Settings, WriteQueue
from tests.callers import Answer, ask
from tests.fakes.fake import Fake
from tests.fakes.flaky import Flaky, Journal

NOON = 1_800_000_000.0
WAIT = 20.0
"""Seconds that things wait for in here."""
SOON = 30.0
"""Seconds within which everything is delivered."""
WINDOW, UPLOAD_AGE = 900.0, 86_400.0
JUMPS = {"+5min": 300.0, "-5min": -300.0, "+1h": 3600.0, "-1h": -3600.0, "+1d": 86_400.0, "-1d": -86_400.0}

pytestmark = pytest.mark.semantics("D-10")


@dataclass(slots=True)
class Hands:
    """The clocks of a machine."""

    passed: float = 0.0
    set_by: float = 0.0
    boots: int = 1

    @property
    def machine(self) -> Machine:
        return Machine(lambda: NOON + self.passed + self.set_by, lambda: 100.0 + self.passed, lambda: f"{self.boots}")


@dataclass(slots=True)
class Gateway:
    """A gateway on a local dir, life after life, before a remote whose clock is right."""

    directory: Path
    delay: float = 0.0
    max_age: float = 0.0
    hands: Hands = field(default_factory=Hands)
    remote: Fake = field(init=False)
    queue: Queue = field(init=False)
    flaky: Flaky = field(init=False)
    stack: contextlib.AsyncExitStack = field(init=False)

    def __post_init__(self) -> None:
        self.remote = Fake(lambda: NOON + self.hands.passed)

    async def start(self) -> None:
        settings = Settings(
            gateway=GatewaySettings(local_dir=self.directory),
            remote=Remote(buckets=("b", "other")),
            write_queue=WriteQueue(
                dir=self.directory / "queue",
                delay=self.delay,
                max_age=self.max_age,
                wait=0.01,
                late_write_window=WINDOW,
                max_upload_age=UPLOAD_AGE,
            ),
        )
        health = Health(5.0, 30.0, self._probe)
        self.flaky = Flaky(self.remote, health, Journal())
        self.stack = contextlib.AsyncExitStack()
        opened = open_queue(
            settings, self.flaky, health, "http://remote.test", "us-east-1", Metrics(), self.hands.machine
        )
        self.queue = await self.stack.enter_async_context(opened)
        pushing = asyncio.ensure_future(self.queue.pusher.run())
        self.stack.push_async_callback(cancelled, pushing)

    async def _probe(self) -> None:
        """The test says when the remote is back."""

    async def restart(self) -> None:
        late, away = self.flaky.late, self.flaky.away
        await self.stack.aclose()
        await self.start()
        self.flaky.late = late
        if away:
            self.flaky.leave()

    async def ask(self, operation: str, key: str = "k", data: bytes | None = None, **params: Any) -> Answer:
        return await ask(self.queue, operation, {"Bucket": "b", "Key": key, **params}, data)

    async def shows(self, key: str) -> bytes | None:
        """What the remote has."""
        try:
            return (await ask(self.remote, "GetObject", {"Bucket": "b", "Key": key})).data
        except S3Error:
            return None

    def state(self, key: str = "k") -> str:
        return str(self.queue.object_status("b", key)["state"])

    @property
    def age(self) -> float | None:
        age: float | None = self.queue.pending()["oldest_age_seconds"]
        return age

    async def until(self, holds_: Callable[[], bool]) -> None:
        """Let the gateway run, with its clocks standing still, until something holds."""
        async with asyncio.timeout(10):
            while not holds_():
                self.queue.pusher.wake()
                await asyncio.sleep(0.005)

    async def looked(self) -> None:
        """Let it run until it has looked at what is due: a change elsewhere, which waits for nothing, has passed."""
        await ask(self.queue, "PutObject", {"Bucket": "other", "Key": "k"}, b"1")
        await self.until(lambda: self.queue.object_status("other", "k")["state"] == "delivered")


async def cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway whose pauses are about WAIT and never more, and which looks often at what only time tells."""
    for name in ("MIN_BACKOFF", "MIN_PROBE_BACKOFF"):
        monkeypatch.setattr(retry, name, WAIT)
    for name in ("MAX_BACKOFF", "MAX_PROBE_BACKOFF"):
        monkeypatch.setattr(retry, name, WAIT)
    monkeypatch.setattr(bucket_tags, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(late_checks, "MAX_INTERVAL", 0.05)
    monkeypatch.setattr(late_checks, "MIN_INTERVAL", 0.01)
    made = Gateway(tmp_path / "local")
    for bucket in ("b", "other"):
        await ask(made.remote, "CreateBucket", {"Bucket": bucket})
    yield made
    await made.stack.aclose()


async def waiting(gateway: Gateway) -> None:
    """The remote is away."""
    gateway.flaky.leave()
    await gateway.ask("PutObject", data=b"1")
    await gateway.until(lambda: gateway.queue._context.health.away)


async def tried(gateway: Gateway) -> None:
    """It was refused for now, and waits for its next attempt."""
    gateway.flaky.fates.append("SlowDown 503")
    await gateway.ask("PutObject", data=b"1")
    await gateway.until(lambda: gateway.queue.object_status("b", "k")["changes"][0]["code"] == "SlowDown")


async def in_doubt(gateway: Gateway) -> None:
    """It was sent, and there was no answer."""
    gateway.flaky.fates.append("lost")
    await gateway.ask("PutObject", data=b"1")
    await gateway.until(lambda: gateway.state() == "in_doubt")


async def paused(gateway: Gateway) -> None:
    """Its lane is refused, and waits for its next probe."""
    gateway.flaky.fates.append("InvalidAccessKeyId 403")
    await gateway.ask("PutObject", data=b"1")
    await gateway.until(lambda: gateway.queue.paused_lanes() == 1)


async def delayed(gateway: Gateway) -> None:
    """The settings let it wait."""
    await gateway.ask("PutObject", data=b"1")


async def held(gateway: Gateway) -> None:
    """The tag of its bucket held it, and has gone elsewhere since it was asked for."""
    no = {"TagSet": [{"Key": holds.TAG, "Value": "false"}]}
    await ask(gateway.remote, "PutBucketTagging", {"Bucket": "b", "Tagging": no})
    await gateway.queue._context.facts.bucket_tags.ask("b")
    await gateway.ask("PutObject", data=b"1")
    assert gateway.state() == "held"
    await ask(gateway.remote, "DeleteBucketTagging", {"Bucket": "b"})


STATES = {state.__name__: state for state in (waiting, tried, in_doubt, paused, delayed, held)}


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restart"])
@pytest.mark.parametrize("state", STATES)
async def test_what_waits_is_delivered_in_time_and_its_age_is_true_whatever_the_clock_is_set_to(
    gateway: Gateway, state: str, jump: float, restart: bool
) -> None:
    gateway.delay = WAIT if state == "delayed" else 0.0
    await gateway.start()
    await STATES[state](gateway)
    gateway.hands.passed += 100 if state == "waiting" else 0
    gateway.hands.set_by += jump
    if restart:
        await gateway.restart()
    if state != "held":
        assert gateway.age == gateway.hands.passed
    gateway.flaky.come_back()
    gateway.hands.passed += SOON
    await gateway.until(lambda: gateway.state() == "delivered")
    assert (await gateway.shows("k"), gateway.age) == (b"1", None)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("state", ["tried", "in_doubt", "paused", "delayed"])
async def test_a_jump_is_no_attempt_before_its_time(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, state: str, jump: float
) -> None:
    monkeypatch.setattr("random.random", lambda: 0.9)
    gateway.delay = WAIT if state == "delayed" else 0.0
    await gateway.start()
    await STATES[state](gateway)
    config.reload(gateway.queue._context.settings, {"S3D_WRITE_QUEUE_DELAY": "0s"})
    gateway.hands.set_by += jump
    await gateway.looked()
    assert gateway.queue.object_status("b", "k")["changes"][0]["attempts"] == (0 if state == "delayed" else 1)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restart"])
async def test_a_late_write_is_put_right_after_its_window_and_not_before(
    gateway: Gateway, jump: float, restart: bool
) -> None:
    await gateway.start()
    gateway.flaky.fates.append("late")
    await gateway.ask("PutObject", data=b"old")
    await gateway.until(lambda: gateway.state() == "in_doubt")
    await gateway.ask("PutObject", data=b"new")
    gateway.hands.passed += SOON
    await gateway.until(lambda: gateway.state() == "delivered")
    gateway.hands.set_by += jump
    if restart:
        await gateway.restart()
    await gateway.flaky.arrive(0)
    assert await gateway.shows("k") == b"old"
    context = gateway.queue._context
    gateway.hands.passed += WINDOW - 1
    assert late_writes.settled(context.db, context.clock.now() - WINDOW, 1) == []
    gateway.hands.passed += 1
    await gateway.until(lambda: gateway.remote.buckets["b"].current("k").data == b"new")  # type: ignore[union-attr]


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restart"])
async def test_an_open_upload_expires_by_the_time_that_passed(gateway: Gateway, jump: float, restart: bool) -> None:
    await gateway.start()
    gateway.flaky.leave()
    begun = await gateway.ask("CreateMultipartUpload")
    upload = {"UploadId": begun.result["UploadId"]}
    await gateway.ask("UploadPart", data=b"1", PartNumber=1, **upload)
    gateway.hands.set_by += jump
    if restart:
        await gateway.restart()
    gateway.hands.passed += UPLOAD_AGE - 1
    await upkeep.tidy(gateway.queue._contexts.upkeep, gateway.queue._context.clock.now())
    assert len((await gateway.ask("ListParts", **upload)).result["Parts"]) == 1
    gateway.hands.passed += 2
    await upkeep.tidy(gateway.queue._contexts.upkeep, gateway.queue._context.clock.now())
    with pytest.raises(S3Error, match="NoSuchUpload"):
        await gateway.ask("ListParts", **upload)


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_a_turn_waits_on_and_is_answered_when_it_comes(gateway: Gateway, jump: float) -> None:
    await gateway.start()
    gateway.flaky.stalled = True
    await gateway.ask("PutObject", data=b"1")
    await gateway.until(lambda: gateway.flaky.holds == ["k"])
    copied = asyncio.ensure_future(gateway.ask("PutObject", data=b"2", IfMatch='"c4ca4238a0b923820dcc509a6f75849b"'))
    await gateway.until(lambda: bool(gateway.queue._context.turns._waiters))
    gateway.hands.set_by += jump
    gateway.flaky.release()
    assert (await copied).status == 200
    assert await gateway.shows("k") == b"2"


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
@pytest.mark.parametrize("restart", [False, True], ids=["running", "restart"])
async def test_the_queue_is_too_old_by_the_time_that_passed(gateway: Gateway, jump: float, restart: bool) -> None:
    gateway.max_age = WINDOW
    await gateway.start()
    await waiting(gateway)
    gateway.hands.set_by += jump
    if restart:
        await gateway.restart()
    gateway.hands.passed += WINDOW - 1
    assert (await gateway.ask("PutObject", "taken", data=b"2")).status == 200
    gateway.hands.passed += 2
    with pytest.raises(S3Error, match="SlowDown"):
        await gateway.ask("PutObject", "refused", data=b"3")


@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
async def test_what_the_time_of_day_says_is_what_clients_were_told_and_the_rest_follows_the_clock(
    gateway: Gateway, jump: float
) -> None:
    await gateway.start()
    await waiting(gateway)
    gateway.hands.passed += 60
    gateway.hands.set_by += jump
    shown = gateway.queue.object_status("b", "k")["changes"][0]
    assert (shown["acked_at"], shown["age_seconds"]) == (NOON, 60.0)
    assert shown["next_at"] == NOON + jump


@pytest.mark.parametrize("jump", [-86_400.0, -NOON, 0.0, 86_400.0])
async def test_after_the_machine_was_off_no_age_is_short_by_more_than_a_minute(gateway: Gateway, jump: float) -> None:
    await gateway.start()
    await waiting(gateway)
    gateway.hands.passed += 7200
    await gateway.ask("PutObject", "newer", data=b"2")
    gateway.hands.boots += 1
    gateway.hands.set_by += jump
    await gateway.restart()
    assert gateway.age is not None
    assert gateway.age == 7200 + max(0.0, jump)
    gateway.flaky.come_back()
    gateway.hands.passed += SOON
    await gateway.until(lambda: gateway.state() == "delivered")


@pytest.mark.parametrize("jump", [-86_400.0, -NOON])
async def test_what_the_clock_showed_while_nothing_came_is_not_forgotten_over_a_start_of_the_machine(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr("s3d.layers.queue.push.timekeeping.POLL_INTERVAL", 0.02)
    await gateway.start()
    await waiting(gateway)
    gateway.hands.passed += 7200
    await gateway.until(lambda: gateway.queue._context.db.read("SELECT seen FROM clock") == [(NOON + 7200,)])
    gateway.hands.boots += 1
    gateway.hands.set_by += jump
    await gateway.restart()
    assert gateway.age == 7200


DAMAGE = {
    "due in an hour": "UPDATE change SET next_at = {now} + 3600",
    "due in the year 3000": "UPDATE change SET next_at = 32503680000.0",
    "due never": "UPDATE change SET next_at = 1e300",
    "tried, and due in a day": "UPDATE change SET attempts = 3, next_at = {now} + 86400",
    "in doubt, and due in a day": """UPDATE change SET state = 'pushing';
        UPDATE change SET state = 'in_doubt', next_at = {now} + 86400""",
    "queued tomorrow": "UPDATE change SET queued_at = {now} + 86400, acked_at = {now} + 86400",
    "queued at the end of time": "UPDATE change SET queued_at = 1e300",
    "a probe in a day": """INSERT INTO lane (bucket, identity, state, since, code, reason, attempts, probe_at)
        VALUES ('b', '', 'paused', {now} + 86400, 'InvalidAccessKeyId', 'r', 1, {now} + 86400)""",
}

AT_REST = {
    "a clock beyond all times": "UPDATE clock SET ahead = 1e300, seen = 1e300",
    "a clock that says nothing": "UPDATE clock SET ahead = 'x', seen = 'x'",
    "no clock": "DELETE FROM clock",
}
"""What is found at the start."""


@pytest.mark.parametrize(
    ("damage", "restart"), [(name, False) for name in DAMAGE] + [(name, True) for name in DAMAGE | AT_REST]
)
async def test_what_is_due_further_ahead_than_anything_waits_is_due_now(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, damage: str, restart: bool
) -> None:
    monkeypatch.setattr("s3d.layers.queue.push.timekeeping.POLL_INTERVAL", 0.02)
    await gateway.start()
    await waiting(gateway)
    statement = (DAMAGE | AT_REST)[damage].format(now=gateway.queue._context.clock.now())
    await gateway.queue._context.db.write(lambda db: db.execute(statement))
    if restart:
        await gateway.restart()
    await gateway.until(lambda: (gateway.age or 0.0) < 1e6)
    gateway.flaky.come_back()
    gateway.hands.passed += SOON
    await gateway.until(lambda: gateway.state() == "delivered")
    assert await gateway.shows("k") == b"1"
