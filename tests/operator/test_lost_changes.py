"""What went with a pod or waits in its claim: told once, counted once, remembered in the status."""

from typing import Any

import pytest

from s3d_operator.kube import Kube
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.injections import ANONYMOUS
from tests.operator.rounds import (
    CLAIM,
    CLAIMS,
    EVENTS,
    LEFT,
    NOW,
    PODS,
    QUIET,
    Door,
    another,
    conditions,
    events,
    pods_door,
    put_gateway,
    put_pod,
    reconciler,
    status,
)
from tests.operator.test_pods import ended, injected

__all__ = ["pods_door", "reconciler"]


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
