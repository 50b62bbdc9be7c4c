"""The two doors for whoever looks after s3d: health, readiness, metrics and status.

The metrics door listens on S3D_METRICS_ENDPOINT, in a pod on the pod's address: it is read-only and shows counts, never
a bucket or a key (SEMANTICS A-7). What names them is answered on the unix socket in the local dir only, which nobody
but its owner may open, and so is what changes anything, by POST. Both answer from what the daemon knows: no answer in
here waits for the remote.

A connection carries one request and ends after CONNECTION_SECONDS, whatever its other side does; but for an export over
the socket, which takes as long as the object is large. Where there are too many, the oldest goes and not the newest:
who only holds a connection does not keep a probe out. A name that is not this door's own is refused, since a browser
may have been made to believe that it is another site's (DNS rebinding).
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypedDict, TypeVar
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from s3d import targets
from s3d.api import Body
from s3d.config import Gateway
from s3d.errors import ConfigError, S3DError, S3Error
from s3d.metrics import Metrics

SOCKET_NAME = "s3d.sock"
SOCKET_PATH_LIMIT = 107
"""Longest path in bytes that bind(2) takes for a unix socket."""
CONNECTION_SECONDS = 10
HEAD_SECONDS = 2
"""How long a connection may be there without a whole request."""
CONNECTIONS = 64
"""Connections at once to each of the doors."""
LIMITS: dict[str, Any] = {"access_log": None, "lingering_time": 0, "max_line_size": 8190, "max_field_size": 8190}
"""For aiohttp. A line holds the longest key, every byte of it percent-encoded."""
LASTING: set[asyncio.BaseProtocol] = set()
"""Connections over which something large is sent just now: they may last."""
Response = TypeVar("Response", bound=web.StreamResponse)


class RemoteStatus(TypedDict):
    """How the remote is doing."""

    endpoint: str
    state: Literal["unknown", "reachable", "away"]
    since: float | None
    """Unix time of the latest change of state."""
    credentials: Literal["unknown", "found", "missing", "failing", "refused", "not required"]
    """Whether there is something to sign with, and the remote takes it; unknown until a request needs it."""
    refusal: str
    """The code of the error by which the remote refuses all that is asked of it; "" where it does not. It is about our
    keys where `credentials` says refused, else about the endpoint."""


class Tally(TypedDict):
    """What is accepted and not confirmed by the remote."""

    changes: int
    bytes: int


class Pending(Tally):
    """The same of all buckets."""

    oldest_age_seconds: float | None
    """Age of the oldest change on its way; held and parked ones wait for a person and do not count."""
    parked: int
    held: int


class Status(TypedDict):
    """The daemon in counts."""

    version: str
    started_at: float
    remote: RemoteStatus
    pending: Pending
    states: dict[str, int]
    """Changes by state."""
    paused_lanes: int
    """Identities and buckets to which nothing is delivered just now, because the remote refuses them."""
    draining: bool


class LaneStatus(TypedDict):
    """Identity and bucket that the remote refuses. Times are Unix times."""

    bucket: str
    identity: str
    state: str
    """trying: other changes are tried, to tell the lane from the object; paused."""
    since: float
    code: str
    reason: str
    attempts: int
    probe_at: float
    """When the next change is tried."""


class TriedStatus(TypedDict):
    """A change that was tried again and again, and the last error."""

    seq: int
    bucket: str
    key: str
    op: str
    state: str
    attempts: int
    code: str
    reason: str


class BucketStatus(TypedDict):
    """One bucket, as the gateway knows it."""

    bucket: str
    known: bool
    writes: str
    """Whether its writes are queued, or why they go through."""
    pending: Tally


class ChangeStatus(TypedDict):
    """One pending change. Times are Unix times."""

    seq: int
    op: str
    state: str
    size: int
    etag: str
    acked_at: float
    age_seconds: float
    attempts: int
    next_at: float | None
    """When it is pushed at the earliest; None: not by itself."""
    code: str
    reason: str
    rule: str
    """What holds it, where it is held."""


class ObjectStatus(TypedDict):
    """One object: `delivered` where nothing is pending, else the state of its newest change."""

    bucket: str
    key: str
    state: str
    changes: list[ChangeStatus]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which changes a request is about: all, those of a bucket, those under a prefix of it, or one."""

    bucket: str = ""
    prefix: str = ""
    seq: int | None = None
    after: int = 0
    """Only those behind this one (the next page)."""
    upto: int | None = None
    """flush: the newest change that is waited for; None: the newest there is."""


class Reports(Protocol):
    """What the daemon says about itself. The methods answer out of memory or by an index, for they run on the loop."""

    def ready(self) -> list[str]:
        """Why requests cannot be served just now, a line each, without bucket or key; nothing when they can. That the
        remote is away is no reason."""

    def status(self) -> Status:
        """The daemon in counts."""

    def bucket_status(self, bucket: str) -> BucketStatus:
        """One bucket."""

    def object_status(self, bucket: str, key: str) -> ObjectStatus:
        """One object, with its newest changes, at most a hundred."""

    # What names buckets and keys, or changes anything: asked over the socket only.

    def lanes(self) -> list[LaneStatus]:
        """The lanes that the remote refuses."""

    def tried(self) -> list[TriedStatus]:
        """Changes that were tried again and again."""

    def kept(self, chosen: Chosen) -> list[dict[str, Any]]:
        """A page of the changes that wait for a person."""

    def body(self, seq: int) -> Body | None:
        """The body of one of them; None where it has none. Raises S3Error where there is no such change."""

    async def retry(self, chosen: Chosen) -> dict[str, Any]:
        """Try parked changes again: how many, and which were left alone."""

    async def discard(self, chosen: Chosen) -> dict[str, Any]:
        """Drop changes that wait for a person: how many."""

    async def flush(self, chosen: Chosen) -> dict[str, Any]:
        """How much of what was pending when it was first asked is left, and what of it waits for a person."""

    async def prestop(self, chosen: Chosen) -> dict[str, Any]:
        """The pod is being deleted, and its grace period runs."""


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the doors listen."""

    addresses: list[tuple[str, int]]
    """Host and port of each socket of the metrics door."""
    path: Path
    """The unix socket."""


@asynccontextmanager
async def serve(reports: Reports, gateway: Gateway, metrics: Metrics) -> AsyncIterator[Doors]:
    """Keep both doors open. The caller owns the local dir (its lock), so a socket that is there is a dead one's.

    Raises ConfigError where a door cannot be opened.
    """
    loop = asyncio.get_running_loop()
    path = gateway.local_dir / SOCKET_NAME
    async with AsyncExitStack() as stack:
        names_of_door = own_names(gateway)
        counts = web.Server(for_own_names(handler(reports, metrics, shows_keys=False), names_of_door), **LIMITS)
        names = web.Server(handler(reports, metrics, shows_keys=True), **LIMITS)
        sockets = await asyncio.to_thread(listen_tcp, gateway.metrics_endpoint)
        for sock in sockets:
            stack.push_async_callback(close, await loop.create_server(bounded(counts, loop), sock=sock), counts)
        unix = await asyncio.to_thread(listen_unix, path)
        stack.push_async_callback(asyncio.to_thread, path.unlink, missing_ok=True)
        stack.push_async_callback(close, await loop.create_unix_server(bounded(names, loop), sock=unix), names)
        yield Doors([sock.getsockname()[:2] for sock in sockets], path)


async def close(listener: asyncio.Server, server: web.Server) -> None:
    """Take no more connections, and give a second to those that are there."""
    listener.close()
    await server.shutdown(timeout=1)


def handler(
    reports: Reports, metrics: Metrics, *, shows_keys: bool
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """The handler of one door."""
    changing = {
        "/queue/retry": reports.retry,
        "/queue/discard": reports.discard,
        "/flush": reports.flush,
        "/prestop": reports.prestop,
    }

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        # As sent: a key that a URL library has normalised is another key.
        _, path, query = targets.split(request.raw_path)
        change = changing.get(path) if shows_keys else None
        allowed = ("POST",) if change else ("GET", "HEAD")
        if request.method not in allowed:
            return finish(answer(405, {"error": f"{request.method} is not allowed"}, Allow=", ".join(allowed)))
        if change:
            return finish(await asked(query, change))
        match path:
            case "/healthz":
                return finish(web.Response(text="ok\n"))
            case "/readyz":
                reasons = reports.ready()
                return finish(web.Response(status=503 if reasons else 200, text="\n".join(reasons or ["ok"]) + "\n"))
            case "/metrics":
                return finish(await scrape(reports, metrics, request.headers.get("Accept", "")))
            case "/status":
                return finish(report(reports, query, shows_keys=shows_keys))
            case "/queue" if shows_keys:
                return finish(await asked(query, partial(list_kept, reports)))
            case "/queue/body" if shows_keys:
                return await send_body(request, reports, query)
            case _:
                return finish(answer(404, {"error": f"there is no {path[:100]}"}))

    return handle


async def asked(query: str, serve: Callable[[Chosen], Awaitable[Any]]) -> web.Response:
    """Answer a request about chosen changes."""
    try:
        return answer(200, await serve(choose(query)))
    except S3DError as error:
        return refused(error)


async def list_kept(reports: Reports, chosen: Chosen) -> dict[str, Any]:
    """A page of what waits for a person."""
    return {"changes": reports.kept(chosen)}


async def send_body(request: web.BaseRequest, reports: Reports, query: str) -> web.StreamResponse:
    """Send the body of a change that waits for a person. Where it breaks off, so does the connection."""
    try:
        body = reports.body(choose(query).seq or 0)
    except S3DError as error:
        return finish(refused(error))
    if body is None:
        return finish(answer(404, {"error": "a delete has no body"}))
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = body.length
    finish(response)
    LASTING.add(request.protocol)
    try:
        blocks = body.chunks()
        # The first block before the head: an error that comes instead of it is still an answer.
        first = await anext(blocks, b"")
        await response.prepare(request)
        await response.write(first)
        async for block in blocks:
            await response.write(block)
        await response.write_eof()
    except S3DError as error:
        if not response.prepared:
            return finish(refused(error))
        if request.transport is not None:
            request.transport.abort()
    finally:
        LASTING.discard(request.protocol)
        await body.aclose()
    return response


def choose(query: str) -> Chosen:
    """Read which changes a request is about. Raises S3Error (400)."""
    names: dict[str, Callable[[str], Any]] = {"bucket": str, "prefix": str, "seq": int, "after": int, "upto": int}
    try:
        given = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=5)
        chosen = Chosen(**{name: names[name](values[-1]) for name, values in given.items()})
    except (ValueError, KeyError):
        raise S3Error("InvalidRequest", "the query cannot be read", hint=f"its names are {', '.join(names)}") from None
    if chosen.prefix and not chosen.bucket:
        raise S3Error("InvalidRequest", "a prefix is in a bucket", hint="?bucket=B&prefix=P")
    return chosen


async def scrape(reports: Reports, metrics: Metrics, accept: str) -> web.Response:
    """Answer with all metrics, in the format that the scraper asks for."""
    with suppress(S3DError):  # a store that fails is itself in the counts
        status = reports.status()
        up = {"reachable": True, "away": False}.get(status["remote"]["state"])
        pending = status["pending"]
        metrics.show(
            status["states"],
            pending["bytes"],
            pending["oldest_age_seconds"],
            paused_lanes=status["paused_lanes"],
            remote_up=up,
        )
    encode, content_type = choose_encoder(accept)
    # In a thread: thousands of lines take longer than a request may wait for the loop.
    page = await asyncio.to_thread(encode, metrics.registry)
    return web.Response(body=page, headers={"Content-Type": content_type})


def report(reports: Reports, query: str, *, shows_keys: bool) -> web.Response:
    """Answer with the status of the daemon, of a bucket or of an object."""
    try:
        asked = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict", max_num_fields=2)
    except ValueError:
        return answer(400, {"error": "the query cannot be read", "hint": "/status?bucket=B&key=K"})
    bucket, key = asked.pop("bucket", [""])[-1], asked.pop("key", [""])[-1]
    if asked or (key and not bucket):
        return answer(400, {"error": "the query is not understood", "hint": "/status?bucket=B&key=K"})
    if bucket and not shows_keys:
        hint = f"ask over the unix socket, {SOCKET_NAME} in the local dir"
        return answer(403, {"error": "this door shows counts only", "hint": hint})
    try:
        if key:
            return answer(200, reports.object_status(bucket, key))
        if bucket:
            return answer(200, reports.bucket_status(bucket))
        status = reports.status()
        return answer(200, {**status, "lanes": reports.lanes(), "tried": reports.tried()} if shows_keys else status)
    except S3DError as error:
        return refused(error) if shows_keys else answer(503, {"error": "the status cannot be read"})


def refused(error: S3DError) -> web.Response:
    """The answer to a request that failed, in full: for the socket."""
    code = error.status if isinstance(error, S3Error) else 503
    return answer(code, {"error": error.message, "hint": error.hint})


def answer(status: int, value: Any, **headers: str) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status,
        text=json.dumps(value, ensure_ascii=False) + "\n",
        headers=headers,
        content_type="application/json",
    )


def finish(response: Response) -> Response:
    """Mark an answer as the last of its connection, and as true for this moment only."""
    response.headers["Cache-Control"] = "no-store"
    response.force_close()
    return response


def own_names(gateway: Gateway) -> frozenset[str]:
    """The names of the metrics door: of its endpoint, of this machine, and those of the S3 door."""
    endpoint = urlsplit(gateway.metrics_endpoint).hostname or "localhost"
    return frozenset(name.lower() for name in ("localhost", endpoint, socket.gethostname(), *gateway.domains))


def for_own_names(
    serve: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], names: frozenset[str]
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """A handler that answers those who ask by an address, by one of its names, or by none (HTTP/1.0)."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        authority, _, _ = targets.split(request.raw_path)
        host = targets.host_of(request.headers.get("Host", "") if authority is None else authority)
        if host and not targets.is_address(host) and not targets.is_named(host, names):
            error = f"{host[:100]!r} is not one of this door's names"
            return finish(answer(403, {"error": error, "hint": "S3D_DOMAINS lists more of them"}))
        return await serve(request)

    return handle


class Connection(web.RequestHandler):
    """A connection that carries one request."""

    def is_idle(self) -> bool:
        """Whether its request is not there yet."""
        return not self._request_count

    def end(self) -> None:
        """Cut it, unless something large is being sent."""
        if self.transport is not None and self not in LASTING:
            self.transport.abort()

    def end_idle(self) -> None:
        """Cut it where its request is not there yet."""
        if self.is_idle():
            self.end()


def bounded(server: web.Server, loop: asyncio.AbstractEventLoop) -> Callable[[], asyncio.BaseProtocol]:
    """Bound a server's connections in number and time (aiohttp has no deadline for headers)."""
    there: dict[Connection, None] = {}

    def accept() -> asyncio.BaseProtocol:
        for one in [one for one in there if one.transport is None]:
            del there[one]
        if len(there) >= CONNECTIONS:
            # In their order: of those without a request the oldest, else of all.
            ending = [one for one in there if one not in LASTING]
            for one in sorted(ending, key=lambda one: not one.is_idle())[:1]:
                del there[one]
                one.end()
        protocol = Connection(server, loop=loop, **LIMITS)
        there[protocol] = None
        loop.call_later(HEAD_SECONDS, protocol.end_idle)
        loop.call_later(CONNECTION_SECONDS, protocol.end)
        return protocol

    return accept


def listen_tcp(url: str) -> list[socket.socket]:
    """Listen on every address of the URL's host that this machine has (`localhost`: 127.0.0.1 and ::1)."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise ConfigError("S3D_METRICS_ENDPOINT: the metrics door speaks plain HTTP", hint="write http://")
    sockets: list[socket.socket] = []
    try:
        port = 80 if parts.port is None else parts.port
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in found:
            both = address[0] == "::" and socket.has_dualstack_ipv6()
            try:
                sockets.append(socket.create_server(address[:2], family=family, dualstack_ipv6=both))
            except OSError as error:
                if error.errno not in {EADDRNOTAVAIL, EAFNOSUPPORT} or len(found) == 1:
                    raise
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ConfigError(
            f"S3D_METRICS_ENDPOINT: cannot listen on {url}: {error.strerror}",
            hint="if another s3d runs, give this one addresses and a local dir of its own",
        ) from None
    return sockets


def listen_unix(path: Path) -> socket.socket:
    """Listen on a unix socket that only its owner may open; a dead one is replaced."""
    if path.exists() and not path.is_socket():
        raise ConfigError(f"{path} is in the way", hint="s3d's socket has this name; move the file away")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with address_of(path) as address:
            sock.bind(address)
        # Nobody can connect before `listen`, so there is no moment at which the mode is too wide.
        path.chmod(0o600)
        sock.listen()
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {path}: {error.strerror}", hint="s3d must be able to write to the local dir"
        ) from None
    return sock


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """The address of a unix socket: its path, or a short way to it where the path is longer than the kernel takes."""
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
