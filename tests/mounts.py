"""A real mount: the real daemon mounts a new bucket of a real remote, and plain system calls use it."""

import ctypes
import errno
import functools
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon, StartDaemon
from tests.remotes import Remote

MNT_FORCE, MNT_DETACH = 1, 2
"""Flags of umount2(2): whoever waits gets an error; whoever uses it may go on."""
MARGIN = 15.0
"""Seconds before the time-out of a test at which its mount ends."""
WATCH = f"""
import ctypes, sys, time
time.sleep(float(sys.argv[1]))
ctypes.CDLL(None).umount2(sys.argv[2].encode(), {MNT_FORCE | MNT_DETACH})
"""
"""Ends a mount after so many seconds."""


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


def renameat2(old: Path, new: Path, flags: int) -> None:
    """Rename with flags, which Python's os has no word for."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def require_mount() -> None:
    """Skip the test where nothing can be mounted."""
    if missing := what_is_missing():
        pytest.skip(f"nothing can be mounted here: {missing}")


@functools.cache
def what_is_missing() -> str:
    """What a mount needs and this machine does not have; "" where nothing is. It tries one: a container may have the
    device and the capability, and be kept from it nevertheless."""
    if importlib.util.find_spec("pyfuse3") is None:
        return "there is no pyfuse3 (make .venv installs it where root has apt, or libfuse3-dev and gcc are there)"
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    with os.fdopen(device, "rb"), tempfile.TemporaryDirectory() as directory:
        options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        # This waits for nobody to serve it, and ends with the device.
        if libc.mount(b"s3d", os.fsencode(directory), b"fuse", 0, options.encode()):
            return f"mount: {os.strerror(ctypes.get_errno())}"
        end(Path(directory))
    return ""


def end(directory: Path) -> None:
    """End a mount, with all that waits for it; one that is gone is fine."""
    ctypes.CDLL(None).umount2(os.fsencode(directory), MNT_FORCE | MNT_DETACH)


@pytest.fixture
def mount_dir(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Where the test may mount. Nothing is mounted there afterwards.

    A signal does not end a system call that waits for a mount, so no time-out of a test does. A process of its own ends
    the mount before that.
    """
    require_mount()
    directory = tmp_path / "mnt"
    marker = request.node.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker else request.config.getini("timeout")) - MARGIN
    watch = subprocess.Popen([sys.executable, "-S", "-c", WATCH, str(seconds), str(directory)])
    yield directory
    end(directory)
    watch.kill()
    watch.wait()


@pytest.fixture
def mount(start_daemon: StartDaemon, mount_dir: Path) -> Iterator[Callable[..., Mounted]]:
    """Mount a bucket of a remote: `mount(remote, bucket, S3D_AWAY_AFTER="1s")`."""
    there: list[Mounted] = []

    def mount_one(remote: Remote, bucket: str, **settings: str) -> Mounted:
        place = {"S3D_FUSE_MOUNT": "true", "S3D_FUSE_MOUNT_DIR": str(mount_dir), "S3D_BUCKETS": bucket}
        mounted = Mounted(start_daemon(remote, **place, **settings), bucket, mount_dir)
        there.append(mounted)
        mounted.daemon.warm(bucket)
        return mounted

    yield mount_one
    end(mount_dir)
    for mounted in there:
        mounted.daemon.kill()


@pytest.fixture
def mounted(remote: Remote, bucket: str, mount: Callable[..., Mounted], request: pytest.FixtureRequest) -> Mounted:
    """A mount that is ready; indirect parameters are settings of its daemon."""
    return mount(remote, bucket, **getattr(request, "param", {}))
