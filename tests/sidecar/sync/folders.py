"""A sync folder on a real directory, with a write queue before a store in memory."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.clock import MACHINE, Machine
from s3d.errors import S3Error, Unavailable
from s3d.layers.judge import Judge
from s3d.layers.queue import Queue
from s3d.metrics import Metrics
from s3d.settings import WriteQueue
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.deletes import Deletes
from s3d.sync.folder import Folder
from s3d.sync.guards import Limits
from s3d.sync.objects import Objects
from s3d.sync.options import Options
from s3d.sync.plan import Direction, in_scope
from s3d.sync.state import State
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, until

PREFIX = "p/"


def files_of(folder: Path) -> dict[str, bytes]:
    """The files of a folder by their paths; what goes while it is looked at is not there."""
    found = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            if path.is_file() and ".s3d" not in path.parts:
                with contextlib.suppress(FileNotFoundError):
                    found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@dataclass
class Store:
    """A store that can be away, for writes or for all, or refuse its listing from a page on or its uploads for good; it
    counts what it is asked to change."""

    s3: S3
    away: bool = False
    refuses_writes: bool = False
    parks_writes: bool = False
    refuses_listing: str = ""
    refuses_copies: bool = False
    refuses_tags: S3Error | None = None
    remembers: S3 | None = None
    """Who lists in its place, as a memory does that knows of nothing newer."""
    pages: int = 0
    refuses_from: int = 0
    writes: list[tuple[str, str]] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        if self.away or (self.refuses_writes and call.operation == "PutObject"):
            if call.body is not None:
                await call.body.aclose()
            raise Unavailable("it is away")
        if self.parks_writes and call.operation == "PutObject":
            if call.body is not None:
                await call.body.aclose()
            raise S3Error("EntityTooLarge", "not this one", status=400)
        if call.operation == "GetObjectTagging" and self.refuses_tags:
            raise self.refuses_tags
        if call.operation == "CopyObject" and self.refuses_copies:
            raise S3Error("NotImplemented", "it makes no copies", status=501)
        if call.operation == "ListObjectsV2":
            self.pages += 1
            if self.refuses_listing and self.pages > self.refuses_from:
                raise S3Error(self.refuses_listing, "not now", status=403)
            if self.remembers:
                reply = await self.remembers(call)
                reply.source = "stale"
                return reply
        if call.operation in ("PutObject", "DeleteObject", "CopyObject"):
            self.writes.append((call.operation, call.key))
        return await self.s3(call)


@dataclass
class World:
    """A folder, its gateway and the store behind it."""

    path: Path
    store: Store
    queue: Queue
    folder: Folder
    db: Database

    @property
    def foreign(self) -> "Foreign":
        return Foreign(self.store.s3)

    async def rounds(self, number: int = 3) -> None:
        for _ in range(number):
            self.folder.wake()
            await self.folder.round()

    async def settle(self, rounds: int = 12) -> None:
        """Rounds, with all that is queued delivered in between, until nothing is left to do. What is parked for what
        somebody else wrote the next round takes back, and what waits for it goes on."""
        for _ in range(rounds):
            self.folder.wake()
            await self.folder.round()
            await until(lambda: not self.queue.pending()["changes"] or bool(self.queue.pending()["parked"]))
            if self.folder.state is State.QUIET and not self.folder._soon and not self.queue.pending()["changes"]:
                return
        raise AssertionError(f"it does not come to rest: {self.folder.status()} {self.folder.left_alone()}")

    def here(self) -> dict[str, bytes]:
        return files_of(self.path)

    def write(self, path: str, data: bytes) -> None:
        (self.path / path).parent.mkdir(parents=True, exist_ok=True)
        (self.path / path).write_bytes(data)

    def trash(self) -> list[bytes]:
        return sorted(one.read_bytes() for one in (self.path / ".s3d" / "trash").iterdir())


@dataclass
class Foreign:
    """Somebody else who writes to the store."""

    s3: S3

    async def put(self, path: str, data: bytes) -> None:
        await ask(self.s3, "PutObject", {"Bucket": BUCKET, "Key": PREFIX + path}, data)

    async def delete(self, path: str) -> None:
        await ask(self.s3, "DeleteObject", {"Bucket": BUCKET, "Key": PREFIX + path})

    async def there(self) -> dict[str, bytes]:
        asked, found = {"Bucket": BUCKET, "Prefix": PREFIX}, {}
        while True:
            page = (await ask(self.s3, "ListObjectsV2", asked)).result
            for one in page.get("Contents", []):
                answer = await ask(self.s3, "GetObject", {"Bucket": BUCKET, "Key": one["Key"]})
                found[one["Key"].removeprefix(PREFIX)] = answer.data
            if not page.get("IsTruncated"):
                return found
            asked["ContinuationToken"] = page["NextContinuationToken"]


def options(path: Path) -> Options:
    return Options(
        path, "http://remote.test", Direction.BOTH, in_scope, 0, Limits(), Deletes.APPLY, 0.0, 30.0, 0.0, 3600.0
    )


@contextlib.asynccontextmanager
async def synced(
    directory: Path, store: Store | None = None, limits_of_queue: WriteQueue | None = None, **said: object
) -> AsyncIterator[World]:
    """A folder, at rest: rounds are made by hand."""
    if store is None:
        store = Store(Judge(Fake()))
        await ask(store.s3, "CreateBucket", {"Bucket": BUCKET})
    path = directory / "folder"
    await asyncio.to_thread(path.mkdir, exist_ok=True)
    local = directory / "local"
    async with at_work(local, store, limits_of_queue) as queue, opened(directory, queue, **said) as world:
        world.store = store
        yield world


@contextlib.asynccontextmanager
async def opened(directory: Path, queue: Queue, **said: object) -> AsyncIterator[World]:
    """A folder of a gateway."""
    path = directory / "folder"
    db = await asyncio.to_thread(Database.open, directory / memory.NAME, memory.SCHEMA)
    bucket, prefix = str(said.pop("bucket", BUCKET)), str(said.pop("prefix", PREFIX))
    objects = Objects(Client(queue, origin="sync"), bucket, prefix, "docs")
    machine = said.pop("machine", MACHINE)
    assert isinstance(machine, Machine)
    kept = replace(options(path), **said)  # type: ignore[arg-type]  # by name
    clock = await asyncio.to_thread(memory.clock, db, machine)
    folder = Folder(objects, db, queue, kept, Metrics(), clock)
    try:
        yield World(path, Store(queue), queue, folder, db)
    finally:
        await folder.aclose()
        await db.close()
