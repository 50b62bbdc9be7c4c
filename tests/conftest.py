"""What every test gets: no blocking call of ours on the event loop, real remotes, the real daemon."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, settings

from tests import processes
from tests.daemons import daemon, start_daemon
from tests.gateways import quick
from tests.mounts import mount, mount_dir, mounted
from tests.moves import moves
from tests.nursery import Nursery
from tests.refusals import refusing
from tests.relays import away, relay
from tests.remotes import bucket, minio, moto, remote, versitygw
from tests.semantics import quoted_sentences, sentences

# Generated examples are the same in every run, and a busy machine fails none of them.
settings.register_profile("s3d", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("s3d")

MEMORY = Path("/dev/shm")
ROOM = 4 << 30
"""Bytes."""
# Directories of tests are in memory where there is room: no test is about a disk, and that was a quarter of the time.
# What crashes and power cuts leave of a disk is the business of e2e/.
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

ITERATION = "os.scandir"
"""What blockbuster calls the iterator of os.scandir()."""
STARTED = frozenset(["daemon", "minio", "moto", "mount", "mounted", "remote", "start_daemon", "versitygw"])
"""Fixtures that are a server."""
STARTING = frozenset(["tests.daemons", "tests.machine.play", "tests.onion", "tests.remotes", "tests.stores"])
"""Modules by which a test starts one, or a gateway that lives through many steps."""

__all__ = [
    "away",
    "bucket",
    "daemon",
    "minio",
    "moto",
    "mount",
    "mount_dir",
    "mounted",
    "moves",
    "quick",
    "refusing",
    "relay",
    "remote",
    "start_daemon",
    "versitygw",
]


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """Daemons, and proxies that tests put before a remote, are forked."""
    processes.nursery = Nursery()
    yield
    processes.nursery.close()
    processes.nursery = None


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is started is started by its command."""
    monkeypatch.setattr(processes, "nursery", None)


@pytest.fixture(scope="session", autouse=True)
def no_blocking_iteration() -> None:
    """The same for `next()` of a directory's entries, for good: that is a slot of a type in C, and a thread that is in
    it when the slot is given back ends the process."""
    BlockBuster("s3d").functions[ITERATION].activate()


@pytest.fixture(autouse=True)
def no_blocking_calls(no_blocking_iteration: None) -> Iterator[None]:
    """A call that blocks the event loop raises, where one of our modules makes it."""
    blocking = BlockBuster("s3d")
    del blocking.functions[ITERATION]
    blocking.activate()
    yield
    blocking.deactivate()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a server; `make unit` runs the others."""
    for item in items:
        module = item.getparent(pytest.Module)
        used = {getattr(one, "__module__", "") for one in vars(module.obj).values()} if module else set()
        if STARTED & {*getattr(item, "fixturenames", ())} or STARTING & used:
            item.add_marker("server")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the promises that no test proves."""
    missing = [name for name in sentences() if name not in quoted_sentences()]
    if missing:
        terminalreporter.section("sentences of docs/SEMANTICS.md that no test quotes")
        terminalreporter.write_line(" ".join(missing))
