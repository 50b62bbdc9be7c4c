"""The daemon's memory does not grow with the objects that it carries: a gigabyte passes in each way there is.

What is measured is VmHWM, the most memory that was ever resident, of the daemon's own process.
"""

import hashlib
import http.client
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from e2e.compat import streams
from e2e.compat.clients import pending, wait_until_drained
from e2e.compat.streams import Answer
from tests.daemons import Daemon, StartDaemon
from tests.relays import Faults, Relay
from tests.remotes import Remote

GIGABYTE = 1_000_000_000
LIMIT = 150_000_000
SLOW = 20_000_000
"""Bytes a second."""
READERS, SHARED = 100, 32 << 20
FOR_READERS = 40_000_000
"""Bytes that so many readers of one object may cost."""

pytestmark = [
    pytest.mark.remote,
    pytest.mark.timeout(600),
    # The others keep a body in memory themselves, or are no faster.
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
]


@pytest.fixture(scope="module")
def digest() -> str:
    """The SHA-256 of the gigabyte."""
    return streams.digest_of(GIGABYTE)


def most_resident(daemon: Daemon) -> int:
    """VmHWM in bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, status
    return int(found[1]) * 1024


def forget_most_resident(daemon: Daemon) -> None:
    """Make VmHWM what is resident now."""
    Path(f"/proc/{daemon.process.pid}/clear_refs").write_text("5")


def test_a_put_is_queued_and_the_pending_object_read(
    remote: Remote, bucket: str, start_daemon: StartDaemon, digest: str
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    put = streams.put(daemon.endpoint, f"/{bucket}/k", GIGABYTE)
    assert (put.status, put.headers["x-s3d-durability"]) == (200, "local")
    assert most_resident(daemon) < LIMIT

    forget_most_resident(daemon)
    got = streams.get(daemon.endpoint, f"/{bucket}/k")
    assert (got.status, got.digest, pending(daemon)) == (200, digest, 1)
    assert most_resident(daemon) < LIMIT


def test_a_queued_put_is_pushed_and_the_object_forwarded_to_a_slow_client(
    remote: Remote, bucket: str, start_daemon: StartDaemon, digest: str
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    assert streams.put(daemon.endpoint, f"/{bucket}/k", GIGABYTE).status == 200
    wait_until_drained(daemon)
    assert most_resident(daemon) < LIMIT

    forget_most_resident(daemon)
    got = streams.get(daemon.endpoint, f"/{bucket}/k", rate=SLOW)
    assert (got.status, got.digest) == (200, digest)
    assert most_resident(daemon) < LIMIT


@pytest.mark.parametrize("put", [streams.put, streams.put_framed], ids=["plain", "aws-chunked"])
def test_a_put_is_written_through_to_a_slow_remote(
    put: Callable[..., Answer], remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, digest: str
) -> None:
    relayed = relay(remote)
    relayed.set(bandwidth=SLOW)
    daemon = start_daemon(relayed.remote)
    answer = put(daemon.endpoint, f"/{bucket}/k", GIGABYTE, If_None_Match="*")
    assert (answer.status, answer.headers["x-s3d-durability"]) == (200, "remote")
    assert most_resident(daemon) < LIMIT

    arrived = hashlib.sha256()
    for block in remote.client().get_object(Bucket=bucket, Key="k")["Body"].iter_chunks(streams.BLOCK):
        arrived.update(block)
    assert arrived.hexdigest() == digest


@pytest.mark.semantics("C-5")
def test_many_readers_of_what_is_not_cached_share_one_fetch_and_no_memory_grows_with_them(
    remote: Remote, bucket: str, relay: Relay, faults: Faults, start_daemon: StartDaemon
) -> None:
    proxy = faults(remote)
    slowed = relay(proxy.remote)
    slowed.set(bandwidth=SLOW)
    daemon = start_daemon(slowed.remote, S3D_READ_CACHE="true")
    remote.client().put_object(Bucket=bucket, Key="k", Body=b"".join(streams.blocks(SHARED)))
    forget_most_resident(daemon)
    idle = most_resident(daemon)
    first = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=120)
    first.request("GET", f"/{bucket}/k")
    began = first.getresponse()
    with ThreadPoolExecutor(READERS) as pool:
        others = [pool.submit(streams.get, daemon.endpoint, f"/{bucket}/k") for _ in range(READERS - 1)]
        assert len(began.read(streams.BLOCK)) == streams.BLOCK
        first.close()
        assert {other.result().digest for other in others} == {streams.digest_of(SHARED)}
    assert proxy.stats()["requests"].count(f"GET /{bucket}/k") == 1
    assert most_resident(daemon) - idle < FOR_READERS
