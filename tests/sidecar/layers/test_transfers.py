"""Large bodies through the door: whole, in pieces, to clients that are slow or leave."""

import contextlib
import hashlib
import http.client
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from e2e.chaos.authorities import Authority
from tests.daemons import Daemon, StartDaemon, eventually
from tests.relays import Faults, Relay, faults
from tests.remotes import Remote

__all__ = ["faults"]

DATA = random.Random(5).randbytes(9 << 20)
NO_QUEUE = {"S3D_WRITE_QUEUE": "false"}

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


@pytest.fixture
def holding(remote: Remote, bucket: str, start_daemon: StartDaemon) -> tuple[Daemon, str]:
    """A daemon that keeps a large object pending, and its path."""
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    daemon.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    return daemon, f"/{bucket}/k"


def connect(daemon: Daemon) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(daemon.endpoint).netloc, timeout=60)


def open_descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


@pytest.mark.semantics("R-1")
def test_a_pending_file_is_sent_whole_and_in_stretches_over_one_connection(holding: tuple[Daemon, str]) -> None:
    daemon, path = holding
    connection = connect(daemon)
    stretches = [("", 0, len(DATA)), ("bytes=7-8000006", 7, 8_000_007), ("bytes=-100000", len(DATA) - 100_000, None)]
    for stretch, start, end in stretches * 2:
        connection.request("GET", path, headers={"Range": stretch} if stretch else {})
        answer = connection.getresponse()
        assert (answer.status, answer.read() == DATA[start:end]) == (206 if stretch else 200, True)
    connection.close()


def test_requests_sent_at_once_are_answered_one_after_the_other(holding: tuple[Daemon, str]) -> None:
    """Nothing of one answer is left behind in a buffer when the bytes of the next go straight to the socket."""
    daemon, path = holding
    parts = urlsplit(daemon.endpoint)
    head = f"Host: {parts.netloc}\r\n"
    sent = f"GET {path} HTTP/1.1\r\n{head}\r\n" * 2 + f"HEAD {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as sock:
        sock.sendall(sent.encode())
        with sock.makefile("rb") as answers:
            for body in (DATA, DATA, b""):
                assert answers.readline().startswith(b"HTTP/1.1 200 ")
                while answers.readline() != b"\r\n":
                    pass
                assert hashlib.sha256(answers.read(len(body))).digest() == hashlib.sha256(body).digest()
            assert answers.read() == b""


def test_clients_that_leave_in_the_middle_cost_nothing(holding: tuple[Daemon, str]) -> None:
    daemon, path = holding
    descriptors = open_descriptors(daemon)
    for _ in range(20):
        connection = connect(daemon)
        connection.request("GET", path)
        assert connection.getresponse().read(1000) == DATA[:1000]
        connection.close()
    eventually(lambda: open_descriptors(daemon) <= descriptors + 4, 30)


# What the remote has: of a large body over plain HTTP the kernel moves all but the beginning.


def get(daemon: Daemon, path: str, **headers: str) -> tuple[int, bytes]:
    connection = connect(daemon)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@contextlib.contextmanager
def scripted(*answers: bytes) -> Iterator[tuple[str, Callable[[], None]]]:
    """A remote that sends these pieces to whoever asks, each after the first when it is told to; then it ends."""
    go = threading.Semaphore(0)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, client.makefile("rb") as asked:
                    while asked.readline().strip():
                        pass
                    client.sendall(answers[0])
                    for piece in answers[1:]:
                        go.acquire()
                        client.sendall(piece)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", go.release
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for _ in answers:
            go.release()
        thread.join()


def head(length: int, *more: str) -> bytes:
    return "\r\n".join(("HTTP/1.1 200 OK", f"Content-Length: {length}", 'ETag: "e"', *more, "", "")).encode()


@pytest.fixture
def stored(remote: Remote, bucket: str) -> str:
    """The path of a large object of the remote."""
    remote.client().put_object(Bucket=bucket, Key="far", Body=DATA)
    return f"/{bucket}/far"


@pytest.mark.semantics("R-7")
def test_a_remotes_object_is_sent_whole_and_in_stretches_over_one_connection(
    remote: Remote, bucket: str, stored: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    connection = connect(daemon)
    for _ in range(2):
        for stretch, start, end in (
            ("", 0, None),
            ("bytes=7-8000006", 7, 8_000_007),
            ("bytes=-100000", -100_000, None),
        ):
            connection.request("GET", stored, headers={"Range": stretch} if stretch else {})
            answer = connection.getresponse()
            assert (answer.status, answer.read() == DATA[start:end]) == (206 if stretch else 200, True)
        connection.request("HEAD", stored)
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Length"], answer.read()) == (200, str(len(DATA)), b"")
        connection.request("GET", stored, headers={"If-None-Match": answer.headers["ETag"]})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (304, b"")
    connection.close()


def test_the_bytes_of_a_large_body_do_not_pass_through_the_process(start_daemon: StartDaemon, remote: Remote) -> None:
    def passed(daemon: Daemon) -> int:
        counts = Path(f"/proc/{daemon.process.pid}/io").read_text().split()
        return int(counts[counts.index("rchar:") + 1])

    with scripted(head(len(DATA)) + DATA[:1], DATA[1:]) as (endpoint, go_on):
        daemon = start_daemon(replace(remote, endpoint=endpoint), **NO_QUEUE)
        connection = connect(daemon)
        connection.request("GET", "/bucket/key")
        answer = connection.getresponse()
        before = passed(daemon)
        go_on()
        assert answer.read() == DATA
        assert passed(daemon) - before < len(DATA) / 4
        connection.close()


def test_a_large_body_that_comes_in_small_pieces_is_whole(
    remote: Remote, stored: str, faults: Faults, start_daemon: StartDaemon
) -> None:
    far = faults(remote)
    far.set({"slice": 997})
    daemon = start_daemon(far.remote, **NO_QUEUE)
    assert get(daemon, stored) == (200, DATA)


def test_a_large_body_comes_over_tls(
    remote: Remote, stored: str, faults: Faults, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.certify(days=1)
    far = faults(remote, "--cert", certificate, "--key", key)
    daemon = start_daemon(far.remote, AWS_CA_BUNDLE=str(authority.bundle), **NO_QUEUE)
    assert get(daemon, stored) == (200, DATA)


def test_a_large_body_in_chunks_is_whole(remote: Remote, start_daemon: StartDaemon) -> None:
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(DATA) // 9, DATA[at : at + (1 << 20)]) for at in range(0, len(DATA), 1 << 20)
    )
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    with scripted(answer) as (endpoint, _):
        daemon = start_daemon(replace(remote, endpoint=endpoint), **NO_QUEUE)
        assert get(daemon, "/bucket/key") == (200, DATA)


@pytest.mark.parametrize("size", [1 << 20, len(DATA)])
def test_a_remote_that_ends_early_never_makes_a_short_answer(
    size: int, remote: Remote, start_daemon: StartDaemon
) -> None:
    with scripted(head(size), DATA[: size - 1]) as (endpoint, go_on):
        daemon = start_daemon(replace(remote, endpoint=endpoint), **NO_QUEUE)
        go_on()
        with pytest.raises(http.client.IncompleteRead) as cut:
            get(daemon, "/bucket/key")
        assert DATA.startswith(cut.value.partial)


@pytest.mark.parametrize("size", [1 << 20, len(DATA)])
def test_a_remote_that_ends_after_its_head_is_an_error_document(
    size: int, remote: Remote, start_daemon: StartDaemon
) -> None:
    with scripted(head(size)) as (endpoint, _):
        daemon = start_daemon(replace(remote, endpoint=endpoint), **NO_QUEUE)
        status, document = get(daemon, "/bucket/key")
        assert (status, b"broke off" in document) == (503, True)


@pytest.mark.parametrize("mode", ["refuse", "silence"])
def test_a_remote_that_fails_in_the_middle_cuts_the_connection(
    mode: str, remote: Remote, stored: str, relay: Relay, start_daemon: StartDaemon
) -> None:
    far = relay(remote)
    daemon = start_daemon(far.remote, S3D_AWAY_AFTER="1s", S3D_REQUEST_TIMEOUT="2s", **NO_QUEUE)
    far.set(bandwidth=4_000_000)
    descriptors = open_descriptors(daemon)
    connection = connect(daemon)
    connection.request("GET", stored)
    answer = connection.getresponse()
    assert answer.read(2 << 20) == DATA[: 2 << 20]
    far.set(mode=mode)
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()
    connection.close()
    far.set(mode="pass", bandwidth=0)
    assert "broke off" in daemon.output()
    eventually(lambda: open_descriptors(daemon) <= descriptors, 30)
    assert get(daemon, stored) == (200, DATA)


def test_clients_that_leave_in_the_middle_of_a_remotes_object_cost_nothing(
    remote: Remote, stored: str, start_daemon: StartDaemon
) -> None:
    daemon = start_daemon(remote, **NO_QUEUE)
    descriptors = open_descriptors(daemon)
    for _ in range(20):
        connection = connect(daemon)
        connection.request("GET", stored)
        assert connection.getresponse().read(1000) == DATA[:1000]
        connection.close()
    eventually(lambda: open_descriptors(daemon) <= descriptors, 30)
