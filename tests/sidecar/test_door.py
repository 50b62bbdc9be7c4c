"""The door (SEMANTICS A): keys, hosts, bodies that are refused, and what is handed on as it came."""

import http.client
import secrets
import socket
import time
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.clients import raw
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.remotes import Remote

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


@pytest.mark.semantics("R-7")
def test_an_empty_body_is_forwarded(daemon: Daemon, remote: Remote) -> None:
    name = f"made-{secrets.token_hex(6)}"
    assert raw(daemon, "PUT", f"/{name}", b"")[0] == 200
    remote.client().head_bucket(Bucket=name)
    assert raw(daemon, "DELETE", f"/{name}", b"")[0] == 204


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_key_is_the_clients_bytes(daemon: Daemon, remote: Remote, bucket: str) -> None:
    for key in ODD_KEYS:
        path = f"/{bucket}/{quote(key, safe='/')}"
        assert raw(daemon, "PUT", path, key.encode())[0] == 200
        assert raw(daemon, "GET", path)[2] == key.encode()
        eventually(lambda: drained(daemon))
        assert raw(daemon, "GET", path)[2] == key.encode()
        assert [o["Key"] for o in remote.client().list_objects_v2(Bucket=bucket)["Contents"]] == [key]
        assert raw(daemon, "DELETE", path)[0] == 204
        eventually(lambda: drained(daemon))
        assert "Contents" not in remote.client().list_objects_v2(Bucket=bucket), key


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
def test_other_sites_are_refused(daemon: Daemon) -> None:
    for headers in {"Host": "evil.example"}, {"Host": "rebind.example:33333"}, {"Sec-Fetch-Site": "cross-site"}:
        status, _, document = raw(daemon, "GET", "/", None, **headers)
        assert status == 403, headers
        assert b"<Code>AccessDenied</Code>" in document


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_bucket_may_be_named_by_the_host(daemon: Daemon, bucket: str) -> None:
    assert raw(daemon, "PUT", "/a%2Fb", b"x", Host=f"{bucket}.localhost:33333")[0] == 200
    assert raw(daemon, "GET", f"/{bucket}/a/b")[2] == b"x"


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


ASK, ASK_LAST = (
    f"GET /never-was/k HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n" for more in ("", "Connection: close\r\n")
)
PUT = "PUT /never-was/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 8\r\n\r\n"


TOGETHER = [
    [ASK + ASK + ASK_LAST],
    [PUT + "12345678" + ASK + ASK_LAST],
    [PUT + "1234", "5678" + ASK + ASK_LAST],
    [PUT + "\r\n\r\n\r\n\r\n" + ASK + ASK_LAST],
    [ASK[:20], ASK[20:] + ASK + ASK_LAST],
    [ASK + ASK[:20], ASK[20:] + ASK_LAST],
    ["\r\n\r\n" + ASK + ASK + ASK_LAST],
]


@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_requests_that_come_together_are_all_answered(daemon: Daemon) -> None:
    address = urlsplit(daemon.endpoint)
    for pieces in TOGETHER:
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            for piece in pieces:
                connection.sendall(piece.encode())
                time.sleep(0.05)  # so that it comes by itself
            answers = b""
            while block := connection.recv(65536):
                answers += block
        assert answers.count(b"HTTP/1.1 404 Not Found\r\n") == 3, pieces


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
