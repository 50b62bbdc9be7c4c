"""The clock of the day is set under a daemon, or while it is down: what waits is delivered as soon as the remote is
there, and says how old it is.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2e.chaos.clocks import Clock
from e2e.chaos.requests import ask, digest, drained, pending, put, states, wait_until
from e2e.chaos.test_kill import remote_digests
from tests.daemons import Daemon, StartDaemon
from tests.relays import Faults, Relay
from tests.remotes import Remote

JUMPS = [sign * seconds for seconds in (300, 3600, 86_400) for sign in (-1, 1)]
SOON = 60
"""Seconds within which everything is delivered, also by a slow machine."""
PAUSE = 30
"""Seconds that are longer than any pause between two attempts."""
WAITED = 600
"""Seconds that pass while the remote is away."""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(600),
    pytest.mark.fault(54),
    pytest.mark.semantics("D-10"),
]
ANY_DAY = pytest.mark.parametrize("remote", ["moto"], indirect=True)
"""In front of a remote that takes signatures of any day."""


def change_of(daemon: Daemon, bucket: str, key: str) -> dict[str, Any]:
    """The newest change of a key."""
    change: dict[str, Any] = json.loads(daemon.cli("status", "--json", f"{bucket}/{key}").stdout)["changes"][-1]
    return change


def age(daemon: Daemon) -> float:
    """The age of the oldest change."""
    oldest: float = daemon.status()["pending"]["oldest_age_seconds"]
    return oldest


@ANY_DAY
@pytest.mark.parametrize(("restart", "jumps"), [(False, JUMPS), (True, JUMPS[-3:])], ids=["running", "restart"])
def test_what_waits_for_the_remote_is_delivered_when_it_is_back_and_its_age_is_the_time_that_passed(
    restart: bool,
    jumps: list[int],
    remote: Remote,
    bucket: str,
    relay: Relay,
    start_daemon: StartDaemon,
    clock: Clock,
) -> None:
    far = relay(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    expected = {}
    for jump in jumps:
        far.set(mode="refuse")
        began = time.monotonic()
        for number in range(3):
            expected[f"{jump}/{number}"] = digest(b"%d" % number)
            assert put(daemon, f"{jump}/{number}", b"%d" % number, bucket=bucket) == 200
        clock.jump(WAITED)
        if restart:
            daemon.kill()
        clock.set(jump)
        if restart:
            daemon.start()
        assert WAITED <= age(daemon) <= WAITED + time.monotonic() - began
        far.set(mode="pass")
        drained(daemon, SOON)
        clock.set(0)
    assert remote_digests(remote, bucket) == expected


@ANY_DAY
def test_what_was_refused_for_now_is_tried_again_in_its_time(
    remote: Remote, bucket: str, faults: Faults, start_daemon: StartDaemon, clock: Clock
) -> None:
    far = faults(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    far.set({"method": "PUT", "path": "/slow", "status": 503, "code": "SlowDown"})
    keys = [f"slow/{number}" for number in range(2)]
    for key in keys:
        assert put(daemon, key, b"1", bucket=bucket) == 200
    for _ in range(20):
        # The pauses grow to their longest.
        clock.jump(PAUSE)
        time.sleep(0.1)
    wait_until(
        # An attempt under way has no next one.
        lambda: all((change_of(daemon, bucket, key)["next_at"] or 0) > time.time() + clock.day + 3 for key in keys)
    )
    clock.set(-3600)
    far.set()
    clock.jump(PAUSE)
    drained(daemon, SOON)
    assert len(remote_digests(remote, bucket)) == 2


@ANY_DAY
def test_a_request_that_waits_its_turn_loses_none_of_its_time(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock
) -> None:
    far = relay(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    far.set(delay=2.0)
    assert put(daemon, "key", b"1", bucket=bucket) == 200
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, daemon, "PUT", "key", b"2", bucket=bucket, If_Match=f'"{digest(b"1")}"')
        # Until it waits, which no door shows.
        time.sleep(1)
        clock.set(86_400)
        assert asked.result()[0] == 200
    assert remote_digests(remote, bucket) == {"key": digest(b"2")}


@ANY_DAY
@pytest.mark.parametrize("jump", [-3600, 3600])
def test_what_somebody_else_wrote_before_or_after_is_told_by_the_remotes_clock_alone(
    jump: int, remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock
) -> None:
    far, there = relay(remote), remote.client()
    there.put_object(Bucket=bucket, Key="older", Body=b"foreign")
    settings = {"S3D_WRITE_QUEUE_CONFLICT": "Park", "S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER": "0s"}
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **settings, **clock.environment)
    far.set(mode="refuse")
    # The remote's stamps count whole seconds.
    time.sleep(2)
    for key in ("older", "newer"):
        assert put(daemon, key, b"ours", bucket=bucket) == 200
    time.sleep(3)
    there.put_object(Bucket=bucket, Key="newer", Body=b"foreign")
    clock.set(jump)
    far.set(mode="pass")
    wait_until(lambda: states(daemon) == {"parked": 1}, SOON)
    assert remote_digests(remote, bucket) == {"older": digest(b"ours"), "newer": digest(b"foreign")}
    assert change_of(daemon, bucket, "newer")["code"] == "Conflict"


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_remote_that_refuses_the_signatures_of_another_day_gets_those_of_its_own(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock
) -> None:
    far = relay(remote)
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    for number, ahead in enumerate((86_400, 0, -86_400)):
        far.set(mode="refuse")
        assert put(daemon, f"{number}", b"%d" % number, bucket=bucket) == 200
        clock.set(ahead)
        far.set(mode="pass")
        drained(daemon, SOON)
    assert pending(daemon) == 0
    assert len(remote_digests(remote, bucket)) == 3
