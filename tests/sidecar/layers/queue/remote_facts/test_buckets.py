"""What is known of buckets, and what that means for their writes, from outside (SEMANTICS Q-14, R-5, R-6, R-9)."""

import base64
import hashlib

import pytest

from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote


@pytest.mark.semantics("Q-14", "Q-14a")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_versioned_bucket_may_be_queued_for_and_each_change_is_a_version(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    there, relayed = remote.client(), relay(remote)
    there.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    daemon = start_daemon(relayed.remote, S3D_WRITE_QUEUE_VERSIONED="Queue", S3D_BUCKETS=bucket, **AWAY)
    daemon.warm(bucket)
    assert b"queued, each as a version" in daemon.cli("status", bucket).stdout
    relayed.set(mode="refuse")
    s3 = daemon.client()
    eventually(lambda: code_of(s3.list_buckets) != "")
    for body in (b"1", b"22"):
        put = s3.put_object(Bucket=bucket, Key="k", Body=body)
        assert "VersionId" not in put
    assert "VersionId" not in s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"4444")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"4444"
    assert code_of(s3.get_object, Bucket=bucket, Key="k", VersionId="null") == "SlowDown"
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.list_buckets) == "")
    # It names a version, so it waits for all that is pending on the key.
    code_of(s3.head_object, Bucket=bucket, Key="k", VersionId="null")
    listed = there.list_object_versions(Bucket=bucket, Prefix="k")
    assert [version["Size"] for version in listed["Versions"]] == [4, 2, 1]
    assert len(listed["DeleteMarkers"]) == 1
    eventually(lambda: drained(daemon))
    assert (
        s3.put_object(Bucket=bucket, Key="k", Body=b"5")["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"]
        == "local"
    )


SSE_C_KEY = b"0123456789abcdef0123456789abcdef"
TO_BE_DECIDED: dict[str, dict[str, str]] = {
    "sse-c": {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(SSE_C_KEY).decode(),
        "x-amz-server-side-encryption-customer-key-md5": base64.b64encode(
            hashlib.md5(SSE_C_KEY, usedforsecurity=False).digest()
        ).decode(),
    },
    "sse-kms": {"x-amz-server-side-encryption": "aws:kms"},
    "glacier": {"x-amz-storage-class": "GLACIER"},
    "deep-archive": {"x-amz-storage-class": "DEEP_ARCHIVE"},
    "if-match": {"If-Match": '"x"'},
    "if-none-match": {"If-None-Match": "*"},
}


@pytest.mark.semantics("Q-14", "R-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_the_remote_must_decide_is_503_while_it_is_away_and_never_on_the_disk(
    away: tuple[Daemon, Relayed, str],
) -> None:
    daemon, relayed, bucket = away
    secret = b"clear bytes of a secret " * 2000
    for name, headers in TO_BE_DECIDED.items():
        assert raw(daemon, "PUT", f"/{bucket}/{name}", secret, **headers)[0] == 503, name
    daemon.client().put_object(Bucket=bucket, Key="other", Body=b"on the disk " * 4000)
    relayed.set(mode="pass")
    eventually(lambda: code_of(daemon.client().list_buckets) == "")
    for name, headers in TO_BE_DECIDED.items():
        status, given, _ = raw(daemon, "PUT", f"/{bucket}/{name}", secret, **headers)
        assert (status, given.get("x-s3d-durability")) in [(200, "remote"), (412, None), (404, None)], name
    found = b"".join(path.read_bytes() for path in daemon.local_dir.rglob("*") if path.is_file())
    assert b"clear bytes of a secret" not in found
    assert TO_BE_DECIDED["sse-c"]["x-amz-server-side-encryption-customer-key"].encode() not in found
    assert SSE_C_KEY not in found


@pytest.mark.semantics("R-5")
@pytest.mark.parametrize("remote", ["moto", "minio"], indirect=True)
def test_a_conditional_put_is_decided_after_the_keys_pending_changes(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="first of its profile", Body=b"")
    pending = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert pending["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "local"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


@pytest.mark.semantics("R-6", "R-6a", "R-9")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_settings_word_for_a_bucket_is_void_once_the_remote_says_otherwise(
    remote: Remote, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    relayed.set(mode="refuse")
    daemon = start_daemon(relayed.remote, S3D_BUCKETS="never-was", **AWAY)
    s3 = daemon.client()
    s3.put_object(Bucket="never-was", Key="k", Body=b"x")
    assert code_of(s3.head_bucket, Bucket="never-was") == ""
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.put_object, Bucket="never-was", Key="k2", Body=b"x") == "NoSuchBucket")
    relayed.set(mode="refuse")
    eventually(lambda: code_of(s3.list_buckets) != "")
    daemon.kill()
    daemon.start()
    assert code_of(s3.put_object, Bucket="never-was", Key="k3", Body=b"x") == "ServiceUnavailable"
    assert code_of(s3.head_bucket, Bucket="never-was") == "503"
    assert s3.get_object(Bucket="never-was", Key="k")["Body"].read() == b"x"


@pytest.mark.semantics("R-9", "R-9a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_bucket_with_a_parked_put_is_not_empty(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket)
    daemon.warm(bucket)
    s3 = daemon.client()
    proxy.set({"method": "PUT", "path": f"/{bucket}/bad", "status": 400, "code": "EntityTooLarge"})
    s3.put_object(Bucket=bucket, Key="good", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="good")
    s3.put_object(Bucket=bucket, Key="bad", Body=b"x")
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    assert code_of(s3.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    s3.delete_object(Bucket=bucket, Key="bad")
    assert code_of(s3.delete_bucket, Bucket=bucket) == ""
    assert code_of(remote.client().head_bucket, Bucket=bucket) == "404"


@pytest.mark.semantics("R-6")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_bucket_that_nobody_vouches_for_takes_no_put_while_the_remote_is_away(
    away: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, _ = away
    remote.client().create_bucket(Bucket="unseen")
    s3 = daemon.client()
    assert code_of(s3.put_object, Bucket="unseen", Key="k", Body=b"x") == "ServiceUnavailable"
    relayed.set(mode="pass")
    eventually(lambda: code_of(s3.put_object, Bucket="unseen", Key="k", Body=b"x") == "")
    relayed.set(mode="refuse")
    eventually(lambda: code_of(s3.list_buckets) != "")
    s3.put_object(Bucket="unseen", Key="k2", Body=b"x")
    s3.head_bucket(Bucket="unseen")
    assert code_of(s3.put_object, Bucket="never-was", Key="k", Body=b"x") == "ServiceUnavailable"


@pytest.mark.semantics("R-6")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_put_to_a_bucket_that_is_not_there_is_refused_at_once(daemon: Daemon) -> None:
    assert code_of(daemon.client().put_object, Bucket="never-was", Key="k", Body=b"x") == "NoSuchBucket"


@pytest.mark.semantics("Q-14")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_versioned_bucket_is_written_through(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3 = start_daemon(remote).client()
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert put["VersionId"]
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "remote"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=put["VersionId"])["Body"].read() == b"1"


@pytest.mark.semantics("R-9")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_known_bucket_is_there_while_the_remote_is_away(away: tuple[Daemon, Relayed, str]) -> None:
    daemon, _, bucket = away
    s3 = daemon.client()
    eventually(lambda: daemon.status()["remote"]["state"] == "away" or code_of(s3.list_buckets) == "")
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
