"""What needs no mount: names, errnos, attributes in metadata, inodes, and settings that cannot be together."""

import errno
import json
import os
import tracemalloc
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from s3d import config
from s3d.errors import ConfigError, CorruptBody, NotS3, S3DError, S3Error, Unavailable, slow_down
from s3d.mount import errnos, paths, stage, views
from s3d.mount.tree import ROOT, Tree, number
from s3d.mount.views import Directory, File
from s3d.store.failures import StoreFailed, StoreFull

ERRORS: list[tuple[S3DError, int, int]] = [
    (S3Error("NoSuchKey", status=404), errno.ENOENT, errno.ENOENT),
    (S3Error("NoSuchBucket", status=404), errno.ENOENT, errno.ENOENT),
    (S3Error("AccessDenied", status=403), errno.EACCES, errno.EACCES),
    (S3Error("SignatureDoesNotMatch", status=403), errno.EACCES, errno.EACCES),
    (S3Error("PreconditionFailed", status=412), errno.ESTALE, errno.ESTALE),
    (S3Error("InvalidRange", status=416), errno.ESTALE, errno.ESTALE),
    (S3Error("KeyTooLongError"), errno.ENAMETOOLONG, errno.ENAMETOOLONG),
    (S3Error("EntityTooLarge"), errno.EFBIG, errno.EFBIG),
    (S3Error("InvalidArgument"), errno.EINVAL, errno.EINVAL),
    (S3Error("NotImplemented", status=501), errno.EOPNOTSUPP, errno.EOPNOTSUPP),
    (S3Error("InternalError", status=500), errno.EIO, errno.EIO),
    (slow_down("the queue is full"), errno.EAGAIN, errno.ENOSPC),
    (Unavailable("away"), errno.EIO, errno.EIO),
    (NotS3("a portal", answered=200), errno.EIO, errno.EIO),
    (CorruptBody(), errno.EIO, errno.EIO),
    (StoreFull(), errno.ENOSPC, errno.ENOSPC),
    (StoreFailed(), errno.EIO, errno.EIO),
]


@pytest.mark.semantics("M-3")
@pytest.mark.parametrize("error, read, written", ERRORS, ids=lambda one: str(one)[:40])
def test_one_table_says_which_errno_an_error_is(error: S3DError, read: int, written: int) -> None:
    assert errnos.of(error, writes=False) == read
    assert errnos.of(error, writes=True) == written


@pytest.mark.parametrize("name", ["", ".", "..", "a\0b", "n" * 256, "é" * 128, "\udcff"])
def test_a_name_that_nobody_can_say_has_no_place(name: str) -> None:
    assert not paths.has_place(name)


@pytest.mark.parametrize("name", ["a", "...", "a b", "é" * 127, "a:b", "-"])
def test_any_other_name_has_one(name: str) -> None:
    assert paths.has_place(name)
    assert paths.text_of(name.encode()) == name


@pytest.mark.parametrize(
    "key, parent, name", [("a", "", "a"), ("a/b", "a/", "b"), ("a/b/", "a/", "b"), ("a/", "", "a")]
)
def test_a_key_is_in_a_directory(key: str, parent: str, name: str) -> None:
    assert (paths.parent_of(key), paths.name_of(key)) == (parent, name)


@pytest.mark.parametrize("moment", [0, 1, 1_500_000_000_123_456_789, 10**9])
@pytest.mark.parametrize("executable", [False, True])
def test_time_and_mode_come_back_from_the_metadata(moment: int, executable: bool) -> None:
    kept = views.metadata_of(moment, executable=executable)
    assert (views.time_in(kept), views.is_executable(kept)) == (moment, executable)


@pytest.mark.parametrize("said", ["", "soon", "-1", "1e9", "9" * 30, "1.x", "٣"])
def test_a_time_that_is_none_is_the_objects(said: str) -> None:
    assert views.time_in({"mtime": said}) in (0, 10**9)
    assert not views.is_executable({"mode": said})


@pytest.mark.semantics("M-2a")
def test_another_version_is_another_inode() -> None:
    tree = Tree(100)
    old, new = tree.of(File("b", "k", "1", 1, 0)), tree.of(File("b", "k", "2", 2, 0))
    assert old.ino != new.ino
    assert tree.of(File("b", "k", "1", 1, 0)) is old
    assert len({number(("b", "k", "1")), number(("b", "k/1", "")), number(("b", "", "k1")), ROOT}) == 4


def test_an_inode_that_the_kernel_forgets_goes_and_comes_back_with_its_number() -> None:
    tree = Tree(100)
    node = tree.of(Directory("b", "d/"))
    node.lookups = 2
    tree.forget(node.ino, 1)
    assert len(tree) == 2
    tree.forget(node.ino, 1)
    assert len(tree) == 1
    assert tree.of(Directory("b", "d/")).ino == node.ino


SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
NAMES = 1_000_000 if SOAK_HOURS else 40_000
"""Each beyond the bound takes the place of another: ten times as many take no more."""


def said(turn: int) -> dict[str, Any]:
    """What a HEAD says of an object, of which nothing is shared with what it says of another."""
    return {
        "AcceptRanges": f"bytes{turn}"[:5],
        "LastModified": datetime.fromtimestamp(turn, UTC),
        "ContentLength": turn + 1000,
        "ETag": f'"{turn:032x}"',
        "ContentType": f"application/octet-stream{turn}"[:24],
        "Metadata": {f"mtime{turn}"[:5]: f"{turn}.000000000", f"mode{turn}"[:4]: f"100644{turn}"[:6]},
        "ResponseMetadata": {"HTTPStatusCode": 200, "RequestId": f"{turn:016x}"},
    }


@pytest.mark.timeout(120 + SOAK_HOURS * 3600)
@pytest.mark.semantics("M-8")
def test_many_names_take_no_more_memory_than_the_bound_lets_them() -> None:
    tree = Tree(config.load({}).fuse_mount.max_names)
    tree.of(Directory("bucket", "")).lookups = 1
    tracemalloc.start()
    try:
        for turn in range(NAMES):
            tree.of(
                File("bucket", f"a-name-of-usual-length-{turn}", f"{turn:032x}", turn, turn, False, said(turn))
            ).lookups = 1
            for _, name in tree.surplus():
                # The kernel does as it is told.
                forgotten = tree.of(File("bucket", name, f"{int(name.rpartition('-')[2]):032x}", 0, 0))
                tree.forget(forgotten.ino, 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    print(f"{NAMES:,} names: {peak / 1e6:.1f} MB at most")
    assert peak < 40_000_000


def test_what_is_open_or_written_or_a_directory_is_not_to_be_forgotten() -> None:
    tree = Tree(0)
    tree.of(Directory("b", ""))
    held = tree.of(File("b", "open", "1", 1, 0))
    held.opens = 1
    tree.of(Directory("b", "d/"))
    tree.of(File("b", "d/f", "1", 1, 0))
    assert [name for _, name in tree.surplus()] == ["f"]
    held.opens = 0
    assert {name for _, name in tree.surplus()} == {"f", "open"}


@pytest.mark.parametrize(
    "settings, words",
    [
        ({}, "S3D_FUSE_MOUNT_DIR is not set"),
        ({"S3D_FUSE_MOUNT_DIR": "/x", "S3D_LOCAL_DIR": "/x/local"}, "S3D_LOCAL_DIR is below"),
        ({"S3D_FUSE_MOUNT_DIR": "/x", "S3D_READ_CACHE_DIR": "/x"}, "S3D_READ_CACHE_DIR is below"),
        ({"S3D_FUSE_MOUNT_DIR": "/x", "S3D_CONFIG_DIR": "/y/../x/c"}, "S3D_CONFIG_DIR is below"),
    ],
)
def test_a_mount_without_a_place_or_above_what_s3d_uses_is_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.load({"S3D_FUSE_MOUNT": "true", "S3D_LOCAL_DIR": "/local", **settings})


def test_a_mount_counts_to_the_volume(tmp_path: Path) -> None:
    sizes = {"S3D_WRITE_QUEUE_MAX_SIZE": "1Gi", "S3D_VOLUME_SIZE": "3Gi", "S3D_FUSE_MOUNT_MAX_SIZE": "2Gi"}
    config.load({**sizes, "S3D_FUSE_MOUNT_DIR": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"S3D_FUSE_MOUNT_MAX_SIZE.* do not fit into the volume"):
        config.load({**sizes, "S3D_FUSE_MOUNT": "true", "S3D_FUSE_MOUNT_DIR": str(tmp_path)})


def test_a_record_is_read_up_to_a_size_that_none_has(tmp_path: Path) -> None:
    record = stage.Record("b", "k", "", {"Metadata": {"a": "b"}}, 1, executable=False)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(asdict(record)))
    assert stage.read_record(path) == record
    path.write_text(json.dumps(asdict(record)) + " " * stage.MAX_RECORD)
    with pytest.raises(ValueError, match="larger than 1048576 bytes"):
        stage.read_record(path)
