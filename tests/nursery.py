"""A process that has loaded the daemon and becomes one each time that it is asked: by a fork, without the second of a
processor's time that loading takes. The proxies that tests put before a remote need the same libraries.

What is forked has a process id, an environment, an output and an end of its own, and runs its module from the first
line on. In /proc its command line and its first environment are the nursery's: tests that look at those ask for
`executed`, and e2e/ starts everything by its command.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.constants import CHANGING, VARIABLE, change

ROOT = Path(__file__).parent.parent
PATH = (str(ROOT / "sidecar"), str(ROOT))
"""Where it finds modules."""
MODULES = frozenset(["s3d.cli", "e2e.relay", "e2e.faults"])
"""What it becomes."""
LOADED = ("s3d.cli.run", "s3d.config", "s3d.daemon")
MAX_REQUEST = 1 << 17
"""Bytes of the words and the environment of a start."""


class Forked:
    """What was forked, with the methods of a subprocess.Popen that a Program has need of."""

    def __init__(self, args: list[str], pid: int, told: int) -> None:
        """Take what the nursery has started; `told` is a pipe from which its exit code can be read when it has ended.

        The process id is given back to the system only when that was read, so that no signal meets another process.
        """
        self.args = args
        self.pid = pid
        self.returncode: int | None = None
        self._told = told

    def poll(self) -> int | None:
        """The exit code, or minus the signal that ended it; None while it runs."""
        if self.returncode is None and select.select([self._told], [], [], 0)[0]:
            self._read()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code. Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if timeout is not None and not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._read()
        assert self.returncode is not None
        return self.returncode

    def _read(self) -> None:
        self.returncode = int(os.read(self._told, 16))
        os.close(self._told)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that forks, as its caller has it."""

    def __init__(self) -> None:
        """It begins with the first start."""
        self._socket: socket.socket | None = None

    @staticmethod
    def has(command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Whether a command runs one of its modules, as that would be found by the environment."""
        path = environment.get("PYTHONPATH", "").split(os.pathsep)
        known = command[:2] == [sys.executable, "-m"] and command[2] in MODULES
        return known and {*path} <= {*PATH, CHANGING} and "LD_PRELOAD" not in environment

    def start(
        self, command: Sequence[str], output: int, environment: Mapping[str, str], cwd: Path | None = None
    ) -> Forked:
        """Run `python -m module words...` with exactly this environment, what it says going to a file descriptor."""
        asked = self._socket or self._begin()
        told, tell = os.pipe()
        request = {"words": command[2:], "environment": dict(environment), "cwd": cwd and str(cwd)}
        socket.send_fds(asked, [json.dumps(request).encode()], [output, tell])
        os.close(tell)
        return Forked([*command], int(asked.recv(16)), told)

    def _begin(self) -> socket.socket:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(PATH)},
                stdin=subprocess.DEVNULL,
            )
        return self._socket

    def close(self) -> None:
        """End it, and not what it has forked."""
        if self._socket is not None:
            self._socket.close()
            self._process.wait()


def serve(asked: socket.socket) -> None:
    """Fork for each request, until the other end is closed. Returns in what shall run a module, and only there."""
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, fds, _, _ = socket.recv_fds(asked, MAX_REQUEST, 2)
        if not request:
            sys.exit()
        if not os.fork():
            break
        for fd in fds:
            os.close(fd)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output, tell = fds
    if pid := os.fork():
        keep(pid, asked, tell)
    asked.close()
    os.close(tell)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    called = json.loads(request)
    os.chdir(called["cwd"] or ".")
    os.environ.clear()
    os.environ.update(called["environment"])
    sys.argv = called["words"]
    if VARIABLE in os.environ:
        change(json.loads(os.environ[VARIABLE]))


def keep(pid: int, asked: socket.socket, tell: int) -> None:
    """Name what runs by its process id, tell how it ended, and hold the id until that was read; does not return."""
    asked.send(b"%d" % pid)
    asked.close()
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    os.write(tell, b"%d" % (ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status))
    read = select.poll()
    read.register(tell, 0)
    read.poll()
    os._exit(0)


if __name__ == "__main__":
    for name in LOADED:
        importlib.import_module(name)
    serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
