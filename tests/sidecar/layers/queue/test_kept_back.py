"""A change that is kept back never comes before a newer one, through the whole onion (SEMANTICS Q-9b, Q-10)."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from s3d.layers.queue.rules import retry
from tests.callers import Answer, ask
from tests.crashes import Disk
from tests.fakes.fake import Fake
from tests.fakes.flaky import REFUSED
from tests.onion import Onion

BUCKET = "bucket"
HOLD = {"TagSet": [{"Key": "s3d.upload", "Value": "false"}]}


class Stage:
    """An onion in front of a remote, for a client and a person."""

    def __init__(self, root: Path, disk: Disk, loop: asyncio.AbstractEventLoop) -> None:
        self.remote = Fake()
        self.onion = Onion(root, self.remote, disk, loop, BUCKET)

    def begin(self, *, versioned: bool = False) -> None:
        self.there("CreateBucket")
        if versioned:
            self.there("PutBucketVersioning", VersioningConfiguration={"Status": "Enabled"})
        self.onion.run(self.onion.start())
        # So that the remote has judged the shapes.
        self.do("PutObject", "warm", b"", Tagging="a=b")
        self.do("PutObject", "warm", b"")
        self.do("DeleteObject", "warm")
        self.onion.run(self.onion.drain())

    def there(self, operation: str, **params: Any) -> Answer:
        return self.onion.run(ask(self.remote, operation, {"Bucket": BUCKET, **params}, typed=True))

    def do(self, operation: str, key: str = "", data: bytes | None = None, **params: Any) -> Answer:
        named = {"Bucket": BUCKET, **({"Key": key} if key else {}), **params}
        answer, _ = self.onion.run(self.onion.ask(operation, named, data, owed=True))
        assert isinstance(answer, Answer), answer
        self.onion.run(self.onion.breathe())
        return answer

    def put_under_way(self, data: bytes) -> None:
        """Put the key `k`, and let the remote have the push without an answer."""

        async def reached() -> None:
            async with asyncio.timeout(10):
                while "k" not in self.onion.flaky.holds:
                    await self.onion.breathe()

        self.onion.flaky.stalled = True
        self.do("PutObject", "k", data)
        self.onion.run(reached())

    def shown(self) -> tuple[bytes, list[str]]:
        """What reads show of the key `k`: its bytes, and the ETags of a listing."""
        listed = self.do("ListObjectsV2", Prefix="k").result["Contents"]
        return self.do("GetObject", "k").data, [one["ETag"].strip('"') for one in listed]

    def drain(self) -> bytes:
        """What the remote has of the key `k` after a drain."""
        self.onion.run(self.onion.drain())
        return self.there("GetObject", Key="k").data


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(retry, "MIN_BACKOFF", 0.0005)
    with Disk().watched() as disk, asyncio.Runner() as runner:
        made = Stage(tmp_path, disk, runner.get_loop())
        yield made
        made.onion.run(made.onion.end())


OLD, NEW = b"old bytes", b"new"
OF_NEW = (NEW, ["22af645d1859cb5ca6da0c484f1f37ea"])


@pytest.mark.semantics("Q-9b", "R-1", "R-2")
@pytest.mark.parametrize("between", ["a turn", "nothing", "versions"])
def test_a_put_that_is_refused_for_good_behind_a_newer_one_answers_no_read_and_is_not_tried_again(
    stage: Stage, between: str
) -> None:
    stage.begin(versioned=between == "versions")
    stage.put_under_way(OLD)
    asking = None
    if between == "a turn":
        asking = stage.onion.begin("PutObjectAcl", {"Bucket": BUCKET, "Key": "k", "ACL": "private"})
        stage.onion.run(stage.onion.breathe())
    stage.do("PutObject", "k", NEW)
    stage.onion.flaky.release(REFUSED)
    if asking is not None:
        with contextlib.suppress(S3Error):
            stage.onion.run(asyncio.wait_for(asking, 10.0))
    assert stage.shown() == OF_NEW
    assert stage.drain() == NEW
    assert stage.shown() == OF_NEW
    tried = stage.onion.run(stage.onion.queue.retry("", "", None))
    assert (tried["changes"], [one["state"] for one in tried["left"]]) == (0, ["superseded"])
    assert stage.drain() == NEW


@pytest.mark.semantics("Q-9b", "Q-11")
def test_a_held_put_with_a_newer_one_behind_a_request_is_not_released_over_it(stage: Stage) -> None:
    stage.begin()
    stage.do("PutObject", "k", OLD, Tagging="s3d.upload=false")
    asking = stage.onion.begin("PutObjectAcl", {"Bucket": BUCKET, "Key": "k", "ACL": "private"})
    newer = stage.onion.loop.create_task(
        ask(stage.onion.queue, "PutObject", {"Bucket": BUCKET, "Key": "k"}, NEW, headers={"User-Agent": "client-new"})
    )
    stage.onion.run(newer)
    with contextlib.suppress(S3Error):
        stage.onion.run(asyncio.wait_for(asking, 10.0))
    assert stage.shown() == OF_NEW
    stage.do("PutObjectTagging", "k", Tagging={"TagSet": [{"Key": "s3d.upload", "Value": "true"}]})
    assert stage.drain() == NEW
    assert stage.shown() == OF_NEW


@pytest.mark.semantics("Q-9b", "Q-11")
def test_what_the_tags_of_its_bucket_hold_behind_a_newer_put_is_not_released_over_it(stage: Stage) -> None:
    stage.begin(versioned=True)
    stage.put_under_way(OLD)
    stage.do("PutObject", "k", NEW)
    stage.do("PutBucketTagging", Tagging=HOLD)
    stage.onion.flaky.release("SlowDown 503")
    stage.onion.run(stage.onion.drain())
    assert stage.onion.broken() == []
    assert stage.shown() == OF_NEW
    stage.do("DeleteBucketTagging")
    assert stage.drain() == NEW


@pytest.mark.semantics("Q-10", "Q-7")
def test_puts_that_overwrite_refused_ones_do_not_fill_the_queue(stage: Stage) -> None:
    stage.begin()
    for number in range(16):
        stage.onion.flaky.fate_of["k"] = REFUSED
        stage.do("PutObject", "k", bytes([number]) * 100_000)
        stage.onion.run(stage.onion.drain())
    assert stage.onion.queue.states()["parked"] == 1
    pending = stage.onion.queue.pending()
    assert (pending["changes"], pending["bytes"]) == (2, 200_000)
    # Their files go with them, in the background.
    tidying = stage.onion.loop.create_task(stage.onion.queue.look_after_uploads())

    async def tidied() -> None:
        async with asyncio.timeout(10):
            bodies = stage.onion.directory / "queue" / "bodies"
            while sum(path.is_file() for path in bodies.iterdir()) > 2:
                await stage.onion.breathe()

    stage.onion.run(tidied())
    tidying.cancel()
    assert stage.do("GetObject", "k").data == bytes([15]) * 100_000
