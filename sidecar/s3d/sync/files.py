"""Files of the folder that are open: what tells one version from the next, and what it holds. It blocks."""

import hashlib
import os
import stat
from dataclasses import dataclass
from errno import ELOOP

from s3d.sync.trees import Content

BLOCK_BYTES = 1 << 20
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file is written to, or another takes its name. Nobody can set the ctime."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp of a file that was looked at."""
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, stat.S_IMODE(found.st_mode))


def open_regular(directory: int, name: str) -> int | None:
    """Open a regular file; None for anything else."""
    try:
        fd = os.open(name, OPEN_FILE, dir_fd=directory)
    except OSError as error:
        if error.errno == ELOOP:
            return None
        raise
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def content_of(fd: int) -> Content:
    """Hash an open file from its start."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    while block := os.pread(fd, BLOCK_BYTES, size):
        sha256.update(block)
        md5.update(block)
        size += len(block)
    return Content(sha256.digest(), md5.hexdigest(), size)
