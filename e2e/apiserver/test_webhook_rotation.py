"""The webhook behind a real API server, over TLS, while its certificate is replaced again and again.

The operator is who the chart says, with no more rights than the chart gives. Two replicas of the webhook answer, one
for each entry of the chart's configuration, so that what one of them does wrong is seen.
"""

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from e2e.apiserver.conftest import OPERATOR, Kubectl, access_of
from e2e.apiserver.test_install import OBJECTS
from e2e.cluster.kube import namespace_object, until
from s3d_operator.access import Access
from s3d_operator.certs import CertificateTarget, authorities
from s3d_operator.kube import ApiError, Kube
from s3d_operator.layout import Image
from s3d_operator.rotation import Keeper, Schedule, keep, read_contents
from s3d_operator.webhook import Options, Webhook
from tests.operator.requests import request
from tests.processes import free_port
from tests.remotes import cache_dir

TARGET = CertificateTarget("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")
SECRET = "/api/v1/namespaces/s3d-system/secrets/s3d-webhook-tls"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
CONFIGURATION = f"{CONFIGURATIONS}/s3d"
# Due two seconds after it was made; a rotation takes a second until the next is served, ten more until it is over.
RESTLESS = Schedule(timedelta(hours=1), timedelta(hours=1) - timedelta(seconds=2), settle_seconds=0.5)
ROTATIONS = 3
ASKERS = {"asking": "pod", "labelled": "namespace"}
"""Namespaces by how their pods ask."""


def of_the_chart(kind: str, name: str) -> dict[str, Any]:
    """An object of the chart."""
    (found,) = (raw for raw in OBJECTS if (raw["kind"], raw["metadata"]["name"]) == (kind, name))
    copied: dict[str, Any] = json.loads(json.dumps(found))
    return copied


def pod(more: dict[str, Any], labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A pod."""
    spec = {"containers": [{"name": "app", "image": "x"}]} | more
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app", "labels": labels or {}}, "spec": spec}


class Stage:
    """The API server with the chart's configuration, and replicas of the webhook that it calls."""

    def __init__(self, admin: Kube, operator: Kube, kubectl: Kubectl) -> None:
        self.admin, self.operator, self.kubectl = admin, operator, kubectl
        self.ports = {asker: free_port() for asker in ASKERS.values()}
        self.applied: list[dict[str, Any]] = []

    def configure(self) -> None:
        """Apply the configuration as the chart has it, but for the ports; no Secret is there yet."""
        made = of_the_chart("MutatingWebhookConfiguration", "s3d")
        for entry in made["webhooks"]:
            service = entry["clientConfig"]["service"]
            service["port"] = self.ports[service["path"].removeprefix("/inject/")]
            entry["failurePolicy"] = "Fail"
        self.kubectl("apply", "--server-side", given=made)
        self.applied = [self.without_bundle(entry) for entry in self.configuration()["webhooks"]]

    def point(self, ports: dict[str, int]) -> None:
        """Let entries of the configuration call other ports, by the first part of their names, and ignore who does not
        answer."""
        made = self.configuration()
        for entry in made["webhooks"]:
            name = entry["name"].partition(".")[0]
            entry["clientConfig"]["service"]["port"] = ports.get(name, entry["clientConfig"]["service"]["port"])
            entry["failurePolicy"] = "Ignore"
        self.kubectl("replace", given=made)

    def clean(self) -> None:
        """Delete what it made."""
        self.kubectl("delete", "mutatingwebhookconfiguration", "s3d")
        self.kubectl("delete", "--namespace=s3d-system", "--ignore-not-found", "secret/s3d-webhook-tls")

    def configuration(self) -> dict[str, Any]:
        """The configuration as the API server has it."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "mutatingwebhookconfiguration", "s3d", "--output=json"))
        return found

    def without_bundle(self, entry: dict[str, Any]) -> dict[str, Any]:
        """A webhook without what the operator may write."""
        rest = {name: value for name, value in entry["clientConfig"].items() if name != "caBundle"}
        return entry | {"clientConfig": rest}

    def replica(self, asker: str) -> Webhook:
        """A replica of the webhook, for one entry of the configuration."""
        options = Options(
            Image("s3d:1"), "s3d-system", "s3d-webhook-tls", "127.0.0.1", self.ports[asker], free_port(), 0
        )
        return Webhook(self.admin, options)

    async def create(self, namespace: str) -> list[str]:
        """Submit a pod as a dry run; the names of its init containers. Raises ApiError where it is refused."""
        labels = {"s3d.dev/inject": "true"} if ASKERS[namespace] == "pod" else {}
        path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
        made = await request(self.admin, "POST", path, pod({}, labels))
        return [each["name"] for each in made["spec"].get("initContainers", [])]

    async def leaf(self) -> bytes:
        """What the Secret says is served."""
        served = read_contents(await request(self.admin, "GET", SECRET)).served
        return served.certificate if served else b""


@pytest.fixture(scope="module")
def place(server: Access, operators: Access) -> Iterator[Kubectl]:
    """Namespaces with gateways, the rights of the operator, and a Service that leads to this machine."""
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    for name in ("s3d-system", *ASKERS):
        labels = {"s3d.dev/injection": "enabled"} if ASKERS.get(name) == "namespace" else {}
        kubectl("apply", given=namespace_object(name, **labels))
    for name in ASKERS:
        spec = {"remote": {"endpoint": "http://127.0.0.1:9", "credentials": {"anonymous": {}}}}
        gateway = {"apiVersion": "s3d.dev/v1alpha1", "kind": "S3Gateway", "spec": spec}
        kubectl("create", given=gateway | {"metadata": {"name": "default", "namespace": name}})
    words = ("--namespace=s3d-system", "--role=s3d-operator", "--user=operator")
    kubectl("apply", given=of_the_chart("Role", "s3d-operator"))
    kubectl("create", "rolebinding", "operator", *words)
    kubectl.until_allowed("get", "secrets/s3d-webhook-tls", "--namespace=s3d-system")
    # The leaf is judged by the name of the Service nevertheless.
    kubectl("create", "service", "externalname", "s3d-webhook", "--namespace=s3d-system", "--external-name=localhost")
    yield kubectl
    for what in ("rolebinding/operator", "role/s3d-operator", "service/s3d-webhook"):
        kubectl("delete", "--namespace=s3d-system", what)
    for name in ASKERS:
        kubectl("delete", f"--namespace={name}", "s3gateway/default")


@pytest.fixture
async def stage(server: Access, place: Kubectl) -> AsyncIterator[Stage]:
    """The stage, without anybody on it."""
    async with Kube(server) as admin, Kube(access_of(server.configuration.host, OPERATOR)) as operator:
        stage = Stage(admin, operator, place)
        await asyncio.to_thread(stage.configure)
        yield stage
        await asyncio.to_thread(stage.clean)


@asynccontextmanager
async def answering(*replicas: Webhook) -> AsyncIterator[None]:
    """Replicas that run, whether they are ready yet or not."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for replica in replicas:
            tasks.create_task(replica.run(stop))
        try:
            yield
        finally:
            stop.set()


async def until_ready(*replicas: Webhook) -> None:
    """Wait until nothing keeps a replica from answering."""
    await asyncio.to_thread(until, lambda: not any(replica.unready for replica in replicas), "replicas that are ready")


async def until_believed(stage: Stage) -> None:
    """Wait until pods are admitted: the CA in the configuration is not in force at once when it is written first."""
    async with asyncio.timeout(60):
        for namespace in ASKERS:
            while not await is_admitted(stage, namespace):
                pass


async def is_admitted(stage: Stage, namespace: str) -> bool:
    """Whether a pod is admitted with its sidecar."""
    try:
        return await stage.create(namespace) == ["s3d"]
    except ApiError:
        return False


@pytest.mark.timeout(900)
@pytest.mark.checklist(23)
async def test_while_certificates_are_replaced_again_and_again_every_pod_is_admitted_with_its_sidecar(
    stage: Stage,
) -> None:
    replicas = [stage.replica(asker) for asker in ASKERS.values()]
    leaves: set[bytes] = set()
    created = 0
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(answering(*replicas))
        rotating = asyncio.create_task(keep(stage.operator, TARGET, RESTLESS))
        stack.callback(rotating.cancel)
        await until_ready(*replicas)
        await until_believed(stage)
        async with asyncio.timeout(600):
            while len(leaves) <= ROTATIONS:
                for namespace in ASKERS:
                    assert await stage.create(namespace) == ["s3d"]
                    created += 1
                leaves.add(await stage.leaf())
    assert created > 10 * ROTATIONS


@pytest.mark.checklist(24)
async def test_two_replicas_that_start_at_once_serve_the_same_certificate_from_the_first_second(stage: Stage) -> None:
    """They start before there is any; nothing of an installation waits for the CA to sink in."""
    replicas = [stage.replica(asker) for asker in ASKERS.values()]
    keeper = Keeper(stage.operator, TARGET, Schedule())
    async with answering(*replicas):
        while await keeper.advance():
            pass
        await until_ready(*replicas)
        await until_believed(stage)
        assert [await stage.create(namespace) for namespace in ASKERS] == [["s3d"], ["s3d"]]
        bundles = {entry["clientConfig"]["caBundle"] for entry in stage.configuration()["webhooks"]}
        (bundle,) = bundles
        assert len(authorities(base64.b64decode(bundle))) == 1
        seen = {next(iter(replica.metrics.certificate_expiry.collect())).samples[0].value for replica in replicas}
        assert len(seen) == 1


@pytest.mark.checklist(2)
async def test_the_configuration_is_the_charts_and_the_operator_may_write_its_bundle_alone(stage: Stage) -> None:
    keeper = Keeper(stage.operator, TARGET, dataclasses.replace(RESTLESS, settle_seconds=0))
    while await keeper.advance():
        pass
    after = stage.configuration()
    assert all(entry["clientConfig"]["caBundle"] for entry in after["webhooks"])
    assert [stage.without_bundle(entry) for entry in after["webhooks"]] == stage.applied
    other = of_the_chart("MutatingWebhookConfiguration", "s3d") | {"metadata": {"name": "other"}}
    await request(stage.admin, "POST", CONFIGURATIONS, other)
    for method, path, body in (
        ("POST", CONFIGURATIONS, of_the_chart("MutatingWebhookConfiguration", "s3d") | {"metadata": {"name": "third"}}),
        ("PUT", CONFIGURATION, after),
        ("DELETE", CONFIGURATION, None),
        ("GET", CONFIGURATIONS, None),
        ("PATCH", f"{CONFIGURATIONS}/other", {"webhooks": []}),
    ):
        with pytest.raises(ApiError) as refused:
            await request(stage.operator, method, path, body)
        assert refused.value.status == 403, (method, path)
    await request(stage.admin, "DELETE", f"{CONFIGURATIONS}/other")


async def gets(stage: Stage, containers: list[str]) -> None:
    """Create pods until one gets these init containers: a configuration is not in force at once."""
    async with asyncio.timeout(60):
        while True:
            # The configuration from before may still refuse.
            with suppress(ApiError):
                if await stage.create("labelled") == containers:
                    return
            await asyncio.sleep(0.05)


def reviews(replica: Webhook) -> float:
    """How many reviews a replica has answered."""
    return sum(s.value for s in next(iter(replica.metrics.admissions.collect())).samples if s.name.endswith("_total"))


@pytest.mark.checklist(1)
async def test_a_review_that_a_killed_replica_does_not_answer_is_asked_for_once_more_and_any_other_once(
    stage: Stage,
) -> None:
    stage.ports["again"] = free_port()
    first, second = stage.replica("namespace"), stage.replica("again")
    keeper = Keeper(stage.operator, TARGET, Schedule())
    while await keeper.advance():
        pass
    dead = free_port()
    async with answering(first, second):
        await until_ready(first, second)
        await asyncio.to_thread(stage.point, {"namespace": dead, "namespace-again": dead})
        await gets(stage, [])
        # Until then the first was asked.
        before = reviews(first)
        await asyncio.to_thread(stage.point, {"namespace-again": stage.ports["again"]})
        await gets(stage, ["s3d"])
        assert (reviews(first), reviews(second)) == (before, 1)
        await asyncio.to_thread(stage.point, {"namespace": stage.ports["namespace"]})
        async with asyncio.timeout(60):
            while reviews(first) == before:
                assert await stage.create("labelled") == ["s3d"]
        asked = reviews(second)
        for _ in range(3):
            assert await stage.create("labelled") == ["s3d"]
        assert (reviews(first), reviews(second)) == (before + 4, asked)
        on_the_host = pod({"hostNetwork": True})
        said = await asyncio.to_thread(stage.kubectl.run, "create", "--dry-run=server", "-nlabelled", given=on_the_host)
        assert said.stderr.count("s3d: the pod runs without a gateway") == 1, said.stderr
        assert (reviews(first), reviews(second)) == (before + 5, asked + 1), (
            "who gets none is asked about twice, and told once"
        )
