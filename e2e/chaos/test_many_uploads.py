"""Sixteen large uploads at once, for a daemon that may use 256 MB: none fails, nothing is killed, and what the daemon
holds itself stays below 200 MB. Clients and remote are outside of its control group.
"""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pytest

from e2e.chaos.cgroups import Group, new_group
from e2e.chaos.conftest import ALTERED
from e2e.chaos.requests import drained
from e2e.compat import streams
from tests.daemons import StartDaemon
from tests.remotes import Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
UPLOADS = 16
SIZE = 1_000_000_000 if SOAK_HOURS else 128_000_000
MEMORY = 256_000_000
MOST_ANONYMOUS = 200_000_000


@pytest.mark.chaos
@pytest.mark.fault(17)
@pytest.mark.semantics("A-6")
@pytest.mark.timeout(600 + SOAK_HOURS * 3600)
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_sixteen_uploads_at_once_fit_into_little_memory(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    with new_group(MEMORY) as group:
        room = {"S3D_WRITE_QUEUE_MAX_SIZE": "40Gi", "S3D_DRAIN_SECONDS": "0"}
        daemon = start_daemon(remote, S3D_BUCKETS=bucket, **ALTERED, S3D_E2E_CGROUP=str(group.path), **room)
        assert str(daemon.process.pid) in (group.path / "cgroup.procs").read_text().split()
        with Peak(group) as peak, ThreadPoolExecutor(UPLOADS) as pool:
            puts = [
                pool.submit(streams.put, daemon.endpoint, f"/{bucket}/key/{number}", SIZE, timeout=600)
                for number in range(UPLOADS)
            ]
            answers = [(put.result().status, put.result().headers["etag"]) for put in puts]
            drained(daemon, 900)
        print(f"{UPLOADS} uploads of {SIZE} bytes: at most {peak.most} bytes of anonymous memory")
        assert answers == [(200, answers[0][1])] * UPLOADS
        assert group.kills == 0
        assert peak.most < MOST_ANONYMOUS
        listed = remote.client().list_objects_v2(Bucket=bucket)["Contents"]
        assert {(entry["Size"], entry["ETag"]) for entry in listed} == {(SIZE, answers[0][1])}
        assert len(listed) == UPLOADS
        daemon.kill()
    for entry in listed:
        remote.client().delete_object(Bucket=bucket, Key=entry["Key"])


class Peak:
    """Looks at a group's anonymous memory all the time."""

    def __init__(self, group: Group) -> None:
        self.most = 0
        self._group = group
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, self._group.anonymous)
