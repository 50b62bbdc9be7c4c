"""Room on the disk that is kept for the drain."""

import os
from pathlib import Path

import pytest

from e2e.chaos.disks import new_disk
from e2e.chaos.requests import ask, drained, pending, put, wait_until
from tests.daemons import Daemon
from tests.relays import Relay
from tests.remotes import Remote

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


@pytest.mark.semantics("Q-7", "Q-7a")
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_a_full_disk_gives_its_ballast_to_the_drain_and_takes_writes_when_it_is_laid_again(
    remote: Remote, bucket: str, relay: Relay, tmp_path: Path
) -> None:
    far = relay(remote)
    far.set(mode="refuse")
    daemon = Daemon(tmp_path, {**far.remote.environment, "S3D_BUCKETS": bucket, "S3D_WRITE_QUEUE_BALLAST": "3Mi"})
    ballast = daemon.local_dir / "queue" / "ballast"
    with new_disk(tmp_path / "image", tmp_path / "local", 64 << 20):
        try:
            daemon.start()
            assert ballast.stat().st_blocks * 512 >= 3 << 20
            filler = daemon.local_dir / "filler"
            disk = os.statvfs(daemon.local_dir)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - (1 << 20))
            taken = 0
            while put(daemon, f"key/{taken}", bytes(100_000), bucket=bucket) == 200:
                taken += 1
            assert not ballast.exists()
            # What is small would find room where the ballast was.
            assert put(daemon, "small", b"x", bucket=bucket) == 503
            assert pending(daemon) == taken
            filler.unlink()
            wait_until(ballast.exists)
            assert put(daemon, "small", b"x", bucket=bucket) == 200
            far.set(mode="pass")
            drained(daemon)
            assert ask(daemon, "GET", "small", bucket=bucket) == (200, b"x")
        finally:
            daemon.kill()
