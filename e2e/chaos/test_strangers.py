"""Who has no key holds all connections that there are to hold, and asks for more: whoever has one goes on, over the
connections that it has and over new ones, and is hardly slower for it (printed; the goal is a p99 of twice the usual).
"""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.chaos.authorities import Authority
from e2e.chaos.test_bounds import hold
from tests.daemons import StartDaemon
from tests.remotes import Remote, client

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
HALF_OPEN = 5000 if SOAK_HOURS else 600
SECONDS = 20
CLIENTS = 4
ID, SECRET = "S3DTESTKEY", "a-secret-of-the-door"
BEGUN = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n",
    # The head of a ClientHello.
    "https": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


@pytest.mark.chaos
@pytest.mark.semantics("A-6f", "A-10c")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.parametrize("scheme", BEGUN)
def test_strangers_keep_out_nobody_who_has_a_key(
    scheme: str, remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys.json"
    keys.touch(0o600)
    keys.write_text(json.dumps([{"id": ID, "secret": SECRET}]))
    settings = {"S3D_BUCKETS": bucket, "S3D_ACCESS_KEYS_FILE": str(keys)}
    if scheme == "https":
        authority = Authority(tmp_path / "authority")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(authority.bundle))
        settings |= dict(zip(("S3D_TLS_CERT", "S3D_TLS_KEY"), authority.certify(days=1), strict=True))
    daemon = start_daemon(remote, **settings)
    clients = [client(daemon.endpoint, ID, SECRET) for _ in range(CLIENTS)]
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        alone = measure(pool, clients, bucket)
        strangers = pool.submit(hold, daemon.port, HALF_OPEN, BEGUN[scheme], time.monotonic() + SECONDS)
        beside = measure(pool, [*clients[1:], client(daemon.endpoint, ID, SECRET)], bucket)
        strangers.result()
    print(
        f"p99 of {len(alone)} puts alone: {p99(alone):.1f} ms; of {len(beside)} beside {HALF_OPEN}: {p99(beside):.1f}"
    )


def measure(pool: ThreadPoolExecutor, clients: list[Any], bucket: str) -> list[float]:
    """Put over and over; how long each took, in milliseconds. Raises where one is refused or its connection lost."""
    end = time.monotonic() + SECONDS
    each = [pool.submit(put_until, s3, bucket, end) for s3 in clients]
    return [taken for one in each for taken in one.result()]


def put_until(s3: Any, bucket: str, end: float) -> list[float]:
    """Put until then."""
    taken: list[float] = []
    for number in count():
        began = time.monotonic()
        if began > end:
            break
        # A client that was made for these tests repeats nothing.
        s3.put_object(Bucket=bucket, Key=f"{threading.get_ident()}/{number % 20}", Body=b"x" * 4000)
        taken.append(1000 * (time.monotonic() - began))
    return taken


def p99(taken: list[float]) -> float:
    """Below which 99 of 100 are."""
    return sorted(taken)[len(taken) * 99 // 100]
