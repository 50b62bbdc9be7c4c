"""What a request waits for, and what it never overtakes (SEMANTICS R-3, R-5, Q-7): barriers, conditions, limits."""

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually, pending
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote


@pytest.mark.semantics("R-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_condition_is_never_guessed(away: tuple[Daemon, Relayed, str]) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*") == "ServiceUnavailable"
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.list_buckets) == "")
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfNoneMatch="*") == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


@pytest.mark.semantics("R-3", "R-3a", "R-4")
def test_what_the_queue_does_not_know_waits_for_what_it_depends_on(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1s")
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.put_object(Bucket=bucket, Key="k2", Body=b"x")
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k", "k2"]
    s3.put_object(Bucket=bucket, Key="k3", Body=b"yy")
    s3.copy_object(Bucket=bucket, Key="k4", CopySource={"Bucket": bucket, "Key": "k3"})
    assert s3.get_object(Bucket=bucket, Key="k4")["Body"].read() == b"yy"
    s3.put_object(Bucket=bucket, Key="k5", Body=b"x")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{n}"} for n in ("", 2, 3, 4, 5)]})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.semantics("R-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_a_request_waits_for_is_pushed_without_its_delay(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    for key in ("k", "k2", "k3"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    assert pending(daemon) == 2
    s3.put_object(Bucket=bucket, Key="k2", Body=b"2", IfMatch=s3.head_object(Bucket=bucket, Key="k2")["ETag"])
    assert pending(daemon) == 1
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    assert pending(daemon) == 0


@pytest.mark.semantics("R-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_needs_the_remote_is_503_while_it_is_away(away: tuple[Daemon, Relayed, str]) -> None:
    daemon, _, bucket = away
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    for method, path in (
        ("GET", f"/{bucket}?list-type=2"),
        ("GET", f"/{bucket}/k?acl"),
        ("GET", f"/{bucket}/other"),
        ("GET", "/"),
        ("PUT", f"/{bucket}/k?renameObject"),
    ):
        status, headers, document = raw(daemon, method, path)
        assert (method, path, status) == (method, path, 503)
        assert int(headers["retry-after"]) >= 1
        assert b"<Error>" in document


@pytest.mark.semantics("Q-7")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_full_queue_says_so_and_takes_nothing_halfway(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    relayed.set(mode="refuse")
    limits = {"S3D_WRITE_QUEUE_MAX_SIZE": "100k", "S3D_WRITE_QUEUE_MAX_FILES": "3", "S3D_WRITE_QUEUE_WAIT": "100ms"}
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY, **limits)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k1", Body=b"x" * 60_000)
    assert code_of(s3.put_object, Bucket=bucket, Key="k2", Body=b"x" * 60_000) == "SlowDown"
    assert code_of(s3.get_object, Bucket=bucket, Key="k2") == "ServiceUnavailable"
    s3.put_object(Bucket=bucket, Key="k2", Body=b"x")
    s3.put_object(Bucket=bucket, Key="k3", Body=b"x")
    assert code_of(s3.delete_object, Bucket=bucket, Key="k4") == "SlowDown"
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.put_object, Bucket=bucket, Key="k2", Body=b"x" * 60_000) == "")
    s3.put_object(Bucket=bucket, Key="larger", Body=b"x" * 200_000)
    assert remote.client().head_object(Bucket=bucket, Key="larger")["ContentLength"] == 200_000


@pytest.mark.semantics("Q-7", "Q-7c")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_while_the_oldest_change_is_too_old_new_writes_are_refused_and_nothing_is_dropped(
    away: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = away
    daemon.kill()
    daemon.settings |= {"S3D_WRITE_QUEUE_MAX_AGE": "1s", "S3D_WRITE_QUEUE_WAIT": "100ms"}
    daemon.start()
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: code_of(s3.put_object, Bucket=bucket, Key="k2", Body=b"2") == "SlowDown")
    assert code_of(s3.delete_object, Bucket=bucket, Key="k") == "SlowDown"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.put_object, Bucket=bucket, Key="k2", Body=b"2") == "")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


@pytest.mark.semantics("Q-20")
def test_a_bulk_delete_is_answered_key_by_key(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    for key in ("a", "b"):
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"old")
    s3.put_object(Bucket=bucket, Key="c", Body=b"new")
    wanted: list[dict[str, str]] = [{"Key": "a"}, {"Key": "b", "VersionId": "null"}, {"Key": "c"}, {"Key": "never"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})
    assert [o["Key"] for o in answer["Deleted"]] == ["a", "c", "never"]
    assert [(o["Key"], o["Code"]) for o in answer["Errors"]] == [("b", "ServiceUnavailable")]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "x&<>\u00e9"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert "Errors" not in quiet
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["b"]
    many = [{"Key": f"k{number}"} for number in range(1001)]
    assert code_of(s3.delete_objects, Bucket=bucket, Delete={"Objects": many}) == "MalformedXML"
