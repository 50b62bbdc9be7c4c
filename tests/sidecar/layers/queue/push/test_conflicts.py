"""Somebody else writes a key while a change of it waits, from outside (SEMANTICS Q-18)."""

import urllib.request
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse, Refusing
from tests.relays import AWAY, Relay
from tests.remotes import Remote
from tests.sidecar.layers.queue.push.test_lanes import state_of

pytestmark = pytest.mark.semantics("Q-18")
AT_ONCE = {"S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER": "0s"}


def body_of(client: Any, bucket: str, key: str = "k") -> bytes:
    body: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def conflicts(daemon: Daemon) -> dict[str, float]:
    """How many conflicts were counted, by outcome."""
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.split() for line in lines if line.startswith("s3d_queue_conflicts_total{"))
    return {name.split('"')[1]: float(number) for name, number in found}


@pytest.mark.semantics("Q-9", "Q-18a")
@pytest.mark.parametrize("remote, mode", [("moto", "Overwrite"), ("minio", "Park")], indirect=["remote"])
def test_what_somebody_else_wrote_meanwhile_is_overwritten_or_both_are_kept(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, mode: str
) -> None:
    relayed, there = relay(remote), remote.client()
    there.put_object(Bucket=bucket, Key="k", Body=b"before")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT=mode, **AT_ONCE, **AWAY)
    s3 = daemon.client()
    assert body_of(s3, bucket) == b"before"
    relayed.set(mode="refuse")
    ours = s3.put_object(Bucket=bucket, Key="k", Body=b"ours")["ETag"].strip('"')
    foreign = there.put_object(Bucket=bucket, Key="k", Body=b"foreign")["ETag"].strip('"')
    relayed.set(mode="pass")
    if mode == "Overwrite":
        eventually(lambda: drained(daemon))
        assert conflicts(daemon) == {"overwritten": 1}
    else:
        eventually(lambda: daemon.status()["pending"]["parked"] == 1)
        assert conflicts(daemon) == {"parked": 1}
        assert body_of(there, bucket) == b"foreign"
        assert body_of(s3, bucket) == b"ours"
        change = state_of(daemon, bucket, "k")
        assert (change["state"], change["code"]) == ("parked", "Conflict")
        assert foreign in change["reason"]
        # A person who tries it again knows what is there.
        assert daemon.cli("queue", "retry", f"{bucket}/k").returncode == 0
        eventually(lambda: drained(daemon))
    assert body_of(there, bucket) == b"ours"
    assert next(line for line in daemon.output().splitlines() if ours in line and foreign in line)


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_an_object_that_was_never_seen_is_a_conflict_where_it_is_newer_than_the_change(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed, there = relay(remote), remote.client()
    there.put_object(Bucket=bucket, Key="older", Body=b"x")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE, **AWAY)
    relayed.set(mode="refuse")
    s3 = daemon.client()
    for key in ("older", "newer", "gone"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"ours")
    acknowledged = state_of(daemon, bucket, "newer")["acked_at"]

    def written_later() -> bool:
        there.put_object(Bucket=bucket, Key="newer", Body=b"foreign")
        seen: float = there.head_object(Bucket=bucket, Key="newer")["LastModified"].timestamp()
        return seen > float(acknowledged) + 2

    eventually(written_later)
    relayed.set(mode="pass")
    eventually(lambda: daemon.status()["pending"]["changes"] == 1)
    assert state_of(daemon, bucket, "newer")["code"] == "Conflict"
    assert body_of(there, bucket, "older") == b"ours"
    assert body_of(there, bucket, "gone") == b"ours"


@pytest.mark.parametrize("remote", ["moto", "minio"], indirect=True)
def test_what_this_gateway_wrote_itself_is_no_conflict(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE, **AWAY)
    s3 = daemon.client()
    for number in range(20):
        s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % number)
        s3.put_object(Bucket=bucket, Key="also gone", Body=b"%d" % number)
        s3.delete_object(Bucket=bucket, Key="also gone")
    code_of(
        s3.put_object, Bucket=bucket, Key="k", Body=b"through", IfMatch=s3.head_object(Bucket=bucket, Key="k")["ETag"]
    )
    s3.put_object(Bucket=bucket, Key="k", Body=b"after it")
    eventually(lambda: drained(daemon))
    daemon.kill()
    relayed.set(mode="refuse")
    daemon.start()
    for body in (b"1", b"2", b"last"):
        s3.put_object(Bucket=bucket, Key="k", Body=body)
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert body_of(there, bucket) == b"last"
    assert [o["Key"] for o in there.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]
    assert conflicts(daemon) == {}


@pytest.mark.semantics("Q-8")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_bucket_that_is_gone_is_no_conflict(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    there = remote.client()
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: drained(daemon))
    there.delete_object(Bucket=bucket, Key="k")
    there.delete_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    eventually(lambda: daemon.status()["paused_lanes"] == 1)
    assert state_of(daemon, bucket, "k")["code"] == "NoSuchBucket"
    assert conflicts(daemon) == {}


@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_remote_that_is_known_to_honour_conditions_is_asked_by_the_push_itself(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy, there = refusing(remote), remote.client()
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: drained(daemon))
    assert f"HEAD /{bucket}/k" in proxy.seen()
    for condition in ({"IfMatch": '"x"'}, {"IfNoneMatch": "*"}):
        assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **condition) == "PreconditionFailed"
    daemon.kill()
    daemon.start()
    assert body_of(s3, bucket) == b"1"
    before = len(proxy.seen())
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    eventually(lambda: drained(daemon))
    assert f"HEAD /{bucket}/k" not in proxy.seen()[before:]
    assert body_of(there, bucket) == b"2"
    proxy.set({"path": f"/{bucket}/k", "status": 503, "code": "SlowDown"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"3")
    there.put_object(Bucket=bucket, Key="k", Body=b"foreign")
    proxy.set()
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    assert body_of(there, bucket) == b"foreign"


@pytest.mark.semantics("Q-18a", "Q-18e")
@pytest.mark.parametrize(
    "remote, mode", [("minio", "Overwrite"), ("minio", "Park"), ("versitygw", "Park")], indirect=["remote"]
)
def test_what_somebody_else_deleted_meanwhile_is_made_anew_or_kept_for_a_person(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, mode: str
) -> None:
    """A remote that is known to honour If-Match says that there is no such key, which refuses nothing for good."""
    relayed, there = relay(remote), remote.client()
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT=mode, **AT_ONCE, **AWAY)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: drained(daemon))
    code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch='"x"')
    relayed.set(mode="refuse")
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    there.delete_object(Bucket=bucket, Key="k")
    relayed.set(mode="pass")
    if mode == "Park":
        eventually(lambda: daemon.status()["pending"]["parked"] == 1)
        assert state_of(daemon, bucket, "k")["code"] == "Conflict"
        assert daemon.cli("queue", "retry", f"{bucket}/k").returncode == 0
    eventually(lambda: drained(daemon))
    assert body_of(there, bucket) == b"2"
    assert conflicts(daemon) == {"overwritten" if mode == "Overwrite" else "parked": 1}


def requests_of_delivery(proxy: Refusing, daemon: Daemon, bucket: str, key: str) -> list[str]:
    """The methods of the requests that the delivery of a put takes."""
    before = len(proxy.seen())
    daemon.client().put_object(Bucket=bucket, Key=key, Body=key.encode())
    eventually(lambda: drained(daemon))
    return [method for method, path in map(str.split, proxy.seen()[before:]) if path == f"/{bucket}/{key}"]


@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_whether_a_remote_honours_conditions_is_found_out_by_a_put_that_cannot_succeed(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy, there = refusing(remote), remote.client()
    for key in ("older", "older-too"):
        there.put_object(Bucket=bucket, Key=key, Body=b"there before")
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE)
    assert requests_of_delivery(proxy, daemon, bucket, "first") == ["HEAD", "PUT", "PUT"]
    assert requests_of_delivery(proxy, daemon, bucket, "second") == ["PUT"]
    daemon.kill()
    daemon.start()
    assert requests_of_delivery(proxy, daemon, bucket, "third") == ["PUT"]
    # What is there is older than the change, and no conflict; whether it could have been said so is asked. The next one
    # is looked at first.
    assert requests_of_delivery(proxy, daemon, bucket, "older") == ["PUT", "HEAD", "PUT", "PUT"]
    assert requests_of_delivery(proxy, daemon, bucket, "older-too") == ["HEAD", "PUT"]
    for key in ("first", "second", "third", "older", "older-too"):
        assert body_of(there, bucket, key) == key.encode()
    assert conflicts(daemon) == {}


@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_remote_that_does_not_honour_conditions_is_asked_once_and_keeps_what_it_has(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy, there = refusing(remote), remote.client()
    proxy.set({"path": f"/{bucket}/", "method": "PUT", "without": "If-None-Match"})
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, **AT_ONCE)
    assert requests_of_delivery(proxy, daemon, bucket, "first") == ["HEAD", "PUT", "PUT"]
    assert requests_of_delivery(proxy, daemon, bucket, "second") == ["HEAD", "PUT"]
    assert {key: body_of(there, bucket, key) for key in ("first", "second")} == {"first": b"first", "second": b"second"}
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        assert 's3d_remote_requests_total{code="400"} 1.0' in answer.read().decode()


@pytest.mark.semantics("Q-18c", "Q-18a")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_delete_is_compared_and_finds_out_whether_it_may_have_a_condition(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy, there = refusing(remote), remote.client()
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_CONFLICT="Park", **AT_ONCE)
    s3, asked = daemon.client(), []
    for key in ("first", "second"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"ours")
        eventually(lambda: drained(daemon))
        before = len(proxy.seen())
        s3.delete_object(Bucket=bucket, Key=key)
        eventually(lambda: drained(daemon))
        asked.append([method for method, _ in map(str.split, proxy.seen()[before:])])
    honours = [["HEAD", "DELETE", "DELETE"], ["DELETE"]]
    assert asked in (honours, [["HEAD", "DELETE"]] * 2)
    assert "Contents" not in there.list_objects_v2(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="k", Body=b"ours")
    eventually(lambda: drained(daemon))
    proxy.set({"path": f"/{bucket}/k", "status": 503, "code": "SlowDown"})
    s3.delete_object(Bucket=bucket, Key="k")
    there.put_object(Bucket=bucket, Key="k", Body=b"foreign")
    proxy.set()
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    assert body_of(there, bucket) == b"foreign"
