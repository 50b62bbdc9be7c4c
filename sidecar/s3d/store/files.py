"""The files of a directory of bodies: drafts, names, the label, what is set aside.

A draft has no name, or one that no body has, until it is whole and synced. Everything here blocks and raises OSError:
the event loop has it done in threads.
"""

import contextlib
import itertools
import math
import os
import re
import secrets
from collections.abc import Iterator
from errno import EINVAL, EISDIR, EMLINK, ENOENT, ENOSPC, EOPNOTSUPP, EPERM, EXDEV
from pathlib import Path

from s3d.store.syncs import sync_dir

Stamp = tuple[int, int]
"""What changes when a file is written to or another takes its name: its inode, and the time of its last write."""
BLOCK_BYTES = 1 << 20
"""Bytes that are written, hashed and read at a time."""
WRITEBACK = 8 * BLOCK_BYTES
"""Bytes after which what was written starts on its way to the disk."""
SWEEP_BATCH = 500
"""Files that a sweep looks at at a time."""
QUARANTINE = "quarantine"
LABEL = ".queue"
"""In the quarantine, where no sweep looks: a directory, in which another one bears the label as its name."""
ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8,16}")
DRAFT = re.compile(rf"\.draft-{ID.pattern}")
OURS = re.compile(rf"{ID.pattern}|{DRAFT.pattern}|{QUARANTINE}|")


def open_draft(directory: int, id: str) -> int:  # noqa: A002
    """Open a new file that has no name yet, or a draft's name where the file system cannot do without."""
    try:
        return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno not in {EOPNOTSUPP, EISDIR, ENOENT, EINVAL}:
            raise
    return os.open(_draft_name(id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)


def _draft_name(id: str) -> str:  # noqa: A002
    return f".draft-{id}"


def refuse_full(fd: int, size: int) -> None:
    """Raise ENOSPC where the disk has no room for so many bytes."""
    disk = os.fstatvfs(fd)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def write(fd: int, block: list[bytes]) -> None:
    """Write a block behind what a draft has already."""
    # Of the disk too only what has come is taken.
    os.posix_fallocate(fd, os.lseek(fd, 0, os.SEEK_CUR), sum(map(len, block)))
    written = os.writev(fd, block)
    rest = memoryview(b"".join(block) if written < sum(map(len, block)) else b"")[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
    end = os.lseek(fd, 0, os.SEEK_CUR)
    if end % WRITEBACK < BLOCK_BYTES:
        # On dirty pages this starts their way to the disk and drops nothing: the sync at the end has little left to do.
        os.posix_fadvise(fd, max(0, end - WRITEBACK - BLOCK_BYTES), WRITEBACK + BLOCK_BYTES, os.POSIX_FADV_DONTNEED)


def publish(fd: int, directory: int, id: str) -> Stamp:  # noqa: A002
    """Sync a draft and give it its name, which is durable once the directory is synced."""
    os.fsync(fd)
    written = os.fstat(fd)
    if written.st_nlink:
        os.link(_draft_name(id), id, src_dir_fd=directory, dst_dir_fd=directory)
        unlink(directory, _draft_name(id))
    else:
        # With dst_dir_fd Python takes linkat(2), which follows this link; link(2) would not.
        os.link(f"/proc/self/fd/{fd}", id, dst_dir_fd=directory)
    return stamp_of(written)


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp of a file that was looked at."""
    return found.st_ino, found.st_mtime_ns


def link(directory: int, id: str, name: str) -> bool:  # noqa: A002
    """Give a file another name. False where it has gone, or cannot have one more."""
    try:
        os.link(id, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        if error.errno in {ENOENT, EMLINK, EPERM, EOPNOTSUPP}:
            return False
        raise
    return True


def link_open(fd: int, path: Path) -> bool:
    """Give an open file another name. False where it cannot have one there."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # With dst_dir_fd Python takes linkat(2), which follows this link; link(2) would not.
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=directory)
    except OSError as error:
        if error.errno in {ENOENT, EMLINK, EPERM, EOPNOTSUPP, EXDEV}:
            return False
        raise
    finally:
        os.close(directory)
    return True


def forget(directory: int, id: str) -> None:  # noqa: A002
    """Take away what an abandoned body may have left; what cannot be taken is an orphan, for `sweep`."""
    with contextlib.suppress(OSError):
        unlink(directory, _draft_name(id))
        unlink(directory, id)


def unlink(directory: int, name: str) -> None:
    """Remove a name; one that is gone is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def any_body(root: Path) -> bool:
    """Whether there are bodies in a directory, which need not be there. Blocks."""
    return bool(some_names(root))


def is_used(root: Path) -> bool:
    """Whether a directory, which need not be there, holds bodies or has a label. Blocks."""
    return any_body(root) or bool(read_label(root / QUARANTINE / LABEL))


def some_names(root: Path) -> list[str]:
    """Ids of some bodies in a directory, which need not be there."""
    try:
        with os.scandir(root) as entries:
            return list(itertools.islice((entry.name for entry in entries if ID.fullmatch(entry.name)), SWEEP_BATCH))
    except FileNotFoundError:
        return []


def run_of(id: str) -> str:  # noqa: A002
    """The run of s3d that made a body."""
    return id.partition("-")[0]


def runs_in(root: Path) -> set[str]:
    """The runs of s3d that made the bodies in a directory."""
    with os.scandir(root) as entries:
        return {run_of(entry.name) for entry in entries if ID.fullmatch(entry.name)}


def read_label(path: Path) -> str:
    """The label of a directory of bodies; "" where it has none."""
    try:
        return min((entry.name for entry in path.iterdir()), default="")
    except FileNotFoundError:
        return ""


def write_label(path: Path, label: str) -> None:
    """Give a directory of bodies a label, and make it durable."""
    for directory in (path, path / label):
        directory.mkdir(mode=0o700, exist_ok=True)
    sync_dir(path)
    sync_dir(path.parent)


def old_names(entries: Iterator[os.DirEntry[str]], before: float) -> list[str]:
    """Take a batch of entries: the names of those last changed before a point of time, "" for the others."""
    return [entry.name if _changed_at(entry) < before else "" for entry in itertools.islice(entries, SWEEP_BATCH)]


def _changed_at(entry: os.DirEntry[str]) -> float:
    """Return the time of the last write or link; for ever for an entry that has gone meanwhile."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return math.inf
    return max(found.st_mtime, found.st_ctime)


def quarantine(root: Path, name: str, reason: str) -> None:
    """Move a file aside, with the reason in a file beside it."""
    aside = root / QUARANTINE
    target = aside / name
    if os.path.lexists(target):
        target = aside / f"{name}.{secrets.token_hex(4)}"
    target.with_name(target.name + ".reason").write_text(reason + "\n")
    with contextlib.suppress(FileNotFoundError):
        (root / name).rename(target)
    sync_dir(aside)
    sync_dir(root)
