"""Gateways that somebody writes, judged by the webhook behind a real API server, over TLS.

The operator publishes the CA with no more rights than the chart gives.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from e2e.apiserver.conftest import OPERATOR, Kubectl, access_of
from e2e.apiserver.test_webhook_rotation import CONFIGURATIONS, TARGET, answering, of_the_chart, until_ready
from e2e.cluster.kube import namespace_object, until
from s3d_operator.access import Access
from s3d_operator.kube import ApiError, Kube
from s3d_operator.layout import Image
from s3d_operator.rotation import Keeper, Schedule
from s3d_operator.webhook import Options, Webhook
from tests.operator.requests import request
from tests.processes import free_port
from tests.remotes import cache_dir

VALIDATION = CONFIGURATIONS.replace("mutating", "validating")
BAD = {"writeQueue": {"pushFilter": ["photos", "!photos[tga:x]"]}}


def gateway(name: str, **spec: Any) -> dict[str, Any]:
    """A gateway."""
    remote = {"endpoint": "http://127.0.0.1:9", "credentials": {"anonymous": {}}}
    metadata = {"name": name, "namespace": "judged"}
    return {
        "apiVersion": "s3d.dev/v1alpha1",
        "kind": "S3Gateway",
        "metadata": metadata,
        "spec": {"remote": remote} | spec,
    }


@pytest.fixture
def place(server: Access, operators: Access) -> Iterator[Kubectl]:
    """Namespaces, the rights of the operator, and a Service that leads to this machine."""
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    for name in ("s3d-system", "judged"):
        kubectl("apply", given=namespace_object(name))
    kubectl("apply", given=of_the_chart("Role", "s3d-operator"))
    kubectl("create", "rolebinding", "judge", "--namespace=s3d-system", "--role=s3d-operator", "--user=operator")
    kubectl.until_allowed("get", "secrets/s3d-webhook-tls", "--namespace=s3d-system")
    # The leaf is judged by the name of the Service nevertheless.
    kubectl("create", "service", "externalname", "s3d-webhook", "--namespace=s3d-system", "--external-name=localhost")
    yield kubectl
    kubectl("delete", "validatingwebhookconfiguration", "--ignore-not-found", "s3d")
    kubectl("delete", "--namespace=judged", "s3gateway", "--all")
    for what in ("rolebinding/judge", "role/s3d-operator", "service/s3d-webhook", "secret/s3d-webhook-tls"):
        kubectl("delete", "--namespace=s3d-system", "--ignore-not-found", what)


@pytest.fixture
def earlier(place: Kubectl) -> dict[str, Any]:
    """A bad gateway that was written before anybody judged."""
    made = gateway("old", **BAD)
    place("create", given=made)
    return made


@pytest.fixture
async def judge(server: Access, place: Kubectl) -> AsyncIterator[Webhook]:
    """A replica that the API server trusts and asks."""
    async with Kube(server) as admin, Kube(access_of(server.configuration.host, OPERATOR)) as operator:
        options = Options(Image("s3d:1"), "s3d-system", "s3d-webhook-tls", "127.0.0.1", free_port(), free_port(), 0)
        made = of_the_chart("ValidatingWebhookConfiguration", "s3d")
        made["webhooks"][0]["clientConfig"]["service"]["port"] = options.port
        await asyncio.to_thread(place, "apply", "--server-side", given=made)
        keeper = Keeper(operator, TARGET, Schedule())
        while await keeper.advance():
            pass
        replica = Webhook(admin, options)
        async with answering(replica):
            await until_ready(replica)
            yield replica


async def refusal(kubectl: Kubectl, made: dict[str, Any], *words: str) -> str:
    """What kubectl says where it applies an object that is refused; "" where it is taken."""
    done = await asyncio.to_thread(kubectl.run, "apply", "--server-side", *words, given=made)
    return done.stderr if done.returncode else ""


async def until_judged(kubectl: Kubectl) -> str:
    """Wait until a bad gateway is refused, since a configuration is not in force at once; what is said."""
    said = [""]

    def is_refused() -> bool:
        said[0] = kubectl.run("apply", "--server-side", "--dry-run=server", given=gateway("probe", **BAD)).stderr
        return "pushFilter" in said[0]

    await asyncio.to_thread(until, is_refused, "a gateway that is refused")
    return said[0]


@pytest.mark.semantics("F-2b")
async def test_a_gateway_whose_filter_cannot_be_read_is_refused_with_its_position(
    place: Kubectl, judge: Webhook
) -> None:
    said = await until_judged(place)
    assert "gateway.validate.s3d.dev" in said
    assert "s3d: spec.writeQueue.pushFilter: 'tga' is none of tag, hdr, md and id; did you mean tag?" in said
    assert "at character 9 of '!photos[tga:x]'" in said
    assert await refusal(place, gateway("mine", writeQueue={"pushFilter": ["photos"]})) == ""
    assert "at character 9" in await refusal(place, gateway("mine", **BAD), "--force-conflicts")
    kept = await request(judge.kube, "GET", "/apis/s3d.dev/v1alpha1/namespaces/judged/s3gateways/mine")
    assert kept["spec"]["writeQueue"]["pushFilter"] == ["photos"]


@pytest.mark.semantics("F-2b")
async def test_a_bad_gateway_from_before_can_be_labelled_and_deleted(
    earlier: dict[str, Any], place: Kubectl, judge: Webhook
) -> None:
    await until_judged(place)
    of_it = ("--namespace=judged", "s3gateway/old")
    await asyncio.to_thread(place, "label", *of_it, "team=a")
    assert "at character 3 of 'b['" in await refusal(
        place, gateway("old", writeQueue={"pushFilter": ["b["]}), "--force-conflicts"
    )
    await asyncio.to_thread(place, "delete", *of_it)


@pytest.mark.semantics("F-2b")
async def test_while_no_replica_answers_gateways_are_written_all_the_same(
    server: Access, place: Kubectl, judge: Webhook
) -> None:
    await until_judged(place)
    made = of_the_chart("ValidatingWebhookConfiguration", "s3d")
    async with Kube(server) as admin:
        there = await request(admin, "GET", f"{VALIDATION}/s3d")
        there["webhooks"][0]["clientConfig"]["service"]["port"] = free_port()
        assert there["webhooks"][0]["failurePolicy"] == made["webhooks"][0]["failurePolicy"]
        await request(admin, "PUT", f"{VALIDATION}/s3d", there)

    def is_taken() -> bool:
        return not place.run("apply", "--server-side", "--dry-run=server", given=gateway("away", **BAD)).returncode

    await asyncio.to_thread(until, is_taken, "a gateway that nobody judges")
    with pytest.raises(ApiError):
        await request(judge.kube, "GET", "/apis/s3d.dev/v1alpha1/namespaces/judged/s3gateways/away")
