"""What the reconciler tells by events: pods without a gateway, injections, gateways that are gone."""

from datetime import UTC, datetime

import pytest

from s3d_operator.kube import Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE
from tests.operator.injections import ANONYMOUS
from tests.operator.rounds import (
    GATEWAYS,
    NOW,
    QUIET,
    Door,
    asking,
    conditions,
    events,
    pods_door,
    put_gateway,
    put_pod,
    reconciler,
    status,
)
from tests.operator.test_pods import injected

__all__ = ["pods_door", "reconciler"]


@pytest.mark.semantics("F-2c")
async def test_settings_that_a_pod_refuses_are_a_condition_and_an_event_of_each_time(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    refusing = QUIET | {"files": {"settings": {"loaded_at": 1.0, "error": "S3D_WRITE_QUEUE_PUSH_FILTER: no bracket"}}}
    for minute, said in enumerate((refusing, refusing, refusing, QUIET, refusing, refusing)):
        pods_door.said = said
        await reconciler.round(NOW.replace(minute=minute))
    assert conditions(api)["SettingsAccepted"] == "SettingsRefused"
    told = sorted((kind, message.split()[1]) for kind, reason, message in events(api) if reason == "SettingsRefused")
    assert told == [("S3Gateway", "2026-01-01T12:00:00Z"), ("S3Gateway", "2026-01-01T12:04:00Z")]


@pytest.mark.checklist(38)
@pytest.mark.checklist(50)
@pytest.mark.checklist(21)
async def test_pods_that_opted_in_and_run_without_are_counted_and_told_of_once(
    api: ApiServer, reconciler: Reconciler
) -> None:
    put_gateway(api)
    put_pod(api, asking("older"))
    put_pod(api, asking("host", hostNetwork=True))
    put_pod(api, asking("done") | {"status": {"phase": "Succeeded"}})
    namespace = {"metadata": {"name": "shop", "labels": {"s3d.dev/injection": "enabled"}}}
    api.put("/api/v1/namespaces/shop", namespace)
    by_namespace = asking("other")
    by_namespace["metadata"]["labels"] = {}
    put_pod(api, by_namespace)
    out = asking("out")
    out["metadata"]["labels"] = {"s3d.dev/inject": "false"}
    put_pod(api, out)

    for _ in range(2):
        await reconciler.round(NOW)

    assert status(api)["pods"]["uninjected"] == 2
    told = {(kind, message.split()[1]): (reason, message) for kind, reason, message in events(api)}
    assert told.keys() == {("Pod", "older"), ("Pod", "host"), ("Pod", "other")}
    assert {reason for reason, _ in told.values()} == {"InjectionSkipped"}
    assert "hostNetwork" in told["Pod", "host"][1]
    assert "Recreate the pod" in told["Pod", "older"][1]
    assert len([request for request in api.requests if request.startswith("POST")]) == 3


@pytest.mark.checklist(50)
async def test_an_injection_is_told_of_once_at_its_owner_also_by_another_process(
    api: ApiServer, reconciler: Reconciler, client: Kube, eventually: Eventually
) -> None:
    put_gateway(api)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop", "uid": "u", "controller": True}
    for name in ("one", "two"):
        raw = injected(name)
        raw["metadata"]["ownerReferences"] = [owner]
        put_pod(api, raw)
    await eventually(lambda: len(reconciler.injected.objects) == 2)
    await reconciler.round(datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    second = Reconciler(client, IMAGE)
    pods = list(reconciler.injected.objects.values())
    await second.telling.injections(pods, datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    assert events(api) == [
        ("ReplicaSet", "Injected", "pods have S3Gateway 'default': AWS SDKs in them write through it")
    ]
    await second.telling.injections(pods, NOW)


async def test_pods_of_a_gateway_that_was_deleted_are_told_of_once(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert events(api) == []
    api.delete(f"{GATEWAYS}/default")
    for _ in range(2):
        await reconciler.round(NOW)
    ((kind, reason, text),) = events(api)
    assert (kind, reason) == ("Pod", "GatewayGone")
    assert "S3Gateway 'default' was deleted" in text


async def test_a_pod_that_goes_past_its_gateway_is_not_told_to_write_through_it(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    raw = injected()
    for entry in raw["spec"]["containers"][0]["env"]:
        if entry["name"] == "AWS_ENDPOINT_URL_S3":
            entry["value"] = "https://s3.example.com"
    put_pod(api, raw)
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(datetime(2026, 1, 1, 0, 1, tzinfo=UTC))
    ((_, reason, text),) = events(api)
    assert reason == "Injected"
    assert "write through" not in text
    assert "the environment does not send the SDKs of app to it" in text


@pytest.mark.semantics("M-9c")
async def test_a_pod_that_runs_without_since_its_namespace_lets_in_no_mount_is_told_so(
    api: ApiServer, reconciler: Reconciler
) -> None:
    put_gateway(api, spec=ANONYMOUS | {"fuseMount": {"enabled": True}})
    labels = {"s3d.dev/injection": "enabled", "pod-security.kubernetes.io/enforce": "baseline"}
    api.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop", "labels": labels}})
    raw = asking("without")
    raw["metadata"]["labels"] = {}
    put_pod(api, raw)
    await reconciler.round(NOW)
    (told,) = [text for _, reason, text in events(api) if reason == "InjectionSkipped"]
    assert "privileged sidecar" in told
    assert status(api)["pods"]["uninjected"] == 0
