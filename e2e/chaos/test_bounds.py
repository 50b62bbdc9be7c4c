"""All at once that a client can hold without being served, for a daemon that may use 256 MB: heads without an end,
bodies that stand still, answers that nobody reads, documents of attributes, idle sockets at the metrics door. Writers
and probes go on being served, nothing is killed, what is resident stays below 200 MB, and the loop never works for
long at a time.
"""

import contextlib
import http.client
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.chaos.cgroups import new_group
from e2e.chaos.conftest import ALTERED
from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

MEMORY = 256_000_000
MOST_RESIDENT = 200_000_000
MOST_SPENT = 4
"""Times what `reference` takes, that a turn of the loop may work; a document at once takes 25 times as long, and
more."""
SECONDS = 30
MIB = 1 << 20
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 8000) for n in range(7))


@pytest.mark.chaos
@pytest.mark.semantics("A-6a", "A-6b", "A-6c", "Q-7f")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_who_holds_all_that_can_be_held_stops_nobody(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    remote.client().put_object(Bucket=bucket, Key="large", Body=bytes(64 * MIB))
    spent = tmp_path / "spent"
    with new_group(MEMORY) as group, contextlib.ExitStack() as stack:
        settings = {"S3D_WRITE_QUEUE_MAX_SIZE": "2Gi", "S3D_DRAIN_SECONDS": "0", "S3D_E2E_SPENT": str(spent)}
        daemon = start_daemon(remote, S3D_BUCKETS=bucket, **ALTERED, S3D_E2E_CGROUP=str(group.path), **settings)
        upload = daemon.client().create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
        stack.callback(daemon.kill)
        end = time.monotonic() + SECONDS
        stalled = f"PUT /{bucket}/stalled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 536870912\r\n\r\n".encode()
        reading = f"GET /{bucket}/large HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        complete = f"/{bucket}/u?uploadId={upload}"
        works: list[Callable[[], None]] = [
            lambda: hold(daemon.port, 300, HEAD, end),
            lambda: hold(daemon.port, 100, stalled + b"x", end),
            lambda: hold(daemon.port, 30, stalled + bytes(2 * MIB), end),
            lambda: hold(daemon.port, 40, reading, end),
            lambda: hold(daemon.metrics_port, 72, b"", end),
            *(lambda document=document: post(daemon.port, complete, document, end) for document in documents()),
        ]
        writers = [f"/{bucket}/writer/{number}" for number in range(4)]
        with ThreadPoolExecutor(len(works) + len(writers) + 1) as pool:
            held = [pool.submit(work) for work in works]
            written = [pool.submit(write, daemon.port, path, end) for path in writers]
            probed = pool.submit(probe, daemon.metrics_port, end)
            answers = [one.result() for one in written]
            probes = probed.result()
            for one in held:
                one.result()
        most = most_resident(daemon)
        worst = float(spent.read_text())
        print(f"{most} bytes resident at most; {worst * 1000:.1f} ms at most in a turn of the loop")
        print(f"writes: {[len(each) for each in answers]}; probes: {len(probes)}")
        assert group.kills == 0
        assert all(set(each) == {200} and len(each) > 10 for each in answers), answers
        assert set(probes) == {200}
        assert most < MOST_RESIDENT
        assert worst < MOST_SPENT * reference()


def reference() -> float:
    """Seconds of the processor for a piece of work that is always the same: machines differ."""
    spent = []
    for _ in range(5):
        began = time.thread_time()
        sum(number * number for number in range(400_000))
        spent.append(time.thread_time() - began)
    return min(spent)


def documents() -> Iterator[bytes]:
    """Documents of about 7 MiB that are cheap to write and dear to understand."""
    root = b"CompleteMultipartUpload"
    yield b"<" + root + b" " + b" ".join(b'a%d=""' % number for number in range(650_000)) + b"></" + root + b">"
    yield b"<" + root + b">" + b'<Part a="" b=""/>' * 400_000 + b"</" + root + b">"
    yield b"<" + root + b">" + b"<Part/>" * 1_000_000 + b"</" + root + b">"
    yield b"<" + root + b">" + b"<Part><ETag>" + b"&amp;" * 1_400_000 + b"</ETag></Part></" + root + b">"


def hold(port: int, count: int, data: bytes, end: float) -> None:
    """Hold so many connections that have sent something; what the other side has closed by then is made anew."""
    while time.monotonic() < end:
        with contextlib.ExitStack() as stack:
            for _ in range(count):
                with contextlib.suppress(OSError):
                    one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
                    one.sendall(data)
            threading.Event().wait(min(10, max(0, end - time.monotonic())))


def post(port: int, target: str, document: bytes, end: float) -> None:
    """Post a document again and again."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            with contextlib.closing(connection):
                connection.request("POST", target, document)
                # One that waited for long has its error inside a 200, as S3 has it.
                assert b"<Error>" in connection.getresponse().read()


def write(port: int, path: str, end: float) -> list[int]:
    """Put small and larger objects, one after the other, each on a connection of its own; their statuses."""
    statuses: list[int] = []
    for number in itertools.count():
        if time.monotonic() > end:
            return statuses
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("PUT", f"{path}/{number % 20}", bytes(MIB if number % 5 == 0 else 1000))
            statuses.append(connection.getresponse().status)
    return statuses


def probe(port: int, end: float) -> list[int]:
    """Ask for health, as a kubelet does; the statuses."""
    statuses: list[int] = []
    pause = threading.Event()
    while time.monotonic() < end:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            statuses.append(connection.getresponse().status)
        pause.wait(0.5)
    return statuses


def most_resident(daemon: Daemon) -> int:
    """VmHWM in bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, status
    return int(found[1]) * 1024
