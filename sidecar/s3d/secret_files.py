"""Files that a user gives to the gateway: read whole, and refused where others may read a secret in them.

The rule for secrets is that of PostgreSQL's server key: the file is the daemon's own and nobody else's, or it is root's
and a group may read it. The second is how Kubernetes mounts a Secret for a pod with an fsGroup (`defaultMode: 0440`).
"""

import os
import stat
from pathlib import Path

from s3d.errors import ConfigError

MOST = 1 << 20
"""Bytes of a file; a Secret of Kubernetes holds no more."""


def read(setting: str, path: Path, *, secret: bool) -> bytes:
    """The bytes of the file that a setting names. Raises ConfigError where it cannot be read, is no file of a sensible
    size, or others may read the secret in it."""
    try:
        # A pipe of that name would keep whoever opens it waiting.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise ConfigError(f"{setting}: {path} is no file")
            if secret:
                check_private(setting, path, about)
            data = file.read(MOST + 1)
    except OSError as error:
        raise ConfigError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if len(data) > MOST:
        raise ConfigError(f"{setting}: {path} is larger than {MOST} bytes")
    return data


def check_private(setting: str, path: Path, about: os.stat_result) -> None:
    """Refuse a file with a secret that others may read or write. Raises ConfigError."""
    if about.st_uid not in (os.geteuid(), 0):
        raise ConfigError(
            f"{setting}: {path} belongs to another user (uid {about.st_uid})",
            hint="it belongs to the user that s3d runs as, or to root",
        )
    allowed = 0o740 if about.st_uid == 0 else 0o700
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o777 & ~allowed:
        raise ConfigError(
            f"{setting}: others may read {path} (mode {mode:04o})",
            hint="chmod 600, or 640 where root owns it; defaultMode: 0440 where it is a Secret of Kubernetes",
        )
