"""The server of the door: its sockets, its connections, and what it answers to what is no HTTP."""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from aiohttp import hdrs, web, web_protocol
from multidict import CIMultiDict

from s3d import config
from s3d.api import MAX_HEADERS, Headers
from s3d.background import for_ever
from s3d.connections import LINGER_SECONDS, Bounds, Connection
from s3d.door.exchange import Accounts
from s3d.door.handler import Door
from s3d.door.response import NAME, XML, Response
from s3d.door.tls import Tls
from s3d.errors import S3Error
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75.0
BACKLOG = 1024
LOCALHOST = ("127.0.0.1", "::1")
ACCEPT_PAUSE = 1.0
"""Seconds until the next connection is looked for, where the system has no room for one."""
MAX_LINE = 32 << 10
"""Bytes of a request's first line. A listing may name a prefix, a delimiter and a name to start after, each of 1,024
bytes that are three in a URL, beside a token."""

# Requests of a connection are parsed one by one. aiohttp parses all that came together, and where what comes last is no
# request it refuses the good ones in front of it as well.
web_protocol.MAX_MSG_QUEUE_SIZE = 1


class Client(Connection):
    """A client's connection; what is not HTTP is refused with an S3 error document too."""

    async def _handle_request(self, *request: Any) -> tuple[web.StreamResponse, bool]:
        """Serve one request, and then have what came behind its body parsed."""
        served = await super()._handle_request(*request)
        self.parse_rest()
        return served

    accounts: Accounts

    def too_long(self) -> bytes:
        """The answer to a head that is too long."""
        self.accounts.refused(400)
        error = S3Error("RequestHeaderSectionTooLarge", "Your request header section exceeds the maximum allowed size")
        request_id = secrets.token_hex(8).upper()
        document = encode.identified(encode.error(error), request_id=request_id, host_id="", resource="")
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: {XML}\r\nContent-Length: {len(document)}\r\n"
        return f"{head}Connection: close\r\n\r\n".encode() + document

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a malformed request, or a handler that failed."""
        if self.transport is None or request.writer.output_size > 0:
            raise ConnectionError("the response is under way already")
        self.accounts.refused(status)
        code = "InternalError" if status >= 500 else "InvalidRequest"
        error = S3Error(code, message or "The request is not valid HTTP", status=status)
        request_id = secrets.token_hex(8).upper()
        document = encode.identified(encode.error(error), request_id=request_id, host_id="", resource="")
        headers: Headers = CIMultiDict({hdrs.CONTENT_TYPE: XML, "x-amz-request-id": request_id, hdrs.SERVER: NAME})
        response = Response(status=status, headers=headers, body=document)
        response.force_close()
        return response


class Server(web.Server):
    """aiohttp's low-level server, with our connections."""

    accounts: Accounts
    bounds: Bounds
    patience = float("inf")
    """Seconds that running requests get at the end, at most; may be set until then."""

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 # aiohttp's own name
        """Let running requests finish, then cut them off."""
        # aiohttp takes 0 for no limit at all.
        await super().shutdown(max(0.1, min(timeout or self.patience, self.patience)))

    def __call__(self) -> Client:
        """Make the protocol of one connection."""
        client = Client(self, self.bounds, loop=self._loop, **self._kwargs)
        client.accounts = self.accounts
        return client

    async def accept(self, listening: socket.socket, tls: Tls) -> None:
        """Take connections for as long as it runs, and shake hands with all of them side by side.

        The loop's own TLS servers tell nobody of a connection before its handshake is over. These are known, and count,
        from their first moment.
        """
        async with asyncio.TaskGroup() as handshakes:
            while True:
                try:
                    raw, _ = await self._loop.sock_accept(listening)
                except OSError as error:
                    log.warning("no connection can be taken: %s", error)
                    await asyncio.sleep(ACCEPT_PAUSE)
                    continue
                raw.setblocking(False)
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                handshakes.create_task(self.shake(raw, tls))

    async def shake(self, raw: socket.socket, tls: Tls) -> None:
        """Shake hands with a client, for as long as one may keep us waiting; then it is served like any other."""
        client = self()
        client.accepted(raw)
        try:
            await self._loop.connect_accepted_socket(
                lambda: client,
                raw,
                ssl=tls.context,
                ssl_handshake_timeout=self.bounds.patience,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError as error:
            # No TLS, other versions of it, no certificate, or it has left: the client is told what TLS has words for.
            log.debug("a TLS handshake failed: %s", error)
            self.accounts.handshake_failed()
            self.bounds.remove(client)
        except Exception:
            log.exception("a bug: a TLS handshake failed")
            self.bounds.remove(client)


@contextlib.asynccontextmanager
async def listen(
    door: Door, settings: Gateway, metrics: Metrics, tls: Tls | None = None, *, asks_for_keys: bool = False
) -> AsyncIterator[Server]:
    """Open the door, to TLS alone where there is a certificate. `localhost` is both loopback addresses; that [::1]
    cannot be bound is not fatal.

    With `asks_for_keys` it keeps a share of the connections for clients that have authenticated: its handler says of a
    connection that one has (`Connection.authenticated`).

    At the end new connections are refused first, then running requests get half of `settings.drain` to finish, or the
    server's `patience` where that is less.
    """
    options: dict[str, Any] = {
        "keepalive_timeout": KEEP_ALIVE_SECONDS,
        "lingering_time": LINGER_SECONDS,
        "auto_decompress": False,
        "access_log": None,
        "max_line_size": MAX_LINE,
        "max_headers": MAX_HEADERS,
    }
    server = Server(door.handle, **options)
    server.accounts = door.accounts
    server.bounds = Bounds(settings.client_timeout, settings.reader_timeout, asks_for_keys=asks_for_keys)
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain / 2)
    await runner.setup()
    watching = asyncio.ensure_future(for_ever("connections", server.bounds.watch, metrics))
    try:
        async with taking(server, runner, settings, metrics, tls):
            yield server
    finally:
        # The watch goes on until then: what is still answered must not wait for a client that has stopped reading.
        await runner.cleanup()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


@contextlib.asynccontextmanager
async def taking(
    server: Server, runner: web.ServerRunner, settings: Gateway, metrics: Metrics, tls: Tls | None
) -> AsyncIterator[None]:
    """Take connections meanwhile."""
    host, port = urlsplit(settings.endpoint).hostname or "localhost", config.port_of(settings.endpoint)
    hosts = LOCALHOST if host == "localhost" else (host,)
    async with contextlib.AsyncExitStack() as opened:
        for number, each in enumerate(hosts):
            with contextlib.suppress(*([OSError] if number else [])):
                if tls is None:
                    await web.TCPSite(runner, each, port, backlog=BACKLOG).start()
                else:
                    await opened.enter_async_context(taking_tls(server, each, port, metrics, tls))
        yield


@contextlib.asynccontextmanager
async def taking_tls(server: Server, host: str, port: int, metrics: Metrics, tls: Tls) -> AsyncIterator[None]:
    """Take TLS connections to all addresses of a host meanwhile."""
    with contextlib.ExitStack() as opened:
        listening = []
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in found:
            one = socket.create_server(address[:2], family=family, backlog=BACKLOG)
            listening.append(opened.enter_context(one))
            one.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            taking = [
                tasks.create_task(for_ever("handshakes", partial(server.accept, one, tls), metrics))
                for one in listening
            ]
            yield
            for task in taking:
                task.cancel()
