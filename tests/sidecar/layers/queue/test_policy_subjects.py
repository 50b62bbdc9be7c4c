"""What a policy is asked about: tags, deletes and what they take the place of."""

from pathlib import Path
from typing import Any

import pytest

from tests.callers import Answer
from tests.gateways import quick
from tests.policies import Scripted
from tests.queues import until
from tests.sidecar.layers.queue.governing import governed, put, sent, soon
from tests.stores import Odd, Store, there

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")


@pytest.mark.semantics("F-3c")
async def test_other_tags_are_asked_about_anew(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") == "public")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: here.state("b", "k") == "held")
        tags = {"TagSet": [{"Key": "class", "Value": "public"}]}
        assert isinstance(await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", "Tagging": tags}), Answer)
        await until(lambda: there(store) == ["k"])


@pytest.mark.semantics("F-3a", "F-3c")
async def test_a_verdict_about_tags_that_are_others_by_now_is_none(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: not asked["tags"])
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here)
        await until(lambda: len(policy.asked) == 1)
        tags = {"TagSet": [{"Key": "class", "Value": "secret"}]}
        assert isinstance(await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", "Tagging": tags}), Answer)
        policy.heal()
        await until(lambda: here.state("b", "k") == "held")
        assert policy.asked[-1]["tags"] == {"class": "secret"}
        assert sent(store) == []


@pytest.mark.semantics("F-3", "F-5b")
async def test_a_delete_of_what_has_left_is_asked_about_with_its_key_alone(tmp_path: Path) -> None:
    policy = Scripted()
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, Tagging="class=secret")
        await until(lambda: not here.queue.pending()["changes"])
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await until(lambda: not here.queue.pending()["changes"])
        assert policy.asked[-1] == {"operation": "delete", "bucket": "b", "key": "k", "identity": ""}


@pytest.mark.semantics("F-3", "F-5b")
@pytest.mark.parametrize("times", [1, 2])
async def test_a_delete_that_takes_the_place_of_a_put_is_asked_about_with_what_that_said(
    times: int, tmp_path: Path
) -> None:
    policy = Scripted(lambda asked: asked.get("tags", {}).get("class") != "secret")
    policy.hangs = True
    async with Store() as store, governed(tmp_path, store, policy) as here:
        await put(here, Tagging="class=secret", Metadata={"author": "Ada"})
        for _ in range(times):
            await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "unknown"})
        policy.heal()
        await until(lambda: here.state("b", "k") == "held" and sent(store) == ["unknown"])
        asked = {one["key"]: one for one in policy.asked if one["operation"] == "delete"}
        assert asked["k"]["size"] == 5
        assert (asked["k"]["tags"], asked["k"]["metadata"]) == ({"class": "secret"}, {"author": "Ada"})
        assert asked["unknown"].keys() == {"operation", "bucket", "key", "identity"}


def tagging(value: str) -> dict[str, Any]:
    """Other tags for the object."""
    return {"Bucket": "b", "Key": "k", "Tagging": {"TagSet": [{"Key": "class", "Value": value}]}}


@pytest.mark.semantics("F-5b")
async def test_a_delete_is_judged_by_the_tags_that_wait_behind_its_put(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["operation"] == "put" or asked["tags"] == {"class": "public"})
    async with Store() as store, governed(tmp_path, store, policy) as here:
        store.hook(Odd(held=True), "PutObject", times=1)
        await put(here, Tagging="class=public")
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        await here.ask("DeleteObject", {"Bucket": "b", "Key": "k"})
        await until(lambda: here.state("b", "k") == "held")
        store.release()
        await until(lambda: here.queue.pending()["changes"] == 1)
        assert here.state("b", "k") == "held"


@pytest.mark.semantics("F-3i")
async def test_tags_of_an_object_that_is_leaving_follow_it_and_nobody_is_asked(tmp_path: Path) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        store.hook(Odd(held=True), "PutObject", times=1)
        await put(here)
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        store.release()
        await until(lambda: not here.queue.pending()["changes"])
        assert store.count("PutObjectTagging") == 1
        assert [one["tags"] for one in policy.asked] == [{}]


@pytest.mark.semantics("F-3i", "F-3c")
async def test_tags_behind_a_put_that_the_remote_refuses_for_now_are_part_of_it_again_and_asked_about(
    tmp_path: Path,
) -> None:
    policy = Scripted(lambda asked: asked["tags"].get("class") != "secret")
    async with Store() as store, governed(tmp_path, store, policy) as here:
        refused = "<Error><Code>SlowDown</Code></Error>"
        store.hook(Odd(held=True, status=429, body=refused), "PutObject", times=1)
        await put(here)
        await until(lambda: sent(store) == ["k"])
        assert isinstance(await here.ask("PutObjectTagging", tagging("secret")), Answer)
        store.release()
        await until(lambda: here.state("b", "k") == "held")
        assert policy.asked[-1]["tags"] == {"class": "secret"}
        assert (sent(store), store.count("PutObjectTagging")) == (["k"], 0)
