"""A policy that is asked what the read cache may keep (SEMANTICS F-3h)."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from s3d import config, opa
from s3d.api import BytesBody, Delivered
from s3d.errors import S3Error
from s3d.layers.cache import asking, consent
from s3d.settings import Opa
from tests.caches import BUCKET, Cached, Far, cached, how
from tests.policies import Scripted, answering
from tests.queues import until

DATA = b"data"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests are short, and the client remembers no answer: what is remembered is the cache's."""
    monkeypatch.setattr(asking, "INTERVAL", 0.02)
    monkeypatch.setattr(asking, "FULL_LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(opa, "FRESH_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def governed(
    directory: Path, far: Far, policy: Scripted, *, fail: str = "open", patience: float = 30.0, **more: Any
) -> AsyncIterator[Cached]:
    """A cache that asks a policy."""
    async with answering(policy) as url:
        settings = Opa(url=url, cache_path="s3d/cache", fail_cache=fail, timeout=patience)
        async with cached(directory, far, policy=settings, **more) as there:
            yield there


async def read(there: Cached, key: str = "k", **asked: Any) -> str:
    """Read an object once more: where its answer is from."""
    answer = await there.get(key, identity="a", **asked)
    await there.quiet()
    return how(answer)


def kept(there: Cached) -> int:
    return int(there.cache.status()["entries"])


@pytest.mark.semantics("F-3h", "F-3k")
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-0"}], ids=["whole", "range"])
async def test_what_the_policy_denies_is_not_kept_and_the_rest_is(tmp_path: Path, asked: dict[str, Any]) -> None:
    far, policy = Far(), Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with governed(tmp_path, far, policy) as there:
        await far.put("public", DATA, ContentType="text/plain", Metadata={"author": "Ada"})
        await far.put("private", DATA, Tagging="class=secret")
        assert [await read(there, "public", **asked) for _ in range(2)] == ["MISS", "REVALIDATED"]
        assert [await read(there, "private", **asked) for _ in range(2)] == ["MISS", "MISS"]
        assert kept(there) == 1
        # Each is asked about once within a minute, and nothing of who reads is in the question.
        public, private = policy.asked
        assert public == {
            "operation": "cache",
            "bucket": BUCKET,
            "key": "public",
            "size": len(DATA),
            "tags": {},
            "metadata": {"author": "Ada"},
            "headers": {"content-type": "text/plain"},
        }
        assert private["tags"] == {"class": "secret"}


@pytest.mark.semantics("F-3h")
async def test_without_a_rule_for_the_cache_nobody_is_asked(tmp_path: Path) -> None:
    far, policy = Far(), Scripted(lambda _: False)
    async with answering(policy) as url, cached(tmp_path, far, policy=Opa(url=url)) as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", "REVALIDATED"]
        assert policy.asked == []
        assert there.cache.status()["decided"]


@pytest.mark.semantics("F-3k")
async def test_what_the_filter_leaves_out_is_not_asked_about(tmp_path: Path) -> None:
    far, policy = Far(), Scripted()
    async with governed(tmp_path, far, policy, filter=f"!{BUCKET}/k") as there:
        await far.put("k", DATA)
        await far.put("tagged", DATA, Tagging="s3d.cache=false")
        assert [await read(there), await read(there, "tagged")] == ["MISS", "MISS"]
        assert policy.asked == []


@pytest.mark.semantics("F-3l")
@pytest.mark.parametrize(("fail", "second"), [("open", "REVALIDATED"), ("closed", "MISS")])
async def test_what_there_is_no_decision_of_is_kept_as_the_settings_say(tmp_path: Path, fail: str, second: str) -> None:
    far, policy = Far(), Scripted(lambda _: None)
    async with governed(tmp_path, far, policy, fail=fail) as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", second]
        assert kept(there) == int(fail == "open")
        assert not there.cache.status()["decided"]
        policy.says = lambda _: True
        await read(there)
        assert await read(there) == "REVALIDATED"
        assert there.cache.status()["decided"]


@pytest.mark.semantics("F-3l")
@pytest.mark.parametrize("fail", ["open", "closed"])
async def test_for_want_of_a_decision_nothing_is_dropped(
    tmp_path: Path, fail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "DECISION_SECONDS", 0.0)
    far, policy = Far(), Scripted()
    async with governed(tmp_path, far, policy, fail=fail, runs=True) as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", "REVALIDATED"]
        policy.says = lambda _: None
        assert await read(there) == ("REVALIDATED" if fail == "open" else "MISS")
        # The look at all that is cached has passed, too.
        seen = len(policy.asked)
        await until(lambda: len(policy.asked) > seen + 2)
        far.away = True
        stale = await there.ask("GetObject", "k", identity="a")
        assert isinstance(stale, S3Error) if fail == "closed" else how(stale) == "STALE"
        far.away = False
        assert kept(there) == 1
        policy.says = lambda _: True
        assert await read(there) == "REVALIDATED"


@pytest.mark.semantics("F-3k")
async def test_what_the_policy_comes_to_deny_is_dropped_though_nobody_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "DECISION_SECONDS", 0.0)
    far, policy = Far(), Scripted()
    async with governed(tmp_path, far, policy, runs=True) as there:
        for key in ("a", "b"):
            await far.put(key, DATA)
            await read(there, key)
        policy.says = lambda asked: asked["key"] != "a"
        await until(lambda: kept(there) == 1)
        assert there.metric("s3d_cache_evictions_total", why="policy") == 1
        assert await read(there, "b") == "REVALIDATED"


@pytest.mark.semantics("F-3k")
async def test_a_denial_holds_for_what_is_answered_without_the_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consent, "DECISION_SECONDS", 0.0)
    far, policy = Far(), Scripted()
    async with governed(tmp_path, far, policy, fresh_for=60) as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", "HIT"]
        policy.says = lambda _: False
        assert await read(there) == "MISS"
        far.away = True
        assert isinstance(await there.ask("GetObject", "k", identity="a"), S3Error)
        assert isinstance(await there.ask("HeadObject", "k", identity="a"), S3Error)


@pytest.mark.semantics("F-3l")
async def test_while_nobody_answers_one_read_waits_and_no_other_does(tmp_path: Path) -> None:
    far, policy = Far(), Scripted()
    policy.hangs = True
    async with governed(tmp_path, far, policy, patience=0.05) as there:
        for number in range(5):
            await far.put(f"k{number}", DATA)
            await read(there, f"k{number}")
        assert len(policy.asked) == 1
        # It is tried again beside the reads, and they ask again when it answers.
        policy.heal()
        config.reload(there.settings, {"S3D_OPA_TIMEOUT": "30s"})
        await there.cache._asking.look()
        # What was kept without a decision is asked about as well.
        assert [one["key"] for one in policy.asked] == ["k0", "k0", *(f"k{number}" for number in range(1, 5))]
        await far.put("new", DATA)
        await read(there, "new")
        assert policy.asked[-1]["key"] == "new"


@pytest.mark.semantics("F-3h")
async def test_what_the_write_queue_has_delivered_is_kept_by_consent(tmp_path: Path) -> None:
    far, policy = Far(), Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with governed(tmp_path, far, policy) as there:
        for key, tags in (("public", ""), ("private", "class=secret")):
            etag = await far.put(key, DATA, Tagging=tags)
            members = {"content-type": "text/plain", "x-amz-tagging": tags}
            delivered = Delivered(BUCKET, key, "a", members, CIMultiDict(ETag=f'"{etag}"'))
            await there.cache.hand_over(delivered, BytesBody(DATA))
        assert [one["key"] for one in policy.asked] == ["public", "private"]
        assert kept(there) == 1
        assert await read(there, "public") == "REVALIDATED"
