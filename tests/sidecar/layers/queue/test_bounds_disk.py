"""`max_size` bounds the disk, and room is taken by what has come (SEMANTICS Q-7): asked of real daemons."""

import contextlib
import socket
import stat
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.clients import code_of, data_of, raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.relays import Relay
from tests.remotes import Remote

pytestmark = [pytest.mark.semantics("Q-7e"), pytest.mark.parametrize("remote", ["moto"], indirect=True)]
MIB = 1 << 20
AWAY = {"S3_ENDPOINT": "http://127.0.0.1:9", "S3D_WRITE_QUEUE_WAIT": "100ms"}
SMALL = {**AWAY, "S3D_WRITE_QUEUE_MAX_SIZE": "2Mi"}


def taken(daemon: Daemon) -> int:
    """Bytes of the disk that files of the local dir have, those without a name too, but for the ballast."""
    found = {path.stat().st_ino: path.stat() for path in daemon.local_dir.rglob("*") if path.name != "ballast"}
    for one in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(daemon.local_dir) in str(one.readlink()):
                found.setdefault(one.stat().st_ino, one.stat())
    return sum(each.st_blocks * 512 for each in found.values() if stat.S_ISREG(each.st_mode))


def account(daemon: Daemon) -> float:
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split(" ")[1]) for line in lines if line.startswith("s3d_queue_disk_bytes "))


def until_refused(call: Any, most: int, **params: Any) -> int:
    """How many calls succeed before one is refused with SlowDown."""
    for number in range(most):
        code = code_of(call, **{name: value.format(number) for name, value in params.items()})
        if code:
            assert code == "SlowDown"
            return number
    raise AssertionError("none was refused")


@pytest.mark.parametrize("daemon", [SMALL], indirect=True)
def test_headers_and_rows_count(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client(retries={"total_max_attempts": 1})
    assert until_refused(s3.put_object, 2000, Bucket=bucket, Key="{}", Body="", ContentType="x/" + "y" * 4000) > 100
    assert account(daemon) <= 2 * MIB
    assert code_of(s3.delete_object, Bucket=bucket, Key="other") == "SlowDown"


@pytest.mark.parametrize("daemon", [SMALL], indirect=True)
def test_open_uploads_count(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client(retries={"total_max_attempts": 1})
    create = s3.create_multipart_upload
    assert until_refused(create, 2000, Bucket=bucket, Key="{}", ContentType="x/" + "y" * 4000) > 100
    assert account(daemon) <= 2 * MIB


@pytest.mark.parametrize("daemon", [{**AWAY, "S3D_WRITE_QUEUE_MAX_UPLOADS": "3"}], indirect=True)
def test_open_uploads_are_bounded_in_number(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client(retries={"total_max_attempts": 1})
    begun = [s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"] for _ in range(3)]
    assert code_of(s3.create_multipart_upload, Bucket=bucket, Key="k") == "SlowDown"
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=begun[0])
    assert code_of(s3.create_multipart_upload, Bucket=bucket, Key="k") == ""
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x") == ""


@pytest.mark.parametrize("daemon", [AWAY], indirect=True)
def test_what_is_gone_counts_no_more(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client()
    before = account(daemon)
    for size in (10, 100_000, 100_000, 10):
        s3.put_object(Bucket=bucket, Key="k", Body=bytes(size), Metadata={"a": "b" * 1000})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    for size in (10, 100_000):
        s3.upload_part(Bucket=bucket, Key="u", UploadId=upload, PartNumber=1, Body=bytes(size))
    assert account(daemon) > before + 100_000
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key="u",
        UploadId=upload,
        MultipartUpload={
            "Parts": [
                {"PartNumber": 1, "ETag": s3.list_parts(Bucket=bucket, Key="u", UploadId=upload)["Parts"][0]["ETag"]}
            ]
        },
    )
    s3.delete_object(Bucket=bucket, Key="u")
    s3.delete_object(Bucket=bucket, Key="k")
    eventually(lambda: account(daemon) < before + 8000)


def test_bodies_that_are_kept_after_their_delivery_count(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    relayed = relay(remote)
    limits = {"S3D_WRITE_QUEUE_MAX_SIZE": "4Mi", "S3D_WRITE_QUEUE_WAIT": "100ms"}
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **limits)
    s3 = daemon.client(retries={"total_max_attempts": 1})
    daemon.warm(bucket)
    kept = 0
    for key in range(8):
        relayed.set(mode="drop", only=["PUT"])
        code = code_of(s3.put_object, Bucket=bucket, Key=str(key), Body=b"1")
        if not code:
            eventually(lambda: daemon.status()["states"]["in_doubt"] == 1)
            code = code_of(s3.put_object, Bucket=bucket, Key=str(key), Body=data_of(MIB))
        relayed.set(mode="pass")
        eventually(lambda: drained(daemon))
        if code:
            assert code == "SlowDown"
            break
        kept += 1
    assert 1 <= kept <= 4
    assert daemon.status()["pending"]["bytes"] == 0
    assert kept * MIB <= account(daemon) <= 4 * MIB


def form(bucket: str, size: int, *, last: bool = True) -> tuple[bytes, str]:
    """A form with a file of some bytes, at its end or before another field."""
    parts = [b'name="key"\r\n\r\nposted', b'name="file"; filename="f"\r\n\r\n' + data_of(size)]
    if not last:
        parts.append(b'name="submit"\r\n\r\nUpload')
    body = b"".join(b"--limit\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts)
    return body + b"--limit--\r\n", "multipart/form-data; boundary=limit"


@pytest.mark.semantics("Q-7f")
def test_a_form_that_is_larger_than_the_queue_is_not_spooled(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_MAX_SIZE="1Mi")
    body, kind = form(bucket, 20 * MIB)
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as one:
        head = (
            f"POST /{bucket} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        one.sendall(head.encode() + body[:-MIB])
        assert taken(daemon) < 2 * MIB
        one.sendall(body[-MIB:])
        answer = one.recv(65536)
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"x-s3d-durability: remote" in answer.lower()
    assert remote.client().get_object(Bucket=bucket, Key="posted")["Body"].read() == data_of(20 * MIB)
    body, kind = form(bucket, 100_000, last=False)
    assert raw(daemon, "POST", f"/{bucket}", body, Content_Type=kind)[0] == 204
    assert daemon.client().get_object(Bucket=bucket, Key="posted")["Body"].read() == data_of(100_000)


@pytest.mark.semantics("Q-7f")
@pytest.mark.parametrize("daemon", [{**AWAY, "S3D_WRITE_QUEUE_MAX_SIZE": "1Gi"}], indirect=True)
def test_room_is_taken_by_what_has_come_and_not_by_what_was_announced(daemon: Daemon, bucket: str) -> None:
    head = f"PUT /{bucket}/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 536870912\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port), timeout=60))
            one.sendall(head + bytes(3 * MIB))
        for key in range(5):
            assert raw(daemon, "PUT", f"/{bucket}/{key}", data_of(MIB))[0] == 200
        eventually(lambda: taken(daemon) > 12 * MIB)
        assert taken(daemon) < 40 * MIB


@pytest.mark.semantics("Q-7f")
@pytest.mark.parametrize("daemon", [{**AWAY, "S3D_WRITE_QUEUE_MAX_SIZE": "8Mi"}], indirect=True)
def test_a_body_for_which_there_is_no_room_any_more_is_refused_and_gone(daemon: Daemon, bucket: str) -> None:
    s3 = daemon.client(retries={"total_max_attempts": 1})
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as one:
        size = 6 * MIB
        one.sendall(f"PUT /{bucket}/a HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n".encode())
        one.sendall(bytes(3 * MIB))
        eventually(lambda: account(daemon) > MIB)
        s3.put_object(Bucket=bucket, Key="b", Body=data_of(4 * MIB))
        with contextlib.suppress(ConnectionError):
            one.sendall(bytes(3 * MIB))
        answer = one.recv(65536)
    assert b"<Code>SlowDown</Code>" in answer
    eventually(lambda: account(daemon) < 5 * MIB)
    assert s3.put_object(Bucket=bucket, Key="c", Body=data_of(3 * MIB))["ResponseMetadata"]["HTTPStatusCode"] == 200
