"""What the crash tests get beside the real remotes and the real daemon."""

from pathlib import Path

import pytest

from e2e.chaos.clocks import Clock
from e2e.chaos.requests import BUCKET
from tests.daemons import ROOT, Daemon, StartDaemon
from tests.processes import free_port
from tests.relays import faults, relay
from tests.remotes import Remote

__all__ = ["faults", "relay"]

ALTERED = {"PYTHONPATH": f"{Path(__file__).parent / 'altered'}:{ROOT / 'sidecar'}"}


@pytest.fixture
def lonely(start_daemon: StartDaemon, moto: Remote) -> Daemon:
    """A daemon whose remote is away and whose bodies are written by one thread."""
    away = {"S3_ENDPOINT": f"http://127.0.0.1:{free_port()}", "S3D_BUCKETS": BUCKET}
    return start_daemon(moto, **away, **ALTERED, S3D_E2E_ALTER="s3d.store.threads.MAX_THREADS=1")


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock that jumps."""
    return Clock(tmp_path)
