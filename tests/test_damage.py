"""Rows that cannot be read (SEMANTICS D-4, D-11): a local dir of which one row is damaged.

Each kind of damage is done to one of three pending changes. Whatever it is, the queue opens and goes on, the others are
delivered, what cannot be delivered is shown, and nothing is lost in silence.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from s3d import config
from s3d.api import read_all
from s3d.errors import S3Error
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.metrics import Metrics
from tests.callers import ask
from tests.fakes import Fake

BUCKET = "bucket"

DEEP = "[" * 100_000
DAMAGES: dict[str, tuple[str, Any]] = {
    "members are no JSON": ("members", "{"),
    "members are not UTF-8": ("members = CAST(? AS TEXT)", b'{"a": "\xff"}'),
    "members are a list": ("members", "[1]"),
    "members are nested": ("members", DEEP),
    "members are of numbers": ("members", '{"x-amz-meta-a": 1}'),
    "members hold a line end": ("members", '{"x-amz-meta-a": "a\\r\\nb: c"}'),
    "members hold a name that is none": ("members", '{"": "a"}'),
    "members are bytes": ("members", b"\xff"),
    "former is no JSON": ("former", "{"),
    "former is of another shape": ("former", '[["etag"], 5]'),
    "former is nested": ("former", DEEP),
    "former is not UTF-8": ("former = CAST(? AS TEXT)", b"\xff"),
    "the key is not UTF-8": ("key = CAST(? AS TEXT)", b"k\xff"),
    "the key is bytes": ("key", b"b"),
    "the key is empty": ("key", ""),
    "the bucket is not UTF-8": ("bucket = CAST(? AS TEXT)", b"b\xff"),
    "the bucket is bytes": ("bucket", b"bucket"),
    "the bucket is empty": ("bucket", ""),
    "the bucket is a path": ("bucket", "a/b"),
    "the identity is not UTF-8": ("identity = CAST(? AS TEXT)", b"\xff"),
    "the identity is bytes": ("identity", b"someone"),
    "op is unknown": ("op", "move"),
    "op is not UTF-8": ("op = CAST(? AS TEXT)", b"\xff"),
    "op is a change of tags without tags": ("op", "tag"),
    "op is a completed upload without one": ("op", "complete"),
    "state is unknown": ("state", "wating"),
    "state is not UTF-8": ("state = CAST(? AS TEXT)", b"\xff"),
    "state is bytes": ("state", b"waiting"),
    "size is a text": ("size", "large"),
    "size is not UTF-8": ("size = CAST(? AS TEXT)", b"\xff"),
    "size is negative": ("size", -1),
    "size is infinite": ("size", float("inf")),
    "next_at is a text": ("next_at", "soon"),
    "next_at is infinite": ("next_at", float("inf")),
    "next_at is negative": ("next_at", -1e300),
    "next_at is bytes": ("next_at", b"\0"),
    "acked_at is a text": ("acked_at", "yesterday"),
    "acked_at is infinite": ("acked_at", float("inf")),
    "attempts is a text": ("attempts", "many"),
    "attempts is negative": ("attempts", -5),
    "refusals is a text": ("refusals", "none"),
    "ordered is a text": ("ordered", "yes"),
    "since is a text": ("since", "ever"),
    "code is not UTF-8": ("code = CAST(? AS TEXT)", b"\xff"),
    "rule is bytes": ("rule = CAST(? AS TEXT)", b"\xff"),
    "the etag is not hex": ("etag", "zz"),
    "the etag is not UTF-8": ("etag = CAST(? AS TEXT)", b"\xff"),
    "the file is no id": ("file", "../../queue.db"),
    "the file is not UTF-8": ("file = CAST(? AS TEXT)", b"\xff"),
    "the file is not there": ("file", "0123456789abcdef-00000000"),
    "the upload is not there": ("op = 'complete', upload", "nowhere"),
    "the body is a text": ("inline", "another"),
    "the body is a number": ("inline", 7),
    "the body is missing": ("inline", None),
}


def damage(path: Path, kind: str, key: str) -> int:
    """Damage the row of a key; its number."""
    column, value = DAMAGES[kind]
    db = apsw.Connection(str(path))
    # Else the log goes with the last connection, and s3d takes that for a loss.
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    ((seq,),) = db.execute("SELECT seq FROM change WHERE key = ?", (key,)).fetchall()
    db.execute(f"UPDATE change SET {column if '?' in column else f'{column} = ?'} WHERE seq = ?", (value, seq))
    db.close()
    return int(seq)


@contextlib.asynccontextmanager
async def opened(directory: Path, remote: Fake) -> AsyncIterator[Queue]:
    settings = config.Settings(gateway=config.Gateway(local_dir=directory), remote=config.Remote(buckets=(BUCKET,)))

    async def probe() -> None:
        """The remote is there."""

    async with open_queue(settings, remote, Health(5.0, 30.0, probe), "http://remote.test", "eu", Metrics()) as queue:
        yield queue


@contextlib.asynccontextmanager
async def at_work(directory: Path, remote: Fake) -> AsyncIterator[Queue]:
    """The queue with all that runs for life; what ends there fails the test."""
    async with opened(directory, remote) as queue, asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(one)
            for one in (queue.pusher.run(), queue.look_after_rows(), queue.look_after_uploads(), queue.sweep())
        ]
        yield queue
        for task in running:
            task.cancel()


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.01)


@pytest.fixture
async def remote_of_puts(tmp_path: Path) -> Fake:
    """A remote with the bucket, and a local dir in which the puts of a, b and c wait for it."""
    remote = Fake()
    await ask(remote, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    async with opened(tmp_path, remote) as queue:
        for key in ("a", "b", "c"):
            named = {"Bucket": BUCKET, "Key": key, "Metadata": {"a": "b"}}
            await ask(queue, "PutObject", named, b"body of " + key.encode())
        assert queue.states()["waiting"] == 3
    return remote


@pytest.mark.semantics("D-4", "D-11")
@pytest.mark.parametrize("kind", DAMAGES)
async def test_a_row_that_cannot_be_read_is_quarantined_and_holds_up_nothing(
    tmp_path: Path, remote_of_puts: Fake, kind: str
) -> None:
    remote = remote_of_puts
    seq = damage(tmp_path / "queue" / "queue.db", kind, "b")
    async with at_work(tmp_path, remote) as queue:
        await until(lambda: queue.pending()["changes"] == 1 and queue.states()["quarantined"] == 1)
        for key in ("a", "c"):
            for s3 in (remote, queue):
                assert (await ask(s3, "GetObject", {"Bucket": BUCKET, "Key": key})).data == b"body of " + key.encode()
        with pytest.raises(S3Error, match="NoSuchKey"):
            await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": "b"})
        (shown,) = queue.kept("", "", None, 0)
        assert (shown["seq"], shown["state"]) == (seq, "quarantined")
        assert shown["code"] in ("CorruptRow", "CorruptBody")
        assert shown["reason"]
        if shown["bucket"]:
            with pytest.raises(S3Error, match="damaged on the local dir"):
                await ask(queue, "GetObject", {"Bucket": BUCKET, "Key": "b"})
        await ask(queue, "ListObjectsV2", {"Bucket": BUCKET})
        assert (await queue.retry("", "", None))["changes"] == 0
        assert (await queue.flush("", "", None))["changes"] == 0
        if not any(word in kind for word in ("body", "file", "upload")):
            assert await read_all(queue.body(seq), 100) == b"body of b"
        await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "b", "Metadata": {"a": "b"}}, b"new")
        await until(lambda: queue.pending()["changes"] == 1)
        assert (await ask(remote, "GetObject", {"Bucket": BUCKET, "Key": "b"})).data == b"new"
        assert (await queue.discard("", "", None))["changes"] == 1
        assert queue.pending()["changes"] == queue.pending()["bytes"] == 0
