"""Each call says on the mount what it says on a disk: the part of POSIX that the mount has, call by call.

What pjdfstest asks of owners, modes beyond the bit to execute, links, devices, sockets, times of directories, and room
that is given in advance is left out: the mount has none of it (SEMANTICS M-3). So are paths of more than 1,024 bytes,
the longest key.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import drained, eventually
from tests.mounts import Mounted, renameat2

pytestmark = pytest.mark.parametrize("remote", ["versitygw"], indirect=True)

NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY
AN_HOUR = 3600


def call(path: Path, flags: int) -> None:
    """Open a file and close it."""
    os.close(os.open(path, flags))


def held(path: Path, flags: int, work: Callable[[int], Any]) -> Any:
    """What something says of a file while that is open."""
    fd = os.open(path, flags)
    try:
        return work(fd)
    finally:
        os.close(fd)


def kind(path: Path) -> tuple[bool, int]:
    """Whether it is a directory, and the size of a file."""
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode), 0 if stat.S_ISDIR(found.st_mode) else found.st_size


def gone(path: Path) -> Callable[[int], Any]:
    """Unlink a file that is open, and say what its descriptor has then."""

    def work(fd: int) -> Any:
        path.unlink()
        os.write(fd, b"on")
        return os.fstat(fd).st_nlink, os.fstat(fd).st_size, path.exists()

    return work


def replaced(old: Path, new: Path) -> Callable[[int], Any]:
    """Rename over a file that is open, and say what its descriptor has then."""

    def work(fd: int) -> Any:
        old.rename(new)
        return os.pread(fd, 100, 0), new.read_bytes(), old.exists()

    return work


def times(path: Path) -> Any:
    """When a file was changed."""
    return path.stat().st_mtime_ns


def in_it(path: Path) -> list[str]:
    """What is in a directory."""
    return sorted(one.name for one in path.iterdir())


CALLS: dict[str, list[Callable[[Path], Any]]] = {
    "open": [
        lambda d: call(d / "f", os.O_RDONLY),
        lambda d: call(d / "f", NEW),
        lambda d: kind(d / "f"),
        lambda d: call(d / "f", NEW),
        lambda d: call(d / "f" / "below", os.O_RDONLY),
        lambda d: call(d / "f" / "below", NEW),
        lambda d: call(d / "none" / "f", NEW),
        lambda d: (d / "dir").mkdir(),
        lambda d: call(d / "dir", NEW),
        lambda d: call(d / "dir", os.O_WRONLY),
        lambda d: call(d / "dir", os.O_RDWR),
        lambda d: call(d / "dir", os.O_RDONLY | os.O_DIRECTORY),
        lambda d: call(d / "f", os.O_RDONLY | os.O_DIRECTORY),
        lambda d: call(d / ("n" * 255), NEW),
        lambda d: kind(d / ("n" * 255)),
        lambda d: call(d / ("n" * 256), NEW),
        lambda d: held(d / "f", os.O_WRONLY, lambda fd: os.write(fd, b"12345")),
        lambda d: held(d / "f", os.O_WRONLY, lambda fd: os.read(fd, 1)),
        lambda d: held(d / "f", os.O_RDONLY, lambda fd: os.write(fd, b"x")),
        lambda d: held(d / "f", os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"678")),
        lambda d: (d / "f").read_bytes(),
        lambda d: call(d / "f", os.O_WRONLY | os.O_TRUNC),
        lambda d: kind(d / "f"),
        in_it,
    ],
    "unlink": [
        lambda d: (d / "f").unlink(),
        lambda d: (d / "f").write_bytes(b"data"),
        lambda d: (d / "f" / "below").unlink(),
        lambda d: (d / "none" / "f").unlink(),
        lambda d: (d / "dir").mkdir(),
        lambda d: (d / "dir").unlink(),
        lambda d: (d / ("n" * 256)).unlink(),
        lambda d: held(d / "f", os.O_RDWR, gone(d / "f")),
        in_it,
        lambda d: (d / "f").write_bytes(b"again"),
        lambda d: (d / "f").read_bytes(),
        lambda d: (d / "f").unlink(),
        lambda d: (d / "f").unlink(),
    ],
    "directories": [
        lambda d: (d / "a").mkdir(),
        lambda d: kind(d / "a"),
        lambda d: (d / "a").mkdir(),
        lambda d: (d / "none" / "a").mkdir(),
        lambda d: (d / ("n" * 256)).mkdir(),
        lambda d: (d / "f").touch(),
        lambda d: (d / "f").mkdir(),
        lambda d: (d / "f" / "a").mkdir(),
        lambda d: (d / "f").rmdir(),
        lambda d: (d / "f" / "a").rmdir(),
        lambda d: (d / "none").rmdir(),
        lambda d: (d / "a" / "b").mkdir(),
        lambda d: (d / "a").rmdir(),
        lambda d: os.rmdir(f"{d}/a/b/."),  # noqa: PTH106 (a path has no dot at its end)
        lambda d: os.rmdir(f"{d}/a/b/.."),  # noqa: PTH106 (as above)
        lambda d: (d / "a" / "b" / "f").touch(),
        lambda d: (d / "a" / "b").rmdir(),
        lambda d: (d / "a" / "b" / "f").unlink(),
        lambda d: (d / "a" / "b").rmdir(),
        lambda d: (d / "a" / "b").mkdir(),
        lambda d: in_it(d / "a"),
        lambda d: (d / "a" / "b").rmdir(),
        lambda d: (d / "a").rmdir(),
        in_it,
    ],
    "rename a file": [
        lambda d: (d / "none").rename(d / "new"),
        lambda d: (d / "f").write_bytes(b"f"),
        lambda d: (d / "f").rename(d / "f"),
        lambda d: (d / "f").rename(d / "none" / "f"),
        lambda d: (d / "f").rename(d / ("n" * 256)),
        lambda d: (d / "f").rename(d / "g"),
        in_it,
        lambda d: (d / "h").write_bytes(b"h"),
        lambda d: held(d / "h", os.O_RDONLY, replaced(d / "g", d / "h")),
        lambda d: renameat2(d / "h", d / "i", 1),
        lambda d: (d / "f").write_bytes(b"f"),
        lambda d: renameat2(d / "f", d / "i", 1),
        lambda d: (d / "dir").mkdir(),
        lambda d: (d / "f").rename(d / "dir"),
        lambda d: (d / "f").rename(d / "i" / "below"),
        lambda d: (d / "f" / "below").rename(d / "x"),
        lambda d: (d / "f").rename(d / "dir" / "f"),
        lambda d: (in_it(d), in_it(d / "dir")),
    ],
    "rename a directory": [
        lambda d: (d / "a").mkdir(),
        lambda d: (d / "a").rename(d / "b"),
        in_it,
        lambda d: (d / "b" / "below").mkdir(),
        lambda d: (d / "b").rename(d / "b" / "below" / "c"),
        lambda d: (d / "b" / "below").rename(d / "b"),
        lambda d: (d / "f").touch(),
        lambda d: (d / "b").rename(d / "f"),
        lambda d: (d / "f").rename(d / "b"),
        lambda d: (d / "empty").mkdir(),
        lambda d: (d / "empty").rename(d / "b"),
        lambda d: (d / "b").rename(d / "empty"),
        lambda d: in_it(d / "empty"),
        lambda d: (d / "empty" / "below" / "f").write_bytes(b"f"),
        lambda d: (d / "empty").rename(d / "b"),
        lambda d: (d / "b" / "below" / "f").read_bytes(),
        in_it,
    ],
    "truncate": [
        lambda d: os.truncate(d / "none", 1),
        lambda d: (d / "f").write_bytes(b"12345678"),
        lambda d: os.truncate(d / "f", 4),
        lambda d: os.truncate(d / "f", 6),
        lambda d: (d / "f").read_bytes(),
        lambda d: os.truncate(d / "f" / "below", 1),
        lambda d: os.truncate(d, 1),
        lambda d: os.truncate(d / "f", -1),
        lambda d: held(d / "f", os.O_RDONLY, lambda fd: os.ftruncate(fd, 1)),
        lambda d: held(d / "f", os.O_RDWR, lambda fd: os.ftruncate(fd, 10_000)),
        lambda d: held(d / "f", os.O_RDWR, lambda fd: os.ftruncate(fd, 2)),
        lambda d: (d / "f").read_bytes(),
    ],
    "times and the bit to execute": [
        lambda d: os.utime(d / "none"),
        lambda d: (d / "f").write_bytes(b"f"),
        lambda d: os.utime(d / "f", ns=(1, 1_500_000_000_123_456_789)),
        lambda d: times(d / "f"),
        lambda d: held(d / "f", os.O_RDWR, lambda fd: os.utime(fd, ns=(1, 1_600_000_000_000_000_001))),
        lambda d: times(d / "f"),
        lambda d: (d / "f").write_bytes(b"g"),
        lambda d: times(d / "f") > 1_600_000_000_000_000_001,
        lambda d: os.utime(d / "f", (AN_HOUR, AN_HOUR)),
        lambda d: (d / "f").rename(d / "g"),
        lambda d: times(d / "g"),
        lambda d: (d / "g").chmod(0o755),
        lambda d: (os.access(d / "g", os.X_OK), times(d / "g")),
        lambda d: (d / "g").chmod(0o644),
        lambda d: os.access(d / "g", os.X_OK),
        lambda d: (d / "none").chmod(0o755),
    ],
}


def said(work: Callable[[Path], Any], directory: Path) -> Any:
    """What a call says: its result, or the name of its errno. The path that a rename gives back says nothing."""
    try:
        found = work(directory)
        return None if isinstance(found, Path) else found
    except OSError as error:
        return errno.errorcode[error.errno or 0]


@pytest.mark.semantics("M-3", "M-4")
def test_each_call_says_what_it_says_on_a_disk(mounted: Mounted, tmp_path: Path) -> None:
    differ = []
    for group, calls in CALLS.items():
        there, disk = mounted.dir / group, tmp_path / group
        there.mkdir()
        disk.mkdir()
        for number, work in enumerate(calls):
            on_mount, on_disk = said(work, there), said(work, disk)
            if on_mount != on_disk:
                differ.append(f"{group}, call {number}: {on_mount!r} instead of {on_disk!r}")
    assert not differ, "\n".join(differ)


@pytest.mark.semantics("M-4")
def test_an_empty_directory_is_renamed_where_the_store_copies_no_marker(mounted: Mounted) -> None:
    mounted.put("old/", b"", Metadata={"own": "1"})
    mounted.put("old/below/", b"")
    eventually(lambda: drained(mounted.daemon))
    (mounted.dir / "old").rename(mounted.dir / "new")
    assert mounted.keys() == ["new/", "new/below/"]
    assert mounted.s3.head_object(Bucket=mounted.bucket, Key="new/")["Metadata"] == {"own": "1"}
