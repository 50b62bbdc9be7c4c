"""A read cache in this process, in front of a remote in memory that a test can watch, stop and hold up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from multidict import CIMultiDict

from s3d import opa
from s3d.api import Body, BytesBody, Call, Outcome, Reply
from s3d.errors import S3Error, Unavailable
from s3d.layers.cache import Cache, open_cache
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway, Opa, ReadCache, Settings, WriteQueue
from tests.callers import Answer, ask
from tests.fakes.fake import Fake

BUCKET = "bucket"
REMOTE = "http://remote.test"
CHUNK = 256 << 10


@dataclass(slots=True)
class Gated(Body):
    """A body that comes in chunks, up to where its remote lets it."""

    data: bytes
    far: "Far"

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield what is let through, and break off where that is asked for."""
        for at in range(0, len(self.data), CHUNK):
            while self.far.lets is not None and at >= self.far.lets:
                await self.far.moved.wait()
            if self.far.breaks_at is not None and at >= self.far.breaks_at:
                raise Unavailable("the connection was lost")
            self.far.given += len(self.data[at : at + CHUNK])
            yield self.data[at : at + CHUNK]


@dataclass(slots=True)
class Far:
    """The remote."""

    fake: Fake = field(default_factory=Fake)
    asked: list[Call] = field(default_factory=list)
    away: bool = False
    status: int | None = None
    """What it answers to everything, where it is in trouble."""
    refused: set[str] = field(default_factory=set)
    """Identities that it refuses."""
    held: asyncio.Event | None = None
    """What its answers wait for."""
    lets: int | None = None
    """How many bytes of a body it gives for now; None: all."""
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    breaks_at: int | None = None
    given: int = 0
    """Bytes of bodies that it gave."""
    headers: dict[str, str] = field(default_factory=dict)
    """What its answers to reads say besides."""
    before: Callable[[Call], None] | None = None
    """Called with each call in a thread, before it is done."""
    heeds_range_of_head: bool = True

    async def __call__(self, call: Call) -> Reply:
        """Serve a call."""
        self.asked.append(call)
        if self.before is not None:
            await asyncio.to_thread(self.before, call)
        if self.away:
            raise Unavailable("the remote is away")
        held = self.held
        if held is not None:
            await held.wait()
        if self.status is not None:
            return Reply(self.status, body=BytesBody(b""), outcome=Outcome.UNKNOWN)
        if call.identity in self.refused:
            error = S3Error("AccessDenied", "no", status=403)
            return replace(encode.refusal(call, error), outcome=Outcome.REFUSED, source="remote")
        if call.wire.method == "HEAD" and not self.heeds_range_of_head:
            bare: CIMultiDict[str] = CIMultiDict(call.wire.headers)
            bare.popall("Range", None)
            call = replace(call, wire=replace(call.wire, headers=bare))
        reply = await self.fake(call)
        if call.operation in ("GetObject", "HeadObject") and reply.status < 300:
            reply.headers.update(self.headers)
        if call.operation == "GetObject" and isinstance(reply.body, BytesBody) and reply.status < 300:
            reply.body = Gated(reply.body.data, self)
        return reply

    def let(self, upto: int | None) -> None:
        """Give so many bytes of each body from now on."""
        self.lets = upto
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()

    def count(self, operation: str) -> int:
        """How many calls of an operation came."""
        return sum(call.operation == operation for call in self.asked)

    async def put(self, key: str, data: bytes, **params: Any) -> str:
        """Write an object past the cache, as somebody else; its ETag."""
        return (await ask(self.fake, "PutObject", {"Bucket": BUCKET, "Key": key, **params}, data)).etag


@dataclass(frozen=True, slots=True)
class Cached:
    """A cache in front of a remote."""

    cache: Cache
    far: Far
    settings: Settings
    metrics: Metrics

    async def ask(self, operation: str, key: str, data: Any = None, **asked: Any) -> Answer | S3Error:
        """Ask as a client: the answer, or the error. Members begin with a capital, headers with a small letter."""
        identity = asked.pop("identity", "")
        params = {name: value for name, value in asked.items() if name[0].isupper()}
        headers = {name.replace("_", "-"): value for name, value in asked.items() if name not in params}
        named = {"Bucket": BUCKET, **({"Key": key} if key else {}), **params}
        try:
            return await ask(self.cache, operation, named, data, headers=headers, identity=identity)
        except S3Error as error:
            return error

    async def get(self, key: str, **asked: Any) -> Answer:
        """Read an object. Raises S3Error."""
        answer = await self.ask("GetObject", key, **asked)
        if isinstance(answer, S3Error):
            raise answer
        return answer

    async def quiet(self) -> None:
        """Wait until no fill is under way."""
        while self.cache._fills._tasks:
            await asyncio.gather(*self.cache._fills._tasks, return_exceptions=True)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def cached(
    directory: Path, far: Far, *, runs: bool = False, policy: Opa | None = None, **limits: Any
) -> AsyncIterator[Cached]:
    """Open a cache, with what runs until the end, and with a policy, where that is asked for."""
    if BUCKET not in far.fake.buckets:
        await ask(far.fake, "CreateBucket", {"Bucket": BUCKET})
    settings = Settings(
        gateway=Gateway(local_dir=directory),
        write_queue=WriteQueue(enabled=False),
        read_cache=ReadCache(enabled=True, **limits),
        opa=policy or Opa(),
    )
    metrics = Metrics()
    async with (
        opa.connect(settings.opa, metrics) as asked,
        open_cache(settings, far, REMOTE, metrics, asked.for_cache) as cache,
    ):
        life = asyncio.gather(cache.run()) if runs else None
        try:
            yield Cached(cache, far, settings, metrics)
        finally:
            if life is not None:
                life.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await life


def how(answer: Answer | S3Error) -> str:
    """What an answer says of where it is from."""
    assert isinstance(answer, Answer), answer
    return answer.headers.get("x-cache", "")
