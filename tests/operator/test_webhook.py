import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import jsonpatch
import pytest

from s3d_operator.certs import CertificateTarget, Pair, make_pair, to_secret
from s3d_operator.kube import Kube
from s3d_operator.layout import Image
from s3d_operator.webhook import Options, Webhook
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.processes import free_port

TARGET = CertificateTarget("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")
SECRET = "/api/v1/namespaces/s3d-system/secrets/s3d-webhook-tls"
SPEC = {"remote": {"endpoint": "http://minio:9000", "credentials": {"anonymous": {}}}}


def gateway_path(name: str, namespace: str = "shop") -> str:
    return f"/apis/s3d.dev/v1alpha1/namespaces/{namespace}/s3gateways/{name}"


def gateway(name: str, spec: dict[str, Any] = SPEC, namespace: str = "shop") -> dict[str, Any]:
    return {
        "metadata": {"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": spec,
    }


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"generateName": "shop-"}, "spec": {"containers": [{"name": "app"}]} | spec}


def review(given: Any, **request: Any) -> dict[str, Any]:
    asked = {"uid": "u-1", "operation": "CREATE", "kind": {"version": "v1", "kind": "Pod"}, "namespace": "shop"}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": asked | {"object": given} | request,
    }


class Caller:
    """The API server's side: it trusts the published authority and calls the Service by name."""

    def __init__(self, webhook: Webhook, session: aiohttp.ClientSession, tls: ssl.SSLContext) -> None:
        self.webhook, self.session, self.tls = webhook, session, tls

    async def post(self, opt_in: str, document: Any, at: str = "inject") -> tuple[int, Any]:
        url = f"https://127.0.0.1:{self.webhook.options.port}/{at}/{opt_in}"
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        async with self.session.post(url, data=data, ssl=self.tls, server_hostname=TARGET.hosts[0]) as response:
            text = await response.text()
            return response.status, json.loads(text) if response.status == 200 else text

    async def ask(self, opt_in: str, given: dict[str, Any]) -> dict[str, Any]:
        status, answer = await self.post(opt_in, review(given))
        assert (status, answer["apiVersion"], answer["kind"]) == (200, "admission.k8s.io/v1", "AdmissionReview")
        verdict: dict[str, Any] = answer["response"]
        assert verdict.pop("uid") == "u-1"
        return verdict

    async def metrics(self) -> dict[str, float]:
        async with self.session.get(f"http://127.0.0.1:{self.webhook.options.health_port}/metrics") as response:
            lines = [line for line in (await response.text()).splitlines() if not line.startswith("#")]
            return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}

    async def ready(self) -> tuple[int, str]:
        async with self.session.get(f"http://127.0.0.1:{self.webhook.options.health_port}/readyz") as response:
            return response.status, (await response.text()).strip()


def new_pair() -> Pair:
    return make_pair(TARGET.hosts, datetime.now(UTC), timedelta(days=90))


def certified(api: ApiServer) -> Pair:
    """What the Secret says is served from now on."""
    pair = new_pair()
    api.put(SECRET, to_secret(pair, TARGET))
    return pair


def patch_of(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    operations: list[dict[str, Any]] = json.loads(base64.b64decode(verdict["patch"]))
    return operations


def trusting(authority: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.decode())


@pytest.fixture
async def webhook(client: Kube) -> Webhook:
    options = Options(
        image=Image("s3d:1"),
        namespace=TARGET.namespace,
        secret=TARGET.secret,
        host="127.0.0.1",
        port=free_port(),
        health_port=free_port(),
        shutdown_seconds=0,
    )
    return Webhook(client, options)


@pytest.fixture
async def caller(api: ApiServer, webhook: Webhook, eventually: Eventually) -> AsyncIterator[Caller]:
    pair = certified(api)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as session:
        tasks.create_task(webhook.run(stop))
        caller = Caller(webhook, session, trusting(pair.authority))
        await eventually(lambda: not webhook.unready)
        yield caller
        stop.set()


async def test_a_pod_gets_its_gateway(api: ApiServer, caller: Caller, eventually: Eventually) -> None:
    api.put(gateway_path("default"), gateway("default"))
    await eventually(lambda: caller.webhook.gateways.objects)
    verdict = await caller.ask("pod", pod())
    assert (verdict["allowed"], verdict["patchType"]) == (True, "JSONPatch")
    injected = jsonpatch.apply_patch(pod(), patch_of(verdict))
    assert injected["spec"]["initContainers"][0]["image"] == "s3d:1"


async def test_a_gateway_with_a_newer_releases_defaults_is_used_and_the_log_names_them(
    api: ApiServer, caller: Caller, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    newer = gateway("default", SPEC | {"signing": "AsBefore"})
    written = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:remote": {}}}}]
    api.put(gateway_path("default"), newer | {"metadata": newer["metadata"] | {"managedFields": written}})
    await eventually(lambda: caller.webhook.gateways.objects)
    verdict = await caller.ask("pod", pod())
    assert "patch" in verdict
    assert "warnings" not in verdict
    assert "shop/default: fields of a newer release, at their defaults: spec.signing" in caplog.text
    written[0]["fieldsV1"]["f:spec"]["f:signing"] = {}  # type: ignore[index]
    api.put(gateway_path("default"), newer | {"metadata": newer["metadata"] | {"managedFields": written}})
    await eventually(lambda: caller.webhook.gateways.objects["shop", "default"].spec is None)
    assert "spec.signing" in (await caller.ask("pod", pod()))["status"]["message"]


@pytest.mark.checklist(1)
async def test_no_review_goes_over_a_connection_that_a_replica_may_be_closing(caller: Caller) -> None:
    url = f"https://127.0.0.1:{caller.webhook.options.port}/inject/namespace"
    data = json.dumps(review(pod()))
    async with caller.session.post(url, data=data, ssl=caller.tls, server_hostname=TARGET.hosts[0]) as response:
        assert response.headers["Connection"] == "close"


async def test_a_pod_that_has_it_already_is_left_as_it_is(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default"), gateway("default"))
    injected = jsonpatch.apply_patch(pod(), patch_of(await caller.ask("pod", pod())))
    assert await caller.ask("pod", injected) == {"allowed": True}


@pytest.mark.checklist(34)
async def test_a_gateway_that_is_too_new_to_be_known_is_looked_up(api: ApiServer, caller: Caller) -> None:
    api.objects[gateway_path("default")] = gateway("default")  # no event: no watch has heard of it
    assert "patch" in await caller.ask("pod", pod())
    assert caller.webhook.gateways.objects == {}


@pytest.mark.semantics("S-10")
async def test_a_folder_that_is_too_new_to_be_known_is_looked_up_and_without_it_no_pod_is_injected(
    api: ApiServer, caller: Caller
) -> None:
    api.put(gateway_path("default"), gateway("default"))
    mount = {"name": "data", "mountPath": "/data"}
    app = {"name": "app", "securityContext": {"runAsUser": 1000}, "volumeMounts": [mount]}
    asks = pod(containers=[app], volumes=[{"name": "data", "emptyDir": {}}])
    asks["metadata"]["annotations"] = {"s3d.dev/sync-folder": "docs"}
    refusal = await caller.ask("pod", asks)
    assert (refusal["allowed"], refusal["status"]["reason"]) == (False, "NoSuchFolder")
    warned = await caller.ask("namespace", asks)
    assert "patch" not in warned
    assert "names SyncFolder 'docs', which this namespace does not have" in warned["warnings"][0]
    spec = {"gatewayRef": {"name": "default"}, "bucket": "team", "mountPath": "/data"}
    # No event: no watch has heard of it.
    api.objects["/apis/s3d.dev/v1alpha1/namespaces/shop/syncfolders/docs"] = {
        "metadata": {"namespace": "shop", "name": "docs"},
        "spec": spec,
    }
    injected = jsonpatch.apply_patch(asks, patch_of(await caller.ask("pod", asks)))
    (sidecar,) = injected["spec"]["initContainers"]
    assert sidecar["volumeMounts"][-1] == {"name": "data", "mountPath": "/var/lib/s3d-folder"}
    assert sidecar["securityContext"]["runAsUser"] == 1000


async def test_a_gateway_of_another_namespace_is_none(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default", "elsewhere"), gateway("default", namespace="elsewhere"))
    assert "patch" not in await caller.ask("namespace", pod())


def written(given: Any, **request: Any) -> dict[str, Any]:
    """A review of a gateway that somebody writes."""
    kind = {"group": "s3d.dev", "version": "v1alpha1", "kind": "S3Gateway"}
    return review(given, name="default", kind=kind, oldObject=None, **request)


@pytest.mark.semantics("F-2b")
async def test_a_gateway_is_judged_when_it_is_written_and_counted(caller: Caller) -> None:
    bad = gateway("default", SPEC | {"writeQueue": {"filter": ["photos[tga:x]"]}})
    status, answer = await caller.post("gateway", written(bad), "validate")
    assert (status, answer["response"]["allowed"], answer["response"]["uid"]) == (200, False, "u-1")
    assert "at character 8 of 'photos[tga:x]'" in answer["response"]["status"]["message"]
    for asked in (written(gateway("default")), written(bad, operation="UPDATE") | {}):
        asked["request"]["oldObject"] = bad if asked["request"]["operation"] == "UPDATE" else None
        status, answer = await caller.post("gateway", asked, "validate")
        assert (status, answer["response"]) == (200, {"uid": "u-1", "allowed": True})
    counted = await caller.metrics()
    assert counted['s3d_webhook_gateway_reviews_total{result="accepted"}'] == 2
    assert counted['s3d_webhook_gateway_reviews_total{result="refused"}'] == 1


@pytest.mark.semantics("F-2b")
async def test_a_sync_folder_is_judged_when_it_is_written_and_counted(caller: Caller) -> None:
    kind = {"group": "s3d.dev", "version": "v1alpha1", "kind": "SyncFolder"}
    spec = {"gatewayRef": {"name": "default"}, "bucket": "team", "mountPath": "/data"}
    for filters, is_allowed in (["team"], True), (["team[tga:x]"], False):
        asked = review({"spec": spec | {"filter": filters}}, name="docs", kind=kind, oldObject=None)
        status, answer = await caller.post("folder", asked, "validate")
        assert (status, answer["response"]["allowed"]) == (200, is_allowed)
    status, _ = await caller.post("folder", written(gateway("a")), "validate")
    counted = await caller.metrics()
    found = [
        counted[f's3d_webhook_folder_reviews_total{{result="{each}"}}'] for each in ("accepted", "refused", "error")
    ]
    assert (status, found) == (400, [1, 1, 1])


@pytest.mark.parametrize(
    "asked",
    [review(pod()), written(gateway("a"), operation="DELETE"), written(None), written("x"), written({}, uid=None), []],
)
async def test_a_review_of_something_else_than_a_written_gateway_is_a_bad_request(caller: Caller, asked: Any) -> None:
    if isinstance(asked, dict) and asked["request"]["uid"] is None:
        del asked["request"]["uid"]
    status, text = await caller.post("gateway", asked, "validate")
    assert (status, "not an AdmissionReview" in text) == (400, True)
    assert (await caller.metrics())['s3d_webhook_gateway_reviews_total{result="error"}'] == 1


@pytest.mark.semantics("M-9a", "M-9c")
async def test_a_pod_with_a_mount_is_refused_where_its_namespace_lets_in_no_privileged_one(
    api: ApiServer, caller: Caller
) -> None:
    api.put(gateway_path("default"), gateway("default", SPEC | {"fuseMount": {"enabled": True}}))
    enforce, namespace = "pod-security.kubernetes.io/enforce", "/api/v1/namespaces/shop"
    for level in ("baseline", "restricted"):
        api.objects[namespace] = {"metadata": {"name": "shop", "labels": {enforce: level}}}
        denied = await caller.ask("pod", pod())
        assert (denied["allowed"], denied["status"]["reason"]) == (False, "PodSecurity")
        assert f"its label {enforce} says {level}" in denied["status"]["message"]
        warned = await caller.ask("namespace", pod())
        assert "patch" not in warned
        assert "privileged sidecar" in warned["warnings"][0]
    for labels in ({}, {enforce: "privileged"}, {"pod-security.kubernetes.io/warn": "restricted"}):
        api.objects[namespace] = {"metadata": {"name": "shop", "labels": labels}}
        injected = jsonpatch.apply_patch(pod(), patch_of(await caller.ask("pod", pod())))
        (sidecar,) = injected["spec"]["initContainers"]
        assert sidecar["securityContext"]["privileged"] is True


async def test_a_pod_has_the_mount_or_a_folder_and_not_both(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default"), gateway("default", SPEC | {"fuseMount": {"enabled": True}}))
    asks = pod()
    asks["metadata"]["annotations"] = {"s3d.dev/sync-folder": "docs"}
    denied = await caller.ask("pod", asks)
    assert (denied["allowed"], denied["status"]["reason"]) == (False, "InvalidFolder")
    assert "one of the two" in denied["status"]["message"]


@pytest.mark.checklist(34)
@pytest.mark.parametrize("given", [pod(), pod(hostNetwork=True)], ids=["no gateway", "host network"])
async def test_a_skip_denies_the_pod_that_asked_and_warns_in_a_namespace_that_did(
    caller: Caller, given: dict[str, Any]
) -> None:
    denied, admitted = await caller.ask("pod", given), await caller.ask("namespace", given)
    assert denied["allowed"] is False
    assert admitted["allowed"] is True
    (warning,) = admitted["warnings"]
    assert denied["status"]["message"].removeprefix("s3d: ") in warning


@pytest.mark.checklist(34)
async def test_a_pod_of_a_namespace_may_ask_to_be_refused_rather_than_to_run_without(caller: Caller) -> None:
    asks = pod() | {"metadata": {"annotations": {"s3d.dev/on-missing": "Deny", "s3d.dev/gateway": "gone"}}}
    denied = await caller.ask("namespace", asks)
    assert denied["allowed"] is False
    assert "'gone'" in denied["status"]["message"]


@pytest.mark.checklist(51)
@pytest.mark.checklist(21)
async def test_what_was_answered_is_counted_by_result_and_reason(api: ApiServer, caller: Caller) -> None:
    await caller.ask("pod", pod(hostNetwork=True))
    await caller.ask("namespace", pod(hostNetwork=True))
    api.put(gateway_path("default"), gateway("default"))
    injected = jsonpatch.apply_patch(pod(), patch_of(await caller.ask("pod", pod())))
    await caller.ask("pod", injected)
    api.broken = True
    await caller.post("pod", review({"metadata": {}, "spec": {"containers": [{"image": "no name"}]}}))
    await caller.post("pod", b"{")
    seen = await caller.metrics()
    for opt_in, result, reason in (
        ("pod", "denied", "HostNetwork"),
        ("namespace", "skipped", "HostNetwork"),
        ("pod", "injected", ""),
        ("pod", "unchanged", ""),
        ("pod", "error", "KeyError"),
        ("pod", "error", "BadRequest"),
    ):
        name = f's3d_webhook_admissions_total{{opt_in="{opt_in}",reason="{reason}",result="{result}"}}'
        assert seen[name] == 1, name
    assert seen["s3d_webhook_admission_duration_seconds_count"] == 6
    assert seen["s3d_webhook_certificate_expiry_timestamp_seconds"] > datetime.now(UTC).timestamp()
    assert 0 <= seen["s3d_webhook_cache_age_seconds"] < 60


async def test_a_warning_of_the_injection_reaches_the_author(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default"), gateway("default", SPEC | {"appCredentials": "Dummy"}))
    given = pod(containers=[{"name": "app", "envFrom": [{"secretRef": {"name": "env"}}]}])
    (warning,) = (await caller.ask("pod", given))["warnings"]
    assert warning.startswith("s3d: container 'app'")


@pytest.mark.checklist(6)
@pytest.mark.parametrize("opt_in", ["pod", "namespace"])
async def test_an_error_of_ours_is_never_a_denial(api: ApiServer, caller: Caller, opt_in: str) -> None:
    """The API server is away, so whether there is a gateway is not known: the failure policy decides."""
    api.broken = True
    status, _ = await caller.post(opt_in, review(pod()))
    assert status == 500


@pytest.mark.checklist(6)
async def test_a_pod_that_breaks_our_code_is_never_a_denial(api: ApiServer, caller: Caller) -> None:
    api.put(gateway_path("default"), gateway("default"))
    status, _ = await caller.post("pod", review({"metadata": {}, "spec": {"containers": [{"image": "no name"}]}}))
    assert status == 500


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"[]",
        {"request": None},
        review({"kind": "Deployment"}),
        review(pod(), operation="UPDATE"),
        review(pod(), kind={"kind": "Service"}),
        review({"metadata": {}, "spec": {"containers": {}}}),
    ],
)
async def test_what_is_no_creation_of_a_pod_is_a_bad_request(caller: Caller, document: Any) -> None:
    status, _ = await caller.post("pod", document)
    assert status == 400


async def test_a_certificate_is_changed_while_serving(api: ApiServer, caller: Caller, eventually: Eventually) -> None:
    pair = new_pair()
    version = api.put(SECRET, to_secret(pair, TARGET))["metadata"]["resourceVersion"]
    await eventually(lambda: caller.webhook.secret._version == version)
    async with aiohttp.ClientSession() as session:
        later = Caller(caller.webhook, session, trusting(pair.authority))
        assert (await later.ask("namespace", pod()))["allowed"]


async def test_a_certificate_that_cannot_be_used_changes_nothing(
    api: ApiServer, caller: Caller, eventually: Eventually
) -> None:
    broken = to_secret(new_pair(), TARGET)
    broken["data"]["tls.key"] = base64.b64encode(b"nonsense").decode()
    version = api.put(SECRET, broken)["metadata"]["resourceVersion"]
    await eventually(lambda: caller.webhook.secret._version == version)
    async with aiohttp.ClientSession() as session:
        later = Caller(caller.webhook, session, caller.tls)
        assert (await later.ask("namespace", pod()))["allowed"]


async def test_it_is_ready_with_a_certificate_and_its_gateways_and_not_before(
    api: ApiServer, webhook: Webhook, eventually: Eventually
) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as session:
        tasks.create_task(webhook.run(stop))
        await eventually(webhook.gateways.synced.is_set)
        caller = Caller(webhook, session, ssl.create_default_context())
        assert await caller.ready() == (503, "no certificate yet")
        certified(api)
        await eventually(lambda: webhook.serving)
        assert await caller.ready() == (200, "ok")
        stop.set()


async def test_after_sigterm_it_is_unready_and_answers_on_while_others_may_still_send(
    api: ApiServer, webhook: Webhook, eventually: Eventually
) -> None:
    webhook.options = replace(webhook.options, shutdown_seconds=3600)
    pair = certified(api)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession() as session:
        run = tasks.create_task(webhook.run(stop))
        caller = Caller(webhook, session, trusting(pair.authority))
        await eventually(lambda: not webhook.unready)
        stop.set()
        await eventually(lambda: webhook.stopping)
        assert await caller.ready() == (503, "shutting down")
        assert (await caller.ask("namespace", pod()))["allowed"]
        run.cancel()


async def test_then_it_ends_and_nothing_listens_any_more(
    api: ApiServer, webhook: Webhook, eventually: Eventually
) -> None:
    certified(api)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(webhook.run(stop))
        await eventually(lambda: not webhook.unready)
        stop.set()
    for port in (webhook.options.port, webhook.options.health_port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_it_ends_also_where_it_never_got_a_certificate(webhook: Webhook, eventually: Eventually) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(webhook.run(stop))
        await eventually(webhook.gateways.synced.is_set)
        stop.set()
