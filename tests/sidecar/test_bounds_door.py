"""What clients of the doors may hold, and for how long (SEMANTICS A-3, A-5, A-6): asked of real daemons."""

import contextlib
import os
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.clients import data_of, raw
from tests.daemons import Daemon, StartDaemon, eventually
from tests.processes import NotStarted
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)
MIB = 1 << 20
QUICK = {"S3D_CLIENT_TIMEOUT": "2s", "S3D_READER_TIMEOUT": "2s"}


def connect(daemon: Daemon, data: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
    one.sendall(data)
    return one


@contextlib.contextmanager
def connected(daemon: Daemon, count: int, data: bytes = b"") -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(daemon, data)) for _ in range(count)]


def answer_of(one: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while block := one.recv(65536):
            answer += block
    return answer


def resident(daemon: Daemon, name: str = "VmRSS") -> int:
    """Bytes of memory that the daemon has."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def descriptors(daemon: Daemon) -> int:
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
]


@pytest.mark.semantics("A-3a")
def test_a_page_of_another_site_is_refused(daemon: Daemon, bucket: str) -> None:
    for headers in FOREIGN:
        for method in ("GET", "PUT", "DELETE", "POST"):
            body = b"x" if method in ("PUT", "POST") else None
            assert raw(daemon, method, f"/{bucket}/k", body, **headers)[0] == 403, (method, headers)


@pytest.mark.semantics("A-3a")
def test_the_doors_own_pages_are_served_and_those_of_another_port_are_not(daemon: Daemon, bucket: str) -> None:
    port = daemon.port
    for own in (
        {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Origin": f"http://localhost:{port}"},
        {"Origin": f"http://{bucket}.localhost:{port}", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert raw(daemon, "PUT", f"/{bucket}/k", b"x", **own)[0] == 200, own
    for other in (
        {"Origin": f"http://127.0.0.1:{port + 1}", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:8080"},
        {"Origin": f"http://{bucket}.localhost:{port + 1}"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert raw(daemon, "PUT", f"/{bucket}/k", b"y", **other)[0] == 403, other
    assert raw(daemon, "GET", f"/{bucket}/k")[2] == b"x"


@pytest.mark.semantics("A-3b")
def test_a_target_in_absolute_form_names_the_same_object(daemon: Daemon, bucket: str) -> None:
    door = f"http://127.0.0.1:{daemon.port}"
    assert raw(daemon, "PUT", f"{door}/{bucket}/a%2Fb?x-id=PutObject", b"x")[0] == 200
    assert raw(daemon, "GET", f"/{bucket}/a/b")[2] == b"x"
    assert raw(daemon, "GET", f"HTTP://{bucket}.localhost/a/b", Host="evil.example")[2] == b"x"
    assert raw(daemon, "GET", door)[0] == 200
    assert raw(daemon, "GET", f"http://evil.example/{bucket}/a/b")[0] == 403


@pytest.mark.semantics("A-5")
@pytest.mark.parametrize("url", ["http://user:hunter2@127.0.0.1:9", "http://user:hunt/er2@h", "http://:hunter2@h:x"])
def test_a_password_in_the_endpoint_is_refused_and_not_shown(
    remote: Remote, start_daemon: StartDaemon, url: str
) -> None:
    with pytest.raises(NotStarted) as refused:
        start_daemon(remote, S3_ENDPOINT=url)
    assert "S3_ENDPOINT" in str(refused.value)
    assert "hunt" not in str(refused.value)


@pytest.mark.semantics("A-5a")
@pytest.mark.parametrize("daemon", [{"S3D_LOG_FORMAT": "text"}, {"S3D_LOG_FORMAT": "json"}], indirect=True)
def test_the_log_drives_no_terminal(daemon: Daemon, bucket: str) -> None:
    daemon.client().put_object(Bucket=bucket, Key="a\x1b[2Jb\nforged\x9bc", Body=b"x" * 100_000)
    for file in (daemon.local_dir / "queue" / "bodies").iterdir():
        if file.is_file():
            file.write_bytes(b"y")
    daemon.ask("/flush", "POST")
    raw(daemon, "GET", f"/{bucket}/%1b%5b2J%0aforged%c2%9b")
    raw(daemon, "GET", "/", Host="evil")
    raw(daemon, "GET", "/", Origin="evil")
    daemon.terminate()
    text = daemon.output()
    assert not [char for char in text if (ord(char) < 0x20 and char != "\n") or 0x7F <= ord(char) < 0xA0]
    assert not [line for line in text.split("\n") if line.startswith("forged")]


@pytest.mark.semantics("A-5b")
def test_what_s3d_makes_on_the_disk_is_its_owners_whatever_the_umask(
    remote: Remote, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        daemon = start_daemon(remote, S3D_LOCAL_DIR=str(tmp_path / "new" / "local"))
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert not {path: oct(mode) for path, mode in found.items() if mode & 0o077}
    assert daemon.running


@pytest.mark.semantics("A-6b")
@pytest.mark.parametrize("daemon", [QUICK], indirect=True)
@pytest.mark.parametrize("drip", [b"", b"x"])
def test_a_body_that_does_not_come_ends_and_holds_nothing(daemon: Daemon, bucket: str, drip: bytes) -> None:
    head = f"PUT /{bucket}/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 536870912\r\n\r\n".encode()
    with connect(daemon, head + b"x") as one:
        one.settimeout(0.2)
        answer, end = b"", time.monotonic() + 60
        while time.monotonic() < end:
            try:
                block = one.recv(65536)
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    one.sendall(drip)
                continue
            if not block:
                break
            answer += block
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>RequestTimeout</Code>" in answer


@pytest.mark.semantics("A-6b")
@pytest.mark.parametrize("daemon", [{"S3D_CLIENT_TIMEOUT": "4s"}], indirect=True)
def test_a_body_that_comes_slowly_and_steadily_is_taken(daemon: Daemon, bucket: str) -> None:
    data = data_of(40_000)
    with connect(daemon) as one:
        one.sendall(f"PUT /{bucket}/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n".encode())
        for start in range(0, len(data), 4000):
            one.sendall(data[start : start + 4000])
            time.sleep(0.5)
        assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert raw(daemon, "GET", f"/{bucket}/k")[2] == data


@pytest.mark.semantics("A-6b")
@pytest.mark.parametrize("daemon", [QUICK], indirect=True)
@pytest.mark.parametrize("pending", [True, False], ids=["here", "there"])
def test_readers_that_do_not_read_hold_nothing(daemon: Daemon, remote: Remote, bucket: str, pending: bool) -> None:
    data = data_of(40 * MIB)
    if pending:
        daemon.warm(bucket)
        daemon.ask("/flush", "POST")
        daemon.client().put_object(Bucket=bucket, Key="k", Body=data, Tagging="s3d.upload=false")
    else:
        remote.client().put_object(Bucket=bucket, Key="k", Body=data)
    assert raw(daemon, "GET", f"/{bucket}/k")[2] == data
    before = descriptors(daemon)
    request = f"GET /{bucket}/k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with connected(daemon, 12, request) as readers:
        eventually(lambda: descriptors(daemon) > before + 12)
        eventually(lambda: descriptors(daemon) <= before + 2)
        for one in readers:
            with contextlib.suppress(ConnectionError):
                assert len(answer_of(one)) < len(data)


@pytest.mark.semantics("A-6b")
@pytest.mark.parametrize("daemon", [QUICK], indirect=True)
def test_a_reader_that_is_slow_gets_all_of_it(daemon: Daemon, remote: Remote, bucket: str) -> None:
    data = data_of(24 * MIB)
    remote.client().put_object(Bucket=bucket, Key="k", Body=data)
    got = bytearray()
    with connect(daemon, f"GET /{bucket}/k HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode()) as one:
        while block := one.recv(1 * MIB):
            got += block
            time.sleep(0.05)
    assert bytes(got).partition(b"\r\n\r\n")[2] == data


@pytest.mark.semantics("A-6a")
def test_a_head_without_an_end_is_refused(daemon: Daemon) -> None:
    begun = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    many = begun + b"".join(b"x-%d: %s\r\n" % (number, b"y" * 8000) for number in range(100))
    for head in (many, begun + b"x: " + b"y" * 200_000, b"GET /" + b"y" * 200_000):
        with connect(daemon) as one:
            with contextlib.suppress(ConnectionError):
                one.sendall(head)
            assert b" 400 Bad Request\r\n" in answer_of(one)


@pytest.mark.semantics("A-6a")
@pytest.mark.parametrize("daemon", [QUICK], indirect=True)
def test_unfinished_heads_cost_little_and_keep_nobody_out(daemon: Daemon, bucket: str) -> None:
    before = resident(daemon)
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x-%d: %s\r\n" % (i, b"y" * 8000) for i in range(7))
    with connected(daemon, 700, head):
        for number in range(20):
            assert raw(daemon, "PUT", f"/{bucket}/{number}", b"x")[0] == 200
        assert resident(daemon) - before < 60 * MIB


@pytest.mark.semantics("A-6a")
def test_bodies_that_stand_still_cost_little_and_keep_nobody_out(daemon: Daemon, bucket: str) -> None:
    before = resident(daemon)
    head = f"PUT /{bucket}/slow HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 536870912\r\n\r\n".encode()
    with connected(daemon, 600, head + bytes(60_000)):
        for number in range(20):
            assert raw(daemon, "PUT", f"/{bucket}/{number}", b"x")[0] == 200
        assert resident(daemon) - before < 110 * MIB


@pytest.mark.semantics("A-6c")
def test_documents_that_are_dear_to_understand_cost_little_and_hold_up_nobody(daemon: Daemon, bucket: str) -> None:
    upload = daemon.client().create_multipart_upload(Bucket=bucket, Key="u")["UploadId"]
    before = resident(daemon)
    root = b"CompleteMultipartUpload"
    documents = [
        b"<" + root + b" " + b" ".join(b'a%d=""' % number for number in range(650_000)) + b"></" + root + b">",
        b"<" + root + b">" + b'<Part a="" b=""/>' * 400_000 + b"</" + root + b">",
        b"<" + root + b">" + b"<Part/>" * 1_000_000 + b"</" + root + b">",
    ]
    with ThreadPoolExecutor(6) as pool:
        target = f"/{bucket}/u?uploadId={upload}"
        posts = [pool.submit(raw, daemon, "POST", target, document) for document in documents * 2]
        while not all(post.done() for post in posts):
            assert raw(daemon, "PUT", f"/{bucket}/k", b"x")[0] == 200
        # One that waited for long has its error inside a 200, as S3 has it.
        assert all(b"<Code>MalformedXML</Code>" in post.result()[2] for post in posts)
    assert resident(daemon, "VmHWM") - before < 100 * MIB
