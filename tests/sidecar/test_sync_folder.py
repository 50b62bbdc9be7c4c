"""The real daemon keeps a folder and a prefix equal, says so, and hands over what is left when it ends."""

import contextlib
import hashlib
import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.remotes import Remote
from tests.sidecar.sync.folders import files_of

pytestmark = pytest.mark.remote
one = pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
"""What a store has no part in is shown in front of one."""


def start(start_daemon: StartDaemon, remote: Remote, bucket: str, folder: Path, **more: str) -> Daemon:
    said = {
        "S3D_SYNC_FOLDER": "true",
        "S3D_SYNC_FOLDER_DIR": str(folder),
        "S3D_SYNC_FOLDER_BUCKET": bucket,
        "S3D_SYNC_FOLDER_PREFIX": "docs/",
        "S3D_SYNC_FOLDER_POLL": "200ms",
        "S3D_SYNC_FOLDER_STABLE_FOR": "100ms",
        "S3D_BUCKETS": bucket,
    }
    return start_daemon(remote, **(said | more))


def there(remote: Remote, bucket: str) -> dict[str, bytes]:
    """What the store has; what goes while it is looked at is not there."""
    client, found = remote.client(), {}
    for one in client.list_objects_v2(Bucket=bucket, Prefix="docs/").get("Contents", []):
        with contextlib.suppress(client.exceptions.NoSuchKey):
            body = client.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            found[one["Key"].removeprefix("docs/")] = body
    return found


def state(daemon: Daemon) -> dict[str, Any]:
    return dict(daemon.status()["sync_folder"])


def is_quiet(daemon: Daemon, files: int) -> bool:
    """Whether it is at rest and knows that both sides have so many files."""
    now = state(daemon)
    return (now["state"], now["files"]) == ("quiet", files)


@pytest.mark.semantics("S-3", "S-4")
def test_files_and_objects_go_both_ways_and_over_a_crash(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"from here")
    remote.client().put_object(Bucket=bucket, Key="docs/d/b", Body=b"from there")
    daemon = start(start_daemon, remote, bucket, folder)
    both = {"a.txt": b"from here", "d/b": b"from there"}
    eventually(lambda: files_of(folder) == both and there(remote, bucket) == both)
    daemon.client().put_object(Bucket=bucket, Key="docs/c", Body=b"by the door")
    eventually(lambda: files_of(folder).get("c") == b"by the door")
    # Once it is known that both sides have it, what is deleted while the daemon is down is a delete.
    eventually(lambda: state(daemon)["files"] == 3)
    daemon.kill()
    (folder / "a.txt").write_bytes(b"changed while it was down")
    (folder / "c").unlink()
    daemon.start()
    both = {"a.txt": b"changed while it was down", "d/b": b"from there"}
    eventually(lambda: files_of(folder) == both and there(remote, bucket) == both)
    eventually(lambda: is_quiet(daemon, 2))


@pytest.mark.semantics("S-2", "S-9")
@one
def test_an_emptied_folder_halts_and_is_a_problem_until_a_person_says_what_was_meant(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode())
    daemon = start(start_daemon, remote, bucket, folder)
    eventually(lambda: len(there(remote, bucket)) == 2)
    eventually(lambda: is_quiet(daemon, 2))
    # No look at the folder falls between the two.
    assert daemon.cli("sync", "pause").returncode == 0
    for name in "ab":
        (folder / name).unlink()
    assert daemon.cli("sync", "resume").returncode == 0
    eventually(lambda: state(daemon)["halt"] == "FolderEmpty")
    assert [one["name"] for one in daemon.status()["problems"]] == ["SyncHalted"]
    assert daemon.cli("sync", "status").returncode == 3
    assert len(there(remote, bucket)) == 2
    assert daemon.cli("sync", "resume", "--as-new").returncode == 0
    eventually(lambda: files_of(folder) == {"a": b"a", "b": b"b"} and state(daemon)["files"] == 2)
    (folder / "a").unlink()
    eventually(lambda: list(there(remote, bucket)) == ["b"])
    assert daemon.cli("sync", "status").returncode == 0


@pytest.mark.semantics("S-1", "S-6")
@one
def test_the_trash_and_what_is_left_alone_are_listed_and_a_file_comes_back(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_bytes(name.encode())
    (folder / "link").symlink_to("/etc")
    daemon = start(start_daemon, remote, bucket, folder)
    remote.client().put_object(Bucket=bucket, Key="docs/link", Body=b"an object")
    eventually(lambda: len(there(remote, bucket)) == 3)
    eventually(lambda: is_quiet(daemon, 2))
    remote.client().delete_object(Bucket=bucket, Key="docs/a")
    eventually(lambda: "a" not in files_of(folder))
    eventually(lambda: state(daemon)["trash"] == 1)
    left = daemon.cli("sync", "left").stdout.decode().splitlines()
    assert [line.split("\t")[0] for line in left] == ["link"]
    name, path, *_ = daemon.cli("sync", "trash").stdout.decode().split("\t")
    assert path == "a"
    assert daemon.cli("sync", "restore", name).stdout == b"a\n"
    eventually(lambda: there(remote, bucket).get("a") == b"a")


@pytest.mark.semantics("S-9")
@one
def test_a_pause_lasts_over_a_restart_and_an_end_sends_what_is_left(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    daemon = start(start_daemon, remote, bucket, folder, S3D_SYNC_FOLDER_POLL="1h")
    eventually(lambda: is_quiet(daemon, 0))
    (folder / "late").write_bytes(b"just before the end")
    assert daemon.terminate() == 0
    assert there(remote, bucket) == {"late": b"just before the end"}
    daemon.start()
    assert daemon.cli("sync", "pause").returncode == 0
    daemon.terminate()
    (folder / "paused").write_bytes(b"x")
    daemon.start()
    eventually(lambda: state(daemon)["state"] == "paused")
    assert daemon.cli("sync", "resume").returncode == 0
    eventually(lambda: "paused" in there(remote, bucket) and drained(daemon))


@pytest.mark.semantics("S-9")
@one
def test_an_end_says_how_many_files_are_unsent_where_everything_queued_is_delivered(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    daemon = start(start_daemon, remote, bucket, folder, S3D_TERMINATION_LOG=str(tmp_path / "left"))
    eventually(lambda: state(daemon)["state"] == "quiet" and state(daemon)["files"] == 1)
    (folder / "a").unlink()
    eventually(lambda: state(daemon)["halt"] == "FolderEmpty")
    assert daemon.terminate() == 75
    said = json.loads((tmp_path / "left").read_text())
    assert (said["changes"], said["bytes"], said["unsent"]) == (0, 0, 1)
    assert there(remote, bucket) == {"a": b"a"}


@one
def test_what_would_be_done_is_listed_and_waited_for(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    remote.client().put_object(Bucket=bucket, Key="docs/b", Body=b"b")
    daemon = start(start_daemon, remote, bucket, folder, S3D_SYNC_FOLDER_POLL="1h")
    assert daemon.cli("sync", "wait", "--timeout", "60").returncode == 0
    assert files_of(folder) == {"a": b"a", "b": b"b"}
    assert daemon.cli("flush").returncode == 0
    assert there(remote, bucket) == files_of(folder)
    assert daemon.cli("sync", "pause").returncode == 0
    refused = daemon.cli("sync", "wait")
    assert refused.returncode not in (0, 3, 75)
    assert b"paused" in refused.stderr
    (folder / "a").unlink()
    (folder / "c").write_bytes(b"c")
    remote.client().put_object(Bucket=bucket, Key="docs/d", Body=b"d")
    eventually(lambda: b"push\tc\t" in daemon.cli("sync", "diff").stdout)
    said = [line.split("\t")[:2] for line in daemon.cli("sync", "diff").stdout.decode().splitlines()]
    assert ["drop-there", "a"] in said
    assert ["push", "c"] in said
    assert ["pull", "d"] in said
    assert set(there(remote, bucket)) == {"a", "b", "d"}


@one
def test_a_person_sees_what_differs_and_why_and_which_copies_wait(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(b"base")
    daemon = start(start_daemon, remote, bucket, folder, S3D_SYNC_FOLDER_POLL="1h")
    assert daemon.cli("sync", "wait", "--timeout", "60").returncode == 0
    assert daemon.cli("flush").returncode == 0
    assert (daemon.cli("sync", "check").returncode, daemon.cli("sync", "conflicts").stdout) == (0, b"")
    assert daemon.cli("sync", "pause").returncode == 0
    (folder / "a").write_bytes(b"mine")
    remote.client().put_object(Bucket=bucket, Key="docs/a", Body=b"theirs")
    differs = daemon.cli("sync", "check")
    assert (differs.returncode, differs.stdout) == (1, b"a\tboth sides differ\n")
    assert json.loads(daemon.cli("sync", "check", "--json").stdout)["files"] == 1
    eventually(lambda: json.loads(daemon.cli("sync", "why", "a", "--json").stdout)["do"] == "pull")
    assert b"\nconflict\ttrue\n" in daemon.cli("sync", "why", str(folder / "a")).stdout
    assert (folder / "a").read_bytes() == b"mine"
    assert daemon.cli("sync", "resume").returncode == 0
    assert daemon.cli("sync", "wait", "--timeout", "60").returncode == 0
    copy, of, *_ = daemon.cli("sync", "conflicts").stdout.decode().split("\t")
    assert (of, (folder / copy).read_bytes()) == ("a", b"mine")


@pytest.mark.semantics("S-5a", "S-5b")
def test_a_real_store_has_what_is_renamed_and_a_copy_of_what_is_deleted(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("renamed", "deleted", "stays"):
        (folder / name).write_bytes(name.encode())
    daemon = start(start_daemon, remote, bucket, folder, S3D_SYNC_FOLDER_DELETES="Trash")
    eventually(lambda: is_quiet(daemon, 3))
    assert daemon.cli("flush").returncode == 0
    assert daemon.cli("sync", "wait", "--timeout", "60").returncode == 0
    (folder / "renamed").rename(folder / "new \u00e4+")
    (folder / "deleted").unlink()
    trashed = f".s3d-trash/{hashlib.md5(b'deleted').hexdigest()}/deleted"
    eventually(lambda: sorted(there(remote, bucket)) == sorted([*files_of(folder), trashed]))
    assert there(remote, bucket) == files_of(folder) | {trashed: b"deleted"}


@pytest.mark.semantics("S-4b")
def test_a_tagged_object_of_a_real_store_is_left_alone_until_its_tag_is_gone(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    remote.client().put_object(Bucket=bucket, Key="docs/private", Body=b"not this", Tagging="s3d.sync=false")
    remote.client().put_object(Bucket=bucket, Key="docs/public", Body=b"this", Tagging="class=public")
    daemon = start(start_daemon, remote, bucket, folder)
    eventually(lambda: is_quiet(daemon, 1) and state(daemon)["left_alone"] == 1)
    assert files_of(folder) == {"public": b"this"}
    remote.client().delete_object_tagging(Bucket=bucket, Key="docs/private")
    assert daemon.cli("sync", "now").returncode == 0
    eventually(lambda: files_of(folder) == {"public": b"this", "private": b"not this"})


@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
@pytest.mark.semantics("S-9", "S-11")
def test_several_folders_are_kept_apart_and_each_is_told_of_by_its_name(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    tops = [tmp_path / name for name in ("folder", "media", "notes")]
    for top in tops:
        top.mkdir()
        (top / "same").write_bytes(top.name.encode())
    shared = {"bucket": bucket, "poll": "200ms", "stable_for": "100ms"}
    listed = [{"name": top.name, "dir": str(top), "prefix": f"{top.name}/", **shared} for top in tops[1:]]
    left = tmp_path / "left"
    more = {"S3D_SYNC_FOLDERS": json.dumps(listed), "S3D_TERMINATION_LOG": str(left)}
    daemon = start(start_daemon, remote, bucket, tops[0], **more)
    assert daemon.cli("sync", "wait", "--timeout", "60").returncode == 0
    assert daemon.cli("flush").returncode == 0
    client = remote.client()
    for top, prefix in zip(tops, ("docs/", "media/", "notes/"), strict=True):
        assert client.get_object(Bucket=bucket, Key=f"{prefix}same")["Body"].read() == top.name.encode()
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=30) as answer:
        assert b's3d_sync_files{folder="media"} 1.0' in answer.read()
    # What is said to one is said to that alone.
    assert b"--folder" in daemon.cli("sync", "diff").stderr
    assert b"there is folder, media, notes" in daemon.cli("sync", "pause", "--folder", "other").stderr
    assert daemon.cli("sync", "pause", "--folder", str(tops[1] / "same")).returncode == 0
    states = {one["name"]: one["state"] for one in daemon.status()["sync_folders"]}
    assert states.pop("media") == "paused"
    assert "paused" not in states.values()
    waited = daemon.cli("sync", "wait", "--folder", "notes", "--folder", "media").stderr
    assert b"'media' is paused" in waited
    assert b"resume --folder media" in waited
    assert b"said several times" in daemon.cli("sync", "diff", "--folder", "notes", "--folder", "media").stderr
    assert json.loads(daemon.cli("sync", "why", str(tops[2] / "same"), "--json").stdout)["path"] == "same"
    # One that halts leaves the others at work, and the end counts what it has not sent.
    assert daemon.cli("sync", "resume").returncode == 0
    (tops[2] / "same").unlink()
    eventually(lambda: daemon.cli("sync", "status", "--folder", "notes").returncode == 3)
    assert [one["text"].partition(":")[0] for one in daemon.status()["problems"]] == ["the sync folder notes is halted"]
    (tops[1] / "new").write_bytes(b"new")
    assert daemon.cli("sync", "wait", "--folder", "media").returncode == 0
    assert daemon.terminate() == 75
    assert client.get_object(Bucket=bucket, Key="media/new")["Body"].read() == b"new"
    said = json.loads(left.read_text())
    assert (said["unsent"], said["unsent_by_folder"]) == (1, [0, 0, 1])
