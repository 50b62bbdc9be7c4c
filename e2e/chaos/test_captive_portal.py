"""A captive portal, an ingress without its backend and a proxy that gives up stand before the remote in turns, while
clients write: nothing that was acknowledged is lost, and nothing waits for a person.

The seed is printed; S3D_E2E_SEED repeats its choices (not its timing). S3D_E2E_SOAK_HOURS makes it last so long.
"""

import os
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from e2e.chaos.ledger import ABSENT, Ledger, permitted
from e2e.chaos.requests import drained, states, wait_until
from e2e.chaos.test_kill import remote_digests
from e2e.chaos.writers import Writers
from e2e.faults import INGRESS, PORTAL, gateway
from tests.daemons import StartDaemon
from tests.relays import Faults, Faulty, Relay, Relayed
from tests.remotes import Remote

WRITERS = 4
KEYS = 120
SHARED = 12
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
SECONDS = SOAK_HOURS * 3600 or 40.0
LATEST = 3.0
"""Seconds after which a late request has arrived."""
WINDOW = "10s"
"""How long the gateway looks for late requests: longer than they take, also to its own repetition."""
MODES = ("pass", "pass", "portal", "ingress", "gateway", "gateway", "refuse", "silence", "drop")
LONGEST = {"pass": 4.0, "silence": 2.0}
"""Seconds of a mode, at most; of another, 3."""


@dataclass(frozen=True, slots=True)
class Way:
    """What lies between a gateway and its remote: a network, and a proxy behind it."""

    network: Relayed
    proxy: Faulty

    def play(self, mode: str, choose: random.Random) -> None:
        """Be so from now on."""
        scripts: dict[str, list[dict[str, Any]]] = {
            "portal": PORTAL,
            "ingress": INGRESS,
            "gateway": gateway(choose.uniform(0.1, LATEST)),
        }
        self.proxy.set(*scripts.get(mode, []))
        self.network.set(mode=mode if mode in ("refuse", "silence", "drop") else "pass")


@pytest.mark.chaos
@pytest.mark.fault(55)
@pytest.mark.semantics("D-1", "Q-3", "Q-8")
@pytest.mark.timeout(600 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_whatever_answers_nothing_acknowledged_is_lost(
    remote: Remote, bucket: str, relay: Relay, faults: Faults, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    choose = random.Random(seed)
    proxy = faults(remote)
    network = relay(proxy.remote)
    way = Way(network, proxy)
    settings = {"S3D_BUCKETS": bucket, "S3D_LOG_LEVEL": "warning", "S3D_WRITE_QUEUE_LATE_WRITE_WINDOW": WINDOW}
    daemon = start_daemon(network.remote, **settings)
    daemon.warm(bucket)
    ledger = Ledger(tmp_path / "ledger")
    writers = Writers("127.0.0.1", daemon.port, bucket, ledger, divide_keys(), seed)
    played: Counter[str] = Counter()
    writers.start()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            mode = choose.choice(MODES)
            way.play(mode, choose)
            played[mode] += 1
            time.sleep(choose.uniform(0.3, LONGEST.get(mode, 3.0)))
    finally:
        writers.stop()
    way.play("pass", choose)
    drained(daemon, 120 + SECONDS / 10)
    wait_until(lambda: proxy.stats()["late"] == 0)
    histories = ledger.histories()

    def lost() -> dict[str, str]:
        left = remote_digests(remote, bucket)
        return {
            key: f"ended as {left.get(key, ABSENT)}, permitted {permitted(history)}"
            for key, history in histories.items()
            if left.get(key, ABSENT) not in permitted(history)
        }

    try:
        # What arrived late is put right when the window is over.
        wait_until(lambda: not lost(), 60)
    except AssertionError:
        assert lost() == {}
    finally:
        ledger.close()
        print(
            f"{ledger.count('acknowledged')} changes acknowledged, {ledger.count('failed')} not, "
            f"{len(lost())} keys lost; played: {dict(played)}"
        )
    assert states(daemon).get("parked", 0) == 0
    assert not writers.problems
    assert ledger.count("acknowledged") > 100


def divide_keys() -> list[list[str]]:
    """The keys of each writer: its own, and those that all share."""
    own = [f"own/{number:03}" for number in range(KEYS - SHARED)]
    return [own[number::WRITERS] + [f"shared/{key:02}" for key in range(SHARED)] for number in range(WRITERS)]
