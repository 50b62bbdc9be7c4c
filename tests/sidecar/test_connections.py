"""Who has authenticated over a connection is not displaced by those who have not (SEMANTICS A-6f)."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from typing import cast

import pytest
from aiohttp import web

from s3d.connections import MAX_CONNECTIONS, Connection
from s3d.door.handler import Door
from s3d.door.server import Server, listen
from s3d.metrics import Metrics
from s3d.settings import Gateway
from tests.processes import free_port

HALF_OPEN = 5000 if os.environ.get("S3D_E2E_SOAK_HOURS") else 600
WHO = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SIGNED = b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: me\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Lodge:
    """What stands for a door with keys: whoever names himself has authenticated."""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Authorization" in request.headers:
            cast(Connection, request.protocol).authenticated()
        return web.Response(text="ok")


class Clients:
    """Connections to a door."""

    def __init__(self, port: int, server: Server) -> None:
        self.port = port
        self.server = server
        self.streams: list[Stream] = []

    async def connect(self) -> Stream:
        stream = await asyncio.open_connection("127.0.0.1", self.port)
        self.streams.append(stream)
        return stream

    async def half_open(self, count: int) -> None:
        """Begin so many requests and end none."""
        for _ in range(count):
            _, writer = await self.connect()
            with contextlib.suppress(ConnectionError):
                writer.write(b"G")
                await writer.drain()

    async def ask(self, request: bytes, stream: Stream | None = None) -> Stream:
        """Have one request answered. Raises OSError or IncompleteReadError where the connection is gone."""
        reader, writer = stream or await self.connect()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(2) == b"ok"
        return reader, writer


@contextlib.asynccontextmanager
async def clients(*, asks_for_keys: bool) -> AsyncIterator[Clients]:
    port = free_port()
    settings = Gateway(endpoint=f"http://127.0.0.1:{port}")
    async with listen(cast(Door, Lodge()), settings, Metrics(), asks_for_keys=asks_for_keys) as server:
        made = Clients(port, server)
        try:
            yield made
        finally:
            for _, writer in made.streams:
                writer.transport.abort()


@pytest.mark.semantics("A-6f")
async def test_half_open_connections_do_not_displace_those_that_have_authenticated() -> None:
    async with clients(asks_for_keys=True) as door:
        known = [await door.ask(SIGNED) for _ in range(100)]
        await door.half_open(HALF_OPEN)
        for stream in known:
            await door.ask(SIGNED, stream)
        # Who comes now for the first time is not shut out either.
        await door.ask(SIGNED)
        assert len(door.server.bounds.open) <= MAX_CONNECTIONS


async def test_without_keys_the_one_that_waited_for_longest_goes_whoever_it_is() -> None:
    async with clients(asks_for_keys=False) as door:
        first = await door.ask(WHO)
        await door.half_open(HALF_OPEN)
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await door.ask(WHO, first)
        await door.ask(WHO)


@pytest.mark.semantics("A-6f")
async def test_those_who_have_authenticated_may_take_all_and_then_the_idle_ones_go() -> None:
    async with clients(asks_for_keys=True) as door:
        known = [await door.ask(SIGNED) for _ in range(MAX_CONNECTIONS)]
        await door.ask(WHO)
        assert len(door.server.bounds.open) == MAX_CONNECTIONS
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await door.ask(SIGNED, known[0])
        for stream in known[1:]:
            await door.ask(SIGNED, stream)
