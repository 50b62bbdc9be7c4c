"""Programs under test: started on free loopback ports, waited for, ended by their own process id.

A program's output goes to a file, never to a pipe that could fill. Its environment is made here: nothing of the
caller's AWS configuration reaches it.
"""

import contextlib
import http.client
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.nursery import Forked, Nursery

PORTS = range(20_000, 30_000)
_ports = itertools.count(random.choice(PORTS))


class NotStarted(Exception):
    """The program ended, or did not answer in time."""


@dataclass(slots=True)
class Program:
    """A running program and where its output goes."""

    process: subprocess.Popen[bytes] | Forked
    log: Path

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 60) -> int:
        """Wait for the end; the exit code. Raises subprocess.TimeoutExpired."""
        return self.process.wait(timeout)

    def terminate(self, timeout: float = 60) -> int:
        """Ask for the end by SIGTERM and wait for it; the exit code."""
        self.process.terminate()
        return self.wait(timeout)

    def kill(self) -> None:
        """End it by SIGKILL, stopped or not."""
        self.process.kill()
        self.process.wait()

    def output(self) -> str:
        """What it wrote so far."""
        return self.log.read_text(errors="replace")


nursery: Nursery | None = None
"""What forks daemons, and proxies that tests put before a remote; None: all are started by their commands."""


def start(command: Sequence[str | Path], log: Path, environment: Mapping[str, str], cwd: Path | None = None) -> Program:
    """Start a program with exactly this environment, plus what any program needs."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    words = [str(word) for word in command]
    variables = {**inherited, "LC_ALL": "C.UTF-8", **environment}
    with log.open("ab") as output:
        if nursery is not None and nursery.has(words, environment):
            return Program(nursery.start(words, output.fileno(), variables, cwd), log)
        process = subprocess.Popen(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
        )
    return Program(process, log)


@contextlib.contextmanager
def running(program: Program) -> Iterator[Program]:
    """Hold a program for a while; whatever happens, it has ended afterwards."""
    try:
        yield program
    finally:
        program.kill()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on just now.

    It is none of those that the kernel gives to connections, so that it stays free until it is listened on; processes
    that test side by side begin at different ones.
    """
    for _ in PORTS:
        port = PORTS[0] + (next(_ports) - PORTS[0]) % len(PORTS)
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                return port
    raise NotStarted(f"no port between {PORTS[0]} and {PORTS[-1]} is free")


def http_status(url: str, timeout: float = 30) -> int | None:
    """The status of a GET, or None where nothing answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def wait_for_http(program: Program, url: str, *, status: int | None = None, timeout: float = 60) -> None:
    """Wait until `url` answers (with `status`, if given). Raises NotStarted with the end of the program's output."""
    end = time.monotonic() + timeout
    while program.running and time.monotonic() < end:
        answer = http_status(url)
        if answer is not None and status in (None, answer):
            return
        time.sleep(0.02)
    state = "does not answer" if program.running else f"ended with exit code {program.process.returncode}"
    raise NotStarted(f"{Path(str(program.process.args[0])).name} {state} at {url}\n{program.output()[-4000:]}")  # type: ignore[index]
