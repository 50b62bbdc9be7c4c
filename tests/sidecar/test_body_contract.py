"""Every body of the tree keeps one contract, and says what becomes of the digests of the body that it is around."""

import asyncio
import base64
import contextlib
import hashlib
import importlib
import io
import itertools
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from s3d.api import Body, BytesBody
from s3d.client import Client
from s3d.connections import Bounds
from s3d.door.callers import Looked, Resumed
from s3d.door.exchange import Accounts
from s3d.door.request_body import RequestBody
from s3d.door.server import Server
from s3d.layers.cache.reader import Reader
from s3d.layers.cache.rows.entries import Spot
from s3d.layers.names.layer import Document
from s3d.layers.queue import Queue, parked
from s3d.layers.queue.multipart.concatenated import ConcatenatedBody
from s3d.layers.queue.remote_facts.probing import Watched
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.uploads import Part
from s3d.layers.queue.serve.overlay import RangeBody
from s3d.layers.queue.serve.reads import Guarded
from s3d.layers.remote import connect
from s3d.layers.transfers import Download
from s3d.metrics import Metrics
from s3d.protocol import checksums, chunked, forms
from s3d.settings import Gateway, Remote
from s3d.store.bodies import Bodies
from s3d.store.file_body import FileBody
from s3d.sync.root import Root
from s3d.sync.steady import SteadyBody, open_steady
from s3d.sync.trees import Content
from tests.caches import Far, cached
from tests.callers import Streamed, ask, door_call
from tests.contracts.bodies import BodyCheck, MakeBody, blocks_of, body_contract, pattern
from tests.fakes.fake import Fake
from tests.queues import BUCKET, opened

CRC = "x-amz-checksum-crc32"


def crc_of(data: bytes) -> str:
    """The CRC-32 of bytes, as a header has it."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class Digested(Body):
    """A body whose checksum is known once it is read whole."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._read = False

    @property
    def length(self) -> int:
        return len(self._data)

    @property
    def digests(self) -> Mapping[str, str]:
        return {CRC: crc_of(self._data)} if self._read else {}

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        yield self._data[start:end]
        self._read = True


PATIENCE = 60.0
"""Seconds for which a client may keep a server waiting."""


class Makers:
    """How each kind of body comes about, with what it needs around it."""

    def __init__(self, queue: Queue, life: contextlib.AsyncExitStack) -> None:
        self._context = queue._context
        self._contexts = queue._contexts
        self._queue = queue
        self._life = life
        self._bodies = self._context.bodies
        self._numbers = itertools.count()

    async def stored(self, data: bytes) -> FileBody:
        bodies: Bodies = self._bodies
        bodies.inline_limit = -1
        stored = await bodies.receive(BytesBody(data))
        assert stored.id is not None
        return bodies.open(stored.id, stored.size, hashlib.md5(data).hexdigest())

    async def change(self, data: bytes) -> Change:
        await ask(self._queue, "PutObject", {"Bucket": BUCKET, "Key": "k"}, data)
        change = lookups.visible(self._context.db, BUCKET, "k")
        assert change is not None
        return change

    async def in_memory(self, data: bytes) -> Body:
        return BytesBody(data)

    async def file(self, data: bytes) -> Body:
        return await self.stored(data)

    async def joined(self, data: bytes) -> Body:
        half = len(data) // 2
        first = await self.stored(data[:half])
        await first.aclose()
        etags = [hashlib.md5(part).hexdigest() for part in (data[:half], data[half:])]
        parts = [
            Part(1, half, etags[0], {}, 0.0, first.id),
            Part(2, len(data) - half, etags[1], {}, 0.0, None, inline=data[half:]),
        ]
        return ConcatenatedBody(self._bodies, parts, lambda: None)

    async def stretch(self, data: bytes) -> Body:
        return RangeBody(await self.stored(b"before" + data + b"behind"), 6, 6 + len(data))

    async def guarded(self, data: bytes) -> Body:
        return Guarded(self._contexts.reads, await self.change(b"x"), await self.stored(data))

    async def watched(self, data: bytes) -> Body:
        return Watched(Streamed(data))

    async def remains(self, data: bytes) -> Body:
        return parked.Remains(self._contexts.parked, await self.change(data))

    async def verified(self, data: bytes) -> Body:
        return checksums.verify(Streamed(data), checksums.expected(CIMultiDict({CRC: crc_of(data)})))

    async def framed(self, data: bytes) -> Body:
        """Framed and taken out of its frames again, with the checksum behind it."""
        promise = checksums.expected(CIMultiDict({CRC: crc_of(data)}))
        framed = chunked.frame(checksums.verify(Streamed(data), promise), CRC)
        said = {
            "x-amz-content-sha256": chunked.UNSIGNED_TRAILER,
            "x-amz-decoded-content-length": str(len(data)),
            "x-amz-trailer": CRC,
        }
        return chunked.wrap(framed, CIMultiDict(said))

    async def form_file(self, data: bytes) -> Body:
        head = b'--xYz\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        document = head + data + b"\r\n--xYz--\r\n"
        form = await forms.read(Streamed(document), "multipart/form-data; boundary=xYz")
        form.file.length = form.file.presumed(len(document))
        return form.file

    async def document(self, data: bytes) -> Body:
        return Document(data, {})

    async def looked(self, data: bytes) -> Body:
        return Looked(Streamed(data))

    async def resumed(self, data: bytes) -> Body:
        """The same after somebody has looked at the first block."""
        looked = Looked(Streamed(data))
        await anext(looked.chunks(), b"")
        return looked.again()

    async def read_from_cache(self, data: bytes) -> Body:
        directory = self._context.settings.gateway.local_dir / f"cache-{next(self._numbers)}"
        far = Far()
        there = await self._life.enter_async_context(cached(directory, far))
        call = door_call("GetObject", {"Bucket": BUCKET, "Key": "k"}, None, {})
        if not data:
            copies = there.cache._copies
            copy = await copies.begin(Spot(BUCKET, "k"), '"etag"', 0)
            return Reader(copies, copy, there.cache._fills, call, (0, 0), there.metrics)
        await far.put("k", data)
        body = (await there.cache(call)).body
        assert isinstance(body, Reader)
        return body

    async def of_a_folder(self, data: bytes) -> Body:
        """A file of a sync folder that nobody changes."""
        directory = self._context.settings.gateway.local_dir / f"folder-{next(self._numbers)}"
        await asyncio.to_thread(directory.mkdir)
        await asyncio.to_thread((directory / "file").write_bytes, data)
        root = await asyncio.to_thread(Root, directory)
        self._life.callback(root.close)
        content = Content(hashlib.sha256(data).digest(), hashlib.md5(data).hexdigest(), len(data))
        return await open_steady(root, "file", content)

    async def served(self, handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> str:
        """The address of a server."""
        server = Server(handle, lingering_time=0.0)
        server.bounds = Bounds(PATIENCE, PATIENCE)
        server.accounts = Accounts(Metrics(), Gateway())
        runner = web.ServerRunner(server)
        await runner.setup()
        self._life.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def request(self, data: bytes) -> Body:
        """What a client sends over a socket."""
        came: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        over = asyncio.Event()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            came.set_result(RequestBody(request))
            await over.wait()
            return web.Response()

        endpoint = await self.served(handle)
        session = await self._life.enter_async_context(aiohttp.ClientSession())
        asking = asyncio.ensure_future(session.put(f"{endpoint}/k", data=io.BytesIO(data)))

        async def end() -> None:
            await asyncio.gather(asking, return_exceptions=True)

        self._life.push_async_callback(end)
        self._life.callback(over.set)
        return await came

    async def download(self, data: bytes) -> Body:
        """What a remote answers over a socket."""

        async def handle(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(body=data, headers={"ETag": '"e"'})

        endpoint = await self.served(handle)
        settings = Remote(endpoint=endpoint, anonymous=True)
        far = await self._life.enter_async_context(connect(settings, Metrics()))
        body = (await Client(far).get_object("b", "k")).body
        assert isinstance(body, Download)
        return body


MAKERS: Mapping[type[Body], Callable[[Makers, bytes], Awaitable[Body]]] = {
    BytesBody: Makers.in_memory,
    Document: Makers.document,
    FileBody: Makers.file,
    ConcatenatedBody: Makers.joined,
    RangeBody: Makers.stretch,
    Guarded: Makers.guarded,
    Watched: Makers.watched,
    parked.Remains: Makers.remains,
    checksums.VerifiedBody: Makers.verified,
    chunked.Framed: Makers.framed,
    chunked.Unwrapped: Makers.framed,
    forms.FilePart: Makers.form_file,
    RequestBody: Makers.request,
    Looked: Makers.looked,
    Resumed: Makers.resumed,
    Download: Makers.download,
    Reader: Makers.read_from_cache,
    SteadyBody: Makers.of_a_folder,
}


def kinds(of: type[Body] = Body) -> Iterator[type[Body]]:
    """Every kind of body that the daemon has, whose module imports them all."""
    importlib.import_module("s3d.daemon")
    for kind in of.__subclasses__():
        # With slots, a dataclass is made twice; the first one is in no module.
        if kind.__module__.startswith("s3d.") and getattr(sys.modules[kind.__module__], kind.__name__) is kind:
            yield kind
        yield from kinds(kind)


def test_every_body_of_the_tree_is_held_to_the_contract() -> None:
    assert set(kinds()) == set(MAKERS)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Connecting reads the trusted certificates, which blocks; a daemon does so at its start."""


@body_contract
@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
async def test_a_body_keeps_the_contract(kind: type[Body], check: BodyCheck, tmp_path: Path) -> None:
    async with opened(tmp_path, await vouched()) as queue, contextlib.AsyncExitStack() as life:
        makers = Makers(queue, life)

        async def make(data: bytes) -> Body:
            return await MAKERS[kind](makers, data)

        await check(make)


async def vouched() -> Fake:
    """A remote with the bucket in it."""
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    return fake


PASSING: Mapping[str, Callable[[Queue, Body], Body]] = {
    "Watched": lambda _, body: Watched(body),
    "Guarded": lambda queue, body: Guarded(queue._contexts.reads, None, body),  # type: ignore[arg-type] # nothing is damaged
    "Framed": lambda _, body: chunked.frame(body, CRC),
    "VerifiedBody": lambda _, body: checksums.verify(body, checksums.expected(CIMultiDict({CRC: crc_of(b"data")}))),
}


@pytest.mark.semantics("Q-5")
@pytest.mark.parametrize("around", PASSING.values(), ids=PASSING)
async def test_digests_pass_through_every_body_that_is_around_another(
    around: Callable[[Queue, Body], Body], tmp_path: Path
) -> None:
    async with opened(tmp_path, await vouched()) as queue:
        body = around(queue, Digested(b"data"))
        await blocks_of(body)
        assert body.digests[CRC] == crc_of(b"data")


@pytest.mark.semantics("Q-5")
async def test_a_trailer_passes_through_its_frames(tmp_path: Path) -> None:
    async with opened(tmp_path, await vouched()) as queue, contextlib.AsyncExitStack() as life:
        body = await Makers(queue, life).framed(b"data")
        assert isinstance(body, chunked.Unwrapped)
        await blocks_of(body)
        assert body.trailers == {CRC: crc_of(b"data")}


@pytest.mark.parametrize("kind", [FileBody, RangeBody, Guarded, Download, Reader], ids=lambda kind: kind.__name__)
async def test_what_lies_in_a_file_or_comes_from_a_socket_is_not_copied(kind: type[Body], tmp_path: Path) -> None:
    async with opened(tmp_path, await vouched()) as queue, contextlib.AsyncExitStack() as life:
        make: MakeBody = lambda data: MAKERS[kind](Makers(queue, life), data)  # noqa: E731 # for the type
        body = await make(pattern(5 << 20))
        assert body.send is not None
        await body.aclose()


async def test_a_body_around_one_that_cannot_be_sent_is_not_sent(tmp_path: Path) -> None:
    async with opened(tmp_path, await vouched()) as queue:
        inner = Streamed(b"data", replayable=True)
        assert RangeBody(inner, 0, 4).send is None
        assert Guarded(queue._contexts.reads, None, inner).send is None  # type: ignore[arg-type] # nothing is damaged
