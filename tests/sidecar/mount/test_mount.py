"""Files of the mount: when they are objects, what is shown of them, and what is refused."""

import mmap
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.daemons import ROOT, StartDaemon, drained, eventually
from tests.mounts import Mounted, errno_of, require_mount
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)
DATA = bytes(range(256)) * 12_000
"""Larger than a block of reading, and no multiple of it."""
LARGE = DATA * 8
"""Larger than all that is fetched ahead."""


@pytest.mark.semantics("M-1", "M-2")
def test_a_closed_file_is_an_object_and_an_object_is_a_file(mounted: Mounted) -> None:
    path = mounted.dir / "a" / "b"
    path.parent.mkdir()
    path.write_bytes(DATA)
    assert mounted.get("a/b") == DATA
    mounted.put("a/b", b"another one")
    assert path.read_bytes() == b"another one"
    assert path.stat().st_size == 11
    mounted.put("c/d/e", DATA)
    assert (mounted.dir / "c" / "d" / "e").read_bytes() == DATA
    assert mounted.names() == ["a", "c"]
    assert mounted.names("c") == ["d"]
    mounted.s3.delete_object(Bucket=mounted.bucket, Key="c/d/e")
    assert errno_of((mounted.dir / "c" / "d" / "e").read_bytes) == "ENOENT"
    assert mounted.bucket in [one.name for one in mounted.top.iterdir()]


@pytest.mark.semantics("M-1")
def test_a_file_is_what_was_written_wherever_that_was(mounted: Mounted) -> None:
    mounted.put("f", DATA, ContentType="text/x", Metadata={"own": "1"}, Tagging="team=blue")
    path = mounted.dir / "f"
    expected = bytearray(DATA)
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"in the middle")
        expected[1_000_000:1_000_013] = b"in the middle"
        file.seek(0, os.SEEK_END)
        file.write(b"at the end")
        expected += b"at the end"
        file.flush()
        assert mounted.get("f") == DATA
        assert path.read_bytes() == expected
    assert mounted.get("f") == expected
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        pages[:5] = b"pages"
        pages.flush()
    expected[:5] = b"pages"
    assert mounted.get("f") == expected
    os.truncate(path, 10)
    assert mounted.get("f") == expected[:10]
    with path.open("ab") as appended:
        appended.write(b"more")
        appended.truncate(12)
    assert mounted.get("f") == bytes(expected[:10]) + b"mo"
    head = mounted.s3.head_object(Bucket=mounted.bucket, Key="f")
    assert (head["ContentType"], head["Metadata"]["own"]) == ("text/x", "1")
    tags = mounted.s3.get_object_tagging(Bucket=mounted.bucket, Key="f")["TagSet"]
    assert tags == [{"Key": "team", "Value": "blue"}]


@pytest.mark.semantics("M-1")
def test_a_descriptor_that_was_duplicated_makes_an_object_at_each_close(mounted: Mounted) -> None:
    first = os.open(mounted.dir / "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert errno_of(lambda: os.open(mounted.dir / "f", os.O_WRONLY | os.O_CREAT | os.O_EXCL)) == "EEXIST"
    second = os.dup(first)
    os.write(first, b"one")
    os.close(first)
    assert mounted.get("f") == b"one"
    os.write(second, b" two")
    os.close(second)
    assert mounted.get("f") == b"one two"
    (mounted.dir / "empty").touch()
    assert mounted.get("empty") == b""


@pytest.mark.semantics("M-2")
def test_who_looks_while_an_object_is_made_finds_the_file_that_is_written(mounted: Mounted) -> None:
    path, over = mounted.dir / "f", threading.Event()

    def look() -> None:
        while not over.is_set():
            path.stat()

    looking = threading.Thread(target=look)
    with path.open("wb", buffering=0) as file:
        looking.start()
        try:
            for number in range(30):
                file.write(b"line\n")
                os.close(os.dup(file.fileno()))
                assert path.stat().st_ino == os.fstat(file.fileno()).st_ino, number
        finally:
            over.set()
            looking.join()
    assert mounted.get("f") == b"line\n" * 30


@pytest.mark.semantics("M-2")
def test_what_somebody_else_has_put_at_the_remote_shows_at_the_next_open(mounted: Mounted, remote: Remote) -> None:
    """Also where the name was looked up just before, and again, which is answered out of what is kept."""
    path = mounted.dir / "f"
    for number in range(20):
        data = b"%d" % number
        remote.client().put_object(Bucket=mounted.bucket, Key="f", Body=data)
        if number:
            path.stat()
        assert path.read_bytes() == data
        path.stat()
        path.stat()
    remote.client().delete_object(Bucket=mounted.bucket, Key="f")
    path.stat()
    assert errno_of(path.read_bytes) == "ENOENT"


@pytest.mark.semantics("M-2")
def test_what_is_changed_is_what_is_at_the_remote(mounted: Mounted, remote: Remote) -> None:
    """Also where the name was looked up just before, and again, which is answered out of what is kept."""

    def put_there(name: str, data: bytes) -> Path:
        """Put as somebody else what the mount knows otherwise."""
        path = mounted.dir / name
        assert [path.exists() for _ in range(3)] == [name != "new"] * 3
        remote.client().put_object(Bucket=mounted.bucket, Key=name, Body=data, ContentType="text/others")
        return path

    for name in ("mode", "cut", "emptied"):
        mounted.put(name, b"old")
    eventually(lambda: drained(mounted.daemon))
    put_there("mode", b"others").chmod(0o755)
    assert mounted.get("mode") == b"others"
    os.truncate(put_there("cut", b"others"), 3)
    assert mounted.get("cut") == b"oth"
    os.truncate(put_there("emptied", b"others"), 0)
    head = mounted.s3.head_object(Bucket=mounted.bucket, Key="emptied")
    assert (head["ContentLength"], head["ContentType"]) == (0, "text/others")
    with put_there("new", b"others").open("ab") as appended:
        appended.write(b" and ours")
    assert mounted.get("new") == b"others and ours"


@pytest.mark.semantics("M-2a")
def test_an_open_file_is_one_version_to_its_end(mounted: Mounted) -> None:
    mounted.put("f", DATA)
    with (mounted.dir / "f").open("rb", buffering=0) as file:
        assert file.read(10) == DATA[:10]
        mounted.put("f", DATA[::-1])
        found = {file.read(10), errno_of(lambda: file.seek(len(DATA) - 10) and file.read(10))}
        assert found <= {DATA[10:20], "ESTALE", ""}
    assert (mounted.dir / "f").read_bytes() == DATA[::-1]


@pytest.mark.semantics("M-7")
def test_where_the_bucket_keeps_versions_the_one_that_was_opened_is_read_to_its_end(mounted: Mounted) -> None:
    mounted.s3.put_bucket_versioning(Bucket=mounted.bucket, VersioningConfiguration={"Status": "Enabled"})
    mounted.put("f", LARGE)
    path = mounted.dir / "f"
    with path.open("rb", buffering=0) as file:
        assert [path.stat().st_size for _ in range(3)] == [len(LARGE)] * 3
        mounted.put("f", LARGE[::-1])
        assert file.read(10) == LARGE[:10]
        assert Path(f"/proc/self/fd/{file.fileno()}").read_bytes() == LARGE
        mounted.s3.delete_object(Bucket=mounted.bucket, Key="f")
        file.seek(len(LARGE) // 2)
        assert file.read() == LARGE[len(LARGE) // 2 :]


@pytest.mark.semantics("M-2a", "M-3")
def test_where_the_bucket_keeps_no_versions_what_has_gone_is_stale_and_never_of_another(mounted: Mounted) -> None:
    mounted.put("f", LARGE)
    with (mounted.dir / "f").open("rb", buffering=0) as file:
        mounted.put("f", LARGE[::-1])
        assert errno_of(lambda: file.read(10)) == "ESTALE"
        file.seek(len(LARGE) // 2)
        assert errno_of(lambda: file.read(10)) == "ESTALE"
    with (mounted.dir / "f").open("rb", buffering=0) as file:
        mounted.s3.delete_object(Bucket=mounted.bucket, Key="f")
        assert errno_of(lambda: file.read(10)) == "ESTALE"


@pytest.mark.semantics("M-2a")
def test_a_memory_map_has_no_page_of_another_version(mounted: Mounted) -> None:
    mounted.put("f", b"1" * 300_000)
    with (mounted.dir / "f").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert pages[:] == b"1" * 300_000
        for number in b"23456789":
            mounted.put("f", bytes([number]) * 300_000)
            assert set((mounted.dir / "f").read_bytes()) == {number}
            assert set(pages[:]) == {ord("1")}


@pytest.mark.semantics("M-1")
def test_who_has_a_file_open_keeps_what_is_unlinked(mounted: Mounted) -> None:
    mounted.put("read", DATA)
    with (mounted.dir / "read").open("rb") as read, (mounted.dir / "written").open("w+b") as written:
        (mounted.dir / "read").unlink()
        written.write(b"data")
        (mounted.dir / "written").unlink()
        assert mounted.names() == []
        assert read.read() == DATA
        written.seek(0)
        assert written.read() == b"data"
    assert mounted.keys() == []


@pytest.mark.parametrize("mounted", [{"S3D_FUSE_MOUNT_MAX_NAMES": "100"}], indirect=True)
@pytest.mark.semantics("M-8")
def test_of_many_names_the_kernel_forgets_those_that_nobody_uses(mounted: Mounted) -> None:
    names = [f"{number:03}" for number in range(300)]
    for name in names:
        mounted.put(f"d/{name}", name.encode())
    with (mounted.dir / "d" / names[0]).open("rb", buffering=0) as file:
        assert mounted.names("d") == names
        assert [(mounted.dir / "d" / name).stat().st_size for name in names] == [3] * len(names)
        eventually(lambda: mounted.daemon.status()["mount"]["inodes"] < 130)
        assert file.read() == b"000"
        assert (mounted.dir / "d" / names[0]).stat().st_ino == os.fstat(file.fileno()).st_ino
    assert [(mounted.dir / "d" / name).read_bytes().decode() for name in names[::30]] == names[::30]
    assert mounted.names("d") == names


@pytest.mark.semantics("M-3")
def test_what_it_does_not_do_is_refused(mounted: Mounted) -> None:
    path = mounted.dir / "f"
    path.write_bytes(b"data")
    beside = mounted.dir / "g"
    assert errno_of(lambda: os.link(path, beside)) in ("ENOSYS", "EPERM")
    assert errno_of(lambda: beside.symlink_to(path)) in ("ENOSYS", "EPERM")
    assert errno_of(lambda: os.mkfifo(beside)) in ("ENOSYS", "EPERM")
    assert errno_of(lambda: os.chown(path, 12345, -1)) == "EPERM"
    assert errno_of((mounted.top / "another-bucket").mkdir) == "EPERM"
    assert errno_of(mounted.dir.rmdir) == "EPERM"
    assert errno_of((mounted.dir / ("n" * 256)).touch) == "ENAMETOOLONG"
    assert errno_of(lambda: os.open(os.fsencode(mounted.dir) + b"/\xff", os.O_CREAT)) == "EILSEQ"
    assert errno_of(lambda: os.setxattr(path, "user.other", b"x")) == "ENOTSUP"
    assert errno_of((mounted.top / "no-such-bucket").stat) == "ENOENT"
    assert mounted.keys() == ["f"]


def test_time_mode_and_tags_are_the_objects(mounted: Mounted) -> None:
    path = mounted.dir / "f"
    path.write_bytes(b"data")
    os.utime(path, ns=(1, 1_500_000_000_123_456_789))
    path.chmod(0o755)
    found = path.stat()
    assert (found.st_mtime_ns, found.st_mode & 0o777) == (1_500_000_000_123_456_789, 0o755)
    metadata = mounted.s3.head_object(Bucket=mounted.bucket, Key="f")["Metadata"]
    assert metadata == {"mtime": "1500000000.123456789", "mode": "100755"}
    os.setxattr(path, "user.s3.tag.team", b"blue")
    assert mounted.s3.get_object_tagging(Bucket=mounted.bucket, Key="f")["TagSet"] == [{"Key": "team", "Value": "blue"}]
    assert set(os.listxattr(path)) == {"user.s3d.etag", "user.s3d.content-type", "user.s3.tag.team"}
    os.removexattr(path, "user.s3.tag.team")
    assert errno_of(lambda: os.getxattr(path, "user.s3.tag.team")) == "ENODATA"
    shutil.copy2(path, mounted.dir / "g")
    assert (mounted.dir / "g").stat().st_mtime_ns == found.st_mtime_ns


@pytest.mark.parametrize("mounted", [{"S3D_FUSE_MOUNT_MAX_SIZE": "1Mi"}], indirect=True)
@pytest.mark.semantics("M-1b")
def test_what_has_no_room_is_refused_when_it_is_written(mounted: Mounted) -> None:
    with (mounted.dir / "f").open("wb", buffering=0) as file:
        file.write(bytes(1 << 20))
        assert errno_of(lambda: file.write(b"more")) == "ENOSPC"
    assert mounted.get("f") == bytes(1 << 20)
    shown = os.statvfs(mounted.top)
    assert 0 < shown.f_bavail <= shown.f_blocks


@pytest.mark.parametrize("mounted", [{"S3D_FUSE_MOUNT_READ_ONLY": "true"}], indirect=True)
def test_a_mount_that_is_read_only_changes_nothing(mounted: Mounted) -> None:
    mounted.put("f", b"data")
    assert errno_of(lambda: (mounted.dir / "f").write_bytes(b"other")) == "EROFS"
    assert errno_of((mounted.dir / "f").unlink) == "EROFS"
    assert mounted.get("f") == b"data"


@pytest.mark.semantics("M-5")
def test_without_what_it_needs_a_mount_is_refused(remote: Remote, start_daemon: StartDaemon, tmp_path: Path) -> None:
    (tmp_path / "pyfuse3.py").write_text("raise ImportError('pyfuse3 was not installed')")
    without = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'sidecar'}"}
    place = {"S3D_FUSE_MOUNT": "true", "S3D_FUSE_MOUNT_DIR": str(tmp_path / "mnt")}
    daemon = start_daemon(remote, ready=False, **place, **without)
    assert daemon.process.wait(60) == 2
    assert "pip install 's3d[fuse]'" in daemon.output()
    assert "Traceback" not in daemon.output()


@pytest.mark.semantics("M-5")
def test_a_mount_needs_an_empty_directory_above_nothing_of_its_own(
    remote: Remote, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    require_mount()
    (tmp_path / "file").touch()
    daemon = start_daemon(remote, ready=False, S3D_FUSE_MOUNT="true", S3D_FUSE_MOUNT_DIR=str(tmp_path))
    assert daemon.process.wait(60) == 2
    assert "is not empty" in daemon.output()
