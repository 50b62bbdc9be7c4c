"""Large bodies through the door: whole, in pieces, to clients that are slow or leave."""

import hashlib
import http.client
import random
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

DATA = random.Random(5).randbytes(9 << 20)

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
    end = time.monotonic() + 30
    while open_descriptors(daemon) > descriptors + 4:
        assert time.monotonic() < end, "descriptors of clients that left are still open"
        time.sleep(0.05)
