import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from s3d.problems import REMOTE_AWAY
from s3d_operator import gateway_settings, layout, pods
from s3d_operator.gateway_facts import GatewayFacts, Seen
from s3d_operator.pods import ANSWER_BYTES, MAX_COUNT, MAX_SECONDS, Left, Pod, Report, ask, read_pod
from s3d_operator.status import status_of
from tests.clients import code_of
from tests.daemons import StartDaemon
from tests.operator.goldens import IMAGE, gateway
from tests.operator.test_inject import ANONYMOUS, TLS, inject, pod
from tests.processes import free_port
from tests.remotes import Remote, client

SAID: dict[str, Any] = {
    "pending": {"changes": 3, "bytes": 300, "oldest_age_seconds": 7.9, "parked": 1, "held": 0},
    "paused_lanes": 0,
    "problems": [{"name": "RemoteAway", "stake": "service"}, {"name": "OfANewerRelease", "stake": "data"}],
    "remote": {"endpoint": "http://minio:9000", "state": "away", "since": 1.0, "credentials": "found"},
}


def injected(name: str = "shop-1", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """A pod with a gateway, as the API server has it."""
    made = inject(pod(), gateway(spec or ANONYMOUS))
    known = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "creationTimestamp": "2026-01-01T00:00:00Z"}
    state = {"podIP": "127.0.0.1", "initContainerStatuses": [running()]} | status
    return made | {"metadata": made["metadata"] | known, "status": state}


def running() -> dict[str, Any]:
    return {"name": "s3d", "started": True, "state": {"running": {}}}


def ended(code: int, message: str = "") -> dict[str, Any]:
    return {"name": "s3d", "started": False, "state": {"terminated": {"exitCode": code, "message": message}}}


def test_a_pod_says_whose_it_is_and_whether_its_gateway_answers() -> None:
    read = read_pod(injected())
    assert (read.namespace, read.gateway, read.address, read.listens, read.is_over) == (
        "shop",
        "default",
        "127.0.0.1",
        True,
        False,
    )
    spec = gateway(ANONYMOUS).spec
    assert spec
    assert read.config_hash == gateway_settings.config_hash(spec, IMAGE)
    assert not read_pod(injected(initContainerStatuses=[running() | {"started": False}])).listens
    assert not read_pod(injected(initContainerStatuses=[ended(0)])).listens
    assert not read_pod(injected(initContainerStatuses=None)).listens


def test_a_pod_says_what_keeps_its_gateway_from_starting_and_whether_it_has_run() -> None:
    crashing = {
        "name": "s3d",
        "started": False,
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    }
    unscheduled = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    for status, waits_for, has_run in (
        ({"initContainerStatuses": [crashing]}, "CrashLoopBackOff", True),
        ({"initContainerStatuses": [ended(2)]}, "", True),
        ({"initContainerStatuses": None, "conditions": unscheduled}, "Unschedulable", False),
        ({"initContainerStatuses": [running() | {"started": False}]}, "", False),
    ):
        read = read_pod(injected(**status))
        assert (read.listens, read.waits_for, read.has_run) == (False, waits_for, has_run)


def test_events_are_for_the_controller_else_for_the_pod() -> None:
    raw = injected()
    assert read_pod(raw).owner["kind"] == "Pod"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop", "uid": "u", "controller": True}
    raw["metadata"]["ownerReferences"] = [{"kind": "Other"}, owner]
    assert read_pod(raw).owner == {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": "shop",
        "uid": "u",
        "namespace": "shop",
    }


@pytest.mark.parametrize(
    ("volume", "outlives"),
    [({"emptyDir": {}}, False), ({"persistentVolumeClaim": {"claimName": "q"}}, True), ({"ephemeral": {}}, False)],
)
def test_only_a_claim_outlives_its_pod(volume: dict[str, Any], outlives: bool) -> None:
    assert read_pod(injected(spec=ANONYMOUS | {"volume": volume})).outlives is outlives


@pytest.mark.checklist(15)
@pytest.mark.parametrize(
    ("message", "left"),
    [
        ('{"changes": 4, "bytes": 40, "oldest": 1.5}', Left(4, 40)),
        ('{"changes": 4, "bytes": 40, "oldest": 1.5, "parked": 3}', Left(4, 40, parked=3)),
        ('{"changes": 0, "bytes": 0, "oldest": null}', Left(0, 0)),
        ('{"changes": -4, "bytes": 40}', None),
        ('{"changes": 1e400, "bytes": 40}', Left(MAX_COUNT, 40)),
        ('{"changes": NaN, "bytes": 40}', None),
        ("[" * 4096, None),
        ('{"changes": true, "bytes": 40}', None),
        ("Traceback", None),
        ("[]", None),
        ("", None),
    ],
)
def test_what_a_gateway_left_is_what_it_wrote_at_its_end(message: str, left: Left | None) -> None:
    assert read_pod(injected(initContainerStatuses=[ended(75, message)])).left == left


def test_a_gateway_that_ends_well_has_left_nothing_and_one_that_is_killed_has_not_said_it() -> None:
    assert read_pod(injected(initContainerStatuses=[ended(0)])).left == Left(0, 0)
    assert read_pod(injected(initContainerStatuses=[ended(137)])).left is None


def test_a_pod_holds_its_claim_until_its_gateway_has_ended() -> None:
    leaving = injected()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert read_pod(injected(initContainerStatuses=None)).holds
    assert read_pod(injected(initContainerStatuses=[ended(1)])).holds, "it starts again"
    assert read_pod(leaving).holds
    assert not read_pod(leaving | {"status": {"initContainerStatuses": [ended(75)]}}).holds
    assert not read_pod(injected(phase="Failed", initContainerStatuses=None)).holds, "evicted"


def test_a_claim_by_a_name_that_no_claim_can_have_is_none() -> None:
    raw = injected(spec=ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "q"}}})
    assert read_pod(raw).claim == "q"
    (volume,) = (each for each in raw["spec"]["volumes"] if "persistentVolumeClaim" in each)
    for name in ("../../kube-system/pods/x", "Q", "q" * 254):
        volume["persistentVolumeClaim"]["claimName"] = name
        assert read_pod(raw).claim == ""


@pytest.mark.parametrize("number", [1e12, 3e18, 1 << 62, 1 << 80, float("inf")])
def test_what_a_pod_says_is_clamped_to_what_can_be_written(number: float) -> None:
    pending = dict.fromkeys(("changes", "bytes", "oldest_age_seconds", "parked"), number)
    said = Report.read(json.dumps(SAID | {"pending": pending}).encode())
    assert said.changes == said.bytes == said.parked == min(number, MAX_COUNT)
    assert said.oldest == MAX_SECONDS


@pytest.mark.parametrize(("more", "endpoint"), [({}, layout.ENDPOINT), (TLS, layout.TLS_ENDPOINT)])
def test_a_pod_says_where_its_gateway_is_found_and_which_containers_are_not_sent_there(
    more: dict[str, Any], endpoint: str
) -> None:
    raw = injected(spec=ANONYMOUS | more)
    read = read_pod(raw)
    assert (read.endpoint, read.goes_past) == (endpoint, ())
    raw["spec"]["containers"].append({"name": "other", "env": [{"name": "AWS_ENDPOINT_URL_S3", "value": "http://s3"}]})
    assert read_pod(raw).goes_past == ("other",)


@pytest.mark.parametrize(
    ("remote", "lanes", "found"),
    [
        ({"state": "away", "credentials": "found"}, 0, {"RemoteAway"}),
        ({"state": "reachable", "credentials": "refused", "refusal": "InvalidAccessKeyId"}, 0, {"CredentialsRefused"}),
        ({"state": "reachable", "credentials": "found"}, 2, {"RemoteRefuses"}),
        ({"state": "reachable"}, 0, set()),
    ],
)
def test_a_gateway_of_an_earlier_release_is_judged_by_what_it_says(
    remote: dict[str, str], lanes: int, found: set[str]
) -> None:
    said = {name: value for name, value in SAID.items() if name != "problems"}
    said |= {"remote": remote, "paused_lanes": lanes}
    assert Report.read(json.dumps(said).encode()).problems == found


def test_what_a_pod_says_of_identities_is_who_has_no_keys_by_names_that_can_be_shown() -> None:
    states = {"etl": "refused", "report": "found", "late": "missing", "idle": "unknown", "no name\n": "failing"}
    identities = [{"name": name, "credentials": state, "refusal": ""} for name, state in states.items()]
    said = Report.read(json.dumps(SAID | {"remote": SAID["remote"] | {"identities": identities}}).encode())
    assert said.without_keys == ("etl", "late")


def test_what_a_pod_says_of_its_files_is_which_fields_are_wrong() -> None:
    files = {"access_keys": {"loaded_at": 1.0, "error": "no JSON"}, "certificates": {"loaded_at": 1.0, "error": ""}}
    said = Report.read(json.dumps(SAID | {"files": files | {"other": {"error": "x"}}}).encode())
    assert said.not_taken_over == ("access.keysSecretRef",)
    assert Report.read(json.dumps(SAID).encode()).not_taken_over == ()


@asynccontextmanager
async def door(address: str, port: int, answer: Any) -> AsyncIterator[None]:
    """A status door."""
    app = web.Application()
    app.router.add_get("/status", answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


def at(address: str) -> Pod:
    return read_pod(injected(address, podIP=address))


async def test_every_pod_is_asked_and_what_is_no_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pods, "SECONDS", 0.5)
    port, stopped = free_port(), asyncio.Event()

    async def well(request: web.Request) -> web.Response:
        return web.json_response(SAID)

    async def too_much(request: web.Request) -> web.Response:
        return web.Response(text=json.dumps(SAID) + " " * ANSWER_BYTES)

    async def wrong(request: web.Request) -> web.Response:
        return web.json_response(SAID | {"pending": {"changes": 10**30}})

    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"http://127.0.0.1:{port}/status")

    async def silent(request: web.Request) -> web.Response:
        await stopped.wait()
        raise AssertionError

    async def failing(request: web.Request) -> web.Response:
        return web.json_response(SAID, status=503)

    doors = [well, too_much, wrong, elsewhere, silent, failing]
    async with asyncio.TaskGroup() as tasks:
        opened = [door(f"127.0.0.{number}", port, answer) for number, answer in enumerate(doors, start=1)]
        for each in opened:
            await each.__aenter__()
        answers = await ask([at(f"127.0.0.{number}") for number in range(1, 8)], port)
        stopped.set()
        for each in opened:
            tasks.create_task(each.__aexit__(None, None, None))
    report = Report(
        changes=3, bytes=300, parked=1, oldest=7, remote="away", credentials="found", problems=frozenset([REMOTE_AWAY])
    )
    assert answers == {"uid-127.0.0.1": report} | {f"uid-127.0.0.{number}": None for number in range(2, 8)}


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
async def test_the_door_of_a_real_gateway_is_understood(start_daemon: StartDaemon, remote: Remote) -> None:
    daemon = await asyncio.to_thread(start_daemon, remote)
    (report,) = (await ask([at("127.0.0.1")], daemon.metrics_port)).values()
    assert report
    assert (report.changes, report.parked, report.oldest, report.credentials) == (0, 0, None, "unknown")


@pytest.mark.semantics("A-2b", "A-8f")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
async def test_a_real_gateway_tells_of_an_identity_without_keys_and_of_a_file_that_is_wrong(
    start_daemon: StartDaemon, remote: Remote, tmp_path: Path
) -> None:
    keys, identities = tmp_path / "keys.json", tmp_path / "identities.json"
    for path, text in (
        (keys, json.dumps([{"id": "door", "secret": "of-the-door", "identity": "etl"}])),
        (identities, json.dumps([{"name": "etl", "credentialsDir": str(tmp_path / "none")}])),
    ):
        path.touch(0o600)
        path.write_text(text)
    files = {"S3D_ACCESS_KEYS_FILE": str(keys), "S3D_REMOTE_IDENTITIES_FILE": str(identities)}
    daemon = await asyncio.to_thread(partial(start_daemon, remote, **files))
    assert await asyncio.to_thread(code_of, client(daemon.endpoint, "door", "of-the-door").list_buckets)
    keys.write_text("[")

    async with asyncio.timeout(60):
        while not (report := (await ask([at("127.0.0.1")], daemon.metrics_port))["uid-127.0.0.1"]) or (
            not report.not_taken_over
        ):
            pass
    assert report.not_taken_over == ("access.keysSecretRef",)
    assert report.without_keys == ("etl",)
    given = {"metadata": {}, "spec": ANONYMOUS}
    conditions = {
        c["type"]: c for c in status_of(given, GatewayFacts([Seen(report=report)]), datetime.now(UTC))["conditions"]
    }
    for kind, judged in (("CredentialsResolved", "False"), ("Ready", "True")):
        assert (conditions[kind]["status"], conditions[kind]["reason"]) == (judged, "IdentityWithoutKeys")


@pytest.mark.semantics("R-11a", "R-11b")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
@pytest.mark.parametrize("path", ["/prefix", "/BUCKET"])
async def test_a_real_gateway_with_a_wrong_endpoint_is_a_condition(
    start_daemon: StartDaemon, remote: Remote, bucket: str, path: str
) -> None:
    endpoint = remote.endpoint + path.replace("BUCKET", bucket)
    daemon = await asyncio.to_thread(start_daemon, replace(remote, endpoint=endpoint))
    assert await asyncio.to_thread(code_of, daemon.client().list_objects_v2, Bucket=bucket)
    (report,) = (await ask([at("127.0.0.1")], daemon.metrics_port)).values()
    given = {"remote": {"endpoint": endpoint, "credentials": {"secretRef": {"name": "s3-keys"}}}}
    status = status_of({"metadata": {}, "spec": given}, GatewayFacts([Seen(report=report)]), datetime.now(UTC))
    ready = next(each for each in status["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "WrongEndpoint")
    assert f"take the path {path.replace('BUCKET', bucket)} away from remote.endpoint" in ready["message"]
