"""kill -9, and the end by SIGTERM: what was closed, what was synced, and the mount that is left."""

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.daemons import Daemon, drained, eventually
from tests.mounts import Mounted, errno_of
from tests.relays import AWAY, Relay
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


def begin(path: Path, *, data: bytes, mode: str = "wb") -> BinaryIO:
    """Write and sync a file that stays open."""
    file = path.open(mode)
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
    return file  # type: ignore[return-value]  # the mode says bytes


def kill(daemon: Daemon, *open_files: BinaryIO) -> None:
    """Kill a daemon under files that are open."""
    daemon.kill()
    for file in open_files:
        assert errno_of(file.close) in ("", "ENOTCONN", "ECONNABORTED")


def metrics_of(daemon: Daemon) -> str:
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=30) as answer:
        text: str = answer.read().decode()
        return text


@pytest.mark.semantics("M-1", "M-1a", "M-5")
def test_after_kill_9_what_was_closed_or_synced_is_an_object(mounted: Mounted) -> None:
    (mounted.dir / "closed").write_bytes(b"closed")
    mounted.put("appended", b"old ")
    files = [
        begin(mounted.dir / "synced", data=b"synced"),
        begin(mounted.dir / "appended", data=b"new", mode="ab"),
        (mounted.dir / "lost").open("wb"),
    ]
    (mounted.dir / "synced").rename(mounted.dir / "renamed")
    assert mounted.keys() == ["appended", "closed"]
    kill(mounted.daemon, *files)
    assert errno_of(mounted.names) == "ENOTCONN"
    lines = mounted.daemon.cli("mount", "recover", "-o", str(mounted.top.parent)).stdout.decode().splitlines()
    copies = {line.split("\t")[1]: Path(line.split("\t")[0]).read_bytes() for line in lines}
    assert copies == {f"{mounted.bucket}/renamed": b"synced", f"{mounted.bucket}/appended": b"old new"}
    mounted.daemon.start()
    assert mounted.names() == ["appended", "closed", "renamed"]
    eventually(lambda: not mounted.daemon.status()["mount"]["unpublished"])
    assert mounted.names() == mounted.keys() == ["appended", "closed", "renamed"]
    assert [mounted.get(name) for name in mounted.names()] == [b"old new", b"closed", b"synced"]
    assert list((mounted.daemon.local_dir / "mount").iterdir()) == []
    eventually(lambda: drained(mounted.daemon))


@pytest.mark.semantics("M-1a", "M-4")
def test_what_has_replaced_an_object_by_a_rename_is_recovered_in_its_place(mounted: Mounted) -> None:
    mounted.put("f", b"replaced")
    file = begin(mounted.dir / "part", data=b"mine")
    (mounted.dir / "part").rename(mounted.dir / "f")
    kill(mounted.daemon, file)
    mounted.daemon.start()
    eventually(lambda: not mounted.daemon.status()["mount"]["unpublished"])
    assert (mounted.keys(), mounted.get("f")) == (["f"], b"mine")
    # And no conflict keeps it here.
    eventually(lambda: drained(mounted.daemon))


@pytest.mark.parametrize("mounted", [{}, {"S3D_WRITE_QUEUE": "false"}], ids=["queue", "no queue"], indirect=True)
@pytest.mark.semantics("M-1a")
def test_what_is_recovered_takes_no_other_objects_place(mounted: Mounted) -> None:
    mounted.put("f", b"base")
    file = begin(mounted.dir / "f", data=b"mine", mode="r+b")
    mounted.put("f", b"another's")
    kill(mounted.daemon, file)
    mounted.daemon.start()
    eventually(lambda: not mounted.daemon.status()["mount"]["unpublished"])
    first, second = mounted.keys()
    assert (first, mounted.get(first)) == ("f", b"another's")
    assert (second[:13], mounted.get(second)) == ("f (recovered ", b"mine")


@pytest.mark.parametrize("data", [b"", b"mine" * 700_000])
@pytest.mark.semantics("M-1a")
def test_what_became_an_object_before_a_kill_is_not_recovered_a_second_time(
    mounted: Mounted, data: bytes, tmp_path: Path
) -> None:
    mounted.put("changed", b"base")
    staged = mounted.daemon.local_dir / "mount"
    files = [begin(mounted.dir / "changed", data=data), begin(mounted.dir / "new", data=data)]
    # As a kill leaves it between the answer to a put and the end of the record.
    shutil.copytree(staged, tmp_path / "before")
    for file in files:
        file.close()
    assert mounted.keys() == ["changed", "new"]
    mounted.daemon.kill()
    shutil.copytree(tmp_path / "before", staged, dirs_exist_ok=True)
    assert len(list(staged.iterdir())) == 4
    mounted.daemon.start()
    eventually(lambda: not mounted.daemon.status()["mount"]["unpublished"])
    assert mounted.keys() == ["changed", "new"]
    assert [mounted.get(key) for key in ("changed", "new")] == [data, data]
    assert list(staged.iterdir()) == []


@pytest.mark.parametrize("mounted", [{"S3D_FUSE_MOUNT_PUBLISH_AFTER": "1s"}], indirect=True)
@pytest.mark.semantics("M-1a")
def test_what_is_synced_and_stays_open_becomes_an_object_after_a_while(mounted: Mounted) -> None:
    with begin(mounted.dir / "log", data=b"line 1\n") as file:
        eventually(lambda: mounted.keys() == ["log"])
        assert mounted.get("log") == b"line 1\n"
        file.write(b"line 2\n")
    assert mounted.get("log") == b"line 1\nline 2\n"


@pytest.mark.semantics("M-5")
def test_at_sigterm_the_mount_goes_and_what_was_written_is_delivered(mounted: Mounted) -> None:
    with (mounted.dir / "open").open("wb") as file:
        file.write(b"data")
        file.flush()
        # A command would inherit the descriptor and close it.
        (left,) = mounted.daemon.ask("/mount")["files"]
        assert (left["key"], left["size"], left["synced"]) == ("open", 4, False)
        mounted.daemon.process.process.terminate()
        eventually(lambda: str(mounted.top) not in Path("/proc/self/mountinfo").read_text())
    assert mounted.daemon.process.wait(60) == 0
    there = subprocess.run(["ls", mounted.top], capture_output=True, check=True)
    assert there.stdout == b""
    mounted.daemon.start()
    assert mounted.get("open") == b"data"


@pytest.mark.semantics("M-1b")
def test_a_file_that_cannot_become_an_object_says_so_at_close_and_is_tried_again(
    remote: Remote, bucket: str, mount: Callable[..., Mounted], relay: Relay
) -> None:
    relayed = relay(remote)
    mounted = mount(relayed.remote, bucket, S3D_WRITE_QUEUE="false", **AWAY)
    file = os.open(mounted.dir / "f", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"data")
    relayed.set(mode="refuse")
    assert errno_of(lambda: os.close(file)) == "EIO"
    eventually(lambda: "FilesUnpublished" in [one["name"] for one in mounted.daemon.status()["problems"]])
    assert b"ServiceUnavailable" in mounted.daemon.cli("mount", "status").stdout
    eventually(lambda: "s3d_mount_unpublished_files 1.0\n" in metrics_of(mounted.daemon))
    relayed.set(mode="pass")
    eventually(lambda: mounted.daemon.cli("mount", "publish").returncode == 0)
    assert mounted.get("f") == (mounted.dir / "f").read_bytes() == b"data"
    assert mounted.daemon.status()["mount"]["unpublished"] == 0
