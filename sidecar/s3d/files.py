"""Files that a person writes and s3d reads as a whole: settings, keys, certificates. Bounded, and never a pipe.

A secret that others of the machine can read is none. So a file with secrets belongs to the user of this process or to
root, and nobody else may read it. A group may where the file is root's: that is how a kubelet mounts a Secret for a pod
with an fsGroup. Nobody but its owner may write it.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from s3d.errors import ConfigError

OPEN_TO_OTHERS = stat.S_IRWXO | stat.S_IWGRP


def read(path: Path, limit: int) -> bytes:
    """What a file holds. Raises ConfigError where it cannot be read, or holds more than `limit` bytes."""
    return _read(path, limit, lambda _path, _said: None)


def read_secret(path: Path, limit: int) -> bytes:
    """The same of a file with secrets. Raises ConfigError also where others can read or write it."""
    return _read(path, limit, check_private)


def read_own(path: Path, limit: int) -> bytes:
    """The same of a file that this process's user has made. Raises ConfigError also where somebody else can have."""
    return _read(path, limit, check_own)


def _read(path: Path, limit: int, check: Callable[[Path, os.stat_result], None]) -> bytes:
    try:
        with opened(path) as file:
            check(path, os.fstat(file.fileno()))
            return bounded(path, file, limit)
    except OSError as error:
        raise unreadable(path, error) from None


def opened(path: Path) -> BinaryIO:
    """A file that is open. Raises ConfigError where it is none, and OSError."""
    # A pipe of that name would keep whoever opens it waiting.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ConfigError(f"{path} is no regular file")
    return os.fdopen(fd, "rb")


def bounded(path: Path, file: BinaryIO, limit: int) -> bytes:
    """What an open file holds. Raises ConfigError where that is more than `limit` bytes."""
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ConfigError(f"{path} is larger than {limit} bytes")
    return data


def check_own(path: Path, said: os.stat_result) -> None:
    """Refuse a file that another user has made or can write. Raises ConfigError."""
    if said.st_uid != os.geteuid() or said.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"{path} belongs to another user, or others can write it", hint="remove it, and s3d makes another"
        )


def check_private(path: Path, said: os.stat_result) -> None:
    """Refuse a file of secrets that somebody else owns, can read or can write. Raises ConfigError."""
    if said.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            f"{path} belongs to another user (uid {said.st_uid})", hint="it must belong to s3d's user, or to root"
        )
    mode = stat.S_IMODE(said.st_mode)
    if mode & OPEN_TO_OTHERS or (mode & stat.S_IRGRP and said.st_uid):
        raise ConfigError(
            f"{path} holds secrets, and its mode {mode:04o} opens it to others",
            hint=f"chmod 600 {path}; Kubernetes mounts a Secret so with `defaultMode: 0440` and an fsGroup",
        )


def unreadable(path: Path, error: OSError) -> ConfigError:
    """The error of a file that cannot be read."""
    return ConfigError(f"{path} cannot be read: {error.strerror}", hint="s3d's user must be able to read it")


def write_whole(path: Path, data: bytes, *, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write a file under its name when all of it is on the disk. `owner` is the user and the group that it is to have.

    Raises OSError, and nothing is changed then.
    """
    part = path.with_name(f".{path.name[:200]}.part")
    # Of a process that was ended in here. Whoever writes a file is alone with it.
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            if owner is not None:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
