"""A bug in a background look ends neither the look nor the daemon: each of them, with a bug that comes once."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest

from s3d import background, watched
from s3d.api import S3, Call, Reply
from s3d.daemon import start
from s3d.daemon.reload import watched_settings
from s3d.history import History
from s3d.layers.health import Health
from s3d.layers.queue import Queue, layer, open_queue
from s3d.layers.queue.multipart import upkeep
from s3d.layers.queue.push import late_writes
from s3d.layers.queue.remote_facts import bucket_tags
from s3d.layers.queue.rows import ownership
from s3d.metrics import Metrics
from s3d.settings import Gateway, Remote, Settings, WriteQueue
from s3d.store.db import Database
from tests.callers import ask
from tests.fakes.fake import Fake

T = TypeVar("T")
BUCKET = "bucket"


class Buggy(Database):
    """A database that has a bug: what asks for this the next time gets a RuntimeError."""

    bug = ""
    """A part of the statement of a look-up, or of the name of a write's function."""
    met = 0

    def _meet(self, what: str) -> None:
        if self.bug and self.bug in what:
            self.met += 1
            if self.met == 1:
                raise RuntimeError(f"a bug in {self.bug}")

    def read(self, sql: str, bindings: Any = ()) -> list[tuple[Any, ...]]:
        self._meet(sql)
        return super().read(sql, bindings)

    async def write(self, apply: Callable[[apsw.Connection], T], *, short: bool = False, loose: bool = False) -> T:
        self._meet(apply.__qualname__ if hasattr(apply, "__qualname__") else repr(apply))
        return await super().write(apply, short=short, loose=loose)


class BuggyRemote:
    """A remote that raises what no remote may, once for each operation that is named."""

    def __init__(self, inner: S3) -> None:
        self._inner = inner
        self.bugs: set[str] = set()

    async def __call__(self, call: Call) -> Reply:
        if call.operation in self.bugs:
            self.bugs.discard(call.operation)
            raise RuntimeError(f"a bug in {call.operation}")
        return await self._inner(call)


class Stage:
    """A queue whose background runs, with bugs to come."""

    def __init__(self, queue: Queue, remote: BuggyRemote, fake: Fake, metrics: Metrics) -> None:
        self.queue = queue
        self.remote = remote
        self.fake = fake
        self.metrics = metrics

    @property
    def db(self) -> Buggy:
        db = self.queue._context.db
        assert isinstance(db, Buggy)
        return db

    def failures(self) -> Counter[str]:
        """How often each look failed."""
        return failures(self.metrics)

    async def put(self, key: str = "k", data: bytes = b"x") -> None:
        await ask(self.queue, "PutObject", {"Bucket": BUCKET, "Key": key}, data)

    async def delivered(self, key: str = "k") -> None:
        await until(lambda: self.fake.buckets[BUCKET].current(key) is not None)
        await until(lambda: not self.queue.pending()["changes"])


def failures(metrics: Metrics) -> Counter[str]:
    (metric,) = metrics.background_failures.collect()
    return Counter({sample.labels["look"]: int(sample.value) for sample in metric.samples})


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not what():  # noqa: ASYNC110 - what is waited for says nothing
            await asyncio.sleep(0.005)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(background, "RESTART_PAUSE", 0.01)
    monkeypatch.setattr(layer, "Database", Buggy)
    monkeypatch.setattr(layer, "ORPHAN_GRACE_SECONDS", -60.0)
    monkeypatch.setattr(bucket_tags, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(late_writes, "MAX_INTERVAL", 0.01)
    monkeypatch.setattr(late_writes, "MIN_INTERVAL", 0.01)
    monkeypatch.setattr(upkeep, "POLL_INTERVAL", 0.01)
    monkeypatch.setattr(start, "SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(watched, "INTERVAL", 0.01)
    settings = Settings(
        gateway=Gateway(local_dir=tmp_path / "local", config_dir=tmp_path),
        remote=Remote(buckets=(BUCKET,)),
        write_queue=WriteQueue(dir=tmp_path / "local" / "queue", max_size=24 << 20),
    )
    fake, metrics = Fake(), Metrics()
    history = History(metrics, lambda: (0, 0))
    remote = BuggyRemote(fake)
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    health = Health(5.0, 30.0, nothing)
    async with (
        open_queue(settings, remote, health, "http://remote.test", "us-east-1", metrics) as queue,
        start.background(queue, None, None, [], [watched_settings(settings, set())], metrics, history),
    ):
        yield Stage(queue, remote, fake, metrics)


async def nothing() -> None:
    """Nobody probes."""


LOOKS = [
    ("deliveries", "state = 'in_doubt' AND next_at"),
    ("deliveries", "Pusher._claim"),
    ("late writes", "state = 'settled'"),
    ("tags of buckets", "FROM hold WHERE asked_at"),
    ("garbage", "FROM garbage"),
    ("orphaned bodies", "SELECT 1 FROM change WHERE file"),
]


@pytest.mark.semantics("D-13")
@pytest.mark.parametrize(("look", "bug"), LOOKS)
async def test_a_look_goes_on_after_a_bug(stage: Stage, look: str, bug: str) -> None:
    run = "0" * 16
    orphan = stage.queue._context.bodies.root / f"{run}-{'0' * 8}"
    await stage.queue._context.db.write(ownership.set_runs([run]))
    stage.db.bug = bug
    if look == "orphaned bodies":
        orphan.write_bytes(b"x")
    await stage.put()
    await until(lambda: stage.db.met >= 2)
    assert stage.failures() == Counter({look: 1})
    await stage.delivered()
    await until(lambda: not orphan.exists())


@pytest.mark.semantics("D-13", "Q-10")
@pytest.mark.parametrize("bug", ["Pusher._settle", "Pusher._record", "Pusher._opened"])
async def test_a_bug_beside_an_attempt_leaves_its_change_to_be_pushed_again(stage: Stage, bug: str) -> None:
    """Its claim would never end, and a worker would be gone."""
    stage.db.bug = bug
    if bug != "Pusher._settle":
        stage.remote.bugs.add("PutObject")
    await stage.put("first")
    await stage.put("second")
    await stage.delivered("first")
    await stage.delivered("second")
    assert stage.queue.states()["parked"] == 0
    await until(lambda: not stage.queue.pusher._under_way)
    assert stage.failures()["deliveries"] == min(1, stage.db.met)


@pytest.mark.semantics("D-13")
async def test_a_bug_at_the_remote_costs_an_upload_that_spills_a_pause(stage: Stage) -> None:
    named = {"Bucket": BUCKET, "Key": "k"}
    upload = (await ask(stage.queue, "CreateMultipartUpload", named)).result["UploadId"]
    stage.remote.bugs.add("CreateMultipartUpload")
    etags = []
    for number in (1, 2, 3):
        part = {**named, "UploadId": upload, "PartNumber": number}
        etags.append((await ask(stage.queue, "UploadPart", part, bytes(5 << 20))).etag)
    await until(lambda: any(one.parts for one in stage.fake.buckets[BUCKET].uploads.values()))
    assert stage.failures() == Counter({"uploads at the remote": 1})


@pytest.mark.semantics("D-13")
async def test_settings_are_still_taken_over_after_some_that_no_parser_survives(
    stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "settings.json"
    path.write_text("[" * 200_000)
    await until(lambda: any(record.levelname == "ERROR" for record in caplog.records))
    fresh = tmp_path / "fresh"
    fresh.write_text(json.dumps({"S3D_WRITE_QUEUE_MAX_FILES": 7}))
    fresh.replace(path)
    await until(lambda: stage.queue._context.settings.write_queue.max_files == 7)


@pytest.mark.semantics("D-13")
async def test_the_remote_is_watched_after_a_bug_of_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_PAUSE", 0.01)
    probes: list[int] = []

    async def probe() -> None:
        probes.append(1)
        if len(probes) == 1:
            raise RuntimeError("a bug in the probe")
        health.answered()

    health, metrics = Health(5.0, 30.0, probe), Metrics()
    watch = asyncio.ensure_future(health.watch(metrics))
    health.failed("refused")
    await until(lambda: not health.away)
    assert failures(metrics) == Counter({"the remote": 1})
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    assert watch.cancelled()


@pytest.mark.semantics("D-13")
async def test_only_cancellation_ends_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "RESTART_PAUSE", 0.0)
    seen: list[int] = []

    async def look() -> None:
        seen.append(1)
        raise ExceptionGroup("of a look's own tasks", [ValueError("bad"), OSError("worse")])

    metrics = Metrics()
    life = asyncio.ensure_future(background.for_ever("a look", look, metrics))
    await until(lambda: len(seen) > 3)
    life.cancel()
    with pytest.raises(asyncio.CancelledError):
        await life
    assert failures(metrics)["a look"] == len(seen)
