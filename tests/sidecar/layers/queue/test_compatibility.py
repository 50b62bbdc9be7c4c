"""What suites and clients of others met at the gateway in front of real stores: it answers as the store would have."""

import base64
import hashlib
import itertools
import socket
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from s3d.protocol import checksums
from tests.clients import code_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually, pending
from tests.remotes import Remote

QUEUED = {"S3D_WRITE_QUEUE_DELAY": "1h"}
both = pytest.mark.parametrize("remote", ["versitygw", "minio"], indirect=True)
kept = pytest.mark.parametrize("daemon", [QUEUED], indirect=True)
KEYS = b"<Delete><Object><Key>k</Key></Object></Delete>"
TAGS = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def chunks(data: bytes) -> bytes:
    """Data in the framing of chunked transfer encoding, in two chunks."""
    pieces = (data[:7], data[7:], b"")
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


@contextmanager
def connected(daemon: Daemon) -> Iterator[socket.socket]:
    address = urlsplit(daemon.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        yield connection


def sent(daemon: Daemon, *pieces: bytes) -> bytes:
    """All that comes back for what is sent on one connection, until the door closes it."""
    with connected(daemon) as connection:
        for piece in pieces:
            connection.sendall(piece)
        answer = b""
        while block := connection.recv(65536):
            answer += block
        return answer


NAMED = {
    "no checksum": ({"x-amz-sdk-checksum-algorithm": "CRC32"}, 400),
    "an MD5 beside it": (
        {"x-amz-sdk-checksum-algorithm": "MD5", "Content-MD5": base64.b64encode(hashlib.md5(b"x").digest()).decode()},
        400,
    ),
    "another checksum": ({"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-checksum-crc32": crc32(b"x")}, 400),
    "another trailer": ({"x-amz-sdk-checksum-algorithm": "SHA256", "x-amz-trailer": "x-amz-checksum-crc32"}, 400),
    "a bogus name": ({"x-amz-sdk-checksum-algorithm": "FOO"}, 400),
    "a bogus name and a checksum": ({"x-amz-sdk-checksum-algorithm": "FOO", "x-amz-checksum-crc32": crc32(b"x")}, 400),
    "its checksum": ({"x-amz-sdk-checksum-algorithm": "crc32", "x-amz-checksum-crc32": crc32(b"x")}, 200),
    "no name": ({"x-amz-sdk-checksum-algorithm": ""}, 200),
}


@pytest.mark.semantics("Q-15a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_an_algorithm_that_is_named_is_judged_before_the_acknowledgement(daemon: Daemon, bucket: str) -> None:
    daemon.warm(bucket)
    for number, (name, (headers, expected)) in enumerate(NAMED.items()):
        for path in (f"/{bucket}/k{number}", f"/{bucket}/k{number}?tagging"):
            body = TAGS if "tagging" in path else b"x"
            if expected == 400 or path.endswith(str(number)):
                status, _, document = raw(daemon, "PUT", path, body, **headers)
                assert status == expected, (name, path, document)
    eventually(lambda: drained(daemon))
    assert daemon.status()["states"].get("parked", 0) == 0


@pytest.mark.semantics("Q-15b")
@both
@kept
def test_a_bulk_delete_that_no_digest_vouches_for_is_refused(daemon: Daemon, bucket: str) -> None:
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    before = pending(daemon)
    for headers in ({}, {"x-amz-content-sha256": hashlib.sha256(KEYS).hexdigest()}):
        status, _, document = raw(daemon, "POST", f"/{bucket}?delete", KEYS, **headers)
        assert (status, b"<Code>InvalidRequest</Code>" in document) == (400, True)
    assert pending(daemon) == before
    digest = base64.b64encode(hashlib.md5(KEYS).digest()).decode()
    for headers in ({"Content-MD5": digest}, {"x-amz-checksum-crc32": crc32(KEYS)}):
        assert raw(daemon, "POST", f"/{bucket}?delete", KEYS, **headers)[0] == 200


@pytest.mark.semantics("R-1")
@both
@kept
def test_the_number_of_a_part_is_judged_the_same_before_and_after_delivery(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    for key, client in {"delivered": remote.client(), "pending": daemon.client()}.items():
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    for number, expected in {0: 400, -1: 400, 10001: 400, 10**20: 400, 1: 206, 2: 416, 10000: 416}.items():
        for method in ("GET", "HEAD"):
            answers = [raw(daemon, method, f"/{bucket}/{key}?partNumber={number}") for key in ("delivered", "pending")]
            assert [status for status, _, _ in answers] == [expected, expected], (method, number, answers)


def uploaded(client: Any, bucket: str, key: str, **conditions: str) -> dict[str, Any]:
    """The answer to the Complete of an upload of one part."""
    upload = {"Bucket": bucket, "Key": key}
    upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
    part = client.upload_part(**upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    answer: dict[str, Any] = client.complete_multipart_upload(**upload, MultipartUpload=parts, **conditions)
    return answer


@pytest.mark.semantics("R-7b")
@both
@pytest.mark.parametrize("daemon", [{}, {"S3D_WRITE_QUEUE": "false"}], indirect=True)
def test_an_upload_that_went_through_has_the_address_that_the_client_asked(daemon: Daemon, bucket: str) -> None:
    client = daemon.client()
    for key, conditions in {"a b/\u00e9&": {}, "decided there": {"IfNoneMatch": "*"}}.items():
        location = uploaded(client, bucket, key, **conditions)["Location"]
        assert location.startswith(f"{daemon.endpoint}/{bucket}/"), (key, location)
        assert raw(daemon, "GET", location.removeprefix(daemon.endpoint))[2] == b"x"


def whole_of(client: Any, bucket: str, key: str, algorithm: str) -> tuple[str, dict[str, str]]:
    """What comes of an upload with checksums by an algorithm: the refusal of its Create, or those of its answers."""
    upload: dict[str, Any] = {"Bucket": bucket, "Key": key}
    try:
        begun = client.create_multipart_upload(**upload, ChecksumAlgorithm=algorithm)
    except ClientError as error:
        return error.response["Error"]["Code"], {}
    upload["UploadId"] = begun["UploadId"]
    answers = [begun]
    parts = []
    for number in (1, 2):
        digests = checksums.Digests([algorithm.lower()])
        digests.update(b"%d" % number * (5 << 20))
        value = checksums.to_base64(digests.digest(algorithm.lower()))
        part = client.upload_part(
            **upload, PartNumber=number, Body=b"%d" % number * (5 << 20), **{f"Checksum{algorithm}": value}
        )
        answers.append(part)
        sums = {name: value for name, value in part.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": part["ETag"], **sums})
    answers.append(client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}))
    answers.append(client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"))
    return "", {
        f"{number} {name}": value
        for number, answer in enumerate(answers)
        for name, value in answer.items()
        if name.startswith("Checksum") or name == "ETag"
    }


@pytest.mark.semantics("Q-16d")
@both
def test_an_upload_has_checksums_by_any_algorithm_that_the_store_knows(
    daemon: Daemon, remote: Remote, bucket: str
) -> None:
    daemon.warm(bucket)
    here, there = daemon.client(parameter_validation=False), remote.client(parameter_validation=False)
    for algorithm in [*(name.upper() for name in sorted(checksums.ALGORITHMS)), "FOO"]:
        theirs = whole_of(there, bucket, f"theirs {algorithm}", algorithm)
        ours = whole_of(here, bucket, f"ours {algorithm}", algorithm)
        assert ours[0] == theirs[0], algorithm
        assert theirs[1].items() <= ours[1].items(), algorithm
        eventually(lambda: drained(daemon))
        shown = there.get_object(Bucket=bucket, Key=f"ours {algorithm}") if not theirs[0] else None
        assert shown is None or shown["Body"].read() == b"1" * (5 << 20) + b"2" * (5 << 20)


@pytest.mark.semantics("A-6d")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_bytes_behind_the_length_of_a_body_are_no_fault_of_the_request_in_front(daemon: Daemon, bucket: str) -> None:
    host = urlsplit(daemon.endpoint).netloc.encode()
    behinds = (b"b", b"behind", b"\r\n\r\nbehind\r\n\r\n", b"\x00")
    for number, (behind, cut) in enumerate(itertools.product(behinds, (0, 5, -1, -20))):
        path = f"/{bucket}/{number}"
        put = b"PUT %b HTTP/1.1\r\nHost: %b\r\nContent-Length: 1\r\n\r\na" % (path.encode(), host)
        get = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (path.encode(), host)
        whole = put + get
        answer = sent(daemon, *([whole[:cut], whole[cut:] + behind] if cut else [whole + behind]))
        assert answer.count(b"HTTP/1.1 200 ") == 2, (behind, cut, answer)
        assert answer.count(b" 400 Bad Request\r\n") == 1, (behind, cut, answer)
        assert raw(daemon, "GET", path)[2] == b"a"


@pytest.mark.semantics("A-6d")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_what_comes_with_the_end_of_a_body_that_is_awaited_is_a_request_of_its_own(daemon: Daemon, bucket: str) -> None:
    host = urlsplit(daemon.endpoint).netloc.encode()
    head = b"PUT /%b/k HTTP/1.1\r\nHost: %b\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    get = b"GET /%b/k HTTP/1.1\r\nHost: %b\r\n\r\n" % (bucket.encode(), host)
    with connected(daemon) as connection:
        connection.sendall(head % (bucket.encode(), host))
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"a" + get + b"behind\r\n\r\n")
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.count(b"HTTP/1.1 200 ") == 2, answer
    assert answer.count(b" 400 Bad Request\r\n") == 1, answer


@pytest.mark.semantics("A-6e")
@both
@pytest.mark.parametrize("daemon", [QUEUED, {"S3D_WRITE_QUEUE": "false"}], indirect=True)
def test_a_document_may_come_without_its_length(daemon: Daemon, remote: Remote, bucket: str) -> None:
    framed = {"Transfer-Encoding": "chunked"}
    client = daemon.client()
    for key in ("k", "tagged"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert raw(daemon, "PUT", f"/{bucket}/tagged?tagging", chunks(TAGS), **framed)[0] == 200
    assert client.get_object_tagging(Bucket=bucket, Key="tagged")["TagSet"] == [{"Key": "a", "Value": "b"}]
    digest = base64.b64encode(hashlib.md5(KEYS).digest()).decode()
    status, _, document = raw(daemon, "POST", f"/{bucket}?delete", chunks(KEYS), **framed, Content_MD5=digest)
    assert (status, b"<Deleted>" in document) == (200, True)
    assert code_of(client.head_object, Bucket=bucket, Key="k") == "404"
    upload = {"Bucket": bucket, "Key": "whole"}
    upload["UploadId"] = client.create_multipart_upload(**upload)["UploadId"]
    etag = client.upload_part(**upload, PartNumber=1, Body=b"x")["ETag"]
    listed = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    complete = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    path = f"/{bucket}/whole?uploadId={upload['UploadId']}"
    assert raw(daemon, "POST", path, chunks(complete), **framed)[0] == 200
    assert client.get_object(Bucket=bucket, Key="whole")["Body"].read() == b"x"
    assert raw(daemon, "PUT", f"/{bucket}/k", chunks(b"an object"), **framed)[0] == 411
    assert raw(daemon, "POST", f"/{bucket}?delete", chunks(b" " * (9 << 20)), **framed)[0] == 400


ADMINISTRATION = {
    "minio": [
        ("GET", "/minio/admin/v3/info"),
        ("GET", "/minio/admin/v3/list-users"),
        ("PUT", "/minio/admin/v3/add-user?accessKey=evil"),
        ("GET", "/%6dinio/%61dmin/v3/info"),
        ("GET", "/minio//admin/v3/info"),
        ("GET", "/minio/./admin/v3/info"),
        ("GET", "/minio/x/../admin/v3/info"),
        ("GET", "/x/../minio/admin/v3/info"),
        ("GET", "/minio/kms/v1/status"),
        ("GET", "/minio/v2/metrics/cluster"),
        ("POST", "/?Action=AssumeRole"),
        ("POST", "/"),
    ],
    "versitygw": [
        ("PATCH", "/list-users"),
        ("PATCH", "/create-user"),
        ("PATCH", "/change-bucket-owner?bucket=b&owner=evil"),
        ("PATCH", "/list-buckets"),
        ("PATCH", "/bucket/create"),
        ("LINK", "/list-users"),
        ("GET", "/admin/user?format=json"),
        ("PUT", "/admin/user?uid=evil"),
        ("GET", "/admin/metadata/user"),
    ],
}


@pytest.mark.semantics("A-9")
@both
@pytest.mark.parametrize("daemon", [{}, {"S3D_WRITE_QUEUE": "false"}], indirect=True)
def test_the_administration_of_a_store_is_refused(daemon: Daemon, remote: Remote) -> None:
    for method, path in ADMINISTRATION[remote.name]:
        status, _, document = raw(daemon, method, path, b"" if method in ("POST", "PUT") else None)
        assert (status, b"S3D_ADMIN_API" in document) == (403, True), (method, path, document)
    status, _, document = raw(daemon, "GET", "/admin/v3/info", Host="minio.localhost")
    assert status == 403, document


@pytest.mark.semantics("A-9")
@both
def test_a_setting_lets_the_administration_through(remote: Remote, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_ADMIN_API="true")
    method, path, shown = {
        "minio": ("GET", "/minio/admin/v3/info", b'"deploymentID"'),
        "versitygw": ("PATCH", "/list-users", b"<ListUserAccountsResult"),
    }[remote.name]
    status, _, document = raw(daemon, method, path)
    assert (status, shown in document) == (200, True), document


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_objects_whose_names_look_like_administration_are_objects(daemon: Daemon, remote: Remote) -> None:
    for name in ("admin", "minio", "list-users"):
        remote.client().create_bucket(Bucket=name)
    for path in ("/admin/users/1", "/admin/user/1", "/admin/config/app.json", "/minio/a", "/list-users/admin"):
        assert raw(daemon, "PUT", path, b"x")[0] == 200
        assert raw(daemon, "GET", path)[2] == b"x"
