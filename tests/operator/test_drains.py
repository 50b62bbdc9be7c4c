import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s3d_operator import drains, mounted
from s3d_operator.choice import Skip, read_gateway, wanted
from s3d_operator.drains import follow, is_due
from s3d_operator.gateway_status import ClaimStatus, LastPod
from s3d_operator.kube import Kube
from s3d_operator.layout import Image
from s3d_operator.pods import Pod, Report, read_pod
from s3d_operator.reconcile import Reconciler
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE, JOBS, make_job, read_job
from tests.operator.kopfs import watching
from tests.operator.test_inject import ANONYMOUS, pod
from tests.operator.test_pods import ended, injected, running
from tests.operator.test_reconcile import (
    CLAIMS,
    GATEWAYS,
    NOW,
    PODS,
    Door,
    conditions,
    events,
    pods_door,
    put_gateway,
    put_pod,
    reconciler,
    status,
)

__all__ = ["pods_door", "reconciler"]

CLAIM = ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}}
DRAINED = CLAIM | {"drain": {"job": True}}
JOBS_OF_SHOP = "/apis/batch/v1/namespaces/shop/jobs"
QUIET = Report(changes=0, bytes=0, parked=0, oldest=None, remote="reachable", credentials="found")
BUSY = replace(QUIET, changes=3, bytes=300)
LEFT = json.dumps({"changes": 4, "bytes": 40, "oldest": 2, "parked": 1})


@pytest.mark.parametrize("path", sorted(JOBS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_golden_claim_gets_its_golden_job(path: Path) -> None:
    given, made = read_job(path)
    assert make_job(given) == made


@pytest.mark.checklist(22)
@pytest.mark.checklist(28)
def test_a_job_is_no_pod_of_the_webhook_and_has_no_token_of_its_account() -> None:
    template = make_job(read_job(JOBS / "claim.yaml")[0])["spec"]["template"]
    assert template["metadata"]["labels"]["s3d.dev/inject"] == "false"
    assert template["spec"]["automountServiceAccountToken"] is False
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["args"] == ["run", "--drain"]


def test_a_job_has_the_identities_by_which_it_pushes_and_nothing_of_the_door() -> None:
    given, _ = read_job(JOBS / "claim.yaml")
    access = {"access": {"keysSecretRef": {"name": "door-keys"}}, "tls": {"secretName": "door-tls"}}
    identities = {"identities": {"secretRef": {"name": "accounts"}}}
    spec = given["spec"] | access | {"remote": given["spec"]["remote"] | identities}
    pod = make_job(given | {"spec": spec})["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    names = {volume["name"] for volume in pod["volumes"]}
    assert names == {mount["name"] for mount in container["volumeMounts"]}
    assert mounted.IDENTITIES in names
    assert not names & mounted.OF_THE_DOOR
    assert container["securityContext"]["runAsGroup"] == 0


def seen(name: str = "shop-1", *, claim: str = "queue", **state: Any) -> Pod:
    return read_pod(injected(name, CLAIM | {"volume": {"persistentVolumeClaim": {"claimName": claim}}}, **state))


def gone(name: str = "shop-1", end: dict[str, Any] | None = None) -> Pod:
    return seen(name, phase="Failed", initContainerStatuses=[end] if end else None)


def known(pod: str = "shop-1", **fields: Any) -> ClaimStatus:
    return ClaimStatus(claim_name="queue", last_pod=LastPod(uid=f"uid-{pod}"), **fields)


def one(
    before: Iterable[ClaimStatus],
    pods: Iterable[Pod] = (),
    over: Iterable[Pod] = (),
    reports: dict[str, Report] | None = None,
    holders: Iterable[str] | None = None,
) -> ClaimStatus:
    """The one claim that is known after a look."""
    pods = list(pods)
    held = {pod.claim for pod in pods if pod.holds and not pod.drains} if holders is None else set(holders)
    (claim,) = follow(before, pods, over, reports or {}, held)
    return claim


def counts(claim: ClaimStatus) -> tuple[bool, int | None, int | None, int | None]:
    return claim.in_use, claim.changes, claim.bytes, claim.parked


def test_what_is_in_the_claim_of_a_running_pod_is_that_pods_to_say() -> None:
    claim = one([], [seen()], reports={"uid-shop-1": BUSY})
    assert counts(claim) == (True, None, None, None)
    assert claim.last_pod.uid == "uid-shop-1"
    assert follow([], [read_pod(injected())], [], {}, set()) == [], "an emptyDir is no claim"


@pytest.mark.parametrize(
    ("end", "report", "expected"),
    [
        (ended(75, LEFT), None, (False, 4, 40, 1)),
        (ended(0), BUSY, (False, 0, 0, 0)),
        (ended(137), BUSY, (False, 3, 300, 0)),
        (ended(137), QUIET, (False, None, None, None)),
        (None, None, (False, None, None, None)),
    ],
)
def test_what_a_pod_left_in_its_claim_is_what_it_said_and_else_not_known(
    end: dict[str, Any] | None, report: Report | None, expected: tuple[bool, int | None, int | None, int | None]
) -> None:
    over, reports = gone(end=end), {"uid-shop-1": report} if report else {}
    assert counts(one([known(in_use=True)], [over], [over], reports)) == expected


def test_what_the_last_pod_said_is_not_believed_any_more_once_the_next_one_has_started() -> None:
    claim = one([known("shop-0", changes=4, bytes=40, parked=0)], [seen()], reports={"uid-shop-1": QUIET})
    assert counts(claim) == (True, None, None, None)


def test_a_pod_that_lived_between_two_looks_has_had_its_claim() -> None:
    over = gone(end=ended(75, LEFT))
    assert counts(one([], [seen()], [over], holders=[])) == (False, 4, 40, 1)


@pytest.mark.parametrize(
    ("end", "expected"),
    [(ended(75, LEFT), (False, 4, 40, 1)), (ended(0), (False, 0, 0, 0)), (None, (False, None, None, None))],
)
def test_a_pod_that_is_over_and_had_its_claim_while_nobody_looked_has_said_what_it_left(
    end: dict[str, Any] | None, expected: tuple[bool, int | None, int | None, int | None]
) -> None:
    over = gone(end=end)
    claim = one([], [over], [over] if end else [])
    assert counts(claim) == expected
    assert claim.last_pod == over.manner
    holder = seen("shop-2")
    assert counts(one([], [over, holder], [over] if end else [])) == (True, None, None, None)


def test_of_pods_that_are_over_the_last_one_has_the_last_word_and_says_it_once() -> None:
    first, last = gone("shop-1", ended(75, LEFT)), replace(gone("shop-2", ended(0)), created="2026-01-02T00:00:00Z")
    last = replace(last, manner=last.manner.model_copy(update={"created": last.created}))
    claim = one([], [last, first], [last, first])
    assert (claim.last_pod.uid, counts(claim)) == ("uid-shop-2", (False, 0, 0, 0))
    assert one([claim], [last, first], [last, first]) == claim
    known_first = one([], [first], [first])
    assert one([known_first], [last, first], [last, first]) == claim, "the last came while nobody looked"


def test_a_pod_that_went_while_nobody_looked_has_left_what_nobody_knows() -> None:
    claim = one([known(in_use=True)])
    assert counts(claim) == (False, None, None, None)
    assert is_due(claim)


def test_a_pod_that_never_started_leaves_what_the_one_before_it_said() -> None:
    waiting = seen("shop-2", initContainerStatuses=None)
    starting = one([known(changes=4, bytes=40, parked=0)], [waiting])
    assert counts(starting) == (True, 4, 40, 0)
    assert counts(one([starting], [], [gone("shop-2")])) == (False, 4, 40, 0)


def test_the_end_of_a_pod_says_nothing_twice_and_nothing_of_a_claim_that_another_one_has() -> None:
    over = gone(end=ended(75, LEFT))
    assert counts(one([known(changes=0, bytes=0, parked=0)], [over], [over])) == (False, 0, 0, 0)
    assert counts(one([known("shop-2", in_use=True)], [], [over], holders=["queue"]))[0] is True
    assert counts(one([known("shop-2", in_use=True)], [], [over])) == (False, None, None, None)


def test_a_claim_that_holds_what_waits_for_a_person_alone_is_not_due() -> None:
    assert not is_due(known(changes=2, bytes=2, parked=2))
    assert is_due(known(changes=3, bytes=2, parked=2))
    assert not is_due(known(changes=0, bytes=0, parked=0))


def put_claim(api: ApiServer, *modes: str) -> None:
    api.put(f"{CLAIMS}/queue", {"metadata": {"name": "queue"}, "spec": {"accessModes": list(modes)}})


@pytest.fixture
async def left(api: ApiServer, reconciler: Reconciler, eventually: Eventually) -> Reconciler:
    """A reconciler that has seen a pod with a claim, which then went with changes; no round has been made since."""
    put_gateway(api, spec=DRAINED)
    put_claim(api, "ReadWriteOnce")
    put_pod(api, injected(spec=DRAINED))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    await leave(api, reconciler, eventually, LEFT)
    return reconciler


async def leave(api: ApiServer, reconciler: Reconciler, eventually: Eventually, message: str) -> None:
    """Let the pod end with changes."""
    put_pod(api, injected(spec=DRAINED, initContainerStatuses=[ended(75, message)]))
    api.delete(f"{PODS}/shop-1")
    await eventually(lambda: not reconciler.injected.objects)


def jobs(api: ApiServer) -> list[str]:
    return [path for path in api.objects if path.startswith(f"{JOBS_OF_SHOP}/")]


def start_job(api: ApiServer, address: str) -> None:
    """Let the job's pod run."""
    (path,) = jobs(api)
    template = api.objects[path]["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": path.rpartition("/")[2], "uid": "j", "controller": True}
    known = {"name": "drains", "namespace": "shop", "uid": "d", "ownerReferences": [owner]}
    state = {"containerStatuses": [running()], "podIP": address}
    put_pod(api, template | {"metadata": template["metadata"] | known, "status": state})


def end_job(api: ApiServer, kind: str, reason: str = "") -> None:
    """Let the job have ended."""
    (path,) = jobs(api)
    ends = {"conditions": [{"type": kind, "status": "True", "reason": reason}]}
    api.put(path, api.objects[path] | {"status": ends})


def told(api: ApiServer) -> list[str]:
    return [reason for _, reason, _ in events(api) if reason.startswith("Drain")]


async def test_a_job_is_made_once_for_what_a_pod_left_and_the_status_says_so(api: ApiServer, left: Reconciler) -> None:
    for _ in range(3):
        await left.round(NOW)
    (path,) = jobs(api)
    (claim,) = status(api)["claims"]
    assert claim["job"] == path.rpartition("/")[2]
    assert (claim["inUse"], claim["changes"], claim["bytes"], claim["parked"]) == (False, 4, 40, 1)
    assert status(api)["pending"]["changes"] == 4
    assert conditions(api)["DataAtRisk"] == "ChangesParked"
    assert [request for request in api.requests if f"PATCH {path}" in request] == [
        f"PATCH {path}?fieldManager=s3d-operator&force=true"
    ]
    assert told(api) == ["DrainJobStarted"]


async def test_a_job_that_has_delivered_everything_ends_the_risk(
    api: ApiServer, reconciler: Reconciler, left: Reconciler
) -> None:
    await left.round(NOW)
    end_job(api, "Complete")
    for _ in range(2):
        await left.round(NOW)
    assert "claims" not in status(api)
    assert conditions(api)["DataAtRisk"] == "AllDelivered"
    assert status(api)["pending"]["changes"] == 0
    assert told(api) == ["DrainJobStarted", "DrainJobFinished"]


async def test_a_pod_that_comes_has_the_job_deleted(api: ApiServer, left: Reconciler, eventually: Eventually) -> None:
    await left.round(NOW)
    assert len(jobs(api)) == 1
    put_pod(api, injected("shop-2", DRAINED, initContainerStatuses=None))
    await eventually(lambda: left.injected.objects)
    await left.round(NOW)
    assert jobs(api) == []
    (claim,) = status(api)["claims"]
    assert (claim["inUse"], claim.get("job")) == (True, None)


async def test_a_pod_that_comes_to_a_claim_is_looked_at_at_once(
    api: ApiServer, left: Reconciler, eventually: Eventually
) -> None:
    left.wake.clear()
    put_pod(api, injected("shop-2", DRAINED))
    await eventually(left.wake.is_set)
    left.wake.clear()
    put_pod(api, injected("shop-2", DRAINED, podIP="127.0.0.9"))
    await eventually(lambda: [pod for pod in left.injected.objects.values() if pod.address == "127.0.0.9"])
    assert not left.wake.is_set(), "what else becomes of a pod can wait for the next round"


async def test_what_a_newer_operator_says_of_a_claim_beside_what_is_known_does_not_hide_the_claim(
    api: ApiServer, left: Reconciler
) -> None:
    await left.round(NOW)
    raw = api.objects[f"{GATEWAYS}/default"]
    (claim,) = raw["status"]["claims"]
    newer = claim | {"heldBy": "nobody", "lastPod": claim["lastPod"] | {"node": "a"}}
    api.put(f"{GATEWAYS}/default", raw | {"status": raw["status"] | {"claims": [newer]}})
    await left.round(NOW)
    assert status(api)["claims"] == [claim]


async def test_a_job_that_nobody_wrote_down_is_deleted_too_where_a_pod_comes(
    api: ApiServer, left: Reconciler, eventually: Eventually
) -> None:
    await left.round(NOW)
    start_job(api, "127.0.0.2")
    put_gateway(api, spec=DRAINED)  # without a status
    put_pod(api, injected("shop-2", DRAINED))
    await eventually(lambda: len(left.injected.objects) == 2)
    await left.round(NOW)
    assert jobs(api) == []
    assert status(api)["pods"]["injected"] == 1, "the pod of a job is none of the gateway's"


async def test_a_job_that_failed_is_told_and_made_again_only_when_it_has_gone(api: ApiServer, left: Reconciler) -> None:
    await left.round(NOW)
    end_job(api, "Failed", "DeadlineExceeded")
    for _ in range(2):
        await left.round(NOW)
    (path,) = jobs(api)
    assert told(api) == ["DrainJobStarted", "DrainJobFailed"]
    assert any("DeadlineExceeded" in message for _, _, message in events(api))
    api.delete(path)
    await left.round(NOW)
    assert jobs(api) == [path]


async def test_what_a_pod_left_that_ended_while_no_operator_ran_is_delivered_once(
    api: ApiServer, reconciler: Reconciler, client: Kube, eventually: Eventually
) -> None:
    put_gateway(api, spec=DRAINED)
    put_claim(api, "ReadWriteOnce")
    put_pod(api, injected(spec=DRAINED, phase="Failed", initContainerStatuses=[ended(75, LEFT)]))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    assert status(api)["pending"]["changes"] == 4
    assert len(jobs(api)) == 1
    end_job(api, "Complete")
    await reconciler.round(NOW)
    assert told(api) == ["DrainJobStarted", "DrainJobFinished"]
    api.delete(*jobs(api))
    again = Reconciler(client, IMAGE)
    async with watching(again):
        await again.know_pods()
        for _ in range(2):
            await again.round(NOW)
        assert jobs(api) == []
        assert conditions(api)["DataAtRisk"] == "AllDelivered"
        api.delete(f"{PODS}/shop-1")
        await eventually(lambda: not again.injected.objects)
        await again.round(NOW)
        assert "claims" not in status(api)


async def test_what_waits_for_a_person_gets_no_job(
    api: ApiServer, reconciler: Reconciler, eventually: Eventually
) -> None:
    put_gateway(api, spec=DRAINED)
    put_claim(api, "ReadWriteOnce")
    put_pod(api, injected(spec=DRAINED))
    await eventually(lambda: reconciler.injected.objects)
    await reconciler.round(NOW)
    await leave(api, reconciler, eventually, json.dumps({"changes": 2, "bytes": 2, "oldest": None, "parked": 2}))
    await reconciler.round(NOW)
    assert jobs(api) == []
    assert conditions(api)["DataAtRisk"] == "ChangesParked"


async def test_without_being_asked_no_job_is_made_and_the_changes_are_told_of(api: ApiServer, left: Reconciler) -> None:
    put_gateway_keeping_status(api, CLAIM)
    await left.round(NOW)
    assert jobs(api) == []
    assert status(api)["claims"][0]["changes"] == 4
    assert [request for request in api.requests if "/jobs" in request and "DELETE" not in request] == [
        f"GET {JOBS_OF_SHOP}/default-drain"
    ], "only to see whether it may, while it was asked for"


def put_gateway_keeping_status(api: ApiServer, spec: dict[str, Any]) -> None:
    before = api.objects[f"{GATEWAYS}/default"]
    api.put(f"{GATEWAYS}/default", before | {"spec": spec})


@pytest.mark.parametrize("change", [{"drain": {"seconds": 7, "job": True}}, {"drain": {"job": False}}])
async def test_a_job_that_is_of_another_spec_or_not_wanted_any_more_goes(
    api: ApiServer, left: Reconciler, change: dict[str, Any]
) -> None:
    await left.round(NOW)
    (path,) = jobs(api)
    put_gateway_keeping_status(api, DRAINED | change)
    await left.round(NOW)
    assert jobs(api) == []
    await left.round(NOW)
    assert jobs(api) == ([path] if change["drain"]["job"] else [])


async def test_a_running_job_keeps_its_image_when_the_operator_is_upgraded_and_the_next_one_has_the_new(
    api: ApiServer, left: Reconciler, client: Kube
) -> None:
    await left.round(NOW)
    (path,) = jobs(api)
    upgraded = Reconciler(client, Image("registry.example/s3d:1.2.4"))
    upgraded.injected.is_complete = True
    before = api.objects[path]
    await upgraded.round(NOW)
    assert api.objects[path] == before
    end_job(api, "Failed", "DeadlineExceeded")
    api.delete(path)
    await upgraded.round(NOW)
    (container,) = api.objects[path]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.example/s3d:1.2.4"


@pytest.mark.checklist(28)
async def test_where_jobs_may_not_be_made_it_is_said_and_all_else_goes_on(
    api: ApiServer, left: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "LOOK_SECONDS", 0)
    api.forbidden = "/jobs"
    for _ in range(2):
        await left.round(NOW)
    assert conditions(api)["Accepted"] == "DrainJobForbidden"
    (accepted,) = (each for each in status(api)["conditions"] if each["type"] == "Accepted")
    assert accepted["status"] == "True"
    assert "drain.jobs.namespaces" in accepted["message"]
    assert told(api) == ["DrainJobForbidden"]
    assert status(api)["pending"]["changes"] == 4
    api.forbidden = None
    await left.round(NOW)
    assert conditions(api)["Accepted"] == "Accepted"
    assert len(jobs(api)) == 1


async def test_a_claim_that_several_nodes_can_have_is_refused_for_pods_and_gets_no_job(
    api: ApiServer, left: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "LOOK_SECONDS", 0)
    left.drains._single.clear()
    put_claim(api, "ReadWriteOnce", "ReadWriteMany")
    await left.round(NOW)
    assert conditions(api)["Accepted"] == conditions(api)["Ready"] == "ClaimShared"
    assert jobs(api) == []
    choice = wanted(pod(), [read_gateway(api.objects[f"{GATEWAYS}/default"])])
    assert isinstance(choice, Skip)
    assert choice.reason == "ClaimShared"
    assert "ReadWriteOncePod" in choice.message
    changed = api.objects[f"{GATEWAYS}/default"]
    changed = changed | {"metadata": changed["metadata"] | {"generation": 2}}
    assert not isinstance(wanted(pod(), [read_gateway(changed)]), Skip), "what was said of another spec"
    put_claim(api, "ReadWriteOnce")
    await left.round(NOW)
    assert conditions(api)["Accepted"] == "Accepted"


async def test_what_was_in_a_claim_that_is_deleted_is_lost_and_told(
    api: ApiServer, left: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    await left.round(NOW)
    left.drains._single.clear()
    api.delete(f"{CLAIMS}/queue")
    api.broken = "/status"
    assert await left.round(NOW) == "failed"
    api.broken = False
    for _ in range(2):
        await left.round(NOW)
    assert jobs(api) == []
    assert any("deleted with undelivered changes: 4 changes, 40 bytes" in message for _, reason, message in events(api))
    labels = {"namespace": "shop", "gateway": "default"}
    assert left.metrics.registry.get_sample_value("s3d_operator_lost_changes_total", labels) == 4
    assert conditions(api)["DataAtRisk"] == "AllDelivered"


async def test_a_running_job_says_what_is_left(
    api: ApiServer, left: Reconciler, pods_door: Door, eventually: Eventually
) -> None:
    await left.round(NOW)
    start_job(api, "127.0.0.1")
    await eventually(lambda: left.injected.objects)
    await left.round(NOW)
    assert (status(api)["claims"][0]["changes"], status(api)["pods"]["injected"]) == (3, 0)
