"""Multipart uploads from outside: a stock client, the real daemon, real remotes, and a network that breaks."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from tests.clients import code_of, data_of
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Relay, Relayed
from tests.remotes import Remote
from tests.sidecar.layers.queue.multipart.uploading import AWAY, LEAST, MIB, Uploading, away, bodies_of, uploads_of

__all__ = ["away"]


@pytest.mark.remote
@pytest.mark.semantics("Q-4")
@pytest.mark.semantics("Q-6")
@pytest.mark.semantics("Q-16")
def test_an_upload_keeps_its_etag_and_its_boundaries_all_the_way_to_the_remote(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    upload = Uploading(daemon.client(), bucket, "a/k", Metadata={"a": "1"}, ContentType="text/x")
    for number, size in ((7, 100), (2, LEAST), (5, LEAST), (2, LEAST + MIB)):
        upload.part(number, data_of(size, number + size))
    answer = upload.complete()
    eventually(lambda: drained(daemon))
    s3 = remote.client()
    head = s3.head_object(Bucket=bucket, Key="a/k")
    assert answer["ETag"] == head["ETag"] == upload.etag
    assert (head["Metadata"], head["ContentType"]) == ({"a": "1"}, "text/x")
    assert s3.get_object(Bucket=bucket, Key="a/k")["Body"].read() == upload.data
    if remote.name != "moto":
        # Moto answers 500 where the first part has not the number 1.
        assert s3.head_object(Bucket=bucket, Key="a/k", PartNumber=1)["ContentLength"] == LEAST + MIB
    assert uploads_of(remote, bucket, "a/k") == []
    eventually(lambda: bodies_of(daemon) == [])


@pytest.mark.remote
@pytest.mark.semantics("D-1")
@pytest.mark.semantics("R-1")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_an_upload_needs_no_remote_and_survives_kills(
    away: tuple[Daemon, Relayed], remote: Remote, bucket: str
) -> None:
    daemon, relayed = away
    s3 = daemon.client()
    upload = Uploading(s3, bucket, "k", ContentType="text/x")
    upload.part(1, data_of(LEAST, 1))
    daemon.kill()
    daemon.start()
    upload.part(2, data_of(LEAST, 2))
    upload.part(3, b"tail")
    listed = s3.list_parts(**upload.name, UploadId=upload.id, MaxParts=2)
    assert [(p["PartNumber"], p["Size"]) for p in listed["Parts"]] == [(1, LEAST), (2, LEAST)]
    assert (listed["IsTruncated"], listed["NextPartNumberMarker"]) == (True, 2)
    etag = upload.complete()["ETag"]
    daemon.kill()
    daemon.start()
    assert etag == upload.etag == s3.head_object(**upload.name)["ETag"]
    assert upload.complete()["ETag"] == etag
    whole = s3.get_object(**upload.name)
    assert (whole["Body"].read(), whole["ContentType"]) == (upload.data, "text/x")
    seam = s3.get_object(**upload.name, Range=f"bytes={LEAST - 2}-{LEAST + 1}", IfMatch=etag)
    assert seam["Body"].read() == upload.data[LEAST - 2 : LEAST + 2]
    second = s3.get_object(**upload.name, PartNumber=2)
    assert (second["Body"].read(), second["PartsCount"]) == (data_of(LEAST, 2), 3)
    assert second["ContentRange"] == f"bytes {LEAST}-{2 * LEAST - 1}/{2 * LEAST + 4}"
    assert code_of(s3.get_object, **upload.name, PartNumber=4) == "InvalidPartNumber"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(**upload.name)["ETag"] == etag
    assert remote.client().get_object(**upload.name)["Body"].read() == upload.data


@pytest.mark.remote
@pytest.mark.semantics("Q-13")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_a_kill_halfway_through_a_push_leaves_no_upload_behind(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    relayed.set(bandwidth=MIB // 4)
    upload = Uploading(daemon.client(), bucket, "k")
    for number in (1, 2, 3):
        upload.part(number, data_of(LEAST, number))
    upload.complete()
    eventually(lambda: uploads_of(remote, bucket, "k") != [])
    for _ in range(2):
        daemon.kill()
        daemon.start()
        before = relayed.set()["requests"]
        eventually(lambda: relayed.set()["requests"] > before)  # noqa: B023
    relayed.set(bandwidth=0)
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(**upload.name)["ETag"] == upload.etag
    assert uploads_of(remote, bucket, "k") == []


@pytest.mark.remote
@pytest.mark.semantics("Q-15")
@pytest.mark.semantics("R-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_complete_is_judged_as_the_remote_would(away: tuple[Daemon, Relayed], bucket: str) -> None:
    s3 = away[0].client()
    upload = Uploading(s3, bucket, "k")
    upload.part(1, b"small")
    upload.part(2, data_of(LEAST))
    one, two = upload.parts()

    def refused(*parts: dict[str, Any], **params: Any) -> str:
        return code_of(upload.complete, MultipartUpload={"Parts": list(parts)}, **params)

    assert refused(two, one) == "InvalidPartOrder"
    assert refused(one, one) == "InvalidPartOrder"
    assert refused(one, {**two, "PartNumber": 3}) == "InvalidPart"
    assert refused({**one, "ETag": two["ETag"]}) == "InvalidPart"
    assert refused(one, two) == "EntityTooSmall"
    assert refused() == "MalformedXML"
    assert refused(two, MpuObjectSize=1) == "InvalidRequest"
    assert code_of(s3.upload_part, **upload.name, UploadId=upload.id, PartNumber=10_001) == "InvalidArgument"
    assert code_of(s3.upload_part, Bucket=bucket, Key="other", UploadId=upload.id, PartNumber=1) == "NoSuchUpload"
    # What only the remote can judge is not guessed while it is away, and leaves the upload as it was.
    assert refused(two, IfNoneMatch="*") == "ServiceUnavailable"
    assert upload.complete(MultipartUpload={"Parts": [two]})["ETag"].endswith('-1"')
    assert s3.head_object(**upload.name)["ContentLength"] == LEAST
    assert code_of(s3.upload_part, **upload.name, UploadId=upload.id, PartNumber=1) == "NoSuchUpload"
    assert code_of(s3.list_parts, **upload.name, UploadId=upload.id) == "NoSuchUpload"


@pytest.mark.remote
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_abort_and_replaced_parts_free_the_disk(away: tuple[Daemon, Relayed], bucket: str) -> None:
    daemon, _ = away
    upload = Uploading(daemon.client(), bucket, "k")
    for seed in range(3):
        upload.part(1, data_of(MIB, seed))
    eventually(lambda: len(bodies_of(daemon)) == 1)
    daemon.client().abort_multipart_upload(**upload.name, UploadId=upload.id)
    eventually(lambda: bodies_of(daemon) == [])
    assert code_of(upload.complete) == "NoSuchUpload"
    assert code_of(daemon.client().abort_multipart_upload, **upload.name, UploadId=upload.id) == "NoSuchUpload"


@pytest.mark.remote
@pytest.mark.semantics("Q-4")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_stock_client_uploads_and_downloads_a_file_in_parts(
    daemon: Daemon, remote: Remote, bucket: str, tmp_path: Path
) -> None:
    (tmp_path / "up").write_bytes(data_of(20 * MIB))
    parts = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB, max_concurrency=4)
    s3 = daemon.client()
    s3.upload_file(str(tmp_path / "up"), bucket, "k", Config=parts)
    s3.download_file(bucket, "k", str(tmp_path / "down"), Config=parts)
    assert (tmp_path / "down").read_bytes() == data_of(20 * MIB)
    acknowledged = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    eventually(lambda: drained(daemon))
    assert remote.client().head_object(Bucket=bucket, Key="k")["ETag"] == acknowledged
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == data_of(20 * MIB)


@pytest.mark.remote
@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
def test_the_checksum_of_an_object_is_the_one_that_the_remote_shows(
    away: tuple[Daemon, Relayed], remote: Remote, bucket: str
) -> None:
    daemon, relayed = away
    s3 = daemon.client()
    kinds = ("CRC32", "COMPOSITE"), ("SHA256", "COMPOSITE"), ("CRC32", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT")
    here = []
    for algorithm, kind in kinds:
        upload = Uploading(s3, bucket, f"{algorithm} {kind}", ChecksumAlgorithm=algorithm, ChecksumType=kind)
        upload.part(1, data_of(LEAST), ChecksumAlgorithm=algorithm)
        upload.part(2, b"tail", ChecksumAlgorithm=algorithm)
        here.append((upload, upload.complete(), s3.head_object(**upload.name, ChecksumMode="ENABLED")))
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    for (algorithm, kind), (upload, answer, pending) in zip(kinds, here, strict=True):
        pushed = remote.client().head_object(**upload.name, ChecksumMode="ENABLED")
        name = f"Checksum{algorithm}"
        assert answer[name] == pending[name] == pushed[name]
        assert pending["ChecksumType"] == pushed["ChecksumType"] == kind
        assert pushed["ETag"] == upload.etag


@pytest.mark.remote
@pytest.mark.semantics("Q-16", "Q-16a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_part_is_copied_from_an_object_that_only_we_have(away: tuple[Daemon, Relayed], bucket: str) -> None:
    s3 = away[0].client()
    s3.put_object(Bucket=bucket, Key="source", Body=data_of(LEAST + 10))
    source = {"Bucket": bucket, "Key": "source"}
    upload = Uploading(s3, bucket, "k")

    def copy(number: int, **params: Any) -> str:
        answer = s3.upload_part_copy(**upload.name, UploadId=upload.id, PartNumber=number, CopySource=source, **params)
        return str(answer["CopyPartResult"]["ETag"])

    whole, tail = copy(1), copy(2, CopySourceRange=f"bytes={LEAST}-{LEAST + 9}")
    assert whole == f'"{hashlib.md5(data_of(LEAST + 10)).hexdigest()}"'
    upload.complete(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": whole}, {"PartNumber": 2, "ETag": tail}]})
    expected = data_of(LEAST + 10) + data_of(LEAST + 10)[LEAST:]
    assert s3.get_object(**upload.name)["Body"].read() == expected
    upload = Uploading(s3, bucket, "k")
    assert code_of(copy, number=1, CopySourceRange=f"bytes=0-{LEAST + 10}") == "InvalidRange"
    assert code_of(copy, number=1, CopySourceRange="bytes=5") == "InvalidArgument"
    assert code_of(copy, number=1, CopySourceIfMatch='"other"') == "PreconditionFailed"
    source["Key"] = "nothing"
    assert code_of(copy, number=1) == "ServiceUnavailable"


@pytest.mark.remote
@pytest.mark.semantics("R-5")
@pytest.mark.parametrize("remote", ["minio"], indirect=True)
def test_a_conditional_complete_is_decided_by_the_remote(daemon: Daemon, remote: Remote, bucket: str) -> None:
    first = Uploading(daemon.client(), bucket, "k")
    second = Uploading(daemon.client(), bucket, "k")
    for number, size in ((1, LEAST), (2, 10)):
        first.part(number, data_of(size, 1))
        second.part(number, data_of(size, 2))
    assert first.complete(IfNoneMatch="*")["ETag"] == first.etag
    assert remote.client().head_object(Bucket=bucket, Key="k")["ETag"] == first.etag
    assert code_of(second.complete, IfNoneMatch="*") == "PreconditionFailed"
    assert second.complete(IfMatch=first.etag)["ETag"] == second.etag
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == second.data
    eventually(lambda: bodies_of(daemon) == [])


@pytest.mark.remote
@pytest.mark.semantics("Q-7", "Q-16c")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_the_largest_upload_spills_when_half_of_the_queue_is_open_uploads(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_MAX_SIZE="24Mi", **AWAY)
    large, small = Uploading(daemon.client(), bucket, "large"), Uploading(daemon.client(), bucket, "small")
    small.part(1, data_of(LEAST, 9))
    large.part(1, data_of(LEAST, 1))
    large.part(2, data_of(LEAST, 2))
    eventually(lambda: len(bodies_of(daemon)) == 1)
    assert len(uploads_of(remote, bucket, "large")) == 1
    listed = large.s3.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [(one["Key"], one["UploadId"]) for one in listed] == [("large", large.id), ("small", small.id)]
    large.part(3, data_of(LEAST, 3))
    assert len(bodies_of(daemon)) == 1
    listed = large.s3.list_parts(**large.name, UploadId=large.id)["Parts"]
    assert [(p["PartNumber"], p["Size"]) for p in listed] == [(n, LEAST) for n in (1, 2, 3)]
    relayed.set(mode="refuse")
    eventually(lambda: daemon.status()["remote"]["state"] == "away" or code_of(large.s3.list_buckets) == "")
    assert code_of(large.part, number=4, data=b"x") == "ServiceUnavailable"
    small.part(2, b"tail")
    assert small.complete()["ETag"] == small.etag
    relayed.set(mode="pass")
    eventually(lambda: daemon.status()["remote"]["state"] == "reachable")
    large.part(4, b"tail")
    assert large.complete()["ETag"] == large.etag
    assert large.complete()["ETag"] == large.etag
    eventually(lambda: drained(daemon))
    for upload in (large, small):
        assert remote.client().get_object(**upload.name)["Body"].read() == upload.data
        assert remote.client().head_object(**upload.name)["ETag"] == upload.etag
        assert uploads_of(remote, bucket, upload.name["Key"]) == []


@pytest.mark.remote
@pytest.mark.semantics("Q-16", "Q-16b")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("daemon", [{"S3D_WRITE_QUEUE_MAX_UPLOAD_AGE": "1s"}], indirect=True)
def test_an_abandoned_upload_expires(daemon: Daemon, bucket: str) -> None:
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(MIB))
    eventually(lambda: bodies_of(daemon) == [])
    assert code_of(upload.part, number=2, data=b"x") == "NoSuchUpload"


@pytest.mark.remote
@pytest.mark.semantics("Q-2")
@pytest.mark.semantics("Q-16")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_newer_write_supersedes_a_completed_upload_and_frees_its_parts(
    away: tuple[Daemon, Relayed], remote: Remote, bucket: str
) -> None:
    daemon, relayed = away
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(MIB))
    upload.complete()
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"newer")
    eventually(lambda: bodies_of(daemon) == [])
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"newer"
    assert uploads_of(remote, bucket, "k") == []


@pytest.mark.remote
@pytest.mark.semantics("D-4", "Q-5", "Q-9")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_damaged_part_is_never_pushed_and_never_read_but_exported_as_it_is(
    away: tuple[Daemon, Relayed], remote: Remote, bucket: str, tmp_path: Path
) -> None:
    daemon, relayed = away
    upload = Uploading(daemon.client(), bucket, "k")
    upload.part(1, data_of(LEAST))
    upload.part(2, data_of(MIB))
    upload.complete()
    bodies = daemon.local_dir / "queue" / "bodies"
    damaged = min((bodies / name for name in bodies_of(daemon)), key=lambda path: path.stat().st_size)
    with damaged.open("r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    relayed.set(mode="pass")
    eventually(lambda: daemon.status()["states"]["quarantined"] == 1)
    assert code_of(daemon.client().get_object, **upload.name) == "ServiceUnavailable"
    assert code_of(remote.client().get_object, **upload.name) == "NoSuchKey"
    eventually(lambda: uploads_of(remote, bucket, "k") == [])
    assert daemon.cli("queue", "export", bucket, "-o", str(tmp_path)).returncode == 0
    exported = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size).read_bytes()
    seam = LEAST + 1000
    assert exported == upload.data[:seam] + b"damage" + upload.data[seam + 6 :]
    daemon.client().put_object(**upload.name, Body=b"newer")
    eventually(lambda: code_of(remote.client().get_object, **upload.name) == "")
