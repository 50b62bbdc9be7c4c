"""The first write of each profile is judged by the remote, from outside (SEMANTICS Q-14, Q-4)."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from tests.clients import code_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.refusals import Refuse
from tests.relays import AWAY, Relay
from tests.remotes import Remote

pytestmark = pytest.mark.semantics("Q-14")


def durability(answer: Mapping[str, Any]) -> str:
    return str(answer["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"])


def put(daemon: Daemon, bucket: str, key: str = "k", **members: Any) -> str:
    """Put an object; which promise came back."""
    return durability(daemon.client().put_object(Bucket=bucket, Key=key, Body=b"x" * 100_000, **members))


@pytest.mark.semantics("D-6", "Q-14b")
def test_the_first_put_of_a_profile_goes_through_and_the_next_is_queued(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote)
    assert [put(daemon, bucket, key) for key in ("k1", "k2", "k3")] == ["remote", "local", "local"]
    daemon.kill()
    daemon.start()
    assert put(daemon, bucket, "k4") == "local"


@pytest.mark.semantics("R-6", "R-6a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_plain_writes_to_a_bucket_that_the_settings_vouch_for_are_proven(daemon: Daemon, bucket: str) -> None:
    assert put(daemon, bucket) == "local"


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_each_member_that_needs_a_right_of_its_own_makes_a_profile(daemon: Daemon, bucket: str) -> None:
    daemon.warm(bucket)
    assert put(daemon, bucket, Metadata={"a": "b"}, ContentType="text/x") == "local"
    for name, value in {
        "ACL": "private",
        "StorageClass": "STANDARD_IA",
        "ServerSideEncryption": "AES256",
        "Tagging": "a=b",
        "ExpectedBucketOwner": "123456789012",
    }.items():
        assert [put(daemon, bucket, **{name: value}) for _ in range(2)] == ["remote", "local"], name


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_deletes_are_a_profile_of_their_own_in_bulk_too(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote)
    s3 = daemon.client()
    assert put(daemon, bucket) == "remote"
    bulk = [s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}, {"Key": "never"}]}) for _ in range(2)]
    assert [durability(answer) for answer in bulk] == ["remote", "local"]
    assert [sorted(o["Key"] for o in answer["Deleted"]) for answer in bulk] == [["k", "never"]] * 2
    assert durability(s3.delete_object(Bucket=bucket, Key="k")) == "local"


@pytest.mark.semantics("Q-14b", "Q-16")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_first_upload_goes_through_whole_and_the_next_is_staged(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote)
    s3, seen = daemon.client(), []
    for key in ("k1", "k2"):
        name = {"Bucket": bucket, "Key": key}
        upload = s3.create_multipart_upload(**name)
        name["UploadId"] = upload["UploadId"]
        part = {"PartNumber": 1, "ETag": s3.upload_part(**name, PartNumber=1, Body=b"x")["ETag"]}
        done = s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [part]})
        seen.append([durability(upload), durability(done)])
    assert seen == [["remote", "remote"], ["local", "local"]]
    eventually(lambda: drained(daemon))
    assert "the remote shows" not in daemon.output()


@pytest.mark.semantics("Q-11", "Q-19")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_the_first_tags_of_a_pending_put_go_through_behind_it_unless_they_hold_it(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()

    def tag(key: str, **tags: str) -> str:
        tag_set = [{"Key": name.replace("_", "."), "Value": value} for name, value in tags.items()]
        return durability(s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tag_set}))

    assert [put(daemon, bucket, key) for key in ("k1", "k2", "k3", "k4")] == ["remote", "local", "local", "local"]
    assert tag("k2", s3d_upload="false") == "local"
    assert tag("k3", a="b") == "remote"
    assert remote.client().get_object_tagging(Bucket=bucket, Key="k3")["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert tag("k4", a="b") == "local"
    assert code_of(remote.client().head_object, Bucket=bucket, Key="k2") == "404"


@pytest.mark.semantics("Q-14c", "R-6")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize(("unverified", "expected"), [("Accept", ""), ("Reject", "ServiceUnavailable")])
def test_a_profile_not_seen_yet_is_queued_or_refused_while_the_remote_is_away(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, unverified: str, expected: str
) -> None:
    relayed = relay(remote)
    settings = {"S3D_BUCKETS": bucket, "S3D_WRITE_QUEUE_UNVERIFIED_WRITES": unverified, **AWAY}
    daemon = start_daemon(relayed.remote, **settings)
    daemon.warm(bucket)
    relayed.set(mode="refuse")
    s3 = daemon.client()
    # The first of these finds out that the remote is away: its body was not asked for, so the queue still takes it.
    for key in ("k1", "k2"):
        assert code_of(s3.put_object, Bucket=bucket, Key=key, Body=b"x" * 100_000, Tagging="a=b") == expected
    assert put(daemon, bucket, "k3") == "local"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert code_of(remote.client().head_object, Bucket=bucket, Key="k2") == ("404" if expected else "")


@pytest.mark.semantics("Q-5", "Q-5a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_first_put_with_a_bad_digest_leaves_nothing_at_the_remote(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote)
    bad = {"ContentMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert code_of(daemon.client().put_object, Bucket=bucket, Key="k", Body=b"x" * 100_000, **bad) == "BadDigest"
    assert code_of(remote.client().head_object, Bucket=bucket, Key="k") == "404"


@pytest.mark.semantics("Q-11", "Q-14c")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_put_that_is_to_be_held_never_goes_through_for_its_profile(daemon: Daemon, bucket: str) -> None:
    assert put(daemon, bucket, Tagging="s3d.upload=false") == "local"


@pytest.mark.parametrize("remote", ["moto", "versitygw", "minio"], indirect=True)
def test_a_push_that_comes_back_with_a_version_takes_its_profile_back(
    remote: Remote, bucket: str, daemon: Daemon
) -> None:
    daemon.warm(bucket)
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert put(daemon, bucket) == "local"
    eventually(lambda: drained(daemon))
    assert put(daemon, bucket) == "remote"


@pytest.mark.semantics("Q-4", "Q-4a")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_where_the_remote_shows_another_etag_it_is_counted_and_later_writes_go_through(
    remote: Remote, bucket: str, daemon: Daemon
) -> None:
    daemon.warm(bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "s3d-key"}}
    there = remote.client()
    there.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3 = daemon.client()
    acknowledged = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    eventually(lambda: drained(daemon))
    shown = there.head_object(Bucket=bucket, Key="k")["ETag"]
    assert shown != acknowledged
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == shown
    assert "the remote shows" in daemon.output()
    later = s3.put_object(Bucket=bucket, Key="k", Body=b"y")
    assert durability(later) == "remote"
    assert later["ETag"] == there.head_object(Bucket=bucket, Key="k")["ETag"]


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_push_that_is_denied_takes_its_profile_back_and_the_client_hears_of_it(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon
) -> None:
    proxy = refusing(remote)
    daemon = start_daemon(proxy.remote, S3D_BUCKETS=bucket)
    daemon.warm(bucket)
    proxy.set({"method": "PUT", "path": f"/{bucket}/", "status": 403, "code": "AccessDenied"})
    assert put(daemon, bucket) == "local"
    keys = (f"k{number}" for number in itertools.count())
    eventually(lambda: code_of(daemon.client().put_object, Bucket=bucket, Key=next(keys), Body=b"x") == "AccessDenied")
    proxy.set()
    eventually(lambda: drained(daemon))
    assert put(daemon, bucket) == "local"
