"""A real mount: the real daemon mounts a new bucket of a real remote, and plain system calls use it."""

import errno
import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote


@dataclass(frozen=True, slots=True)
class Mounted:
    """A daemon whose bucket is mounted."""

    daemon: Daemon
    bucket: str
    top: Path
    """Where the buckets are."""

    @property
    def dir(self) -> Path:
        """The bucket as a directory."""
        return self.top / self.bucket

    @property
    def s3(self) -> Any:
        """A client of the S3 door."""
        return self.daemon.client()

    def get(self, key: str) -> bytes:
        """An object by the S3 door."""
        data: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return data

    def put(self, key: str, data: bytes, **members: Any) -> None:
        """Put an object by the S3 door."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **members)

    def names(self, directory: str = "") -> list[str]:
        """What a directory shows."""
        return sorted(path.name for path in (self.dir / directory).iterdir())

    def keys(self) -> list[str]:
        """All keys of the bucket, by the S3 door."""
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", ())]


def errno_of(work: Callable[[], object]) -> str:
    """The name of the errno with which something fails; "" where it does not."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def require_mount() -> None:
    """Skip the test where nothing can be mounted."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) or os.geteuid() != 0:
        pytest.skip("no /dev/fuse here, or not root: nothing can be mounted")
    if importlib.util.find_spec("pyfuse3") is None:
        pytest.skip("no pyfuse3 here; requirements-fuse.txt names it (Debian: libfuse3-dev, pkg-config, gcc)")


@pytest.fixture
def mount(start_daemon: StartDaemon, tmp_path: Path) -> Iterator[Callable[..., Mounted]]:
    """Mount a bucket of a remote: `mount(remote, bucket, S3D_AWAY_AFTER="1s")`."""
    require_mount()
    there: list[Mounted] = []
    top = tmp_path / "mnt"

    def mount_one(remote: Remote, bucket: str, **settings: str) -> Mounted:
        place = {"S3D_FUSE_MOUNT": "true", "S3D_FUSE_MOUNT_DIR": str(top), "S3D_BUCKETS": bucket}
        mounted = Mounted(start_daemon(remote, **place, **settings), bucket, top)
        there.append(mounted)
        mounted.daemon.warm(bucket)
        return mounted

    yield mount_one
    for mounted in there:
        mounted.daemon.kill()
    subprocess.run(["umount", "-l", top], check=False, capture_output=True)


@pytest.fixture
def mounted(remote: Remote, bucket: str, mount: Callable[..., Mounted], request: pytest.FixtureRequest) -> Mounted:
    """A mount that is ready; indirect parameters are settings of its daemon."""
    return mount(remote, bucket, **getattr(request, "param", {}))
