"""Rounds of the reconciler against a real API server, with the permissions that the chart gives it."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import web

from e2e.apiserver.conftest import GATEWAYS, Kubectl, Resources
from e2e.apiserver.test_drain_jobs import create_pod, eventually
from s3d_operator.access import Access
from s3d_operator.kube import GATEWAYS as S3GATEWAYS
from s3d_operator.kube import Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.goldens import IMAGE
from tests.operator.kopfs import watching
from tests.operator.requests import request
from tests.operator.test_pods import SAID, door
from tests.processes import free_port

SPEC = {"remote": {"endpoint": "http://minio:9000", "credentials": {"secretRef": {"name": "s3-keys"}}}}
PODS = "/api/v1/namespaces/default/pods"
STATE = {"name": "s3d", "started": True, "ready": True, "restartCount": 0, "image": "s", "imageID": "s"}
RUNNING = {
    "status": {
        "podIP": "127.0.0.1",
        "podIPs": [{"ip": "127.0.0.1"}],
        "initContainerStatuses": [STATE | {"state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}],
    }
}
CONFIG = "/api/v1/namespaces/default/configmaps/default-s3d"


@pytest.fixture
async def reconciler(operators: Access) -> AsyncIterator[Reconciler]:
    """A reconciler that knows the pods."""
    async with Kube(operators) as kube:
        made = Reconciler(kube, IMAGE)
        async with watching(made):
            await made.know_pods()
            yield made


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }


@pytest.mark.checklist(46)
async def test_a_round_writes_a_status_that_the_schema_takes_and_a_second_one_nothing(
    kube: Kube, gateways: Resources, reconciler: Reconciler
) -> None:
    await gateways.create("default", SPEC)
    await reconciler.round(datetime.now(UTC))
    first = await request(kube, "GET", f"{GATEWAYS}/default")
    await reconciler.round(datetime.now(UTC))
    assert await request(kube, "GET", f"{GATEWAYS}/default") == first
    assert len(first["status"]["conditions"]) == 7
    assert first["status"]["pods"]["injected"] == 0
    assert "finalizers" not in first["metadata"]
    assert "annotations" not in first["metadata"]


@pytest.mark.checklist(49)
async def test_what_others_write_beside_us_stays(kube: Kube, gateways: Resources, reconciler: Reconciler) -> None:
    await gateways.create("default", SPEC)
    await reconciler.round(datetime.now(UTC))
    theirs = {"metadata": {"labels": {"theirs": "yes"}}, "data": {"theirs": "too"}}
    await request(kube, "PATCH", CONFIG, theirs)
    mine = {"type": "Theirs", "status": "True", "observedGeneration": 1, "reason": "Theirs", "message": "theirs"}
    condition = mine | {"lastTransitionTime": "2026-01-01T00:00:00Z"}
    known = {"metadata": {"name": "default", "namespace": "default"}}
    await kube.apply(S3GATEWAYS, known | {"status": {"conditions": [condition]}}, "theirs", part="status")
    await request(kube, "PATCH", f"{GATEWAYS}/default", {"spec": {"writeQueue": {"maxFiles": 7}}})
    await reconciler.round(datetime.now(UTC))
    kept = await request(kube, "GET", CONFIG)
    assert kept["data"]["theirs"] == "too"
    assert kept["metadata"]["labels"]["theirs"] == "yes"
    assert '"S3D_WRITE_QUEUE_MAX_FILES": 7' in kept["data"]["settings.json"]
    (owner,) = kept["metadata"]["ownerReferences"]
    assert owner["kind"] == "S3Gateway"
    changed = (await request(kube, "GET", f"{GATEWAYS}/default"))["status"]
    assert changed["observedGeneration"] == 2
    assert "Theirs" in {each["type"] for each in changed["conditions"]}


@pytest.mark.checklist(38)
@pytest.mark.checklist(50)
async def test_pods_that_run_without_are_found_by_label_and_by_namespace_and_told_of(
    kube: Kube, gateways: Resources, reconciler: Reconciler
) -> None:
    await gateways.create("default", SPEC)
    await request(
        kube, "PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {"s3d.dev/injection": "enabled"}}}
    )
    made = [pod("asks", **{"s3d.dev/inject": "true"}), pod("plain"), pod("out", **{"s3d.dev/inject": "false"})]
    for each in [*made, pod("has", **{"s3d.dev/injected": "default"})]:
        await request(kube, "POST", "/api/v1/namespaces/default/pods", each)
    await reconciler.round(datetime.now(UTC))
    await reconciler.round(datetime.now(UTC))
    found = await request(kube, "GET", "/api/v1/namespaces/default/events")
    about = sorted(each["involvedObject"]["name"] for each in found["items"] if each["reason"] == "InjectionSkipped")
    assert about == ["asks", "plain"]
    assert (await request(kube, "GET", f"{GATEWAYS}/default"))["status"]["pods"]["uninjected"] == 2


async def test_kubectl_shows_a_gateway_in_a_line(kubectl: Kubectl, gateways: Resources, reconciler: Reconciler) -> None:
    await gateways.create("shown", SPEC)
    await reconciler.round(datetime.now(UTC))
    head, line = (await asyncio.to_thread(kubectl, "get", "s3gw")).splitlines()
    assert head.split() == ["NAME", "READY", "REASON", "PODS", "PENDING", "OLDEST", "AT-RISK", "LOST", "SEEN", "AGE"]
    assert line.split()[:5] == ["shown", "True", "Ready", "0", "0"]
    wide = (await asyncio.to_thread(kubectl, "get", "s3gateways", "-o", "wide")).splitlines()
    assert wide[0].split() == [*head.split(), "PARKED", "ENDPOINT", "MESSAGE"]
    assert "http://minio:9000" in wide[1]


@pytest.mark.semantics("F-2c")
async def test_kubectl_describes_settings_that_a_pod_refuses(
    kube: Kube, kubectl: Kubectl, gateways: Resources, operators: Access
) -> None:
    gateway = await gateways.create("refused", SPEC)
    port = free_port()
    refusing = SAID | {"files": {"settings": {"loaded_at": 1.0, "error": "S3D_WRITE_QUEUE_PUSH_FILTER: no bracket"}}}

    async def say(_: web.Request) -> web.Response:
        return web.json_response(refusing)

    async with Kube(operators) as own, door("127.0.0.1", port, say):
        made = Reconciler(own, IMAGE, door_port=port)
        async with watching(made):
            await made.know_pods()
            await create_pod(kube, "refuses", gateway)
            await request(
                kube, "PATCH", f"{PODS}/refuses/status", RUNNING, kind="application/strategic-merge-patch+json"
            )
            await eventually(lambda: any(pod.listens for pod in made.injected.objects.values()))
            for _ in range(2):
                await made.round(datetime.now(UTC))
    shown = await asyncio.to_thread(kubectl, "describe", "s3gateway", "refused")
    await request(kube, "DELETE", f"{PODS}/refuses?gracePeriodSeconds=0")
    status, _, events = shown.partition("\nEvents:")
    assert "1 of 1 pods refuse the settings of their ConfigMap" in status
    assert re.search(r"Warning +SettingsRefused +.*s3d-operator +since .* pods refuse the settings", events), shown


@pytest.mark.checklist(28)
@pytest.mark.parametrize(
    ("verb", "what", "allowed"),
    [
        ("get", "secrets", "no"),
        ("list", "secrets", "no"),
        ("create", "pods", "no"),
        ("delete", "pods", "no"),
        ("patch", "pods", "no"),
        ("list", "pods", "yes"),
        ("get", "configmaps", "no"),
        ("get", "persistentvolumeclaims", "yes"),
        ("list", "persistentvolumeclaims", "no"),
        ("get", "jobs", "no"),
        ("create", "jobs", "no"),
        ("update", "s3gateways", "no"),
        ("patch", "s3gateways", "no"),
        ("patch", "s3gateways/status", "yes"),
    ],
)
def test_the_operator_may_what_it_needs_and_no_more(
    operators: Access, kubectl: Kubectl, verb: str, what: str, allowed: str
) -> None:
    kind, _, part = what.partition("/")
    words = [verb, kind, f"--subresource={part}", "--as=operator", "--all-namespaces"]
    said = kubectl.run("auth", "can-i", *words).stdout
    assert said.strip() == allowed
