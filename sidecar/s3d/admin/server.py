"""Opens the two doors, and bounds their connections.

A connection carries one request and ends after CONNECTION_SECONDS, whatever its other side does; but for an export over
the socket, which takes as long as the object is large. Where there are too many, the oldest goes and not the newest:
who only holds a connection does not keep a probe out. A name that is not this door's own is refused, since a browser
may have been made to believe that it is another site's (DNS rebinding).
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from s3d import targets
from s3d.admin.listening import listen_tcp, listen_unix
from s3d.admin.reports import Reports
from s3d.admin.routes import LASTING, SOCKET_NAME, answer, finish, handler
from s3d.metrics import Metrics
from s3d.settings import Gateway

CONNECTION_SECONDS = 10
HEAD_SECONDS = 2
"""How long a connection may be there without a whole request."""
MAX_CONNECTIONS = 64
"""Connections at once to each of the doors."""
LIMITS: dict[str, Any] = {"access_log": None, "lingering_time": 0, "max_line_size": 8190, "max_field_size": 8190}
"""For aiohttp. A line holds the longest key, every byte of it percent-encoded."""


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
        if len(there) >= MAX_CONNECTIONS:
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
