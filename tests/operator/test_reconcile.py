import asyncio
import importlib.metadata
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import kopf
import pytest
from aiohttp import web

from s3d_operator import layout, observed, reconcile
from s3d_operator.access import Access
from s3d_operator.kube import ApiError, Kube
from s3d_operator.layout import Image
from s3d_operator.names import CONFIG_HASH, GROUP, INJECTED
from s3d_operator.observed import Liveness, Observed, configure
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE
from tests.operator.kopfs import watching
from tests.operator.test_inject import ANONYMOUS
from tests.operator.test_pods import SAID, door, ended, injected
from tests.processes import free_port, http_status

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
GATEWAYS = "/apis/s3d.dev/v1alpha1/namespaces/shop/s3gateways"
EVENTS = "/api/v1/namespaces/shop/events"
PODS = "/api/v1/namespaces/shop/pods"
QUIET = SAID | {"pending": {"changes": 0, "bytes": 0, "oldest_age_seconds": None, "parked": 0, "held": 0}}


def put_gateway(
    api: ApiServer, name: str = "default", spec: dict[str, Any] = ANONYMOUS, created: str = "2026-01-01T00:00:00Z"
) -> None:
    known = {"namespace": "shop", "name": name, "uid": f"uid-of-{name}", "generation": 1, "creationTimestamp": created}
    api.put(f"{GATEWAYS}/{name}", {"metadata": known, "spec": spec})


def put_pod(api: ApiServer, raw: dict[str, Any]) -> None:
    api.put(f"{PODS}/{raw['metadata']['name']}", raw)


def asking(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that opted in and has no gateway."""
    known = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "labels": {"s3d.dev/inject": "true"}}
    return {"metadata": known, "spec": {"containers": [{"name": "app"}]} | spec, "status": {"phase": "Running"}}


def status(api: ApiServer, name: str = "default") -> dict[str, Any]:
    found: dict[str, Any] = api.objects[f"{GATEWAYS}/{name}"].get("status") or {}
    return found


def conditions(api: ApiServer, name: str = "default") -> dict[str, str]:
    return {each["type"]: each["reason"] for each in status(api, name)["conditions"]}


def events(api: ApiServer) -> list[tuple[str, str, str]]:
    """Kind of the object, reason and message of each event."""
    found = [raw for path, raw in api.objects.items() if path.startswith(EVENTS)]
    return [(each["involvedObject"]["kind"], each["reason"], each["message"]) for each in found]


class Door:
    """The status door of the pods at 127.0.0.1; it says what `said` is, or nothing."""

    def __init__(self) -> None:
        self.port = free_port()
        self.said: dict[str, Any] | None = SAID

    async def answer(self, request: web.Request) -> web.Response:
        return web.json_response(self.said) if self.said else web.Response(status=503)


@pytest.fixture
async def pods_door() -> AsyncIterator[Door]:
    opened = Door()
    async with door("127.0.0.1", opened.port, opened.answer):
        yield opened


@pytest.fixture
async def reconciler(client: Kube, pods_door: Door) -> AsyncIterator[Reconciler]:
    """A reconciler that knows the pods; a test makes its rounds."""
    async with another(client, pods_door) as made:
        yield made


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


@pytest.mark.checklist(38)
@pytest.mark.checklist(50)
@pytest.mark.checklist(21)
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


CLAIMS = "/api/v1/namespaces/shop/persistentvolumeclaims"
LEFT = json.dumps({"changes": 4, "bytes": 40, "oldest": 2})
CLAIM = ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}}


@pytest.mark.checklist(15)
@pytest.mark.checklist(50)
@pytest.mark.parametrize(
    ("end", "spec", "reason", "words"),
    [
        (ended(75, LEFT), ANONYMOUS, "QueueLost", ": 4 changes, 40 bytes were lost"),
        (ended(75, LEFT), CLAIM, "QueueLeft", ": 4 changes, 40 bytes wait in its claim"),
        (ended(137), ANONYMOUS, "QueueLost", ": about 3 changes, 300 bytes were lost"),
        (ended(0), ANONYMOUS, "", ""),
    ],
)
async def test_what_a_deleted_pod_left_is_told_at_its_owner_and_at_its_gateway_once(
    api: ApiServer,
    reconciler: Reconciler,
    eventually: Eventually,
    end: dict[str, Any],
    spec: dict[str, Any],
    reason: str,
    words: str,
) -> None:
    put_gateway(api, spec=spec)
    api.put(f"{CLAIMS}/queue", {"metadata": {"name": "queue"}, "spec": {"accessModes": ["ReadWriteOnce"]}})
    put_pod(api, injected(spec=spec))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    put_pod(api, injected(spec=spec, initContainerStatuses=[end]))
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    for _ in range(2):
        await reconciler.round(NOW)
    told = events(api)
    assert [(kind, told_reason) for kind, told_reason, _ in told] == [
        (kind, reason) for kind in ("Pod", "S3Gateway") if reason
    ]
    assert all(words in message for _, _, message in told)
    labels = {"namespace": "shop", "gateway": "default"}
    lost = reconciler.metrics.registry.get_sample_value("s3d_operator_lost_changes_total", labels)
    assert bool(lost) == (reason == "QueueLost")


async def test_a_finished_pod_is_told_of_once_and_not_again_when_it_is_deleted(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected(initContainerStatuses=[ended(75, LEFT)], phase="Failed"))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert status(api)["pods"]["injected"] == 0
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    await reconciler.round(NOW)
    assert len(events(api)) == 2


async def test_a_loss_that_could_not_be_told_is_told_by_the_next_round(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected(initContainerStatuses=[ended(75, LEFT)], phase="Failed"))
    await eventually(lambda: reconciler.injected.objects)
    api.broken = "/events"
    await reconciler.round(NOW)
    assert events(api) == []
    api.broken = False
    await reconciler.round(NOW)
    assert [reason for _, reason, _ in events(api)] == ["QueueLost", "QueueLost"]


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


CRASHING = {"name": "s3d", "started": False, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}


@pytest.mark.parametrize("spec", [ANONYMOUS, CLAIM])
async def test_a_pod_that_crashes_again_and_again_makes_risk_unknown_also_on_a_claim_that_is_new(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually, spec: dict[str, Any]
) -> None:
    put_gateway(api, spec=spec)
    api.put(f"{CLAIMS}/queue", {"metadata": {"name": "queue"}, "spec": {"accessModes": ["ReadWriteOnce"]}})
    put_pod(api, injected(spec=spec, initContainerStatuses=[CRASHING]))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert conditions(api)["DataAtRisk"] == conditions(api)["Ready"] == "PodsNotStarted"


async def test_what_a_claim_holds_is_at_risk_until_its_next_pod_has_started(
    api: ApiServer, reconciler: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    put_gateway(api, spec=CLAIM)
    api.put(f"{CLAIMS}/queue", {"metadata": {"name": "queue"}, "spec": {"accessModes": ["ReadWriteOnce"]}})
    put_pod(api, injected(spec=CLAIM))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    put_pod(api, injected(spec=CLAIM, initContainerStatuses=[ended(75, LEFT)]))
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    await reconciler.round(NOW)
    assert conditions(api)["DataAtRisk"] == "ChangesLeft"
    later = injected("shop-2", spec=CLAIM, initContainerStatuses=None, phase="Pending")
    later["metadata"]["creationTimestamp"] = "2026-01-01T00:01:00Z"
    put_pod(api, later)
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert conditions(api)["DataAtRisk"] == "ChangesLeft"
    pods_door.said = QUIET
    put_pod(api, later | {"status": injected()["status"]})
    await eventually(lambda: reconciler.injected.objects["uid-shop-2"].listens)
    await reconciler.round(NOW)
    assert conditions(api)["DataAtRisk"] == "AllDelivered"


def lost(reconciler: Reconciler, gateway: str = "default") -> float | None:
    """The counter of lost changes."""
    labels = {"namespace": "shop", "gateway": gateway}
    return reconciler.metrics.registry.get_sample_value("s3d_operator_lost_changes_total", labels)


@asynccontextmanager
async def another(client: Kube, door: Door) -> AsyncIterator[Reconciler]:
    """The reconciler after a restart: it knows what the API server has."""
    made = Reconciler(client, IMAGE, door_port=door.port)
    async with watching(made):
        await made.know_pods()
        yield made


async def test_a_loss_stays_in_the_status_and_no_process_counts_or_tells_it_twice(
    api: ApiServer, reconciler: Reconciler, client: Kube, pods_door: Door, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected(initContainerStatuses=[ended(75, LEFT)], phase="Failed"))
    await eventually(lambda: reconciler.injected.objects)
    for _ in range(2):
        await reconciler.round(NOW)
    seen = {"changes": 4, "bytes": 40, "since": "2026-01-01T12:00:00Z", "last": "2026-01-01T12:00:00Z"}
    assert status(api)["lost"] == seen | {"counted": ["uid-shop-1"]}
    assert lost(reconciler) == 4
    for path in [path for path in api.objects if path.startswith(EVENTS)]:
        api.delete(path)
    async with another(client, pods_door) as later:
        for _ in range(2):
            await later.round(NOW)
        assert (status(api)["lost"], lost(later), events(api)) == (seen | {"counted": ["uid-shop-1"]}, None, [])
        put_pod(api, injected("shop-2", initContainerStatuses=[ended(75, LEFT)], phase="Failed"))
        api.delete(f"{PODS}/shop-1")
        await eventually(lambda: [*later.injected.objects] == ["uid-shop-2"])
        for minute in (1, 2, 3):
            await later.round(NOW.replace(minute=minute))
        assert status(api)["lost"] == seen | {
            "changes": 8,
            "bytes": 80,
            "last": "2026-01-01T12:01:00Z",
            "counted": ["uid-shop-2"],
        }
        assert lost(later) == 4
        assert {message.split()[1] for _, _, message in events(api)} == {"shop-2"}


async def test_a_loss_that_no_status_could_take_is_counted_and_told_by_the_next_round(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    api.broken = "/status"
    await reconciler.round(NOW)
    assert (lost(reconciler), events(api)) == (None, [])
    api.broken = False
    for _ in range(2):
        await reconciler.round(NOW)
    assert (lost(reconciler), status(api)["lost"]["changes"], len(events(api))) == (3, 3, 2)


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


async def test_the_loss_of_a_pod_whose_gateway_is_gone_counts_when_it_goes(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    for _ in range(2):
        await reconciler.round(NOW)
    assert lost(reconciler) == 3


async def test_what_an_expendable_pod_loses_is_no_loss(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api)
    raw = injected(initContainerStatuses=[ended(75, LEFT)], phase="Succeeded")
    raw["metadata"]["annotations"]["s3d.dev/expendable"] = "true"
    put_pod(api, raw)
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)
    await reconciler.round(NOW)
    assert ("lost" in status(api), lost(reconciler), events(api)) == (False, None, [])


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


def raw_of(uid: str, version: str = "7") -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": f"name-of-{uid}", "uid": uid, "resourceVersion": version}}


@pytest.mark.checklist(44)
def test_it_is_alive_only_while_rounds_end_and_kopf_tells_what_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    pods: Observed[Any] = Observed(lambda raw: raw)
    liveness = Liveness({"pods": pods}, round_at=now, reached_at=now)
    assert liveness.problems() == []
    pods.compare([raw_of("u")], [])
    monkeypatch.setattr(time, "monotonic", lambda: now + observed.SILENCE_SECONDS + 1)
    assert liveness.problems() == ["no round has ended for 300 s"]
    liveness.round_at = liveness.reached_at = time.monotonic()
    assert liveness.problems() == ["the watch of the pods is silent for 300 s"]
    pods.note("MODIFIED", raw_of("u"))
    pods.compare([raw_of("u")], ["u"])
    assert liveness.problems() == []


def test_the_picture_of_the_pods_is_complete_when_kopf_has_told_of_all_that_are_listed() -> None:
    pods: Observed[Any] = Observed(lambda raw: raw)
    pods.note(None, raw_of("one"))
    pods.compare([raw_of("one"), raw_of("two")], ["one"])
    assert not pods.is_complete
    pods.note(None, raw_of("two", "6"))
    pods.compare([raw_of("one"), raw_of("two")], ["one", "two"])
    assert pods.is_complete, "an older version of a pod is a pod that is known"
    assert pods.untold_since is not None, "and a newer one that is not told of is one that is missed"


def test_a_pod_that_kopf_tells_of_after_the_list_was_asked_for_is_there_and_one_that_is_not_listed_has_gone() -> None:
    gone: list[Any] = []
    pods: Observed[Any] = Observed(lambda raw: raw["metadata"]["uid"], gone.append)
    pods.note(None, raw_of("old"))
    before = [*pods.objects]
    pods.note("ADDED", raw_of("new"))
    pods.compare([], before)
    assert [*pods.objects] == ["new"]
    assert gone == ["old"]


async def test_a_pod_that_went_while_no_watch_saw_it_is_found_by_the_next_comparison(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_gateway(api)
    put_pod(api, injected())
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    # As a deletion in the gap between two watches whose history the server has forgotten.
    api.objects.pop(f"{PODS}/shop-1")
    monkeypatch.setattr(reconcile, "COMPARE_SECONDS", 0)
    for _ in range(2):
        await reconciler.round(NOW)
    assert status(api)["pods"]["injected"] == 0
    assert status(api)["lost"]["changes"] == 3
    assert {reason for _, reason, _ in events(api)} == {"QueueLost"}


@pytest.mark.checklist(44)
@pytest.mark.parametrize(("silence", "answer"), [(0, 200), (observed.SILENCE_SECONDS + 1, 500)])
async def test_kopf_tells_the_probe_whether_the_reconciler_is_alive(client: Kube, silence: int, answer: int) -> None:
    made = Reconciler(client, IMAGE)
    made.liveness.round_at -= silence
    url = f"http://127.0.0.1:{free_port()}/healthz"
    async with watching(made, liveness_endpoint=url), asyncio.timeout(60):
        while (said := await asyncio.to_thread(http_status, url)) is None:
            continue
    assert said == answer


@pytest.mark.checklist(26)
@pytest.mark.checklist(45)
def test_kopf_is_asked_for_events_alone_so_that_it_writes_nothing(client: Kube) -> None:
    """A handler of changes would keep annotations on gateways, one of deletions or a timer a finalizer."""

    async def find() -> Access:
        return client.access

    handlers = Reconciler(client, IMAGE).handlers(find)
    assert handlers._changing.get_all_handlers() == []
    assert handlers._spawning.get_all_handlers() == []
    assert len(handlers._watching.get_all_handlers()) == 3


@pytest.mark.checklist(43)
def test_kopf_is_recent_and_its_watches_end_and_its_notes_are_under_our_name() -> None:
    settings = kopf.OperatorSettings()
    configure(settings=settings)
    for storage in (settings.persistence.diffbase_storage, settings.persistence.progress_storage):
        assert isinstance(storage, kopf.AnnotationsDiffBaseStorage | kopf.AnnotationsProgressStorage)
        assert storage.prefix == GROUP
    assert settings.posting.loggers is False
    for chatty in ("kopf.objects", "kopf.activities.probe", "aiohttp.access"):
        assert not logging.getLogger(chatty).isEnabledFor(logging.INFO), "lines for each status and for each probe"
    assert settings.watching.server_timeout
    assert tuple(map(int, importlib.metadata.version("kopf").split(".")[:3])) >= (1, 44, 1)
