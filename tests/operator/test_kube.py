import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3d.errors import ConfigError
from s3d_operator.certs import make_pair
from s3d_operator.kube import ApiError, Kube, Server, Watch, find_server, read_date, read_kubeconfig
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually

THINGS = "/apis/example.com/v1/things"


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
        await asyncio.wait_for(watch.synced.wait(), 20)
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
        assert sum(request == f"GET {THINGS}" for request in api.requests) == 1


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
    with pytest.raises(ApiError, match="404: /x/one not found") as caught:
        await client.request("GET", "/x/one")
    assert caught.value.status == 404


async def test_a_list_is_a_json_patch_and_an_object_a_merge_patch(api: ApiServer, client: Kube) -> None:
    api.put(path_of("one"), thing("one", 1))
    await client.request("PATCH", path_of("one"), [{"op": "add", "path": "/spec/colour", "value": "red"}])
    answer = await client.request("PATCH", path_of("one"), {"spec": {"size": 2}})
    assert answer["spec"] == {"size": 2, "colour": "red"}


async def test_a_service_accounts_token_is_read_anew_for_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    client = Kube(Server("http://127.0.0.1:1", token_file=token))
    for text in ("first\n", "second\n"):
        token.write_text(text)
        assert await client.identity() == {"Authorization": f"Bearer {text.strip()}"}


def kubeconfig(tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]) -> Path:
    path = tmp_path / "config"
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443"} | cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_kubeconfig_may_hold_its_certificates_or_name_their_files(tmp_path: Path) -> None:
    pair = make_pair(["127.0.0.1"], datetime.now(UTC), timedelta(days=1))
    authority = tmp_path / "ca.crt"
    authority.write_bytes(pair.authority)
    user = {
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
    server = read_kubeconfig(kubeconfig(tmp_path, user, {"certificate-authority": str(authority)}))
    assert server.namespace == "shop"
    assert server.tls is not None
    assert server.tls.verify_mode is ssl.CERT_REQUIRED
    assert len(server.tls.get_ca_certs()) == 1


def test_a_kubeconfig_that_cannot_be_used_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config"):
        read_kubeconfig(tmp_path / "config")


def test_without_a_server_the_person_is_told_how_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError) as caught:
        find_server()
    assert "KUBECONFIG" in caught.value.hint


@pytest.mark.parametrize("date", ["Fri, 02 Jan 2026 03:04:05 GMT", "Fri, 02 Jan 2026 05:04:05 +0200"])
def test_the_time_is_the_servers(date: str) -> None:
    assert read_date(date) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("date", ["", "nonsense", "Fri, 99 Jan 2026 03:04:05 GMT"])
def test_a_time_that_cannot_be_read_is_our_own(date: str) -> None:
    before = datetime.now(UTC)
    assert before <= read_date(date) <= datetime.now(UTC)
