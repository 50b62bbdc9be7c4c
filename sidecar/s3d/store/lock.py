"""One process owns a local dir: a lock that the kernel gives back when its holder dies, however it dies.

The lock is `flock` on a file that is never removed; what stands in the file only names the holder to a second process.
Who waits for it has a shared lock on a second file meanwhile, which the kernel gives back as well: a holder that could
as well leave sees by it that somebody waits, and a waiter that was killed keeps nobody from anything.
"""

import fcntl
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from errno import ENOTDIR
from pathlib import Path

from s3d import documents
from s3d.errors import ConfigError
from s3d.store.syncs import sync_dir

POLL_INTERVAL = 0.05
"""Seconds between two looks while another process holds the lock."""


@dataclass(slots=True)
class LockFile:
    """A held lock."""

    path: Path
    fd: int
    asked: int
    """The file on which those who wait have a lock."""

    def is_asked_for(self) -> bool:
        """Whether another process waits for it now. A system call or two, without a wait."""
        if not _try_lock(self.asked):
            return True
        fcntl.flock(self.asked, fcntl.LOCK_UN)
        return False

    def release(self) -> None:
        """Give the lock back before the process ends. Safe to call twice."""
        if self.fd >= 0:
            os.close(self.fd)
            os.close(self.asked)
            self.fd = self.asked = -1


def make_private(directory: Path) -> None:
    """Make a directory that only its owner reads, with those above it that are missing, and make their names durable.

    One that is there is somebody's, and keeps its mode: a kubelet gives a volume to a group.
    """
    try:
        missing = [path for path in (directory, *directory.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(mode=0o700, exist_ok=True)
            sync_dir(path.parent)
        if not directory.is_dir():
            raise NotADirectoryError(ENOTDIR, "it is no directory")
    except OSError as error:
        raise ConfigError(f"{directory} cannot be made: {error.strerror}", hint="see S3D_LOCAL_DIR") from error


def lock_dir(path: Path, *, wait: float = 0.0) -> LockFile:
    """Take the local dir `path` for this process, until it ends; wait up to `wait` seconds for another one to leave it.

    Blocks; meant for start-up. Raises ConfigError that names the other process.
    """
    name = path / "lock"
    deadline = time.monotonic() + wait
    lock = LockFile(name, _open(name), _open(path / "lock.asked"))
    fd = lock.fd
    while not _try_lock(fd):
        if time.monotonic() >= deadline:
            holder = _holder(fd)
            lock.release()
            raise ConfigError(
                f"{path} is in use by another s3d ({holder})",
                hint="stop that one first, or give this one a local dir of its own",
            )
        # Again and again, since the holder has it while it looks.
        _try_lock(lock.asked, fcntl.LOCK_SH)
        time.sleep(POLL_INTERVAL)
    fcntl.flock(lock.asked, fcntl.LOCK_UN)
    me = {"pid": os.getpid(), "host": os.uname().nodename, "since": datetime.now(UTC).isoformat(timespec="seconds")}
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(me).encode() + b"\n", 0)
    return lock


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"{path.parent} cannot be used as the local dir: {error.strerror}",
            hint=f"let user {os.geteuid()} write there (in a pod: securityContext.fsGroup), or set S3D_LOCAL_DIR",
        ) from error


def _try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(fd: int) -> str:
    try:
        entry = documents.parse(os.pread(fd, 1000, 0))
        return f"pid {entry['pid']} on {entry['host']}, since {entry['since']}"
    except (ValueError, KeyError, TypeError):
        return "it has not said which"
