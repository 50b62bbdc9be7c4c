"""Renames: at one name or the other, also where the remote is away or s3d is killed."""

import subprocess
from collections.abc import Callable

import pytest

from tests.daemons import drained, eventually
from tests.mounts import Mounted, errno_of, renameat2
from tests.relays import AWAY, Relay
from tests.remotes import Remote

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)

NOREPLACE, EXCHANGE = 1, 2


@pytest.mark.semantics("M-4")
def test_a_file_has_its_new_name_and_nothing_else(mounted: Mounted) -> None:
    mounted.put("old", b"data", ContentType="text/x", Tagging="team=blue")
    eventually(lambda: drained(mounted.daemon))
    (mounted.dir / "old").rename(mounted.dir / "new")
    assert mounted.names() == mounted.keys() == ["new"]
    assert mounted.get("new") == (mounted.dir / "new").read_bytes() == b"data"
    assert mounted.s3.head_object(Bucket=mounted.bucket, Key="new")["ContentType"] == "text/x"
    assert mounted.s3.get_object_tagging(Bucket=mounted.bucket, Key="new")["TagSet"] != []
    (mounted.dir / "other").write_bytes(b"other")
    assert errno_of(lambda: renameat2(mounted.dir / "new", mounted.dir / "other", NOREPLACE)) == "EEXIST"
    assert errno_of(lambda: renameat2(mounted.dir / "new", mounted.dir / "other", EXCHANGE)) == "EINVAL"
    renameat2(mounted.dir / "new", mounted.dir / "other", 0)
    assert (mounted.keys(), mounted.get("other")) == (["other"], b"data")


@pytest.mark.semantics("M-4")
def test_a_file_that_is_being_written_goes_on_under_its_new_name(mounted: Mounted) -> None:
    mounted.put("replaced", b"replaced")
    with (mounted.dir / "replaced").open("rb") as reader, (mounted.dir / "part").open("wb") as writer:
        writer.write(b"one")
        writer.flush()
        (mounted.dir / "part").rename(mounted.dir / "replaced")
        writer.write(b" two")
        assert reader.read() == b"replaced"
    assert mounted.keys() == ["replaced"]
    assert mounted.get("replaced") == b"one two"


@pytest.mark.parametrize("by_the_door", [True, False])
@pytest.mark.semantics("M-4")
def test_a_rename_deletes_nothing_but_what_was_renamed(mounted: Mounted, remote: Remote, by_the_door: bool) -> None:
    mounted.put("old", b"base")
    eventually(lambda: drained(mounted.daemon))
    there = mounted.s3 if by_the_door else remote.client()
    with (mounted.dir / "old").open("r+b") as file:
        file.write(b"mine")
        file.flush()
        there.put_object(Bucket=mounted.bucket, Key="old", Body=b"another's")
        (mounted.dir / "old").rename(mounted.dir / "new")
    assert mounted.get("new") == b"mine"
    waits = 0 if by_the_door else 1
    eventually(lambda: (left := mounted.daemon.status()["pending"])["changes"] == left["parked"] == waits)
    assert there.get_object(Bucket=mounted.bucket, Key="old")["Body"].read() == b"another's"


@pytest.mark.parametrize("mounted", [{"S3D_FUSE_MOUNT_MAX_RENAME": "3"}], indirect=True)
@pytest.mark.semantics("M-4")
def test_a_directory_moves_with_all_in_it_or_not_at_all(mounted: Mounted) -> None:
    for name in ("a/1", "a/b/2", "kept/1"):
        mounted.put(name, name.encode())
    (mounted.dir / "empty").mkdir()
    with (mounted.dir / "a" / "open").open("wb") as file:
        file.write(b"op")
        file.flush()
        (mounted.dir / "a").rename(mounted.dir / "c")
        file.write(b"en")
    assert mounted.keys() == ["c/1", "c/b/2", "c/open", "empty/", "kept/1"]
    assert (mounted.dir / "c" / "b" / "2").read_bytes() == b"a/b/2"
    assert mounted.get("c/open") == b"open"
    assert errno_of(lambda: (mounted.dir / "c").rename(mounted.dir / "kept")) == "ENOTEMPTY"
    assert errno_of(lambda: (mounted.dir / "c").rename(mounted.dir / "c" / "below")) == "EINVAL"
    mounted.put("c/4", b"one too many")
    assert errno_of(lambda: (mounted.dir / "c").rename(mounted.dir / "d")) == "EXDEV"
    subprocess.run(["mv", mounted.dir / "c", mounted.dir / "d"], check=True)
    assert mounted.names("d") == ["1", "4", "b", "open"]
    assert mounted.names() == ["d", "empty", "kept"]


@pytest.mark.semantics("M-4")
def test_a_directory_stays_when_its_last_file_has_gone_until_it_is_removed(mounted: Mounted) -> None:
    mounted.put("a/b/1", b"data")
    (mounted.dir / "a" / "b" / "1").unlink()
    assert mounted.names("a/b") == []
    (mounted.dir / "a" / "b" / "2").write_bytes(b"data")
    assert errno_of((mounted.dir / "a" / "b").rmdir) == "ENOTEMPTY"
    assert errno_of((mounted.dir / "a").mkdir) == "EEXIST"
    subprocess.run(["rm", "-r", mounted.dir / "a"], check=True)
    assert mounted.names() == mounted.keys() == []


@pytest.mark.semantics("M-4", "M-6")
def test_while_the_remote_is_away_files_are_made_moved_and_read(
    remote: Remote, bucket: str, mount: Callable[..., Mounted], relay: Relay
) -> None:
    relayed = relay(remote)
    there = remote.client()
    for key in ("d/read", "d/unread"):
        there.put_object(Bucket=bucket, Key=key, Body=key.encode())
    mounted = mount(relayed.remote, bucket, S3D_READ_CACHE="true", **AWAY)
    assert mounted.names() == ["d"]
    assert mounted.names("d") == ["read", "unread"]
    assert (mounted.dir / "d" / "read").read_bytes() == b"d/read"
    relayed.set(mode="refuse")
    eventually(lambda: errno_of((mounted.dir / "d" / "unread").read_bytes) == "EIO")
    eventually(lambda: mounted.daemon.status()["remote"]["state"] == "away")
    assert (mounted.dir / "d" / "read").read_bytes() == b"d/read"
    (mounted.dir / "d" / "new").write_bytes(b"new")
    (mounted.dir / "d" / "new").rename(mounted.dir / "d" / "moved")
    (mounted.dir / "d" / "read").rename(mounted.dir / "d" / "too")
    assert mounted.names("d") == ["moved", "too", "unread"]
    assert errno_of((mounted.dir / "d" / "unread").read_bytes) == "EIO"
    assert "d/moved" not in [one["Key"] for one in there.list_objects_v2(Bucket=bucket)["Contents"]]
    relayed.set(mode="pass")
    eventually(lambda: drained(mounted.daemon))
    shown = {one["Key"] for one in there.list_objects_v2(Bucket=bucket)["Contents"]}
    assert shown == {"d/moved", "d/too", "d/unread"}
