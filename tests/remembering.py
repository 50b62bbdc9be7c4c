"""A layer of remembered names over a remote in memory, which a test takes away and brings back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s3d.api import Call, Outcome, Reply
from s3d.errors import S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.names import Names, open_names
from s3d.metrics import Metrics
from s3d.settings import ReadCache
from tests.callers import Answer, ask
from tests.fakes.fake import Fake

BUCKET = "bucket"
ENDPOINT = "http://remote.test"


@dataclass(slots=True)
class Gate:
    """Where calls wait until a test opens it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def passed(self) -> None:
        """Wait."""
        self.reached.set()
        await self.opened.wait()


@dataclass(slots=True)
class Far:
    """A remote that may be away, counts what it is asked, and has calls wait where a test says so."""

    fake: Fake = field(default_factory=Fake)
    away: bool = False
    asked: list[Call] = field(default_factory=list)
    lose: Callable[[Call], bool] = lambda _: False
    """Of which calls the answer is lost, after they were applied."""
    gates: dict[str, Gate] = field(default_factory=dict)
    """By operation where the answer to a call waits, after it was applied."""
    failing: int = 0
    """The status by which it answers everything; 0: as it should."""

    async def __call__(self, call: Call) -> Reply:
        """Serve a call."""
        if self.away:
            raise Unavailable("the remote is away")
        self.asked.append(call)
        if self.failing:
            return Reply(self.failing, outcome=Outcome.UNKNOWN)
        lost = self.lose(call)
        reply = await self.fake(call)
        if (gate := self.gates.get(call.operation)) is not None:
            await gate.passed()
        if lost:
            raise Unavailable("the connection was lost", sent=True)
        return reply

    def count(self, operation: str) -> int:
        """How many calls of an operation came."""
        return sum(call.operation == operation for call in self.asked)


@dataclass(slots=True)
class Remembering:
    """The layer, and what is behind it."""

    names: Names
    far: Far

    async def ask(self, operation: str, key: str = "", data: bytes | None = None, **params: Any) -> Answer:
        """Ask as a client. Raises S3Error."""
        named = {"Bucket": BUCKET, **({"Key": key} if key else {}), **params}
        return await ask(self.names, operation, named, data)

    async def put(self, *keys: str) -> None:
        """Put small objects."""
        for key in keys:
            await self.ask("PutObject", key, b"x")

    async def page(self, **params: Any) -> Answer:
        """Ask for a page of objects, and let it be learnt."""
        answer = await self.ask("ListObjectsV2", **params)
        await self.names.learnt()
        return answer

    async def walk(self, **params: Any) -> list[str]:
        """All names of a listing, page by page."""
        found: list[str] = []
        while True:
            page = await self.page(**params)
            found += shown(page)
            if not page.result["IsTruncated"]:
                return found
            params["ContinuationToken"] = page.result["NextContinuationToken"]

    async def refused(self, operation: str = "ListObjectsV2", key: str = "", **params: Any) -> S3Error:
        """The error of a call that fails."""
        try:
            answer = await self.ask(operation, key, **params)
        except S3Error as error:
            return error
        raise AssertionError(f"{operation} is answered: {shown(answer)}")


def shown(page: Answer) -> list[str]:
    """The names on a page, in order."""
    names = [one["Key"] for one in page.result.get("Contents", ())]
    return sorted(names + [one["Prefix"] for one in page.result.get("CommonPrefixes", ())])


@contextlib.asynccontextmanager
async def remembering(
    directory: Path, far: Far | None = None, endpoint: str = ENDPOINT, **settings: Any
) -> AsyncIterator[Remembering]:
    """Open one on a directory."""
    far = far or Far()
    if BUCKET not in far.fake.buckets:
        await ask(far.fake, "CreateBucket", {"Bucket": BUCKET})

    async def probe() -> None:
        """The test says when the remote is there."""

    health = Health(5.0, 30.0, probe)
    cache = ReadCache(enabled=True, **settings)
    async with open_names(far, cache, directory, endpoint, health, Metrics()) as names:
        yield Remembering(names, far)
