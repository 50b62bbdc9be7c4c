"""The rounds: the status of gateways and their ConfigMaps, and that no gateway keeps another from its turn."""

import asyncio
import json
from typing import Any

import pytest

from s3d_operator import layout, reconcile
from s3d_operator.kube import ApiError, Kube
from s3d_operator.layout import Image
from s3d_operator.names import CONFIG_HASH, INJECTED
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE
from tests.operator.injections import ANONYMOUS
from tests.operator.rounds import (
    GATEWAYS,
    LEFT,
    NOW,
    QUIET,
    Door,
    conditions,
    events,
    pods_door,
    put_gateway,
    put_pod,
    reconciler,
    status,
)
from tests.operator.test_pods import SAID, ended, injected

__all__ = ["pods_door", "reconciler"]


async def test_a_round_writes_what_the_pods_say(api: ApiServer, reconciler: Reconciler, eventually: Eventually) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert status(api)["pods"] == {"injected": 1, "outdated": 0, "uninjected": 0, "unreachable": 0}
    assert status(api)["pending"] == {
        "changes": 3,
        "bytes": 300,
        "parked": 1,
        "oldestAgeSeconds": 7,
        "oldestSince": "2026-01-01T11:59:53Z",
    }
    assert conditions(api)["DataAtRisk"] == "ChangesParked"
    assert conditions(api)["RemoteReachable"] == "RemoteAway"
    assert reconciler.metrics.registry.get_sample_value(
        "s3d_operator_data_at_risk", {"namespace": "shop", "gateway": "default"}
    )


@pytest.mark.checklist(49)
async def test_a_round_that_finds_all_as_it_should_be_writes_nothing(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    before = len(api.requests)
    await reconciler.round(NOW)
    assert [request for request in api.requests[before:] if not request.startswith("GET")] == []


async def test_a_pod_that_falls_silent_keeps_its_last_word_and_makes_risk_unknown(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    pods_door.said = SAID | {"pending": SAID["pending"] | {"parked": 0}}
    await reconciler.round(NOW)
    pods_door.said = None
    await reconciler.round(NOW)
    assert status(api)["pending"]["changes"] == 3
    assert status(api)["pods"]["unreachable"] == 1
    assert conditions(api)["DataAtRisk"] == "PodsUnreachable"
    pods_door.said = QUIET
    await reconciler.round(NOW)
    assert status(api)["pending"]["changes"] == 0
    assert conditions(api)["DataAtRisk"] == "AllDelivered"


@pytest.mark.checklist(37)
async def test_pods_of_another_spec_are_counted_and_left_alone(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    put_gateway(api, spec=ANONYMOUS | {"writeQueue": {"maxFiles": 7}})
    await reconciler.round(NOW)
    assert status(api)["pods"]["outdated"] == 0, "limits are reloaded"
    put_gateway(api, spec=ANONYMOUS | {"drain": {"seconds": 7}})
    await reconciler.round(NOW)
    assert status(api)["pods"]["outdated"] == 1
    assert [request for request in api.requests if "/pods/" in request] == []


@pytest.mark.checklist(37)
async def test_pods_with_another_image_of_the_sidecar_are_counted_and_left_alone(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    mirrored = injected("mirrored")
    mirrored["spec"]["initContainers"][0]["image"] = "mirror.example/s3d:1.2.3"
    put_gateway(api)
    put_pod(api, injected())
    put_pod(api, mirrored)
    await eventually(lambda: len(reconciler.injected.objects) == 2)
    await reconciler.round(NOW)
    assert status(api)["pods"]["outdated"] == 0, "a mirror that another webhook writes into pods makes none outdated"
    reconciler.image = Image("registry.example/s3d:1.2.4")
    await reconciler.round(NOW)
    assert status(api)["pods"]["outdated"] == 2
    assert [request for request in api.requests if "/pods/" in request] == []


@pytest.mark.checklist(37)
async def test_pods_of_a_webhook_that_set_no_label_are_counted_asked_and_not_taken_for_pods_without(
    api: ApiServer, reconciler: Reconciler
) -> None:
    raw = injected()
    labels, annotations = raw["metadata"]["labels"], raw["metadata"]["annotations"]
    annotations[INJECTED] = labels.pop(INJECTED)
    del annotations[CONFIG_HASH]
    labels["s3d.dev/inject"] = "true"
    put_gateway(api)
    put_pod(api, raw)
    await reconciler.round(NOW)
    assert status(api)["pods"] == {"injected": 1, "outdated": 1, "uninjected": 0, "unreachable": 0}
    assert status(api)["pending"]["changes"] == 3
    assert [event for event in events(api) if event[1] == "InjectionSkipped"] == []


@pytest.mark.checklist(35)
async def test_of_two_gateways_that_select_the_same_pods_the_younger_is_in_conflict(
    api: ApiServer, reconciler: Reconciler
) -> None:
    put_gateway(api, "old")
    put_gateway(api, "young", created="2026-02-01T00:00:00Z")
    front = ANONYMOUS | {"podSelector": {"matchLabels": {"tier": "front"}}}
    put_gateway(api, "front", front, created="2026-03-01T00:00:00Z")
    await reconciler.round(NOW)
    assert {name: conditions(api, name)["Conflicted"] for name in ("old", "young", "front")} == {
        "old": "OldestGateway",
        "young": "OlderGatewayWins",
        "front": "OlderGatewayWins",
    }
    api.delete(f"{GATEWAYS}/young")
    put_gateway(api, "old", ANONYMOUS | {"podSelector": {"matchLabels": {"tier": "back"}}})
    await reconciler.round(NOW)
    assert {name: conditions(api, name)["Conflicted"] for name in ("old", "front")} == {
        "old": "NoConflict",
        "front": "NoConflict",
    }


@pytest.mark.checklist(36)
@pytest.mark.checklist(49)
async def test_the_config_map_of_a_gateway_is_its_own_and_says_what_is_reloaded(
    api: ApiServer, reconciler: Reconciler
) -> None:
    put_gateway(api, spec=ANONYMOUS | {"writeQueue": {"maxFiles": 7}})
    await reconciler.round(NOW)
    made = api.objects["/api/v1/namespaces/shop/configmaps/default-s3d"]
    assert json.loads(made["data"][layout.CONFIG_FILE])["S3D_WRITE_QUEUE_MAX_FILES"] == 7
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("S3Gateway", "uid-of-default", True)
    put_gateway(api, spec={"remote": {}})
    await reconciler.round(NOW)
    assert api.objects["/api/v1/namespaces/shop/configmaps/default-s3d"]["data"] == made["data"]


async def test_a_status_that_says_accepted_comes_after_the_config_map(api: ApiServer, reconciler: Reconciler) -> None:
    put_gateway(api)
    await reconciler.round(NOW)
    written = [request.partition("?")[0] for request in api.requests if request.startswith("PATCH ")]
    config = written.index("PATCH /api/v1/namespaces/shop/configmaps/default-s3d")
    (status,) = (at for at, request in enumerate(written) if request.endswith("/s3gateways/default/status"))
    assert config < status


TENANT = "/apis/s3d.dev/v1alpha1/namespaces/another/s3gateways/theirs"


def put_tenant(api: ApiServer, **volume: Any) -> None:
    """A gateway of somebody else, which a round comes to first."""
    known = {"namespace": "another", "name": "theirs", "uid": "theirs", "creationTimestamp": "2025-01-01T00:00:00Z"}
    api.put(TENANT, {"metadata": known, "spec": ANONYMOUS | ({"volume": volume} if volume else {})})


@pytest.mark.parametrize("refused", ["another/configmaps", "another/s3gateways", "another/persistentvolumeclaims"])
async def test_a_namespace_that_refuses_what_is_written_keeps_no_other_from_its_turn(
    api: ApiServer, reconciler: Reconciler, refused: str
) -> None:
    put_tenant(api, persistentVolumeClaim={"claimName": "queue"})
    put_gateway(api)
    api.forbidden = refused
    assert await reconciler.round(NOW) == "failed"
    assert conditions(api)["Accepted"] == "Accepted"
    assert "/api/v1/namespaces/shop/configmaps/default-s3d" in api.objects
    api.forbidden = None
    assert await reconciler.round(NOW) == "done"
    assert "status" in api.objects[TENANT]


async def test_what_a_pod_says_stops_no_round(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_tenant(api)
    put_gateway(api)
    odd = injected()
    odd["metadata"] |= {"namespace": "another", "name": "odd", "uid": "odd"}
    odd["metadata"]["labels"][INJECTED] = "theirs"
    api.put("/api/v1/namespaces/another/pods/odd", odd)
    put_pod(api, injected("brackets", initContainerStatuses=[ended(75, "[" * 4096)], phase="Failed"))
    put_pod(api, injected("honest", initContainerStatuses=[ended(75, LEFT)], phase="Failed"))
    await eventually(lambda: len(reconciler.injected.objects) == 3)
    pods_door.said = SAID | {"pending": SAID["pending"] | {"oldest_age_seconds": 1e12, "changes": 1 << 62}}
    assert await reconciler.round(NOW) == "done"
    assert api.objects[TENANT]["status"]["pending"]["oldestSince"].startswith("2016-")
    assert conditions(api)["DataAtRisk"] == "AllDelivered"
    assert [message.split()[1] for _, reason, message in events(api) if reason == "QueueLost"] == ["honest", "honest"]


async def test_before_the_pods_are_known_nothing_is_said_of_them(api: ApiServer, client: Kube) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await Reconciler(client, IMAGE).round(NOW)
    assert "pods" not in status(api)
    assert conditions(api)["DataAtRisk"] == "NotLookedYet"


async def test_a_round_that_fails_is_made_again(
    api: ApiServer, client: Kube, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(reconcile, "REST_SECONDS", 0.01)
    put_gateway(api)
    made = Reconciler(client, IMAGE)
    api.broken = True
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(made.run())
        await eventually(
            lambda: made.metrics.registry.get_sample_value("s3d_operator_rounds_total", {"result": "failed"})
        )
        assert status(api) == {}
        api.broken = False
        await eventually(lambda: status(api))
        run.cancel()


async def test_an_error_of_the_api_server_ends_a_round(api: ApiServer, reconciler: Reconciler) -> None:
    api.broken = True
    with pytest.raises(ApiError):
        await reconciler.round(NOW)
