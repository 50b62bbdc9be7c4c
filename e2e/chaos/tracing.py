"""Faults in the daemon's own system calls: strace, attached to its process for a while.

`error=EIO` answers a call in the kernel's place, `signal=KILL` strikes before the call runs. strace counts calls by
thread, from the moment at which it is attached.
"""

import contextlib
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import NotStarted, Program, start

INJECTED = "(INJECTED)"
PATIENCE = 60.0
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)", re.MULTILINE)


@contextlib.contextmanager
def traced(program: Program, output: Path, *options: str) -> Iterator[Path]:
    """Trace a running program with all its threads; a fault is `-e inject=...`. Skips the test without strace."""
    command: list[str | Path] = [find_strace(), "-f", "-y", "-s", "0", "-o", output, *options, "-p", str(program.pid)]
    tracer = start(command, log(output), {})
    try:
        wait_until_attached(tracer, program)
        yield output
    finally:
        # Only a living process has to be let go; with a dead one strace ends by itself.
        with contextlib.suppress(ProcessLookupError):
            tracer.signal(signal.SIGINT)
        tracer.wait(PATIENCE)


def find_strace() -> str:
    """The path of strace; skips the test where there is none."""
    found = shutil.which("strace")
    if not found:
        pytest.skip("no strace")
    return found


def log(output: Path) -> Path:
    """Where strace says what goes wrong with itself."""
    return output.with_name(output.name + ".log")


def wait_until_attached(tracer: Program, program: Program) -> None:
    """Wait until each thread of the program is traced, or a fault has ended it already, at a call of its own. Raises
    NotStarted."""
    end = time.monotonic() + PATIENCE
    while tracer.running and time.monotonic() < end:
        if all(f"TracerPid:\t{tracer.pid}\n" in status for status in threads(program)):
            return
        time.sleep(0.01)
    if program.running:
        raise NotStarted(f"strace is not attached: {tracer.output()}")


def threads(program: Program) -> list[str]:
    """What the kernel says of each thread."""
    found = []
    for path in Path(f"/proc/{program.pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            found.append(path.read_text())
    return found


def calls_on(output: Path, directory: Path) -> set[str]:
    """The names of the calls that touched something in a directory."""
    lines = output.read_text(errors="replace").splitlines()
    return {found[1] for line in lines if str(directory) in line and (found := CALL.match(line))}
