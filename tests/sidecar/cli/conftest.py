"""The command, called in this process against a real S3 server, and a server that answers what a test writes down."""

import io
import json
import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from s3d.cli import main
from tests.daemons import Daemon
from tests.remotes import Remote


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The records that it printed."""
        return [line.split("\t") for line in self.out.decode().splitlines()]

    @property
    def json(self) -> list[Any]:
        """The JSON documents that it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Cli = Callable[..., Ran]


@pytest.fixture
def own_log() -> Iterator[None]:
    """What a command does to the log is over with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
def cli(
    own_log: None, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Cli:
    """Call the command: `cli("put", "-", "bucket/key", stdin=b"...", S3D_ENDPOINT=...)`."""
    for name in [name for name in os.environ if name.startswith(("S3D_", "S3_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("S3D_LOCAL_DIR", str(tmp_path / "local"))

    def call(*words: str, stdin: bytes = b"", **environment: str) -> Ran:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        out, err = capsysbinary.readouterr()
        return Ran(code, out, err.decode())

    return call


@pytest.fixture(scope="session")
def gateway(moto: Remote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon in front of moto, which keeps every key byte for byte."""
    daemon = Daemon(tmp_path_factory.mktemp("s3d"), moto.environment)
    daemon.start()
    yield daemon
    daemon.kill()
    print(daemon.output()[-20000:])


@pytest.fixture
def s3(cli: Cli, gateway: Daemon, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stock client of the daemon that the command talks to."""
    monkeypatch.setenv("S3D_ENDPOINT", gateway.endpoint)
    monkeypatch.setenv("S3D_METRICS_ENDPOINT", gateway.metrics_endpoint)
    monkeypatch.setenv("S3D_LOCAL_DIR", str(gateway.local_dir))
    return gateway.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    """A new, empty bucket."""
    name = f"test-{secrets.token_hex(6)}"
    s3.create_bucket(Bucket=name)
    return name


@dataclass
class Scripted:
    """A server that answers each connection with the next answer, and keeps what it was sent."""

    answers: list[bytes]
    url: str = ""
    requests: list[bytes] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Answer one connection after the other."""
        for answer in self.answers:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as sent:
                head = b""
                while (line := sent.readline()).strip():
                    head += line
                self.requests.append(head)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                self.requests[-1] += b"\r\n" + sent.read()


@contextmanager
def scripted(*answers: bytes) -> Iterator[Scripted]:
    """A server with so many answers; it has ended when the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        server = Scripted(list(answers), f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            listener.close()
            thread.join()


Answering = Callable[..., AbstractContextManager[Scripted]]
Response = Callable[..., bytes]


@pytest.fixture
def answering() -> Answering:
    """Start a scripted server."""
    return scripted


def respond(status: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def response() -> Response:
    """Write an HTTP answer down."""
    return respond
