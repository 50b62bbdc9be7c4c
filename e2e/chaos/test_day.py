"""The remote is away for a day, by the daemon's clock: what was acknowledged meanwhile arrives."""

import os
import random
import secrets

import pytest

from e2e.chaos.clocks import Clock
from e2e.chaos.requests import ask, digest, drained, put, states
from e2e.chaos.test_kill import remote_digests
from tests.daemons import StartDaemon
from tests.relays import Relay
from tests.remotes import Remote

HOURS = 24


@pytest.mark.chaos
@pytest.mark.timeout(600)
# The others refuse requests of another day.
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
@pytest.mark.fault(33)
@pytest.mark.semantics("Q-8")
def test_a_day_without_the_remote_costs_nothing(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, clock: Clock
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    far = relay(remote)
    far.set(mode="refuse")
    daemon = start_daemon(far.remote, S3D_BUCKETS=bucket, **clock.environment)
    expected = {"first": digest(b"first")}
    assert put(daemon, "first", b"first", bucket=bucket) == 200
    for hour in range(HOURS):
        for _ in range(10):
            key = f"key/{choose.randrange(40)}"
            if expected.get(key) and choose.random() < 0.2:
                assert ask(daemon, "DELETE", key, bucket=bucket)[0] == 204
                expected[key] = ""
            else:
                body = choose.randbytes(choose.choice([10, 4000, 60_000]))
                assert put(daemon, key, body, bucket=bucket) == 200
                expected[key] = digest(body)
        clock.jump(3600)
        if hour == HOURS // 2:
            daemon.kill()
            daemon.start()
    assert daemon.status()["pending"]["oldest_age_seconds"] >= HOURS * 3600
    assert states(daemon).keys() == {"waiting"}
    far.set(mode="pass")
    drained(daemon)
    assert remote_digests(remote, bucket) == {key: value for key, value in expected.items() if value}
