"""SIGKILL at any moment, again and again, under load, with a remote too slow for it: nothing acknowledged is lost.

The seed is printed; S3D_E2E_SEED repeats its choices (not its timing). S3D_E2E_KILLS says how many, and
S3D_E2E_SOAK_HOURS makes them many more.
"""

import hashlib
import os
import random
import secrets
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from e2e.chaos.ledger import ABSENT, Ledger, permitted
from e2e.chaos.writers import Writers
from tests.daemons import Daemon, StartDaemon
from tests.processes import http_status, wait_for_http
from tests.relays import Relay, Relayed
from tests.remotes import Remote

WRITERS = 8
KEYS = 300
SHARED = 30
WAITING = 100
"""Changes that wait, at least, whenever the daemon is killed under load."""
SLOW = 2.0
"""Seconds that each push takes."""
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
KILLS = int(os.environ.get("S3D_E2E_KILLS") or 40 + SOAK_HOURS * 1500)
RECOVERY_KILLS = 0.1
"""Share of kills that meet the daemon while it starts."""


@dataclass(frozen=True, slots=True)
class Kill:
    """What was going on when the daemon was killed."""

    requests: int
    """Requests that were out and lost their connection."""
    pushes: int
    """Pushes that the relay had in its hands."""
    waiting: int

    @property
    def is_under_load(self) -> bool:
        return self.requests > 0 and self.pushes > 0


@pytest.mark.chaos
@pytest.mark.fault(1)
@pytest.mark.semantics("D-1")
@pytest.mark.semantics("Q-1")
@pytest.mark.semantics("Q-13")
@pytest.mark.timeout(900 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.parametrize("kills", [KILLS])
def test_each_key_ends_as_its_last_acknowledged_change(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, tmp_path: Path, kills: int
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    slowed = relay(remote)
    slowed.set(delay=SLOW)
    daemon = start_daemon(slowed.remote, S3D_BUCKETS=bucket, S3D_LOG_LEVEL="warning", S3D_LOCK_WAIT="60s")
    ledger = Ledger(tmp_path / "ledger")
    writers = Writers("127.0.0.1", daemon.port, bucket, ledger, divide_keys(), seed)
    met: list[Kill] = []
    with ExitStack() as stack:
        writers.start()
        stack.callback(writers.stop)
        wait_for_backlog(daemon)
        while len(met) < kills:
            # The next one is loaded and waits for the local dir while this one is at work.
            following = successor(daemon, stack)
            time.sleep(choose.uniform(0.02, 0.4))
            met.append(kill(daemon, writers, slowed))
            if choose.random() < RECOVERY_KILLS:
                time.sleep(choose.uniform(0.0, 0.5))
                met.append(kill(following, writers, slowed))
                following = successor(daemon, stack)
            wait_for_http(following.process, f"{following.metrics_endpoint}/readyz", status=200)
            daemon = following
        writers.stop()
        slowed.set(delay=0.0)
        drain(daemon)
    left = remote_digests(remote, bucket)
    uploads = remote.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    ledger.close()

    under_load = [each for each in met if each.is_under_load]
    print(
        f"{len(met)} kills, {len(under_load)} with a request and a push in flight, the least waiting there "
        f"{min(each.waiting for each in under_load)}; changes: {ledger.count('acknowledged')} acknowledged, "
        f"{ledger.count('failed')} cut off"
    )
    wrong = {
        key: f"ended as {left.get(key, ABSENT)}, permitted {permitted(history)}: {history}"
        for key, history in ledger.histories().items()
        if left.get(key, ABSENT) not in permitted(history)
    }
    assert not wrong
    assert not set(left) - set(ledger.histories())
    assert not uploads
    assert not writers.problems
    assert len(under_load) >= 0.75 * kills
    assert sum(each.waiting >= WAITING for each in under_load) >= 0.75 * kills
    quarantine = daemon.local_dir / "queue" / "bodies" / "quarantine"
    assert [path.name for path in quarantine.iterdir() if path.name != ".queue"] == []


def divide_keys() -> list[list[str]]:
    """The keys of each writer: its own, and those that all share."""
    own = [f"own/{number:03}" for number in range(KEYS - SHARED)]
    return [own[number::WRITERS] + [f"shared/{key:02}" for key in range(SHARED)] for number in range(WRITERS)]


def successor(daemon: Daemon, stack: ExitStack) -> Daemon:
    """Start another daemon of the same local dir and ports. It begins when the one before it is gone."""
    following = replace(daemon, program=None)
    stack.callback(following.kill)
    return following.start(ready=False)


def kill(daemon: Daemon, writers: Writers, relay: Relayed) -> Kill:
    """Kill a daemon and say what it was doing."""
    is_ready = http_status(f"{daemon.metrics_endpoint}/readyz") == 200
    waiting = daemon.status()["pending"]["changes"] if is_ready else 0
    pushes = relay.set()["in_flight"]
    flying = writers.in_flight()
    daemon.kill()
    while not set(flying).isdisjoint(writers.in_flight()):
        time.sleep(0.001)
    return Kill(sum(change.outcome == "failed" for change in flying), pushes, waiting)


def wait_for_backlog(daemon: Daemon, seconds: float = 60) -> None:
    """Wait until more changes wait than must."""
    end = time.monotonic() + seconds
    while daemon.status()["pending"]["changes"] < 1.2 * WAITING:
        assert time.monotonic() < end, "the writers are too slow"
        time.sleep(0.1)


def drain(daemon: Daemon, seconds: float = 120) -> None:
    """Wait until everything has been pushed."""
    end = time.monotonic() + seconds
    while (status := daemon.status())["pending"]["changes"]:
        assert time.monotonic() < end, f"not drained: {status}"
        time.sleep(0.1)


def remote_digests(remote: Remote, bucket: str) -> dict[str, str]:
    """The MD5 of every object's bytes, read from the remote itself."""
    client = remote.client()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {key: hashlib.md5(client.get_object(Bucket=bucket, Key=key)["Body"].read()).hexdigest() for key in keys}
