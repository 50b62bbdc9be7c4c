"""Tags that hold changes back, on the object and on its bucket."""

from typing import Any

import pytest

from tests.clients import code_of, raw
from tests.constants import PAUSES, changed
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.remotes import Remote
from tests.sidecar.layers.queue.push.test_lanes import state_of

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)
HELD = [{"Key": "s3d.upload", "Value": "false"}]
FREE = [{"Key": "s3d.upload", "Value": "true"}]


def keys_of(client: Any, bucket: str) -> list[str]:
    return [o["Key"] for o in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


@pytest.mark.semantics("Q-11")
def test_a_tag_on_the_object_holds_it_and_another_releases_it(daemon: Daemon, remote: Remote, bucket: str) -> None:
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="held", Body=b"x", Tagging="a=b&s3d%2Eupload=false")
    s3.put_object(Bucket=bucket, Key="free", Body=b"x", Tagging="s3d.upload=maybe")
    eventually(lambda: daemon.status()["pending"]["changes"] == 1)
    assert keys_of(remote.client(), bucket) == ["free"]
    change = state_of(daemon, bucket, "held")
    assert (change["state"], change["rule"]) == ("held", "the tag s3d.upload=false of the object")
    assert s3.get_object(Bucket=bucket, Key="held")["Body"].read() == b"x"
    assert daemon.status()["pending"]["oldest_age_seconds"] is None
    ran = daemon.cli("queue", "why", str(change["seq"]))
    lines = ["the tag s3d.upload=false of the object\tyes\tholds it, and decides", f"{change['rule']} holds it"]
    assert ran.stdout.decode().splitlines() == lines
    assert daemon.cli("queue", "why", "4711").returncode == 1
    daemon.kill()
    daemon.start()
    assert daemon.status()["states"]["held"] == 1
    assert daemon.status()["pending"]["kept_bytes"] == 1
    assert daemon.cli("set", f"{bucket}/held", "--tag", "s3d.upload=true").returncode == 0
    eventually(lambda: drained(daemon))
    tags = remote.client().get_object_tagging(Bucket=bucket, Key="held")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"a": "b", "s3d.upload": "true"}


@pytest.mark.semantics("Q-11")
def test_a_tag_put_on_a_waiting_object_holds_it(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": HELD})
    assert state_of(daemon, bucket, "k")["state"] == "held"
    assert daemon.cli("flush", bucket).returncode == 75
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert daemon.cli("flush", bucket).returncode == 0
    assert keys_of(remote.client(), bucket) == ["k"]


@pytest.mark.semantics("Q-11")
def test_a_tag_on_the_bucket_holds_all_of_it_but_what_says_otherwise(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    remote.client().put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": HELD})
    remote.client().put_object(Bucket=bucket, Key="gone", Body=b"x")
    daemon = start_daemon(remote)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="held", Body=b"x", Tagging="a=b")
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", Tagging="s3d.upload=true")
    s3.delete_object(Bucket=bucket, Key="gone")
    eventually(lambda: keys_of(remote.client(), bucket) == ["gone", "own"])
    assert daemon.status()["states"]["held"] == 2
    assert state_of(daemon, bucket, "held")["rule"] == "the tag s3d.upload=false of the bucket"
    assert daemon.cli("set", bucket, "--untag", "s3d.upload").returncode == 0
    eventually(lambda: drained(daemon))
    assert keys_of(remote.client(), bucket) == ["held", "own"]
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": HELD})
    s3.put_object(Bucket=bucket, Key="late", Body=b"x")
    assert state_of(daemon, bucket, "late")["state"] == "held"


@pytest.mark.semantics("Q-11")
def test_a_bucket_that_is_tagged_elsewhere_releases_what_it_held(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    remote.client().put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": HELD})
    daemon = start_daemon(remote, **changed(PAUSES | {"s3d.layers.queue.judging.MAX_BATCH": 5}))
    s3 = daemon.client()
    for number in range(6):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    assert daemon.status()["states"]["held"] == 6
    remote.client().put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": FREE})
    eventually(lambda: daemon.status()["states"]["held"] == 0)
    eventually(lambda: drained(daemon))


@pytest.mark.semantics("Q-9", "Q-9a", "Q-11", "R-3")
def test_a_held_change_is_superseded_by_a_newer_write_and_refuses_a_barrier_at_once(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="s3d.upload=false")
    status, _, document = raw(daemon, "GET", f"/{bucket}/k?acl")
    assert status == 503
    assert b"<PendingKey>k</PendingKey>" in document
    assert b"is held" in document
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == "SlowDown"
    s3.put_object(Bucket=bucket, Key="k", Body=b"3")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"


@pytest.mark.semantics("Q-7", "Q-7d", "Q-11")
def test_held_changes_count_to_files(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    limits = {"S3D_WRITE_QUEUE_MAX_FILES": "4", "S3D_WRITE_QUEUE_WAIT": "100ms", "S3D_WRITE_QUEUE_DELAY": "1h"}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **limits)
    s3 = daemon.client()
    for number in range(2):
        s3.put_object(Bucket=bucket, Key=f"held {number}", Body=b"x", Tagging="s3d.upload=false")
        s3.put_object(Bucket=bucket, Key=f"free {number}", Body=b"x")
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x") == "SlowDown"
    assert daemon.cli("queue", "discard", f"{bucket}/held 1", "--yes").returncode == 0
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")


@pytest.mark.semantics("Q-7", "Q-7d", "Q-11")
def test_held_changes_count_to_size_and_never_to_age(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    limits = {"S3D_WRITE_QUEUE_MAX_SIZE": "64Ki", "S3D_WRITE_QUEUE_WAIT": "100ms", "S3D_WRITE_QUEUE_MAX_AGE": "1ms"}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **limits)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="held", Body=b"x", Tagging="s3d.upload=false")
    s3.put_object(Bucket=bucket, Key="first", Body=b"x")
    # What is on its way counts to age.
    eventually(lambda: daemon.status()["pending"]["changes"] == 1)
    s3.put_object(Bucket=bucket, Key="held2", Body=bytes(20_000), Tagging="s3d.upload=false")
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=bytes(50_000)) == "SlowDown"
    assert daemon.cli("queue", "discard", f"{bucket}/held2", "--yes").returncode == 0
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(50_000))
    eventually(lambda: daemon.status()["pending"]["changes"] == 1)
    assert daemon.terminate() == 75
    assert "0 of them parked and 1 held" in daemon.output()
