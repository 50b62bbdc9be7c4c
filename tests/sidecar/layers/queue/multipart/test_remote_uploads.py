"""Uploads that the remote knows of: those that go through, those that it lists, and what is left of them there."""

from typing import Any

import pytest

from tests.clients import code_of, data_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Relay, Relayed
from tests.remotes import Remote, new_client
from tests.sidecar.layers.queue.multipart.uploading import AWAY, LEAST, MIB, Uploading, away, bodies_of, uploads_of

__all__ = ["away"]


@pytest.mark.remote
@pytest.mark.semantics("Q-14")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_an_upload_to_a_versioned_bucket_goes_through(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    daemon = start_daemon(remote)
    upload = Uploading(daemon.client(), bucket, "k")
    assert uploads_of(remote, bucket, "k") == [upload.id]
    upload.part(1, data_of(LEAST))
    upload.part(2, b"tail")
    # Versitygw takes no checksums in the document of an upload that was begun without an algorithm.
    bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in upload.parts()]
    assert upload.complete(MultipartUpload={"Parts": bare})["VersionId"]
    assert remote.client().get_object(**upload.name)["Body"].read() == upload.data


@pytest.mark.remote
@pytest.mark.semantics("Q-3", "Q-3c", "Q-8f")
@pytest.mark.semantics("Q-8")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_complete_whose_answer_is_lost_is_settled_by_what_the_remote_shows(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    relayed.set(bandwidth=MIB // 4)
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(LEAST, 1))
    upload.part(2, b"tail")
    upload.complete()
    eventually(lambda: uploads_of(remote, bucket, "k") != [])
    relayed.set(bandwidth=0, mode="drop", only=["POST"])
    eventually(lambda: code_of(remote.client().head_object, Bucket=bucket, Key="k") == "")
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(**upload.name)["ETag"] == upload.etag
    assert uploads_of(remote, bucket, "k") == []


@pytest.mark.remote
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_an_upload_whose_beginning_was_not_heard_is_found_again_and_none_is_left_behind(
    away: tuple[Daemon, Relayed], remote: Remote, bucket: str
) -> None:
    daemon, relayed = away
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(LEAST))
    upload.complete()
    relayed.set(mode="drop", only=["POST"])
    eventually(lambda: code_of(remote.client().head_object, **upload.name) == "")
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(**upload.name)["ETag"] == upload.etag
    assert uploads_of(remote, bucket, "k") == []


def listed(s3: Any, bucket: str, most: int, **params: Any) -> tuple[list[tuple[str, str]], list[str]]:
    """All uploads, as key and id, and all common prefixes, asked for page by page."""
    found: list[tuple[str, str]] = []
    prefixes: list[str] = []
    markers: dict[str, str] = {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, MaxUploads=most, **params, **markers)
        uploads, common = page.get("Uploads", []), page.get("CommonPrefixes", [])
        assert 1 <= len(uploads) + len(common) <= most
        found += [(one["Key"], one["UploadId"]) for one in uploads]
        prefixes += [one["Prefix"] for one in common]
        if not page["IsTruncated"]:
            return found, prefixes
        markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


@pytest.mark.remote
@pytest.mark.semantics("Q-16")
@pytest.mark.semantics("R-1")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_our_uploads_and_the_remotes_are_one_list(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY)
    s3 = new_client(daemon.endpoint)
    every = [
        (key, Uploading(of, bucket, key).id)
        for of, keys in ((remote.client(), ("a/1", "b", "m")), (s3, ("a/2", "a/3", "b", "b", "z\u00fc")))
        for key in keys
    ]
    for most in (1, 2, 3, 1000):
        found, prefixes = listed(s3, bucket, most)
        assert sorted(found) == sorted(every)
        assert [key for key, _ in found] == sorted(key for key, _ in every)
        assert prefixes == []
        found, prefixes = listed(s3, bucket, most, Delimiter="/")
        assert (sorted(found), prefixes) == (sorted(one for one in every if "/" not in one[0]), ["a/"])
    assert sorted(listed(s3, bucket, 2, Prefix="a/")[0]) == sorted(one for one in every if one[0].startswith("a/"))
    relayed.set(mode="refuse")
    assert code_of(s3.list_multipart_uploads, Bucket=bucket) == "ServiceUnavailable"
    s3.meta.events.register(
        "before-sign.s3.ListMultipartUploads",
        lambda request, **_: request.headers.add_header("x-s3d-listing", "pending"),
    )
    assert [key for key, _ in listed(s3, bucket, 2)[0]] == ["a/2", "a/3", "b", "b", "z\u00fc"]


@pytest.mark.remote
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_bucket_goes_with_its_open_uploads(daemon: Daemon, bucket: str) -> None:
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(MIB))
    daemon.client().delete_bucket(Bucket=bucket)
    eventually(lambda: bodies_of(daemon) == [])
    assert code_of(upload.complete) == "NoSuchUpload"


@pytest.mark.remote
@pytest.mark.semantics("Q-14")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_an_upload_whose_bucket_gets_versions_is_completed_by_the_remote(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(LEAST))
    upload.part(2, b"tail")
    daemon.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    answer = upload.complete()
    assert (answer["ETag"], bool(answer["VersionId"])) == (upload.etag, True)
    assert remote.client().get_object(**upload.name)["Body"].read() == upload.data
    assert uploads_of(remote, bucket, "k") == []


@pytest.mark.remote
@pytest.mark.semantics("R-7")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_an_upload_that_the_remote_began_goes_on_there(daemon: Daemon, remote: Remote, bucket: str) -> None:
    upload = Uploading(remote.client(), bucket, "k", ChecksumAlgorithm="CRC32")
    upload.s3 = daemon.client()
    upload.part(1, data_of(LEAST), ChecksumAlgorithm="CRC32")
    upload.part(2, b"tail", ChecksumAlgorithm="CRC32")
    assert [p["Size"] for p in upload.s3.list_parts(**upload.name, UploadId=upload.id)["Parts"]] == [LEAST, 4]
    upload.complete()
    assert remote.client().get_object(**upload.name)["Body"].read() == upload.data
