"""Programs that know nothing of S3 work on the mount as on a disk."""

import mmap
import os
import random
import shutil
import subprocess
from pathlib import Path

import apsw
import pytest

from tests.mounts import Mounted

# Programs look up each name many times: the quickest of the remotes.
pytestmark = [pytest.mark.parametrize("remote", ["versitygw"], indirect=True), pytest.mark.timeout(300)]

STEPS = 150
LARGEST = 300_000


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program that must succeed; what it says."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tree_of(directory: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def make_tree(directory: Path) -> None:
    """Make some files in directories."""
    for number in range(8):
        path = directory / f"d{number % 4}" / f"e{number % 3}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(number).randbytes(number * 1000))


@pytest.mark.semantics("M-1", "M-2")
def test_random_operations_do_what_they_do_on_a_disk(mounted: Mounted, tmp_path: Path) -> None:
    """Reads, writes, truncations, maps and closes of one file, beside the same of a file on a disk."""
    chance = random.Random(17)
    path, disk = mounted.dir / "f", tmp_path / "disk"
    fds = [os.open(one, os.O_RDWR | os.O_CREAT) for one in (path, disk)]
    for step in range(STEPS):
        at, length = chance.randrange(LARGEST), chance.randrange(1, 40_000)
        data = chance.randbytes(length)
        match chance.choice(["write", "write", "read", "read", "truncate", "map", "sync", "close", "duplicate"]):
            case "write":
                assert [os.pwrite(fd, data, at) for fd in fds] == [length, length]
            case "read":
                assert os.pread(fds[0], length, at) == os.pread(fds[1], length, at), step
            case "truncate":
                for fd in fds:
                    os.ftruncate(fd, at)
            case "map" if os.fstat(fds[1]).st_size > length:
                for fd in fds:
                    with mmap.mmap(fd, 0) as pages:
                        pages[:length] = data
                        pages.flush()
            case "sync":
                os.fsync(fds[0])
            case "duplicate":
                os.close(os.dup(fds[0]))
                assert mounted.get("f") == disk.read_bytes(), step
            case "close":
                for fd in fds:
                    os.close(fd)
                assert mounted.get("f") == disk.read_bytes(), step
                fds = [os.open(one, os.O_RDWR) for one in (path, disk)]
        assert os.fstat(fds[0]).st_size == os.fstat(fds[1]).st_size, step
    for fd in fds:
        os.close(fd)
    assert mounted.get("f") == disk.read_bytes()


def test_git_keeps_a_repository_on_it(mounted: Mounted, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    make_tree(origin)
    run("git", "init", "-q", ".", cwd=origin)
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.com")
    run("git", "add", ".", cwd=origin)
    run("git", *identity, "commit", "-qm", "one", cwd=origin)
    run("git", "clone", "-q", origin, "clone", cwd=mounted.dir)
    clone = mounted.dir / "clone"
    (clone / "new").write_text("new")
    run("git", "add", "new", cwd=clone)
    run("git", *identity, "commit", "-qm", "two", cwd=clone)
    run("git", "repack", "-adq", cwd=clone)
    run("git", "fsck", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    assert run("git", "log", "--format=%s", cwd=clone).split() == ["two", "one"]


def test_a_tree_comes_and_goes_as_it_is(mounted: Mounted, tmp_path: Path) -> None:
    here = tmp_path / "here"
    make_tree(here)
    os.utime(here / "d1" / "e1" / "f1", (1_000_000_000, 1_000_000_000))
    shutil.copytree(here, mounted.dir / "copied")
    run("tar", "cf", tmp_path / "a.tar", "-C", here, ".", cwd=tmp_path)
    (mounted.dir / "unpacked").mkdir()
    run("tar", "xf", tmp_path / "a.tar", "--no-same-owner", "-C", mounted.dir / "unpacked", cwd=tmp_path)
    assert tree_of(mounted.dir / "copied") == tree_of(mounted.dir / "unpacked") == tree_of(here)
    assert int((mounted.dir / "unpacked" / "d1" / "e1" / "f1").stat().st_mtime) == 1_000_000_000
    (mounted.dir / "copied").rename(mounted.dir / "moved")
    assert tree_of(mounted.dir / "moved") == tree_of(here)
    shutil.rmtree(mounted.dir / "moved")
    shutil.rmtree(mounted.dir / "unpacked")
    assert mounted.names() == mounted.keys() == []


def test_a_database_is_kept_on_it(mounted: Mounted) -> None:
    database = apsw.Connection(str(mounted.dir / "a.db"))
    database.execute("CREATE TABLE t (x)")
    for number in range(10):
        database.execute("INSERT INTO t VALUES (?)", (number,))
    database.close()
    database = apsw.Connection(str(mounted.dir / "a.db"), flags=apsw.SQLITE_OPEN_READONLY)
    assert list(database.execute("SELECT sum(x), count(*) FROM t")) == [(45, 10)]
    assert list(database.execute("PRAGMA integrity_check")) == [("ok",)]
    database.close()
    assert mounted.names() == ["a.db"]
