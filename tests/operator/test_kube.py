import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from s3d_operator.kube import ApiError, Kind, Kube, Watch, read_date
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually

THINGS = Kind("example.com/v1", "Thing", "things")
PATH = "/apis/example.com/v1/things"


def path_of(name: str) -> str:
    return f"/apis/example.com/v1/namespaces/shop/things/{name}"


def thing(name: str, size: int = 0) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name}, "spec": {"size": size}}


def size_of(raw: dict[str, Any]) -> int:
    return int(raw["spec"]["size"])


@asynccontextmanager
async def following(client: Kube) -> AsyncIterator[Watch]:
    watch = Watch(client, THINGS, size_of)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch.run())
        await asyncio.wait_for(watch.synced.wait(), 60)
        yield watch
        task.cancel()


async def test_a_watch_knows_what_was_there_and_follows_what_comes(
    api: ApiServer, client: Kube, eventually: Eventually
) -> None:
    api.put(path_of("one"), thing("one", 1))
    async with following(client) as watch:
        assert watch.objects == {("shop", "one"): 1}
        api.put(path_of("one"), thing("one", 2))
        api.put(path_of("two"), thing("two", 3))
        await eventually(lambda: watch.objects == {("shop", "one"): 2, ("shop", "two"): 3})
        api.delete(path_of("one"))
        await eventually(lambda: watch.objects == {("shop", "two"): 3})


async def test_a_watch_that_ends_goes_on_where_it_was(api: ApiServer, client: Kube, eventually: Eventually) -> None:
    async with following(client) as watch:
        await eventually(lambda: api.watchers)
        api.end_watches()
        api.put(path_of("one"), thing("one", 1))
        await eventually(lambda: watch.objects == {("shop", "one"): 1})
        assert sum(request == f"GET {PATH}" for request in api.requests) == 1


async def test_a_watch_lists_again_when_the_server_has_forgotten_its_version(
    api: ApiServer, client: Kube, eventually: Eventually
) -> None:
    api.put(path_of("one"), thing("one", 1))
    async with following(client) as watch:
        await eventually(lambda: api.watchers)
        api.end_watches()
        api.delete(path_of("one"))
        api.put(path_of("two"), thing("two", 2))
        api.forget()
        await eventually(lambda: watch.objects == {("shop", "two"): 2})


async def test_a_watch_keeps_what_it_knows_while_the_server_is_broken(
    api: ApiServer, client: Kube, eventually: Eventually
) -> None:
    api.put(path_of("one"), thing("one", 1))
    async with following(client) as watch:
        await eventually(lambda: api.watchers)
        api.broken = True
        api.end_watches()
        asked = len(api.requests)
        await eventually(lambda: len(api.requests) > asked + 2)
        assert watch.objects == {("shop", "one"): 1}
        api.broken = False
        api.put(path_of("two"), thing("two", 2))
        await eventually(lambda: len(watch.objects) == 2)


async def test_a_refusal_carries_the_servers_own_words(client: Kube) -> None:
    with pytest.raises(ApiError, match=r"404: /apis/example\.com/v1/namespaces/shop/things/one not found") as caught:
        await client.patch(THINGS, "one", {}, "shop")
    assert caught.value.status == 404


async def test_what_is_not_there_is_none(client: Kube) -> None:
    assert await client.get(THINGS, "one", "shop") is None
    await client.delete(THINGS, "one", "shop")


async def test_a_list_is_a_json_patch_and_an_object_a_merge_patch(api: ApiServer, client: Kube) -> None:
    api.put(path_of("one"), thing("one", 1))
    await client.patch(THINGS, "one", [{"op": "add", "path": "/spec/colour", "value": "red"}], "shop")
    answer = await client.patch(THINGS, "one", {"spec": {"size": 2}}, "shop")
    assert answer["spec"] == {"size": 2, "colour": "red"}


@pytest.mark.parametrize("date", ["Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 05:04:05 +0200"])
def test_the_time_is_the_servers(date: str) -> None:
    assert read_date(date) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("date", ["", "nonsense", "Fri, 99 Jan 2026 03:04:05 GMT"])
def test_a_time_that_cannot_be_read_is_our_own(date: str) -> None:
    before = datetime.now(UTC)
    assert before <= read_date(date) <= datetime.now(UTC)
