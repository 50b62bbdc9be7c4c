"""The main job from outside: a stock client, the real daemon, a real remote, and a network that breaks."""

import hashlib
import http.client
import random
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.daemons import Daemon, StartDaemon
from tests.relays import Relay, Relayed
from tests.remotes import Remote

AWAY = {"S3D_AWAY_AFTER": "1s"}
SIZES = (0, 1, 4096, 16384, 16385, 300_000, 5 << 20)


def data_of(size: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed}/{size}").randbytes(size)


def eventually(what: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that is promised to come, without saying when."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def pending(daemon: Daemon) -> int:
    return int(daemon.status()["pending"]["changes"])


def drained(daemon: Daemon) -> bool:
    return pending(daemon) == 0


def code_of(call: Callable[..., Any], **params: Any) -> str:
    """The error code of a call; "" where it succeeds."""
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def raw(
    daemon: Daemon, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request by hand."""
    connection = http.client.HTTPConnection(urlsplit(daemon.endpoint).netloc, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.fixture
def away(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> tuple[Daemon, Relayed, str]:
    """A daemon whose remote refuses every connection, and the relay that does."""
    relayed = relay(remote)
    relayed.set(mode="refuse")
    return start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY), relayed, bucket


@pytest.mark.semantics("D-1", "D-6", "R-1", "Q-1", "Q-5")
@pytest.mark.parametrize("size", SIZES)
def test_a_put_while_the_remote_is_away_is_read_at_once_and_arrives_later(
    away: tuple[Daemon, Relayed, str], remote: Remote, size: int
) -> None:
    daemon, relayed, bucket = away
    data, s3 = data_of(size), daemon.client()
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, ContentType="text/x", Metadata={"a": "b"})
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "local"
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == data
    head = s3.head_object(Bucket=bucket, Key="k")
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    there = remote.client().get_object(Bucket=bucket, Key="k")
    assert there["Body"].read() == data
    for answer in (put, got, head, there):
        assert answer["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    for answer in (got, head, there):
        assert answer["ContentType"] == "text/x"
        assert answer["Metadata"] == {"a": "b"}


@pytest.mark.semantics("D-1", "R-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_delete_while_the_remote_is_away_hides_the_object_and_arrives_later(
    away: tuple[Daemon, Relayed, str], remote: Remote
) -> None:
    daemon, relayed, bucket = away
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"old")
    s3 = daemon.client()
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == "404"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert code_of(remote.client().head_object, Bucket=bucket, Key="k") == "404"


@pytest.mark.semantics("D-1", "Q-3", "Q-13")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_killed_daemon_goes_on_where_it_was(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    s3 = daemon.client()
    for number, size in enumerate(SIZES):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=data_of(size, 1))
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=data_of(size, 2))
    daemon.kill()
    daemon.start()
    for number, size in enumerate(SIZES):
        assert s3.get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == data_of(size, 2)
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    for number, size in enumerate(SIZES):
        assert remote.client().get_object(Bucket=bucket, Key=f"k{number}")["Body"].read() == data_of(size, 2)


@pytest.mark.semantics("Q-12")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_sigterm_drains_and_says_what_is_left(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x" * 100)
    daemon.settings["S3D_DRAIN_SECONDS"] = "1s"
    daemon.settings["S3D_TERMINATION_LOG"] = str(daemon.directory / "left")
    daemon.kill()
    assert daemon.start().terminate() == 75
    assert "1 changes, 100 bytes" in daemon.output()
    assert '"changes": 1, "bytes": 100' in (daemon.directory / "left").read_text()
    relayed.set(mode="pass")
    daemon.settings["S3D_DRAIN_SECONDS"] = "60s"
    assert daemon.start().terminate() == 0
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x" * 100


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


@pytest.mark.semantics("R-7")
def test_an_empty_body_is_forwarded(daemon: Daemon, remote: Remote) -> None:
    name = f"made-{secrets.token_hex(6)}"
    assert raw(daemon, "PUT", f"/{name}", b"")[0] == 200
    remote.client().head_bucket(Bucket=name)
    assert raw(daemon, "DELETE", f"/{name}", b"")[0] == 204


@pytest.mark.semantics("R-6")
def test_a_put_to_a_bucket_that_is_not_there_is_refused_at_once(daemon: Daemon) -> None:
    assert code_of(daemon.client().put_object, Bucket="never-was", Key="k", Body=b"x") == "NoSuchBucket"


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


@pytest.mark.semantics("R-3", "R-4")
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
    s3.list_object_versions(Bucket=bucket)
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


ODD_KEYS = [
    "a//b",
    "a/../b",
    "./x",
    "d/",
    "with space",
    "a+b",
    "a%2Fb",
    "caf\u00e9",
    "cafe\u0301",
    "x?y#z",
    "~",
    "..",
    "'\"<>&",
]


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_is_the_clients_bytes(daemon: Daemon, remote: Remote, bucket: str, key: str) -> None:
    path = f"/{bucket}/{quote(key, safe='/')}"
    assert raw(daemon, "PUT", path, key.encode())[0] == 200
    assert raw(daemon, "GET", path)[2] == key.encode()
    eventually(lambda: drained(daemon))
    assert raw(daemon, "GET", path)[2] == key.encode()
    assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    assert raw(daemon, "DELETE", path)[0] == 204
    eventually(lambda: drained(daemon))
    assert "Contents" not in remote.client().list_objects_v2(Bucket=bucket)


BAD_DIGESTS = [
    {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="},
    {"x-amz-content-sha256": "0" * 64},
    {"x-amz-checksum-crc32": "AAAAAA=="},
    {"x-amz-checksum-sha256": "A" * 43 + "="},
]


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("headers", BAD_DIGESTS, ids=lambda headers: next(iter(headers)))
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_digest_that_does_not_match_leaves_nothing(
    daemon: Daemon, bucket: str, headers: dict[str, str], size: int
) -> None:
    status, _, document = raw(daemon, "PUT", f"/{bucket}/k", b"x" * size, **headers)
    assert status == 400
    assert b"Digest" in document or b"Mismatch" in document
    assert raw(daemon, "GET", f"/{bucket}/k")[0] == 404
    assert daemon.status()["pending"]["changes"] == 0
    assert not [p for p in (daemon.local_dir / "queue" / "bodies").rglob("*") if p.is_file()]


@pytest.mark.semantics("D-8")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_second_process_on_the_local_dir_names_the_first(daemon: Daemon, bucket: str) -> None:
    second = Daemon(daemon.directory, daemon.settings)
    second.start(ready=False)
    assert second.process.wait() != 0
    assert f"pid {daemon.process.pid}" in daemon.output()
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")


@pytest.mark.semantics("D-9")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_local_dir_with_changes_belongs_to_its_remote(away: tuple[Daemon, Relayed, str], remote: Remote) -> None:
    daemon, relayed, bucket = away
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    daemon.kill()
    own = daemon.settings["S3_ENDPOINT"]
    daemon.settings["S3_ENDPOINT"] = remote.endpoint
    daemon.start(ready=False)
    assert daemon.process.wait() != 0
    assert own in daemon.output()
    daemon.settings["S3_ENDPOINT"] = own
    relayed.set(mode="pass")
    daemon.start()
    eventually(lambda: drained(daemon))


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


@pytest.mark.semantics("Q-7")
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


@pytest.mark.semantics("Q-14")
@pytest.mark.parametrize("remote", ["moto", "versitygw", "minio"], indirect=True)
def test_a_versioned_bucket_is_written_through(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    remote.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3 = start_daemon(remote).client()
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert put["VersionId"]
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "remote"
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=put["VersionId"])["Body"].read() == b"1"


@pytest.mark.semantics("R-7")
def test_what_involves_no_pending_change_is_the_remotes_own_answer(daemon: Daemon, remote: Remote, bucket: str) -> None:
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"1" * 1000, Metadata={"x": "y"}, ContentEncoding="gzip")
    for params in ({}, {"Range": "bytes=10-19"}, {"IfNoneMatch": '"x"'}, {"ChecksumMode": "ENABLED"}):
        ours = daemon.client().get_object(Bucket=bucket, Key="k", **params)
        theirs = remote.client().get_object(Bucket=bucket, Key="k", **params)
        assert ours["Body"].read() == theirs["Body"].read()
        for answer in (ours, theirs):
            for header in (
                "date",
                "connection",
                "x-amz-request-id",
                "x-amz-id-2",
                "server",
                "x-amzn-requestid",
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
            ):
                answer["ResponseMetadata"]["HTTPHeaders"].pop(header, None)
        assert ours["ResponseMetadata"]["HTTPHeaders"] == theirs["ResponseMetadata"]["HTTPHeaders"]


@pytest.mark.semantics("A-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Host": "rebind.example:33333"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_sites_are_refused(daemon: Daemon, headers: dict[str, str]) -> None:
    status, _, document = raw(daemon, "GET", "/", **headers)
    assert status == 403
    assert b"<Code>AccessDenied</Code>" in document


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_bucket_may_be_named_by_the_host(daemon: Daemon, bucket: str) -> None:
    assert raw(daemon, "PUT", "/a%2Fb", b"x", Host=f"{bucket}.localhost:33333")[0] == 200
    assert raw(daemon, "GET", f"/{bucket}/a/b")[2] == b"x"


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_silence_is_noticed_and_ends(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **{**AWAY, "S3D_AWAY_AFTER": "300ms"})
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    eventually(lambda: drained(daemon))
    relayed.set(mode="silence")
    s3.put_object(Bucket=bucket, Key="k2", Body=b"x")
    eventually(lambda: daemon.status()["remote"]["state"] == "away")
    assert code_of(s3.list_buckets) == "ServiceUnavailable"
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k2")["Body"].read() == b"x"


@pytest.mark.semantics("Q-3")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_lost_answer_is_asked_for_again_before_the_next_change(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket)
    s3 = daemon.client()
    relayed.set(mode="drop", only=["PUT"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    eventually(lambda: daemon.status()["states"]["unknown"] == 1)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    assert daemon.status()["states"] | {"unknown": 1, "waiting": 1} == daemon.status()["states"]
    relayed.set(mode="pass")
    eventually(lambda: drained(daemon))
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


@pytest.mark.semantics("D-1")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("sent", [0, 1, 16_384, 65_536, 300_000, 999_999])
def test_a_client_that_leaves_halfway_leaves_the_old_version(daemon: Daemon, bucket: str, sent: int) -> None:
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"old")
    address = urlsplit(daemon.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        head = f"PUT /{bucket}/k HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000000\r\n\r\n"
        connection.sendall(head.encode() + b"x" * sent)
    eventually(lambda: drained(daemon))
    assert daemon.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"
    eventually(lambda: not [p for p in (daemon.local_dir / "queue" / "bodies").rglob("*") if p.is_file()])


@pytest.mark.semantics("R-9")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_known_bucket_is_there_while_the_remote_is_away(away: tuple[Daemon, Relayed, str]) -> None:
    daemon, _, bucket = away
    s3 = daemon.client()
    eventually(lambda: daemon.status()["remote"]["state"] == "away" or code_of(s3.list_buckets) == "")
    assert s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_waiting_client_is_told_to_send_only_what_will_be_read(daemon: Daemon, bucket: str) -> None:
    address = urlsplit(daemon.endpoint)
    answers = {}
    for target in (bucket, "never-was"):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            head = f"PUT /{target}/k HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 5\r\n"
            head += "Expect: 100-continue\r\n\r\n"
            connection.sendall(head.encode())
            answers[target] = connection.recv(65536).split(b"\r\n")[0]
    assert answers == {bucket: b"HTTP/1.1 100 Continue", "never-was": b"HTTP/1.1 404 Not Found"}


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_an_answer_before_the_body_was_read_says_that_the_connection_ends(
    daemon: Daemon, bucket: str, expect: str
) -> None:
    address = urlsplit(daemon.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        head = f"PUT /never-was/k HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 3000000\r\n{expect}\r\n"
        connection.sendall(head.encode())
        answer = b""
        while block := connection.recv(65536):
            answer += block
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_client_that_goes_on_sending_a_refused_body_reads_the_answer(daemon: Daemon) -> None:
    address = urlsplit(daemon.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        for size in (200_000, 20_000_000):
            head = f"PUT /never-was/k HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {size}\r\n\r\n"
            connection.sendall(head.encode())
            time.sleep(0.05)
            connection.sendall(bytes(size))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.will_close) == (404, size > 1 << 20)
            assert b"NoSuchBucket" in answer.read()


NOT_HTTP = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"NONSENSE\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"PUT /localhost:8080%2F/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"PUT /b/%zz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"PUT /b/%ff HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"GET /b/k HTTP/1.1\r\nHost: localhost\r\nx: " + b"y" * 20_000 + b"\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nx-amz-meta-a: \xff\xfe\r\n\r\n",
]


@pytest.mark.semantics("A-6")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_what_is_not_s3_gets_an_error_document(daemon: Daemon) -> None:
    address = urlsplit(daemon.endpoint)
    for request in NOT_HTTP:
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(request)
            answer = b""
            while b"</Error>" not in answer and (block := connection.recv(65536)):
                answer += block
        assert answer[:10] in (b"HTTP/1.1 4", b"HTTP/1.0 4"), (request[:60], answer[:200])
        assert b"<Error><Code>" in answer, (request[:60], answer)
        assert b"<RequestId>" in answer
    assert daemon.running


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


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.semantics("D-6")
def test_without_the_queue_everything_is_forwarded(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    daemon = start_daemon(remote, S3D_WRITE_QUEUE="false")
    put = daemon.client().put_object(Bucket=bucket, Key="k", Body=b"x")
    assert put["ResponseMetadata"]["HTTPHeaders"]["x-s3d-durability"] == "remote"
    assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    got = daemon.client().get_object(Bucket=bucket, Key="k")
    assert "x-s3d-durability" not in got["ResponseMetadata"]["HTTPHeaders"]
    assert daemon.status()["pending"]["changes"] == 0
    assert daemon.terminate() == 0


@pytest.mark.semantics("Q-6")
def test_metadata_beyond_ascii_travels_as_it_came(daemon: Daemon, remote: Remote, bucket: str) -> None:
    status, _, _ = raw(
        daemon, "PUT", f"/{bucket}/k", b"x", **{"x-amz-meta-a": "caf\u00e9 \u4e2d".encode().decode("latin-1")}
    )
    assert status == 200
    pending = raw(daemon, "HEAD", f"/{bucket}/k")[1]["x-amz-meta-a"]
    eventually(lambda: drained(daemon))
    assert pending.encode("latin-1").decode() == "caf\u00e9 \u4e2d"


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.parametrize("key", ["/lead", "/", "//x"])
def test_a_leading_slash_is_part_of_what_goes_to_the_remote(
    remote: Remote, bucket: str, tmp_path: Path, key: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        daemon = Daemon(
            tmp_path, {**remote.environment, "S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3D_BUCKETS": bucket}
        )
        daemon.settings["S3D_WRITE_QUEUE"] = "false"
        try:
            daemon.start()
            address = urlsplit(daemon.endpoint)
            with socket.create_connection((address.hostname, address.port), timeout=30) as client:
                client.sendall(f"GET /{bucket}/{key} HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode())
                asked, _ = listener.accept()
                with asked:
                    assert asked.recv(65536).split(b" ")[1].decode() == f"/{bucket}/{key}"
        finally:
            daemon.kill()
