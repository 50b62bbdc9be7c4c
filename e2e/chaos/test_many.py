"""A hundred thousand changes that are held: all are there after a SIGKILL, and listings tell of them.

How long a start and a page take is printed beside what each is compared with. That neither grows with what waits,
tests/sidecar/layers/queue/test_work_of_many.py counts.
"""

import http.client
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from e2e.chaos.requests import pending
from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
CHANGES = int(os.environ.get("S3D_E2E_CHANGES") or (100_000 if SOAK_HOURS else 5000))
WRITERS = 8
HELD = {"x-amz-tagging": "s3d.upload=false"}
OBJECTS = 1500
"""Objects of the remote, among whose keys those of the changes lie."""
STARTS = 3
"""The fastest of so many counts: what another program does meanwhile makes no start faster."""
PAGES = 30


@pytest.mark.chaos
@pytest.mark.semantics("Q-11")
@pytest.mark.semantics("Q-13")
@pytest.mark.timeout(900 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_many_held_changes_are_there_after_a_kill_and_listed(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    client = remote.client()
    for number in range(OBJECTS):
        client.put_object(Bucket=bucket, Key=f"key/{number:06}-there", Body=b"1")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket)
    empty = [seconds_to_ready(daemon) for _ in range(STARTS)]
    put_many(daemon, bucket)
    assert pending(daemon) == CHANGES
    full = [seconds_to_ready(daemon) for _ in range(STARTS)]
    assert pending(daemon) == CHANGES

    alone = client.list_objects_v2
    through = daemon.client().list_objects_v2
    pages: dict[str, list[float]] = {"alone": [], "through": []}
    for _ in range(PAGES):
        # In turn, so that both meet the same machine.
        pages["alone"].append(seconds(lambda: alone(Bucket=bucket, Prefix="key/")))
        pages["through"].append(seconds(lambda: through(Bucket=bucket, Prefix="key/")))
    merged = [entry["Key"] for entry in through(Bucket=bucket, Prefix="key/")["Contents"]]
    expected = sorted(
        [f"key/{number:06}-there" for number in range(OBJECTS)] + [f"key/{number:06}" for number in range(CHANGES)]
    )
    print(
        f"{CHANGES} changes: ready after {min(full):.2f} s, empty {min(empty):.2f} s; "
        f"a page takes {1000 * min(pages['through']):.0f} ms, "
        f"the remote's {1000 * min(pages['alone']):.0f} ms"
    )
    assert merged == expected[:1000]


def put_many(daemon: Daemon, bucket: str) -> None:
    """Put as many objects as there are to be changes."""

    def put_some(first: int) -> None:
        connection = http.client.HTTPConnection(urlsplit(daemon.endpoint).netloc, timeout=120)
        for number in range(first, CHANGES, WRITERS):
            connection.request("PUT", f"/{bucket}/key/{number:06}", body=b"%d" % number, headers=HELD)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
        connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(put_some, range(WRITERS)))


def seconds_to_ready(daemon: Daemon) -> float:
    """End the daemon by SIGKILL and start it: how long until it is ready."""
    daemon.kill()
    return seconds(daemon.start)


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began
