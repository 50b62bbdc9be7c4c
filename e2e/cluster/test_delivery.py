"""What an app in a pod writes reaches the remote, whatever becomes of the remote or of the pod."""

import hashlib
import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import APP, Object, Stream, kubectl, until, wait
from tests.relays import Relayed
from tests.remotes import Remote

KIB, MIB = 1 << 10, 1 << 20
SIZES = (0, 4 * KIB, 300 * KIB, 5 * MIB)
BACKLOG = (KIB, 512 * KIB) * 100
"""200 changes and 50 MB, in rows and in files."""

Gateway = Callable[..., None]
Followed = Callable[[], tuple[Stream, Stream, Stream]]


def objects(remote: Remote, bucket: str) -> dict[str, str]:
    """The SHA-256 of each object's bytes, read from the remote itself."""
    client = remote.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: hashlib.sha256(client.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest() for key in keys}


def says(event: str) -> Callable[[str], bool]:
    """Whether a line of the app is about an event."""
    return lambda line: kube.read_line(line).said.get("event") == event


def written(app: Stream) -> dict[str, Object]:
    """What the app has said it wrote, by key."""
    said = [kube.read_line(line).said for line in app.lines()]
    return {line["key"]: line for line in said if line.get("event") == "wrote"}


def digests(app: Stream) -> dict[str, str]:
    """The SHA-256 of what the app has said it wrote."""
    return {key: line["sha256"] for key, line in written(app).items()}


def pod_when(changes: Stream, wanted: Callable[[Object], Any], what: str) -> Object:
    """The pod at the first of its changes that is wanted; waits for that, for longer than any drain here."""
    change = changes.wait_for(lambda line: wanted(json.loads(line)), what, 240)
    pod: Object = json.loads(change)["object"]
    return pod


def ended(changes: Stream) -> Object:
    """The pod as it was when its object went; waits for that."""
    return pod_when(changes, lambda change: change["type"] == "DELETED", "the end of the pod")


def told_to_end(changes: Stream) -> Object:
    """The metadata of the pod when its grace period began; at its end they say that there is none left."""
    metadata: Object = pod_when(
        changes, lambda change: "deletionTimestamp" in change["object"]["metadata"], "the deletion of the pod"
    )["metadata"]
    return metadata


def end_of(status: Object, kind: str, name: str) -> Object:
    """How a container ended."""
    ends: list[Object] = [each["state"]["terminated"] for each in status[kind] if each["name"] == name]
    return ends[0]


def time_of(stamp: str) -> datetime:
    """A time of the API server."""
    return datetime.fromisoformat(stamp)


@pytest.mark.semantics("R-1")
@pytest.mark.semantics("R-6")
def test_a_pod_created_while_the_remote_is_away_works_and_its_objects_arrive_later(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote, followed: Followed
) -> None:
    relay.set(mode="refuse")
    gateway()

    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    app, _, _ = followed()
    app.wait_for(says("done"), "all writes")

    wrote = written(app)
    assert [line["size"] for line in wrote.values()] == list(SIZES)
    assert kube.pending(namespace)["changes"] == len(SIZES)
    assert objects(remote, bucket) == {}
    relay.set(mode="pass")
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")
    assert objects(remote, bucket) == digests(app)
    for key, line in wrote.items():
        head = remote.client().head_object(Bucket=bucket, Key=key)
        assert (head["ETag"], head["ContentType"], head["Metadata"]) == (line["etag"], "image/x-test", {"writer": key})


def delete_with_a_backlog(
    namespace: str, bucket: str, relay: Relayed, followed: Followed
) -> tuple[Stream, Stream, Stream]:
    """Delete the pod of the test while BACKLOG waits for a remote that is away; what follows the pod."""
    relay.set(mode="refuse")
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, BACKLOG), terminationGracePeriodSeconds=5))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    streams = followed()
    streams[0].wait_for(says("done"), "all writes")
    waiting = kube.pending(namespace)
    assert (waiting["changes"], waiting["bytes"]) == (len(BACKLOG), sum(BACKLOG))
    kubectl("-n", namespace, "delete", "pod", APP, "--wait=false")
    return streams


@pytest.mark.semantics("Q-12")
def test_a_deleted_pod_goes_only_after_its_last_change_has_arrived_at_a_slow_remote(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote, followed: Followed
) -> None:
    gateway(drain={"seconds": 120})
    app, sidecar, changes = delete_with_a_backlog(namespace, bucket, relay, followed)
    relay.set(mode="pass", delay=0.5, bandwidth=8 * MIB)

    pod = ended(changes)
    arrived = objects(remote, bucket)

    app.wait_for(says("end"), "the app's last words")
    assert arrived.keys() == written(app).keys()
    assert arrived == digests(app)
    assert len(arrived) == len(BACKLOG) + 1
    assert "last-words" in arrived
    assert_ends_in_order(pod, told_to_end(changes), app, sidecar, code=0)


@pytest.mark.semantics("Q-12")
@pytest.mark.parametrize("mode", ["refuse", "silence"])
def test_a_pod_deleted_while_the_remote_is_away_ends_within_its_grace_and_says_what_is_lost(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote, followed: Followed, mode: Any
) -> None:
    gateway(drain={"seconds": 10})
    app, sidecar, changes = delete_with_a_backlog(namespace, bucket, relay, followed)
    relay.set(mode=mode)

    pod = ended(changes)

    assert objects(remote, bucket) == {}
    assert told_to_end(changes)["deletionGracePeriodSeconds"] == 5 + 10 + 5
    assert_ends_in_order(pod, told_to_end(changes), app, sidecar, code=75)
    left = json.loads(end_of(pod["status"], "initContainerStatuses", "s3d")["message"])
    assert (left["changes"], left["bytes"]) == (len(BACKLOG) + 1, sum(BACKLOG) + 11)
    lost = f": {left['changes']} changes, {left['bytes']} bytes were lost with its volume"
    for about in ("Pod", "S3Gateway"):
        until(lambda: [text for text in told(namespace, about, "QueueLost") if lost in text], about)  # noqa: B023


def told(namespace: str, about: str, reason: str) -> list[str]:
    """The messages of the events about a kind of object."""
    found = kube.get("-n", namespace, "events", f"--field-selector=involvedObject.kind={about},reason={reason}")
    return [each["message"] for each in found["items"]]


def status(namespace: str) -> Object:
    """What the operator says of the gateway."""
    said: Object = kube.get("-n", namespace, "s3gateway", "default")["status"]
    return said


def condition(namespace: str, kind: str) -> str:
    """The reason of a condition of the gateway."""
    return str(next(each["reason"] for each in status(namespace)["conditions"] if each["type"] == kind))


@pytest.mark.semantics("Q-7")
@pytest.mark.checklist(36)
def test_the_gateway_says_what_is_pending_and_a_running_pod_takes_over_other_limits(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote, followed: Followed
) -> None:
    relay.set(mode="refuse")
    gateway(writeQueue={"maxFiles": 1000})
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    app, sidecar, _ = followed()
    app.wait_for(says("done"), "all writes")

    until(lambda: status(namespace).get("pending", {}).get("changes") == len(SIZES), "the status")
    until(lambda: condition(namespace, "RemoteReachable") == "RemoteAway", "that the remote is away")
    seen = status(namespace)
    assert seen["pods"] == {"injected": 1, "outdated": 0, "uninjected": 0, "unreachable": 0}
    assert (seen["pending"]["bytes"], seen["pending"]["parked"]) == (sum(SIZES), 0)
    assert condition(namespace, "CredentialsResolved") == "Found"
    until(lambda: told(namespace, "Pod", "Injected"), "the event, which is told after the status is written")

    limit = '{"spec": {"writeQueue": {"maxFiles": 1001}}}'
    kubectl("-n", namespace, "patch", "s3gateway", "default", "--type=merge", "-p", limit)
    reloaded = "settings reloaded: S3D_WRITE_QUEUE_MAX_FILES"
    sidecar.wait_for(lambda line: reloaded in line, "the other limit", kube.MOUNTED_SECONDS)
    relay.set(mode="pass")
    until(lambda: condition(namespace, "DataAtRisk") == "AllDelivered", "the delivery")
    assert objects(remote, bucket) == digests(app)
    assert status(namespace)["pods"]["outdated"] == 0


@pytest.mark.semantics("R-6")
def test_keys_that_are_put_right_deliver_what_was_taken_without_a_restart(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote, followed: Followed
) -> None:
    secret = ("-n", namespace, "patch", "secret", "s3-keys", "--type=merge", "-p")
    kubectl(*secret, json.dumps({"stringData": {"secretAccessKey": "wrong"}}))
    # While the remote is there, the first write would be refused at once: it is proved there.
    relay.set(mode="refuse")
    gateway()
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    app, _, _ = followed()
    app.wait_for(says("done"), "all writes")
    relay.set(mode="pass")
    until(lambda: condition(namespace, "DataAtRisk") == "RemoteRefuses", "that the keys are refused")

    kubectl(*secret, json.dumps({"stringData": {"secretAccessKey": kube.SECRET_KEY}}))
    until(lambda: condition(namespace, "DataAtRisk") == "AllDelivered", "the delivery", kube.MOUNTED_SECONDS)
    assert objects(remote, bucket) == digests(app)
    (sidecar,) = kube.get("-n", namespace, "pod", APP)["status"]["initContainerStatuses"]
    assert sidecar["restartCount"] == 0


def assert_ends_in_order(pod: Object, told_to_end: Object, app: Stream, sidecar: Stream, *, code: int) -> None:
    """The app was told first and worked to its end, then the sidecar ended by itself, all within the grace period."""
    app_end = end_of(pod["status"], "containerStatuses", APP)
    sidecar_end = end_of(pod["status"], "initContainerStatuses", "s3d")
    assert (app_end["exitCode"], sidecar_end["exitCode"]) == (0, code)
    assert time_of(app_end["finishedAt"]) <= time_of(sidecar_end["finishedAt"])
    # The deletion timestamp is the end of the grace period.
    assert time_of(sidecar_end["finishedAt"]) <= time_of(told_to_end["deletionTimestamp"])
    told = kube.read_line(app.wait_for(says("SIGTERM"), "SIGTERM")).at
    last = kube.read_line(app.wait_for(says("end"), "the app's end")).at
    stopping = kube.read_line(sidecar.wait_for(lambda line: "stopping" in line, "the sidecar's end")).at
    assert told < last < stopping


def test_a_job_completes_and_what_its_init_container_wrote_is_there(
    gateway: Gateway, namespace: str, bucket: str, relay: Relayed, remote: Remote
) -> None:
    relay.set(delay=0.5)
    gateway()
    words = [bucket, *map(str, SIZES)]
    made = kube.pod(
        namespace,
        *words,
        "--read",
        initContainers=[kube.app_container(*words, "--once", name="before")],
    )
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": APP, "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": made["metadata"]["labels"]}, "spec": made["spec"]},
        },
    }

    kubectl("create", given=job)
    wait(namespace, f"job/{APP}", "condition=Complete")

    assert len(objects(remote, bucket)) == len(SIZES)
