"""What fails takes nothing away: renames and unlinks that end half-way, a full disk, and an end without the remote."""

import errno
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import eventually
from tests.mounts import Mounted, end, errno_of
from tests.relays import AWAY, Relay, Relayed
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)

THROUGH = {"S3D_WRITE_QUEUE": "false", "S3D_READ_CACHE": "true", **AWAY}
"""No write is taken while the remote is away, and what was read is there."""


@pytest.fixture
def relayed(remote: Remote, relay: Relay) -> Relayed:
    """The remote behind a relay."""
    return relay(remote)


@pytest.fixture
def through(relayed: Relayed, bucket: str, mount: Callable[..., Mounted]) -> Mounted:
    """A mount behind which every write needs the remote."""
    return mount(relayed.remote, bucket, **THROUGH)


@pytest.mark.semantics("M-4")
def test_a_rename_that_fails_takes_nothing_from_the_file_that_it_would_replace(
    through: Mounted, relayed: Relayed
) -> None:
    (through.dir / "old").write_bytes(b"old")
    with (through.dir / "old").open("r+b") as old, (through.dir / "new").open("wb") as new:
        old.write(b"OLD")
        old.flush()
        new.write(b"new")
        new.flush()
        relayed.set(mode="refuse")
        assert errno_of(lambda: (through.dir / "old").rename(through.dir / "new")) == "EIO"
        relayed.set(mode="pass")
        eventually(lambda: through.daemon.status()["remote"]["state"] == "reachable")
    assert (through.get("old"), through.get("new")) == (b"OLD", b"new")


@pytest.mark.semantics("M-4")
def test_an_unlink_that_fails_leaves_what_is_written_after_it(through: Mounted, relayed: Relayed) -> None:
    (through.dir / "f").write_bytes(b"before")
    assert through.names() == ["f"]
    assert (through.dir / "f").read_bytes() == b"before"
    file = os.open(through.dir / "f", os.O_RDWR)
    relayed.set(mode="refuse")
    assert errno_of((through.dir / "f").unlink) == "EIO"
    relayed.set(mode="pass")
    eventually(lambda: through.daemon.status()["remote"]["state"] == "reachable")
    os.write(file, b"after ")
    os.close(file)
    assert through.get("f") == b"after "


@pytest.mark.semantics("M-4")
def test_what_was_replaced_becomes_no_object_any_more(mounted: Mounted) -> None:
    mounted.put("new", b"replaced")
    written = os.open(mounted.dir / "new", os.O_RDWR)
    (mounted.dir / "old").write_bytes(b"old")
    os.write(written, b"REPLACED")
    (mounted.dir / "old").rename(mounted.dir / "new")
    os.write(written, b" and more")
    assert os.pread(written, 100, 0) == b"REPLACED and more"
    os.close(written)
    assert (mounted.keys(), mounted.get("new")) == (["new"], b"old")
    assert mounted.daemon.status()["mount"]["staged_bytes"] == 0


@pytest.mark.semantics("M-1b", "M-5")
def test_what_cannot_be_delivered_at_sigterm_is_left_to_the_next_start(
    relayed: Relayed, bucket: str, mount: Callable[..., Mounted], tmp_path: Path
) -> None:
    said = tmp_path / "termination-log"
    through = mount(relayed.remote, bucket, S3D_TERMINATION_LOG=str(said), **THROUGH)
    file = os.open(through.dir / "f", os.O_WRONLY | os.O_CREAT)
    os.write(file, b"data")
    relayed.set(mode="refuse")
    assert errno_of(lambda: os.close(file)) == "EIO"
    assert through.daemon.terminate() == 75
    assert json.loads(said.read_text()) == {"changes": 0, "bytes": 0, "oldest": None, "parked": 0, "unpublished": 1}
    relayed.set(mode="pass")
    through.daemon.start()
    eventually(lambda: through.keys() == ["f"])
    assert through.get("f") == b"data"


@pytest.mark.semantics("M-1b")
def test_what_is_tried_again_takes_no_other_objects_place(through: Mounted, relayed: Relayed, remote: Remote) -> None:
    """Who has closed it has not seen what has come since."""
    through.put("f", b"base")
    file = os.open(through.dir / "f", os.O_RDWR)
    os.write(file, b"mine")
    relayed.set(mode="refuse")
    assert errno_of(lambda: os.close(file)) == "EIO"
    remote.client().put_object(Bucket=through.bucket, Key="f", Body=b"another's")
    relayed.set(mode="pass")
    eventually(lambda: through.daemon.cli("mount", "publish").returncode == 0)
    first, second = through.keys()
    assert (first, through.get(first)) == ("f", b"another's")
    assert (second[:13], through.get(second)) == ("f (recovered ", b"mine")


@pytest.fixture
def full(mounted: Mounted) -> Iterator[Mounted]:
    """A mount of which the files that are being written are on a disk of a megabyte."""
    mounted.daemon.kill()
    disk = mounted.daemon.local_dir / "mount"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "s3d", disk], check=True)
    try:
        mounted.daemon.start()
        yield mounted
    finally:
        end(mounted.top)
        mounted.daemon.kill()
        subprocess.run(["umount", "-l", disk], check=True)


def fill(file: int) -> None:
    """Write until the disk is full."""
    while True:
        os.write(file, b"x" * 300_000)


@pytest.mark.semantics("M-1b")
def test_a_full_disk_is_said_at_write_and_takes_no_room_for_good(full: Mounted) -> None:
    file = os.open(full.dir / "f", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError) as raised:
        fill(file)
    assert raised.value.errno == errno.ENOSPC
    size = os.fstat(file).st_size
    assert full.daemon.status()["mount"]["staged_bytes"] == size
    os.ftruncate(file, size + 1000)
    assert os.pread(file, 2000, size) == bytes(1000)
    os.close(file)
    assert full.get("f") == b"x" * size + bytes(1000)
    assert full.daemon.status()["mount"]["staged_bytes"] == 0
