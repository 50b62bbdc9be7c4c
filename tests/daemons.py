"""The real daemon: `s3d run` as a process of its own, against a remote, with the settings that a test gives.

It keeps its ports and its local dir over a restart, so that a test can kill it and start it again.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.processes import NotStarted, Program, free_port, start, wait_for_http
from tests.remotes import Remote, client, credentials

ROOT = Path(__file__).parent.parent


@dataclass(slots=True)
class Daemon:
    """An `s3d run` that may be started, ended and started again."""

    directory: Path
    settings: dict[str, str]
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)
    program: Program | None = None

    @property
    def endpoint(self) -> str:
        """The S3 door."""
        return f"{'https' if 'S3D_TLS_CERT' in self.settings else 'http'}://127.0.0.1:{self.port}"

    @property
    def metrics_endpoint(self) -> str:
        """Where health, metrics and status are."""
        return f"http://127.0.0.1:{self.metrics_port}"

    @property
    def local_dir(self) -> Path:
        """What it must not lose."""
        return self.directory / "local"

    @property
    def log(self) -> Path:
        """Its output, over all starts."""
        return self.directory / "s3d.log"

    @property
    def environment(self) -> dict[str, str]:
        """Its whole environment."""
        return {
            "PYTHONPATH": str(ROOT / "sidecar"),
            "S3D_LOCAL_DIR": str(self.local_dir),
            "S3D_ENDPOINT": self.endpoint,
            "S3D_METRICS_ENDPOINT": self.metrics_endpoint,
            **self.settings,
        }

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.program is not None and self.program.running

    def start(self, *, ready: bool = True) -> "Daemon":
        """Start it and, unless told otherwise, wait until it is ready. Raises NotStarted."""
        if self.running:
            raise RuntimeError("it runs already")
        self.program = start([sys.executable, "-m", "s3d.cli", "run"], self.log, self.environment)
        if ready:
            wait_for_http(self.program, f"{self.metrics_endpoint}/readyz", status=200)
        return self

    def terminate(self, timeout: float = 60) -> int:
        """End it by SIGTERM; the exit code."""
        return self.process.terminate(timeout)

    def kill(self) -> None:
        """End it by SIGKILL. Does nothing where it does not run."""
        if self.program:
            self.program.kill()

    @property
    def process(self) -> Program:
        """The process, for signals and limits."""
        if self.program is None:
            raise RuntimeError("it was never started")
        return self.program

    def client(self, **config: Any) -> Any:
        """A stock boto3 client of the S3 door."""
        return client(self.endpoint, **config)

    def warm(self, bucket: str) -> None:
        """Put and delete once and wait for both: from now on the queue takes plain writes to the bucket (Q-14)."""
        s3 = self.client()
        s3.put_object(Bucket=bucket, Key="warm", Body=b"")
        s3.delete_object(Bucket=bucket, Key="warm")
        end = time.monotonic() + 60
        while self.status()["pending"]["changes"]:
            if time.monotonic() > end:
                raise NotStarted("what was written is not delivered")
            time.sleep(0.05)

    def status(self) -> dict[str, Any]:
        """What /status says."""
        with urllib.request.urlopen(f"{self.metrics_endpoint}/status", timeout=60) as answer:
            status: dict[str, Any] = json.load(answer)
            return status

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the socket in the local dir answers, as JSON."""
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.local_dir / "s3d.sock"))
        with connection.sock:
            connection.request(method, path)
            return json.load(connection.getresponse())

    def cli(self, *words: str, stdin: bytes | None = None, timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run the CLI against it."""
        environment = {**credentials("Dummy", "Dummy"), **self.environment}
        return subprocess.run(
            [sys.executable, "-m", "s3d.cli", *words],
            env=environment,
            input=stdin,
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def output(self) -> str:
        """What it wrote, over all starts."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartDaemon]:
    """Start daemons: `start_daemon(remote, S3D_AWAY_AFTER="1s")`. A failed test shows their output."""
    daemons: list[Daemon] = []

    def start_one(remote: Remote, *, ready: bool = True, **settings: str) -> Daemon:
        daemon = Daemon(tmp_path_factory.mktemp("s3d"), {**remote.environment, **settings})
        daemons.append(daemon)
        return daemon.start(ready=ready)

    yield start_one
    for daemon in daemons:
        daemon.kill()
        print(f"--- output of s3d on port {daemon.port}\n{daemon.output()[-20000:]}")


@pytest.fixture
def daemon(remote: Remote, bucket: str, start_daemon: StartDaemon, request: pytest.FixtureRequest) -> Daemon:
    """A daemon that is ready, with the remote and its new bucket; indirect parameters are its settings."""
    settings: dict[str, str] = getattr(request, "param", {})
    return start_daemon(remote, **{"S3D_BUCKETS": bucket, **settings})


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
