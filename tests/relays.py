"""Relays and fault proxies in front of a remote, each a process of its own that tests give orders to."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from e2e.relay import control
from tests.daemons import Daemon, StartDaemon
from tests.processes import NotStarted, Program, running, start
from tests.remotes import Remote

ROOT = Path(__file__).parent.parent
AWAY = {"S3D_AWAY_AFTER": "1s"}
"""Settings of a daemon that notices soon."""


@dataclass(frozen=True, slots=True)
class Relayed:
    """A remote behind a relay."""

    remote: Remote
    """As s3d reaches it."""
    control_port: int
    program: Program

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change the relay; its settings and counts."""
        return control(self.control_port, **changes)


Relay = Callable[[Remote], Relayed]


@pytest.fixture
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """Put relays in front of remotes."""
    with ExitStack() as programs:

        def put_before(remote: Remote) -> Relayed:
            log = tmp_path_factory.mktemp("relay") / "log"
            target = urlsplit(remote.endpoint).netloc
            program = programs.enter_context(
                running(start([sys.executable, "-m", "e2e.relay", target], log, {"PYTHONPATH": str(ROOT)}, cwd=ROOT))
            )
            said = first_line(program)
            return Relayed(replace(remote, endpoint=f"http://127.0.0.1:{said['port']}"), said["control"], program)

        yield put_before


@dataclass(frozen=True, slots=True)
class Faulty:
    """A remote behind a proxy that answers by a script."""

    remote: Remote
    """As s3d reaches it."""
    control_port: int
    program: Program

    def set(self, *rules: dict[str, Any]) -> dict[str, Any]:
        """Give the proxy a script; its counts."""
        return control(self.control_port, rules=list(rules))

    def stats(self) -> dict[str, Any]:
        """What it has seen and done."""
        return control(self.control_port)


Faults = Callable[..., Faulty]


@pytest.fixture
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faults]:
    """Put fault proxies in front of remotes: `faults(remote)`, or `faults(remote, "--cert", path, "--key", path)`."""
    with ExitStack() as programs:

        def put_before(remote: Remote, *options: str | Path) -> Faulty:
            log = tmp_path_factory.mktemp("faults") / "log"
            command = [sys.executable, "-m", "e2e.faults", urlsplit(remote.endpoint).netloc, *options]
            program = programs.enter_context(running(start(command, log, {"PYTHONPATH": str(ROOT)}, cwd=ROOT)))
            said = first_line(program)
            endpoint = f"{'https' if '--cert' in options else 'http'}://127.0.0.1:{said['port']}"
            return Faulty(replace(remote, endpoint=endpoint), said["control"], program)

        yield put_before


def first_line(program: Program, seconds: float = 60) -> dict[str, Any]:
    """What a program says first, as JSON. Raises NotStarted."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and program.running:
        line, newline, _ = program.output().partition("\n")
        if newline:
            said: dict[str, Any] = json.loads(line)
            return said
        time.sleep(0.02)
    raise NotStarted(program.output())


@pytest.fixture
def away(remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon) -> tuple[Daemon, Relayed, str]:
    """A daemon whose remote refuses every connection, and the relay that does."""
    relayed = relay(remote)
    relayed.set(mode="refuse")
    return start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY), relayed, bucket
