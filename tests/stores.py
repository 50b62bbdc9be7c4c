"""A store that speaks HTTP, byte by byte as a test has it: an S3 in memory, and answers that stand in for its own.

`Store` serves the `Fake` of tests/fakes/fake.py on a free loopback port. A hook chooses requests and says what they get
instead: an `Odd` answer, as a portal, an ingress, a proxy or a store in trouble gives it; with the request applied,
applied when the test says so, or never. What reached the store is in `seen`, also what was cut off before an answer.
"""

import asyncio
import contextlib
import email.utils
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal, Self

from multidict import CIMultiDict

from s3d.api import Headers, Reply, Wire, read_all
from s3d.errors import S3Error
from s3d.protocol import checksums, decode
from tests.fakes.fake import Fake, unchunked

NO_LINGER = struct.pack("ii", 1, 0)
HEAD_LIMIT = 256 << 10
LARGEST = 64 << 20
BODYLESS = (204, 304)
ROOTS = {
    "CopyObject": "CopyObjectResult",
    "UploadPartCopy": "CopyPartResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketEncryption": "ServerSideEncryptionConfiguration",
    "GetObjectLockConfiguration": "ObjectLockConfiguration",
    "GetBucketTagging": "Tagging",
}
"""The root elements of S3's documents, where they do not follow from the operation's name."""

Cut = Literal["", "unread", "read", "applied", "head", "body"]


@dataclass(frozen=True, slots=True)
class Odd:
    """An answer that stands in for the store's own."""

    status: int | str | None = None
    """None: the store's own answer."""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    """`{root}` in it is the root element of the operation's document."""
    applied: bool = False
    """The store does what it was asked before this is answered."""
    late: bool = False
    """The store does it when the test calls `arrive`."""
    cut: Cut = ""
    """Where the connection ends: before the body is read, after it, after it was applied, in the answer's head or its
    body."""
    early: int | None = None
    """Answered after so many bytes of the request's body; the rest is not read, and the connection ends."""
    reset: bool = False
    """It ends by a reset."""
    endless: bool = False
    """Its body goes on for as long as the connection lasts, a byte at a time."""
    held: bool = False
    """Nothing is answered before the test calls `release`."""


@dataclass(slots=True, eq=False)
class Hook:
    """Which requests get an odd answer."""

    answer: Odd
    operation: str = ""
    bucket: str = ""
    key: str = ""
    header: str = ""
    """A header that the request must have."""
    reused: bool | None = None
    """Whether it is for connections that have served a request before; None: for all."""
    times: int | None = None
    """How many it is for; None: for all."""
    hits: int = 0

    def takes(self, request: "Seen") -> bool:
        """Whether it is for a request; counts."""
        wanted = (self.operation, request.operation), (self.bucket, request.bucket), (self.key, request.key)
        if any(name not in ("", there) for name, there in wanted):
            return False
        if self.header and self.header not in request.headers:
            return False
        if self.reused is not None and self.reused != (request.nth > 1):
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass(frozen=True, slots=True)
class Seen:
    """A request whose head came."""

    operation: str
    bucket: str
    key: str
    method: str
    target: str
    headers: Headers
    connection: int
    nth: int
    """Which it is on its connection; the first is 1."""


class Store:
    """The store. It listens from entry to exit of `async with`, or in a thread of its own inside `serving()`."""

    def __init__(self, fake: Fake | None = None) -> None:
        """Take what is in front of; nothing listens yet."""
        self.fake = fake or Fake()
        self.port = 0
        self.hooks: dict[str, list[Hook]] = {}
        """By the bucket that they are for; "": for any."""
        self.seen: list[Seen] = []
        self.date: Callable[[], str] = lambda: email.utils.formatdate(usegmt=True)
        """What answers say in `Date`."""
        self.etags: Callable[[str], str] = str
        """How it writes its ETags."""
        self._numbers = itertools.count(1)
        self._late: list[tuple[Wire, bytes, dict[str, str]]] = []
        self._came_late = 0
        self._released = threading.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=HEAD_LIMIT)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @contextlib.contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve in a thread, for tests that block."""
        started, ends = threading.Event(), asyncio.Event()
        loops: list[asyncio.AbstractEventLoop] = []

        async def serve() -> None:
            async with self:
                loops.append(asyncio.get_running_loop())
                started.set()
                await ends.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        started.wait()
        try:
            yield self
        finally:
            loops[0].call_soon_threadsafe(ends.set)
            thread.join()

    # What a test says and asks.

    def hook(self, answer: Odd, operation: str = "", **where: Any) -> Hook:
        """Answer some requests oddly from now on."""
        hook = Hook(answer, operation, **where)
        self.hooks.setdefault(hook.bucket, []).append(hook)
        return hook

    def clear(self) -> None:
        """Answer everything as the store does, from now on."""
        self.hooks.clear()
        self.release()

    def release(self) -> None:
        """Answer what is held."""
        self._released.set()
        self._released = threading.Event()

    def arrive(self, bucket: str) -> None:
        """Do what came late for a bucket, in the order in which it was asked. Its conditions held when it was asked."""
        late = [one for one in self._late if one[0].path.startswith(f"/{bucket}/") or one[0].path == f"/{bucket}"]
        self._late = [one for one in self._late if one not in late]
        for wire, data, sums in late:
            headers = CIMultiDict(wire.headers)
            for name in ("If-Match", "If-None-Match"):
                headers.popall(name, None)
            self.fake.answer(replace(wire, headers=headers), data, sums)

    @property
    def late(self) -> int:
        """How many requests were to arrive late."""
        return self._came_late

    def count(self, operation: str, bucket: str = "", key: str = "") -> int:
        """How many requests for an operation came."""
        return sum(
            one.operation == operation and bucket in ("", one.bucket) and key in ("", one.key) for one in self.seen
        )

    def data(self, bucket: str, key: str) -> bytes | None:
        """The bytes of an object; None where it is not there."""
        there = self.fake.buckets.get(bucket)
        version = there.current(key) if there else None
        return version.data if version else None

    # How it serves.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = next(self._numbers)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            for nth in itertools.count(1):
                if not await self._exchange(reader, writer, connection, nth):
                    break
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int, nth: int
    ) -> bool:
        """One request and its answer; False where the connection ends with it."""
        wire = parse(await reader.readuntil(b"\r\n\r\n"))
        operation, params = named(wire)
        target = wire.path + (f"?{wire.query}" if wire.query else "")
        request = Seen(
            operation,
            params.get("Bucket", ""),
            params.get("Key", ""),
            wire.method,
            target,
            CIMultiDict(wire.headers),
            connection,
            nth,
        )
        self.seen.append(request)
        hooks = [*self.hooks.get(request.bucket, ()), *self.hooks.get("", ())]
        hook = next((hook for hook in hooks if hook.takes(request)), None)
        odd = hook.answer if hook is not None else Odd()
        if odd.cut == "unread":
            return end(writer, reset=odd.reset)
        if wire.headers.get("Expect", "").lower() == "100-continue" and odd.early != 0:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if odd.early is not None:
            await reader.readexactly(odd.early)
            await self._say(writer, wire, self._odd(odd, operation), closes=True)
            return end(writer, reset=odd.reset)
        data, sums = await read_body(reader, wire)
        released = self._released
        while odd.held and not released.is_set():  # noqa: ASYNC110 (it is set by another thread)
            await asyncio.sleep(0.002)
        if odd.late:
            self._late.append((wire, data, sums))
            self._came_late += 1
        if odd.cut == "read":
            return end(writer, reset=odd.reset)
        reply = self.fake.answer(wire, data, sums) if odd.applied or (odd.status is None and not odd.late) else None
        if odd.cut == "applied":
            return end(writer, reset=odd.reset)
        if odd.endless:
            await self._drip(writer, odd)
        own = reply if odd.status is None else None
        await self._say(writer, wire, own or self._odd(odd, operation), cut=odd.cut)
        if odd.cut in ("head", "body"):
            return end(writer, reset=odd.reset)
        return True

    async def _drip(self, writer: asyncio.StreamWriter, odd: Odd) -> None:
        """Answer for as long as the connection lasts."""
        lines = [f"HTTP/1.1 {odd.status} Odd", *(f"{k}: {v}" for k, v in odd.headers.items())]
        writer.write("\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode())
        while not writer.is_closing():
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    def _odd(self, odd: Odd, operation: str) -> tuple[int | str, dict[str, str], bytes]:
        """An odd answer for an operation."""
        root = ROOTS.get(operation, "ListBucketResult" if operation.startswith("List") else f"{operation}Result")
        return odd.status or 504, odd.headers, odd.body.replace("{root}", root).encode()

    async def _say(
        self,
        writer: asyncio.StreamWriter,
        wire: Wire,
        reply: Reply | tuple[int | str, dict[str, str], bytes],
        *,
        cut: Cut = "",
        closes: bool = False,
    ) -> None:
        """Write an answer, or what of it is written before it is cut."""
        if isinstance(reply, Reply):
            length = (reply.body.length if reply.body is not None else 0) or 0
            status: int | str = reply.status
            headers = [(k, self.etags(v) if k.lower() == "etag" else v) for k, v in reply.headers.items()]
            body = b"" if wire.method == "HEAD" else await whole(reply)
        else:
            status, headers, body = reply[0], list(reply[1].items()), reply[2]
            length = len(body)
        lines = [f"HTTP/1.1 {status} {phrase(status)}", f"Date: {self.date()}", *(f"{k}: {v}" for k, v in headers)]
        if status not in BODYLESS:
            # What is cut in its body had some more to say.
            lines.append(f"Content-Length: {length + 1 if cut == 'body' else length}")
        lines += ["Connection: close"] if closes else []
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if cut == "head":
            head, body = head[: len(head) // 2], b""
        writer.write(head + (b"" if wire.method == "HEAD" or status in BODYLESS else body))
        await writer.drain()


def end(writer: asyncio.StreamWriter, *, reset: bool) -> bool:
    """End a connection at once, whatever of a request is unread; False."""
    if reset:
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        writer.transport.abort()
    else:
        writer.close()
    return False


async def whole(reply: Reply) -> bytes:
    """The bytes of the fake's answer."""
    return await read_all(reply.body, LARGEST)


def parse(head: bytes) -> Wire:
    """A request's head."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    headers: Headers = CIMultiDict()
    for line in lines:
        name, _, value = line.partition(":")
        headers.add(name, value.strip())
    return Wire(method, path, query, headers)


def named(wire: Wire) -> tuple[str, dict[str, Any]]:
    """The operation that a request is for, and its members."""
    try:
        operation, params = decode.request(wire, ())
    except S3Error:
        return "", {}
    return operation.name if operation else "", params


async def read_body(reader: asyncio.StreamReader, wire: Wire) -> tuple[bytes, dict[str, str]]:
    """The body that follows a head, out of its framing, and the checksums of its trailer."""
    if "chunked" in wire.headers.get("Transfer-Encoding", ""):
        data = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            data += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    else:
        data = await reader.readexactly(int(wire.headers.get("Content-Length", "0")))
    sums: dict[str, str] = {}
    if "aws-chunked" in wire.headers.get("Content-Encoding", ""):
        data, sums = unframed(data)
        wire.headers = unchunked(wire.headers)
    return data, sums


def unframed(framed: bytes) -> tuple[bytes, dict[str, str]]:
    """The bytes in aws-chunked framing, and the checksums behind them."""
    data, rest = b"", framed
    while True:
        line, _, rest = rest.partition(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if not size:
            lines = [one.partition(":") for one in rest.decode().split("\r\n")]
            return data, {name: value.strip() for name, _, value in lines if name in checksums.HEADERS}
        data, rest = data + rest[:size], rest[size + 2 :]


def phrase(status: int | str) -> str:
    """The words behind a status."""
    with contextlib.suppress(ValueError):
        return HTTPStatus(int(status)).phrase
    return "Odd"


async def until(holds: Callable[[], bool], seconds: float = 60.0, what: str = "it") -> None:
    """Wait for something that is promised to come, without saying when."""
    end_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_at, f"{what} did not come"
        await asyncio.sleep(0.005)


def there(store: Store) -> list[str]:
    """The keys that the remote has."""
    return [key for key, versions in store.fake.buckets["b"].keys.items() if versions]
