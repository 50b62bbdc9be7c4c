"""The local dir is deleted, moved, replaced, named twice or given away (SEMANTICS D-8, D-9, D-12)."""

import asyncio
import http.client
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import apsw
import pytest

from s3d.daemon.directories import locked
from s3d.errors import ConfigError, S3Error
from s3d.layers.queue import Queue
from s3d.settings import Gateway, Settings, WriteQueue
from tests.callers import ask
from tests.clients import code_of
from tests.daemons import Daemon, eventually
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, opened, until
from tests.relays import Relayed

LARGE = b"x" * 100_000
Change = Callable[[Path], object]


def replaced(path: Path, make: Callable[[Path], Any]) -> None:
    path.rename(path.with_name(f"{path.name}.aside"))
    make(path)


DISPLACED: dict[str, Change] = {
    "the local dir is deleted": shutil.rmtree,
    "the local dir is moved": lambda local: local.rename(local.with_name("moved")),
    "the local dir is replaced": lambda local: replaced(local, Path.mkdir),
    "the local dir is another's link": lambda local: replaced(local, lambda path: path.symlink_to("/")),
    "the queue is deleted": lambda local: shutil.rmtree(local / "queue"),
    "the queue is moved": lambda local: (local / "queue").rename(local / "moved"),
    "the queue is replaced by a copy": lambda local: replaced(
        local / "queue", lambda path: shutil.copytree(f"{path}.aside", path)
    ),
    "the database is deleted": lambda local: (local / "queue" / "queue.db").unlink(),
    "the database is moved": lambda local: (local / "queue" / "queue.db").rename(local / "moved"),
    "the database is replaced by a copy": lambda local: replaced(
        local / "queue" / "queue.db", lambda path: shutil.copy(f"{path}.aside", path)
    ),
    "the log is deleted": lambda local: (local / "queue" / "queue.db-wal").unlink(),
    "the bodies are deleted": lambda local: shutil.rmtree(local / "queue" / "bodies"),
    "the bodies are moved": lambda local: (local / "queue" / "bodies").rename(local / "moved"),
    "the bodies are replaced": lambda local: replaced(local / "queue" / "bodies", Path.mkdir),
}


def cut_off(path: Path, size: int) -> None:
    """Shorten a file from its end; a second look finds it as long as before."""
    assert path.stat().st_size > size
    os.truncate(path, size)


CUT: dict[str, Change] = {
    "the log is emptied": lambda local: cut_off(local / "queue" / "queue.db-wal", 0),
    "the log is cut off": lambda local: cut_off(local / "queue" / "queue.db-wal", 4096),
    "the database is emptied": lambda local: cut_off(local / "queue" / "queue.db", 0),
    "the database is cut off": lambda local: cut_off(local / "queue" / "queue.db", 4096),
}


async def put(queue: Queue | Fake, key: str, data: bytes = b"small") -> None:
    await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": key}, data)


@pytest.fixture
async def far() -> Fake:
    far = Fake()
    await ask(far, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    return far


@pytest.mark.semantics("D-12")
@pytest.mark.parametrize("what", [*DISPLACED, *CUT])
async def test_nothing_is_acknowledged_into_files_that_are_not_in_their_place(
    tmp_path: Path, far: Fake, what: str
) -> None:
    local = tmp_path / "local"
    async with opened(local, far) as queue:
        await put(queue, "before")
        {**DISPLACED, **CUT}[what](local)
        # At once: no look of a watcher is waited for.
        for data in (b"small", LARGE):
            with pytest.raises(S3Error, match="The local dir failed") as refused:
                await put(queue, "after", data)
            assert refused.value.status == 503
        assert queue.failure
        with pytest.raises(S3Error, match="The local dir failed"):
            await ask(queue, "DeleteObject", {"Bucket": BUCKET, "Key": "before"})


@pytest.mark.semantics("D-12")
@pytest.mark.parametrize("what", DISPLACED)
async def test_a_local_dir_that_is_gone_is_noticed_without_a_write_and_what_is_pending_goes_on(
    tmp_path: Path, far: Fake, what: str
) -> None:
    local = tmp_path / "local"
    async with opened(local, far) as queue:
        await put(queue, "before")
        DISPLACED[what](local)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one) for one in (queue.watch_place(), queue.pusher.run(), queue.sweep())]
            await until(lambda: queue.failure != "")
            await until(lambda: queue.pending()["changes"] == 0)
            for task in running:
                task.cancel()
    assert (await ask(far, "GetObject", {"Bucket": BUCKET, "Key": "before"})).data == b"small"


@pytest.mark.semantics("D-12", "D-12b")
@pytest.mark.parametrize("what", CUT)
async def test_a_file_that_was_cut_off_is_noticed_without_a_write_and_stays_so(
    tmp_path: Path, far: Fake, what: str
) -> None:
    local = tmp_path / "local"
    async with opened(local, far) as queue:
        await put(queue, "before")
        CUT[what](local)
        running = asyncio.create_task(queue.watch_place())
        await until(lambda: "was cut off" in queue.failure)
        for name in ("queue.db", "queue.db-wal"):
            os.truncate(local / "queue" / name, 1 << 20)
        with pytest.raises(S3Error, match="The local dir failed"):
            await put(queue, "after")
        running.cancel()


@pytest.mark.semantics("D-12")
@pytest.mark.parametrize("name", [".", "queue", "queue/queue.db", "queue/bodies"])
async def test_what_comes_back_to_its_place_is_written_to_again(tmp_path: Path, far: Fake, name: str) -> None:
    local = tmp_path / "local"
    async with at_work(local, far) as queue:
        moved = local / name
        moved.rename(tmp_path / "moved")
        await until(lambda: queue.failure != "")
        with pytest.raises(S3Error, match="The local dir failed"):
            await put(queue, "k")
        (tmp_path / "moved").rename(moved)
        await until(lambda: queue.failure == "")
        await put(queue, "k", LARGE)
        await until(lambda: queue.pending()["changes"] == 0)
    assert (await ask(far, "GetObject", {"Bucket": BUCKET, "Key": "k"})).data == LARGE


@pytest.mark.semantics("D-12")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_a_daemon_whose_local_dir_is_deleted_is_not_ready_and_refuses_writes(
    away: tuple[Daemon, Relayed, str],
) -> None:
    daemon, _, bucket = away
    s3 = daemon.client(retries={"total_max_attempts": 1})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    shutil.rmtree(daemon.local_dir)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2") == "ServiceUnavailable"

    def readiness() -> tuple[int, str]:
        connection = http.client.HTTPConnection(urlsplit(daemon.metrics_endpoint).netloc, timeout=10)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    status, said = readiness()
    assert (status, "was deleted" in said) == (503, True)
    eventually(lambda: "no writes are taken; move it back" in daemon.output())
    assert daemon.running


def deleted(queue: Path) -> None:
    for path in queue.glob("queue.db*"):
        path.unlink()


def moved_aside(queue: Path) -> None:
    for path in queue.glob("queue.db*"):
        path.rename(queue / f"old-{path.name}")


def emptied(queue: Path) -> None:
    deleted(queue)
    (queue / "queue.db").touch()


def foreign(queue: Path) -> None:
    for path in queue.glob("queue.db*"):
        path.unlink()
    db = apsw.Connection(str(queue / "queue.db"))
    db.execute("CREATE TABLE theirs (a)")
    db.close()


def exchanged(queue: Path) -> None:
    for path in queue.glob("queue.db*"):
        path.unlink()
        shutil.copy(queue.parent.parent / "other" / "queue" / path.name, path)


LOST: dict[str, Change] = {
    "deleted": deleted,
    "moved aside": moved_aside,
    "empty": emptied,
    "without its log": lambda queue: (queue / "queue.db-wal").unlink(),
    "only its log": lambda queue: (queue / "queue.db").unlink(),
    "another program's": foreign,
    "another queue's": exchanged,
}


@pytest.mark.semantics("D-12", "D-12a")
@pytest.mark.parametrize("what", LOST)
@pytest.mark.parametrize("data", [LARGE, b"in the row"], ids=["in a file", "in the row"])
async def test_bodies_without_their_database_are_neither_swept_nor_started_with(
    tmp_path: Path, far: Fake, what: str, data: bytes
) -> None:
    for name in ("local", "other"):
        async with opened(tmp_path / name, far) as queue:
            await put(queue, f"of {name}", data)
    queue_dir = tmp_path / "local" / "queue"
    saved = tmp_path / "saved"
    saved.mkdir()
    for path in queue_dir.glob("queue.db*"):
        shutil.copy(path, saved / path.name)
    bodies = sorted(path.name for path in (queue_dir / "bodies").iterdir())
    LOST[what](queue_dir)
    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            async with opened(tmp_path / "local", far):
                pass
        assert str(queue_dir) in refused.value.message
        assert "aside" in refused.value.hint
        assert sorted(path.name for path in (queue_dir / "bodies").iterdir()) == bodies
    for path in queue_dir.glob("queue.db*"):
        path.unlink()
    for path in saved.iterdir():
        shutil.copy(path, queue_dir / path.name)
    async with at_work(tmp_path / "local", far) as again:
        await until(lambda: again.pending()["changes"] == 0)
    assert (await ask(far, "GetObject", {"Bucket": BUCKET, "Key": "of local"})).data == data


@pytest.mark.semantics("D-4", "D-12", "D-12a")
async def test_beside_an_older_copy_of_the_database_no_newer_body_is_swept(
    tmp_path: Path, far: Fake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("s3d.layers.queue.layer.ORPHAN_GRACE_SECONDS", -60.0)
    queue_dir, old, new = tmp_path / "local" / "queue", tmp_path / "old", tmp_path / "new"

    def exchange(kept: Path, put_back: Path | None = None) -> None:
        kept.mkdir()
        for path in queue_dir.glob("queue.db*"):
            path.rename(kept / path.name)
        for path in (put_back or kept).iterdir():
            shutil.copy(path, queue_dir / path.name)

    async with opened(tmp_path / "local", far):
        pass
    exchange(old)
    async with opened(tmp_path / "local", far) as queue:
        await put(queue, "of today", LARGE)
    exchange(new, old)
    for _ in range(2):
        async with opened(tmp_path / "local", far) as queue:
            await queue.sweep()
    assert "bodies (1) are newer than the database" in caplog.text
    exchange(tmp_path / "aside", new)
    async with at_work(tmp_path / "local", far) as queue:
        await until(lambda: queue.pending()["changes"] == 0)
    assert (await ask(far, "GetObject", {"Bucket": BUCKET, "Key": "of today"})).data == LARGE


@pytest.mark.semantics("D-12")
async def test_what_the_hint_says_leads_to_a_start(tmp_path: Path, far: Fake) -> None:
    async with opened(tmp_path, far) as queue:
        await put(queue, "k", LARGE)
    for path in (tmp_path / "queue").glob("queue.db*"):
        path.unlink()
    (tmp_path / "queue" / "bodies").rename(tmp_path / "aside")
    async with opened(tmp_path, far) as queue:
        assert queue.pending()["changes"] == 0
        await put(queue, "k", LARGE)


def named_twice(tmp_path: Path) -> dict[str, tuple[Settings, Settings]]:
    def settings(local: Path, queue: Path | None = None) -> Settings:
        return Settings(gateway=Gateway(local_dir=local), write_queue=WriteQueue(dir=queue))

    (tmp_path / "link").symlink_to("a/queue")
    return {
        "below the one's local dir": (settings(tmp_path / "a"), settings(tmp_path / "b", tmp_path / "a" / "queue")),
        "by a link": (settings(tmp_path / "a"), settings(tmp_path / "b", tmp_path / "link")),
        "by another way": (settings(tmp_path / "a"), settings(tmp_path / "b", tmp_path / "b" / ".." / "a" / "queue")),
        "the one's queue is the other's local dir": (settings(tmp_path / "a"), settings(tmp_path / "a" / "queue")),
        "the one's local dir is the other's queue": (
            settings(tmp_path / "a"),
            settings(tmp_path / "b", tmp_path / "a"),
        ),
        "both by their settings": (
            settings(tmp_path / "a", tmp_path / "c"),
            settings(tmp_path / "b", tmp_path / "c"),
        ),
    }


@pytest.mark.semantics("D-8")
@pytest.mark.parametrize("way", range(6))
def test_a_queue_that_is_named_in_two_ways_has_one_owner(tmp_path: Path, way: int) -> None:
    for one, other in (pair := list(named_twice(tmp_path).values())[way], pair[::-1]):
        with locked(one), pytest.raises(ConfigError, match="in use by another s3d"), locked(other):
            pass
        with locked(other):
            pass


@pytest.mark.semantics("D-8")
def test_a_queue_that_is_the_local_dir_itself_is_locked_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("local")
    settings = Settings(gateway=Gateway(local_dir=tmp_path / "local"), write_queue=WriteQueue(dir=tmp_path / "link"))
    with locked(settings) as locks:
        assert len(locks) == 1


OTHER = "http://other.test"


@pytest.mark.semantics("D-9", "D-9a", "R-6")
async def test_another_remote_inherits_no_knowledge(tmp_path: Path, far: Fake) -> None:
    async with at_work(tmp_path, far) as queue:
        await put(queue, "k")
        await until(lambda: queue.pending()["changes"] == 0)
    db = apsw.Connection(str(tmp_path / "queue" / "queue.db"))
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    # What a queue may know of its remote, one of each kind.
    db.execute(
        """INSERT OR REPLACE INTO bucket (name, seen_at, through, detail) VALUES ('bucket', 1, 'versioned', 'Enabled');
        INSERT INTO lane VALUES ('bucket', '', 'paused', 1, 'AccessDenied', 'no', 1, 1, NULL, '[]');
        INSERT OR REPLACE INTO hold VALUES ('bucket', 'false', 1);
        INSERT OR REPLACE INTO write_profile VALUES ('bucket', '', 'PutObject', '', 'doubted', 1);
        INSERT INTO orphan_upload VALUES ('bucket', 'upload', 'k', '');
        INSERT INTO meta VALUES ('honoured', 'if-match');
        INSERT INTO change (bucket, key, op, state, acked_at, next_at, late_writes) VALUES
            ('bucket', 'kept', 'delete', 'settled', 1, 1, '[["?", 1]]'),
            ('bucket', 't', 'through', 'settled', 1, 1, '[]');
        INSERT INTO upload (id, bucket, key, state, began_at, touched_at, remote)
            VALUES ('u', 'bucket', 'k', 'aborting', 1, 1, 'theirs')"""
    )
    db.close()
    other = Fake()
    async with opened(tmp_path, other, OTHER) as queue:
        tables = {
            table: queue._context.db.read(f"SELECT count(*) FROM {table}")[0][0]
            for table in ("bucket", "lane", "hold", "write_profile", "orphan_upload", "change", "upload", "part")
        }
        assert tables == dict.fromkeys(tables, 0)
        names = [name for (name,) in queue._context.db.read("SELECT name FROM meta ORDER BY name")]
        # What the settings say of it is the gateway's own.
        rules = ["policy at start", "push filter", "push filter at start"]
        assert names == sorted(["bodies", "remote", "runs", *rules])


@pytest.mark.semantics("D-9", "D-9a")
async def test_an_open_upload_keeps_the_local_dir_for_its_remote(tmp_path: Path, far: Fake) -> None:
    named = {"Bucket": BUCKET, "Key": "k"}
    async with opened(tmp_path, far) as queue:
        upload = (await ask(queue, "CreateMultipartUpload", named)).result["UploadId"]
        await ask(queue, "UploadPart", {**named, "UploadId": upload, "PartNumber": 1}, b"part")
    with pytest.raises(ConfigError, match=r"holds 1 multipart upload"):
        async with opened(tmp_path, Fake(), OTHER):
            pass
    async with opened(tmp_path, far) as queue:
        await ask(queue, "AbortMultipartUpload", {**named, "UploadId": upload})
    async with opened(tmp_path, Fake(), OTHER):
        pass
