"""The CORS rules of buckets: when the remote is asked for them, and which hold while it does not answer."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from s3d.access.cors import NO_RULES, Rule, Rules, to_configuration
from s3d.api import Call, Reply
from s3d.client import Client
from s3d.errors import S3Error, Unavailable
from s3d.layers import cors
from s3d.layers.cors import Cors
from s3d.layers.health import Health
from s3d.protocol import encode
from s3d.settings import Browsers
from tests.queues import until

APP = "https://app.example"
ONE, TWO = Rule((APP,), ("GET",)), Rule(("*",), ("PUT",), ("*",), ("ETag",), 9)


class Remote:
    """The CORS rules of some buckets, and how often each was asked for."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[Rule, ...]] = {}
        self.asked: Counter[str] = Counter()
        self.error: S3Error | None = None
        self.answering = asyncio.Event()
        self.answering.set()

    async def __call__(self, call: Call) -> Reply:
        rules = self.rules.get(call.bucket)
        if call.operation == "GetBucketCors":
            self.asked[call.bucket] += 1
            await self.answering.wait()
        if self.error is not None:
            raise self.error
        if call.operation == "DeleteBucketCors":
            self.rules.pop(call.bucket, None)
            return Reply(204)
        if rules is None:
            return encode.refusal(call, S3Error("NoSuchCORSConfiguration", status=404))
        return encode.reply("GetBucketCors", to_configuration(rules))


class Kept:
    """What a local dir would keep."""

    def __init__(self) -> None:
        self.rules: dict[str, tuple[Rule, ...]] = {}

    def recall(self, bucket: str) -> tuple[Rule, ...]:
        return self.rules.get(bucket, ())

    async def keep(self, bucket: str, rules: tuple[Rule, ...]) -> None:
        self.rules[bucket] = rules


class Time:
    """A clock that the test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(cors, "tick", time)
    return time


async def probe() -> None:
    """The remote is there."""


def layer(remote: Remote, memory: Kept | None = None, **settings: Any) -> tuple[Cors, Health]:
    health = Health(5.0, 30.0, probe)
    return Cors(remote, Browsers(**settings), health, memory), health


@pytest.mark.semantics("R-12b")
async def test_the_remote_is_asked_again_when_its_answer_is_old(time: Time) -> None:
    remote = Remote()
    remote.rules["b"] = (ONE,)
    known, _ = layer(remote)
    assert await known.rules_of("b") == Rules((ONE,))
    remote.rules["b"] = (TWO,)
    time.now += cors.FRESH_SECONDS - 1
    assert await known.rules_of("b") == Rules((ONE,))
    time.now += 1
    assert await known.rules_of("b") == Rules((TWO,))
    assert await known.rules_of("") == NO_RULES
    assert remote.asked == {"b": 2}


@pytest.mark.semantics("R-12b")
async def test_what_the_remote_showed_last_holds_while_it_shows_nothing(time: Time) -> None:
    remote, kept = Remote(), Kept()
    remote.rules["b"] = (ONE,)
    before, _ = layer(remote, kept)
    await before.rules_of("b")
    remote.error = Unavailable("no answer")
    time.now += cors.FRESH_SECONDS
    after, health = layer(remote, kept)
    for known in (before, after):
        assert await known.rules_of("b") == Rules((ONE,))
    asked = remote.asked["b"]
    assert await after.rules_of("b") == Rules((ONE,))
    assert remote.asked["b"] == asked, "it is not asked again at once"
    time.now += cors.RETRY_INTERVAL
    health.away = True
    assert await after.rules_of("b") == Rules((ONE,))
    assert await after.rules_of("other") == NO_RULES
    assert remote.asked["b"] == asked, "nor while it is away"


@pytest.mark.semantics("R-12b")
@pytest.mark.parametrize(
    "error",
    [
        S3Error("NoSuchBucket", status=404),
        S3Error("AccessDenied", status=403),
        S3Error("NotImplemented", status=501),
        S3Error("MethodNotAllowed", status=405),
    ],
    ids=lambda error: error.code,
)
async def test_a_refusal_of_the_remote_is_an_answer_and_there_are_no_rules(time: Time, error: S3Error) -> None:
    remote, kept = Remote(), Kept()
    kept.rules["b"] = (ONE,)
    known, _ = layer(remote, kept)
    remote.error = error
    assert await known.rules_of("b") == NO_RULES
    assert kept.rules["b"] == ()


@pytest.mark.semantics("R-12b")
async def test_all_who_wait_share_one_look_up() -> None:
    remote = Remote()
    remote.rules["b"] = (ONE,)
    known, _ = layer(remote)
    assert await asyncio.gather(*(known.rules_of("b") for _ in range(9))) == [Rules((ONE,))] * 9
    assert remote.asked == {"b": 1}


@pytest.mark.semantics("R-12b")
async def test_a_change_that_passes_holds_at_once_whatever_is_under_way(time: Time) -> None:
    remote, kept = Remote(), Kept()
    remote.rules["b"] = (ONE,)
    known, _ = layer(remote, kept)
    remote.answering.clear()
    early = asyncio.ensure_future(known.rules_of("b"))
    await until(lambda: remote.asked["b"] == 1)
    late = asyncio.ensure_future(Client(known).ask("DeleteBucketCors", {"Bucket": "b"}))
    await until(lambda: remote.asked["b"] == 2)
    remote.answering.set()
    await asyncio.gather(early, late)
    assert await known.rules_of("b") == NO_RULES
    assert kept.rules["b"] == ()


@pytest.mark.semantics("R-12b")
@pytest.mark.parametrize("sent", [False, True])
async def test_a_change_that_may_have_been_made_is_looked_for(time: Time, sent: bool) -> None:
    remote, kept = Remote(), Kept()
    remote.rules["b"] = (ONE,)
    known, _ = layer(remote, kept)
    await known.rules_of("b")
    remote.error = Unavailable("no answer", sent=sent)
    with pytest.raises(Unavailable):
        await Client(known).ask("DeleteBucketCors", {"Bucket": "b"})
    remote.error = None
    remote.rules["b"] = (TWO,)
    assert await known.rules_of("b") == Rules((TWO,) if sent else (ONE,))


async def test_what_is_asked_at_once_and_what_is_remembered_are_bounded(
    monkeypatch: pytest.MonkeyPatch, time: Time
) -> None:
    monkeypatch.setattr(cors, "MAX_ASKED", 3)
    monkeypatch.setattr(cors, "MAX_KNOWN", 5)
    remote = Remote()
    remote.rules |= {f"b{number}": (ONE,) for number in range(9)}
    known, _ = layer(remote)
    remote.answering.clear()
    asking = [asyncio.ensure_future(known.rules_of(f"b{number}")) for number in range(4)]
    assert await asking[3] == NO_RULES
    remote.answering.set()
    assert await asyncio.gather(*asking[:3]) == [Rules((ONE,))] * 3
    assert "b3" not in remote.asked
    for number in range(9):
        await known.rules_of(f"b{number}")
    before = Counter(remote.asked)
    await known.rules_of("b8")
    assert remote.asked == before
    await known.rules_of("b0")
    assert remote.asked - before == {"b0": 1}, "the one of long ago was forgotten"


@pytest.mark.semantics("R-12b")
async def test_who_waits_for_a_silent_remote_is_told_what_was_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cors, "MAX_WAIT", 0.01)
    remote, kept = Remote(), Kept()
    kept.rules["b"] = (ONE,)
    known, _ = layer(remote, kept)
    remote.answering.clear()
    assert await known.rules_of("b") == Rules((ONE,))
    monkeypatch.setattr(cors, "MAX_WAIT", 60.0)
    remote.answering.set()
    assert await known.rules_of("b") == NO_RULES


@pytest.mark.semantics("R-12c")
async def test_rules_of_the_settings_hold_and_nobody_is_asked() -> None:
    remote = Remote()
    remote.rules["b"] = (TWO,)
    known, _ = layer(remote, origins="https://*.example", methods="GET,PUT", expose="ETag", max_age="1m")
    rule = Rule(("https://*.example",), ("GET", "PUT"), ("*",), ("ETag",), 60)
    for bucket in ("b", "other", ""):
        assert await known.rules_of(bucket) == Rules((rule,), by_settings=True)
    assert not remote.asked
