"""Drain jobs in a real API server, with the permissions of the chart: where they are granted, and where they are not.

Nothing runs here: the kubelet and the job controller are what the tests write.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from e2e.apiserver.conftest import GATEWAYS, Kubectl, Resources, of_chart
from s3d_operator import drains
from s3d_operator.access import Access
from s3d_operator.choice import read_gateway
from s3d_operator.inject import patch
from s3d_operator.kube import ApiError, Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.goldens import IMAGE
from tests.operator.kopfs import watching
from tests.operator.requests import request

SPEC = {
    "remote": {"endpoint": "http://minio:9000", "credentials": {"secretRef": {"name": "s3-keys"}}},
    "volume": {"persistentVolumeClaim": {"claimName": "queue"}},
    "drain": {"job": True},
}
JOBS = "/apis/batch/v1/namespaces/default/jobs"
CLAIMS = "/api/v1/namespaces/default/persistentvolumeclaims"
PODS = "/api/v1/namespaces/default/pods"
LEFT = json.dumps({"changes": 4, "bytes": 40, "oldest": 2, "parked": 0})


@pytest.fixture
def granted(operators: Access, kubectl: Kubectl) -> None:
    """Jobs are granted in this namespace, as the chart grants them."""
    kubectl("apply", given=of_chart("Role", "s3d-drain", 'drain.jobs.namespaces=["default"]'))
    kubectl("create", "rolebinding", "drain", "--role=s3d-drain", "--user=operator")
    kubectl.until_allowed("create", "jobs")


@pytest.fixture
async def reconciler(
    operators: Access, kube: Kube, kubectl: Kubectl, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reconciler]:
    """A reconciler that knows the pods and asks each time; nothing that it or the test made is left."""
    monkeypatch.setattr(drains, "LOOK_SECONDS", 0)
    async with Kube(operators) as own:
        made = Reconciler(own, IMAGE)
        async with watching(made):
            await made.know_pods()
            yield made
    for path in (PODS, JOBS, CLAIMS, "/api/v1/namespaces/default/events"):
        await request(kube, "DELETE", f"{path}?gracePeriodSeconds=0&propagationPolicy=Background")
    # Nobody takes the finalizers off.
    for kind in ("jobs", "persistentvolumeclaims"):
        for name in (await asyncio.to_thread(kubectl, "get", kind, "-o", "name")).split():
            await asyncio.to_thread(kubectl, "patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    for words in (("rolebinding", "drain"), ("role", "s3d-drain")):
        await asyncio.to_thread(kubectl, "delete", "--ignore-not-found", *words)
    await asyncio.to_thread(kubectl.until_allowed, "create", "jobs", allowed=False)


async def look(reconciler: Reconciler, holds: Callable[[], bool]) -> None:
    """A round, as soon as the watch has told what it has to."""
    await eventually(holds)
    await reconciler.round(datetime.now(UTC))


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "did not come to hold"
        await asyncio.sleep(0.01)


async def create_claim(kube: Kube, mode: str) -> None:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    await request(kube, "POST", CLAIMS, {"metadata": {"name": "queue"}, "spec": spec})


async def create_pod(kube: Kube, name: str, gateway: dict[str, Any]) -> None:
    """A pod as the webhook makes it."""
    labels = {"s3d.dev/inject": "true"}
    made = {"metadata": {"name": name, "labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    for operation in patch(made, read_gateway(gateway), IMAGE).operations:
        apply(made, operation)
    await request(kube, "POST", PODS, {"apiVersion": "v1", "kind": "Pod"} | made)


def apply(raw: dict[str, Any], operation: dict[str, Any]) -> None:
    """One `add` of a JSON Patch."""
    *path, last = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
    node: Any = raw
    for step in path:
        node = node[int(step)] if isinstance(node, list) else node[step]
    if isinstance(node, list):
        node.insert(len(node) if last == "-" else int(last), operation["value"])
    else:
        node[last] = operation["value"]


async def leave(kube: Kube, name: str) -> None:
    """Let a pod end with changes, and go."""
    end = {"exitCode": 75, "message": LEFT, "reason": "Error"}
    state = {
        "name": "s3d",
        "ready": False,
        "restartCount": 0,
        "image": "s",
        "imageID": "s",
        "state": {"terminated": end},
    }
    ended = {"status": {"phase": "Failed", "initContainerStatuses": [state]}}
    await request(kube, "PATCH", f"{PODS}/{name}/status", ended, kind="application/strategic-merge-patch+json")
    await request(kube, "DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")


@pytest.fixture
async def left(kube: Kube, gateways: Resources, reconciler: Reconciler) -> dict[str, Any]:
    """A gateway whose pod was seen and has gone with changes in its claim; no round has been made since."""
    await create_claim(kube, "ReadWriteOnce")
    gateway = await gateways.create("default", SPEC)
    await create_pod(kube, "one", gateway)
    await look(reconciler, lambda: bool(reconciler.injected.objects))
    await leave(kube, "one")
    await eventually(lambda: not reconciler.injected.objects)
    return gateway


async def jobs(kube: Kube) -> list[dict[str, Any]]:
    """The jobs that nobody has deleted."""
    found = (await request(kube, "GET", JOBS))["items"]
    return [raw for raw in found if "deletionTimestamp" not in raw["metadata"]]


async def status(kube: Kube) -> dict[str, Any]:
    return (await request(kube, "GET", f"{GATEWAYS}/default"))["status"]  # type: ignore[no-any-return]


async def reasons(kube: Kube) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in (await status(kube))["conditions"]}


async def told(kube: Kube) -> list[str]:
    found = (await request(kube, "GET", "/api/v1/namespaces/default/events"))["items"]
    return sorted(raw["reason"] for raw in found if raw["reason"].startswith("DrainJob"))


@pytest.mark.usefixtures("granted")
async def test_one_job_is_made_and_what_it_has_done_ends_the_risk(
    kube: Kube, left: dict[str, Any], reconciler: Reconciler, kubectl: Kubectl
) -> None:
    await reconciler.round(datetime.now(UTC))
    (job,) = await jobs(kube)
    assert (await status(kube))["claims"][0]["job"] == job["metadata"]["name"]
    assert (await status(kube))["pending"] == {"changes": 4, "bytes": 40, "parked": 0}
    assert (await reasons(kube))["DataAtRisk"] == "ChangesLeft"
    assert job["metadata"]["ownerReferences"][0]["uid"] == left["metadata"]["uid"]
    before = (await request(kube, "GET", f"{GATEWAYS}/default"))["metadata"]["resourceVersion"]
    await reconciler.round(datetime.now(UTC))
    assert [raw["metadata"]["resourceVersion"] for raw in await jobs(kube)] == [job["metadata"]["resourceVersion"]]
    assert (await request(kube, "GET", f"{GATEWAYS}/default"))["metadata"]["resourceVersion"] == before
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ends = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    ended = {"status": {"conditions": ends, "startTime": now, "completionTime": now, "succeeded": 1}}
    await request(kube, "PATCH", f"{JOBS}/{job['metadata']['name']}/status", ended)
    await reconciler.round(datetime.now(UTC))
    assert "claims" not in await status(kube)
    assert (await status(kube))["pending"]["changes"] == 0
    assert (await reasons(kube))["DataAtRisk"] == "AllDelivered"
    assert await told(kube) == ["DrainJobFinished", "DrainJobStarted"]


@pytest.mark.usefixtures("granted")
async def test_a_job_is_deleted_when_a_pod_that_has_the_claim_appears(
    kube: Kube, left: dict[str, Any], reconciler: Reconciler
) -> None:
    await reconciler.round(datetime.now(UTC))
    assert len(await jobs(kube)) == 1
    await create_pod(kube, "two", left)
    await look(reconciler, lambda: bool(reconciler.injected.objects))
    assert await jobs(kube) == []
    (claim,) = (await status(kube))["claims"]
    assert (claim["inUse"], claim.get("job")) == (True, None)


@pytest.mark.checklist(22)
@pytest.mark.usefixtures("granted")
async def test_the_pod_of_a_job_passes_the_profile_restricted(
    kube: Kube, left: dict[str, Any], reconciler: Reconciler, kubectl: Kubectl
) -> None:
    await reconciler.round(datetime.now(UTC))
    (job,) = await jobs(kube)
    label = {"metadata": {"name": "strict", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    with contextlib.suppress(ApiError):
        await request(kube, "POST", "/api/v1/namespaces", label)
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "drains"}, "spec": job["spec"]["template"]["spec"]}
    done = await asyncio.to_thread(kubectl.run, "-n", "strict", "create", "--dry-run=server", given=made)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.checklist(28)
async def test_without_the_grant_the_status_names_it_and_all_else_goes_on(
    kube: Kube, left: dict[str, Any], reconciler: Reconciler
) -> None:
    for _ in range(2):
        await reconciler.round(datetime.now(UTC))
    assert await jobs(kube) == []
    assert await told(kube) == ["DrainJobForbidden"]
    (accepted,) = (each for each in (await status(kube))["conditions"] if each["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("True", "DrainJobForbidden")
    assert "drain.jobs.namespaces" in accepted["message"]
    assert (await reasons(kube))["DataAtRisk"] == "ChangesLeft"
    await request(kube, "GET", "/api/v1/namespaces/default/configmaps/default-s3d")


@pytest.mark.usefixtures("granted")
async def test_a_claim_that_several_nodes_can_have_is_refused(
    kube: Kube, gateways: Resources, reconciler: Reconciler
) -> None:
    await create_claim(kube, "ReadWriteMany")
    gateway = await gateways.create("default", SPEC)
    await create_pod(kube, "one", gateway)
    await look(reconciler, lambda: bool(reconciler.injected.objects))
    await leave(kube, "one")
    await look(reconciler, lambda: not reconciler.injected.objects)
    assert (await reasons(kube))["Accepted"] == (await reasons(kube))["Ready"] == "ClaimShared"
    assert await jobs(kube) == []


@pytest.mark.checklist(28)
@pytest.mark.usefixtures("granted", "reconciler")
@pytest.mark.parametrize(
    ("verb", "allowed"), [("get", "yes"), ("create", "yes"), ("patch", "yes"), ("delete", "yes"), ("list", "no")]
)
async def test_where_jobs_are_granted_the_operator_may_what_it_needs_with_them(
    kubectl: Kubectl, verb: str, allowed: str
) -> None:
    done = await asyncio.to_thread(kubectl.run, "auth", "can-i", verb, "jobs", "--as=operator")
    assert done.stdout.strip() == allowed
    elsewhere = await asyncio.to_thread(
        kubectl.run, "auth", "can-i", verb, "jobs", "--as=operator", "--namespace=kube-system"
    )
    assert elsewhere.stdout.strip() == "no"
