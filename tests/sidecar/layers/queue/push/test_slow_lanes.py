"""A remote that fails at everything for long is asked little, whatever waits, and a single object slows nobody down
(SEMANTICS Q-8h, Q-10)."""

from pathlib import Path
from typing import Any

import pytest

from s3d.layers.queue.push import pace
from s3d.layers.queue.push.pace import Pace
from s3d.layers.queue.rules import retry
from tests.callers import Answer, ask
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway
from tests.sidecar.layers.queue.push.odd_answers import XML, s3_error
from tests.stores import Odd, Store, until

pytestmark = pytest.mark.usefixtures("quick")

MANY = 120
WORKERS = 4
FAILURES = {
    "503 SlowDown": Odd(503, XML, s3_error(503, "SlowDown").body),
    "500 of a proxy": Odd(500, {"Content-Type": "text/html"}, "<html>oops</html>"),
    "429": Odd(429, XML, s3_error(429, "TooManyRequests").body),
    "reset": Odd(cut="read", reset=True),
}
LANE = ("b", "")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lane that is slowed down is not tried again within a test."""
    monkeypatch.setattr(retry, "slow_pause", lambda *_: 3600.0)


def a_store() -> Store:
    """A store with two buckets."""
    store = Store()
    for name in ("b", "other"):
        store.fake.buckets[name] = Bucket(name, 0.0)
    return store


async def put(here: Gateway, bucket: str, *keys: str) -> None:
    """Have objects queued."""
    for key in keys:
        answer = await here.ask("PutObject", {"Bucket": bucket, "Key": key}, key.encode())
        assert isinstance(answer, Answer), answer
        assert answer.headers["x-s3d-durability"] == "local"


async def warm(here: Gateway, *buckets: str) -> None:
    """Have the buckets looked up, and something delivered."""
    for bucket in buckets:
        await put(here, bucket, "warm")
    await until(lambda: {here.state(bucket, "warm") for bucket in buckets} == {"delivered"})


@pytest.mark.semantics("Q-8h")
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    "failure, check_after", [*((failure, 5.0) for failure in FAILURES), ("503 SlowDown", 0.0), ("reset", 0.0)]
)
async def test_a_lane_that_fails_is_asked_little_and_parks_nothing(
    failure: str, check_after: float, tmp_path: Path
) -> None:
    store = a_store()
    buckets = ("b", "other")
    more: dict[str, Any] = {"workers": WORKERS, "conflict_check_after": check_after}
    async with store, gateway(tmp_path, store, buckets, **more) as here:
        await warm(here, *buckets)
        store.seen.clear()
        store.hook(FAILURES[failure], bucket="b")
        keys = [f"k{number}" for number in range(MANY)]
        await put(here, "b", *keys)
        # The other lane goes on, for longer than every change of the first would have been tried.
        for number in range(MANY):
            await put(here, "other", f"k{number}")
        await until(lambda: all(store.data("other", key) is not None for key in keys), what="the other lane")
        asked = sum(one.bucket == "b" for one in store.seen)
        assert asked < MANY // 2, "most changes are not tried once"
        assert here.queue.states()["parked"] == 0
        store.clear()
        assert await here.queue.pusher.drained(60)
        assert [store.data("b", key) for key in keys] == [key.encode() for key in keys]


@pytest.mark.semantics("Q-8h", "Q-10")
@pytest.mark.usefixtures("patient")
async def test_a_single_object_slows_no_lane_down(tmp_path: Path) -> None:
    store = a_store()
    async with store, gateway(tmp_path, store, ("b",), workers=WORKERS) as here:
        await warm(here, "b")
        bad = store.hook(FAILURES["503 SlowDown"], bucket="b", key="bad")
        await put(here, "b", "bad")
        await until(lambda: bad.hits > 3 * pace.MAX_FAILURES)
        keys = [f"k{number}" for number in range(MANY)]
        await put(here, "b", *keys)
        await until(lambda: all(store.data("b", key) is not None for key in keys), what="its neighbours")


@pytest.mark.semantics("Q-8h", "Q-10")
async def test_a_lane_with_several_bad_objects_goes_on_by_what_was_not_tried(tmp_path: Path) -> None:
    store = a_store()
    async with store, gateway(tmp_path, store, ("b",), workers=WORKERS) as here:
        await warm(here, "b")
        bad = [store.hook(FAILURES["503 SlowDown"], bucket="b", key=f"bad{number}") for number in range(6)]
        await put(here, "b", *(f"bad{number}" for number in range(6)))
        await until(lambda: all(hook.hits for hook in bad))
        keys = [f"k{number}" for number in range(MANY)]
        await put(here, "b", *keys)
        await until(lambda: all(store.data("b", key) is not None for key in keys), what="its neighbours")
        store.clear()
        await until(lambda: all(store.data("b", f"bad{number}") is not None for number in range(6)))


@pytest.mark.semantics("Q-8h")
@pytest.mark.parametrize("end", ["refused", "conflict"])
async def test_a_lane_goes_on_with_the_first_answer_though_it_is_a_refusal(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = 0.01
    monkeypatch.setattr(retry, "slow_pause", lambda *_: pause)
    store, keys = a_store(), [f"k{number}" for number in range(20)]
    more: dict[str, Any] = {"workers": WORKERS, "conflict_check_after": 0.0, "conflict": "Park"}
    async with store, gateway(tmp_path, store, ("b",), **more) as here:
        await put(here, "b", *keys)
        await until(lambda: all(store.data("b", key) is not None for key in keys))
        failing = store.hook(FAILURES["503 SlowDown"], bucket="b")
        for key in keys:
            await here.ask("PutObject", {"Bucket": "b", "Key": key}, b"newer")
        await until(lambda: failing.hits > 2 * len(keys))
        # Now each pause is longer than the test.
        pause = 3600.0
        store.clear()
        if end == "refused":
            store.hook(Odd(400, XML, s3_error(400, "EntityTooLarge").body), bucket="b")
        else:
            for key in keys:
                await ask(store.fake, "PutObject", {"Bucket": "b", "Key": key}, b"somebody's")
        await until(lambda: here.queue.states()["parked"] == len(keys))


@pytest.mark.semantics("Q-8h")
def test_the_pause_grows_with_each_try_and_ends_with_a_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    lanes = Pace()
    for seq in (1, 1, 1, 2):
        lanes.failed(LANE, seq, 100.0, 1.0)
    assert lanes.slowed(100.0) == {}, "two changes are not several"
    lanes.failed(LANE, 3, 100.0, 1.0)
    assert lanes.slowed(100.0) == {LANE: False}
    pauses = []
    for _ in range(8):
        due = lanes.due(100.0)
        assert due is not None
        assert lanes.slowed(due) == {LANE: True}
        lanes.tried(LANE, 100.0, 1.0)
        pauses.append((lanes.due(100.0) or 0.0) - 100.0)
    assert pauses == sorted(pauses)
    assert pauses[-1] == retry.MAX_SLOW_BACKOFF
    lanes.answered(LANE)
    assert (lanes.slowed(100.0), lanes.due(100.0)) == ({}, None)
