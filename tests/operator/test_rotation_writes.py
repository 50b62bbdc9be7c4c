"""What a rotation writes at an API server, and leaves alone there."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from s3d.errors import ConfigError
from s3d_operator.certs import Pair, make_pair, serves, to_secret
from s3d_operator.kube import ApiError, Kube
from s3d_operator.rotation import Keeper, Schedule, keep, read_contents
from tests.operator.apiserver import ApiServer, serving
from tests.operator.rotations import NOW, TARGET, USUAL, covers

SECRET = "/api/v1/namespaces/s3d-system/secrets/s3d-webhook-tls"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION = f"{CONFIGURATIONS}/s3d"
VALIDATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/s3d"
AT_ONCE = Schedule(settle_seconds=0)
ALWAYS = replace(AT_ONCE, renew_before=AT_ONCE.lifetime)


@pytest.fixture
def webhooks(api: ApiServer) -> list[dict[str, Any]]:
    """The webhooks of both configurations, as the chart made them."""
    made = [{"name": f"{n}.s3d.dev", "clientConfig": {"service": {"name": "s3d"}}, "mine": n} for n in (1, 2, 3)]
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": made[:2]})
    api.put(VALIDATION, {"metadata": {"name": "s3d"}, "webhooks": made[2:]})
    return made


def webhooks_of(api: ApiServer) -> list[dict[str, Any]]:
    return [each for path in (CONFIGURATION, VALIDATION) for each in api.objects[path]["webhooks"]]


def bundles_of(api: ApiServer) -> set[bytes]:
    return {base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in webhooks_of(api)}


def served_of(api: ApiServer) -> Pair | None:
    return read_contents(api.objects[SECRET]).served


@pytest.mark.checklist(2)
@pytest.mark.checklist(23)
async def test_of_the_configuration_nothing_but_the_bundle_is_ever_written_and_the_leaf_is_always_covered(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """Each look is another process: whatever one knew is gone with it."""
    leaves = set()
    for _ in range(30):
        assert await Keeper(client, TARGET, ALWAYS).advance()
        if served := served_of(api):
            leaves.add(served.certificate)
            assert all(covers(bundle, served) for bundle in bundles_of(api))
            assert len(api.objects[SECRET]["data"]) < 8
    assert len(leaves) >= 5
    now = [each | {"clientConfig": each["clientConfig"] | {"caBundle": ""}} for each in webhooks_of(api)]
    assert now == [each | {"clientConfig": each["clientConfig"] | {"caBundle": ""}} for each in webhooks]
    assert {request.split()[0] for request in api.requests if "webhookconfigurations" in request} == {"GET", "PATCH"}


async def test_it_comes_to_rest_and_writes_nothing_then(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    assert api.objects[SECRET]["type"] == "kubernetes.io/tls"
    served = served_of(api)
    assert served
    assert bundles_of(api) == {served.authority}
    api.requests.clear()
    assert not await Keeper(client, TARGET, AT_ONCE).advance()
    assert {request.split()[0] for request in api.requests} == {"GET"}


async def test_a_cas_key_is_kept_nowhere(api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]) -> None:
    for _ in range(12):
        await Keeper(client, TARGET, ALWAYS).advance()
        kept = api.objects[SECRET]["data"]
        for name, value in kept.items():
            assert (b"PRIVATE KEY" in base64.b64decode(value)) <= (name in {"tls.key", "next.key"})
        for pair in (read_contents(api.objects[SECRET]).served, read_contents(api.objects[SECRET]).coming):
            assert pair is None or serves(pair, TARGET.hosts, client.now), "the key is the leaf's"


async def test_where_a_lost_secret_is_made_anew_what_replicas_serve_from_memory_stays_believed(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    keeper = Keeper(client, TARGET, replace(USUAL, settle_seconds=3600))
    while await keeper.advance():
        pass
    old = served_of(api)
    assert old
    api.delete(SECRET)
    while await keeper.advance():
        pass
    assert served_of(api) is None, "its CA has not been published for an hour"
    assert all(covers(bundle, old) for bundle in bundles_of(api))


async def test_a_secret_that_holds_something_else_is_left_alone(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    api.put(SECRET, {"metadata": {"name": "s3d-webhook-tls"}, "data": {"mine": "eA=="}})
    with pytest.raises(ConfigError, match="s3d-webhook-tls"):
        await Keeper(client, TARGET, AT_ONCE).advance()
    assert api.objects[SECRET]["data"] == {"mine": "eA=="}


async def test_two_operators_at_once_do_not_undo_each_other(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """One of two that saw the same is refused, whatever it was about to write."""
    for _ in range(12):
        both = [Keeper(client, TARGET, ALWAYS).advance() for _ in range(2)]
        done = await asyncio.gather(*both, return_exceptions=True)
        assert True in done
        if served := served_of(api):
            assert all(covers(bundle, served) for bundle in bundles_of(api))


class Contended(ApiServer):
    """A server on which somebody else writes the configuration whenever it was read."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        answer = await super().answer(request)
        if request.path == CONFIGURATION:
            self.put(CONFIGURATION, self.objects[CONFIGURATION])
        return answer


async def test_a_configuration_that_was_written_since_it_was_read_is_read_again_first() -> None:
    api = Contended()
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": [{"name": "a", "clientConfig": {}}]})
    async with serving(api) as server, Kube(server) as client:
        assert await Keeper(client, TARGET, AT_ONCE).advance()
        with pytest.raises(ApiError):
            await Keeper(client, TARGET, AT_ONCE).advance()
    assert api.objects[CONFIGURATION]["webhooks"] == [{"name": "a", "clientConfig": {}}]


async def test_a_ca_that_reached_one_of_both_configurations_is_published_to_the_other_before_its_leaf_is_served(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    """As where the operator is killed between the two writes, or one of the objects is made anew."""
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    api.put(VALIDATION, {"metadata": {"name": "s3d"}, "webhooks": webhooks[2:]})
    old = served_of(api)
    assert old
    assert await Keeper(client, TARGET, AT_ONCE).advance()
    assert bundles_of(api) == {old.authority}
    assert served_of(api) == old


async def test_the_api_servers_clock_counts_and_not_ours(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    client.now = NOW - timedelta(days=4000)
    await Keeper(client, TARGET, AT_ONCE).advance()
    coming = read_contents(api.objects[SECRET]).coming
    assert coming
    assert serves(coming, TARGET.hosts, datetime.now(UTC))


@pytest.mark.checklist(59)
async def test_a_certificate_of_others_is_neither_made_nor_published(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    before = api.objects.copy()
    await keep(client, replace(TARGET, issued=False), USUAL)
    assert api.objects == before


async def test_a_pair_of_others_that_serves_is_served_until_it_is_due(
    api: ApiServer, client: Kube, webhooks: list[dict[str, Any]]
) -> None:
    pair = make_pair(TARGET.hosts, datetime.now(UTC), timedelta(days=80))
    api.put(SECRET, to_secret(pair, TARGET))
    keeper = Keeper(client, TARGET, AT_ONCE)
    while await keeper.advance():
        pass
    assert served_of(api) == pair
    assert bundles_of(api) == {pair.authority}
