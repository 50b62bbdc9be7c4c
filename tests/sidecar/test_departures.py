"""A client that leaves in the middle of an answer: what was for it goes to nobody else (SEMANTICS C-5)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from s3d.api import S3
from s3d.connections import Bounds
from s3d.door.handler import Door
from s3d.door.server import Server
from s3d.metrics import Metrics
from s3d.settings import Gateway
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import BUCKET, Far, cached
from tests.contracts.bodies import pattern
from tests.queues import until

PATIENCE = 60.0
FOLLOWERS = 8
"""Connections after the one that was left: the system gives each number that is free again to one of them."""


@contextlib.asynccontextmanager
async def served(serve: S3) -> AsyncIterator[tuple[Server, int]]:
    """A door in front of something: its server, and the port."""

    async def no_rules(_: str) -> None:
        """No bucket has any."""

    door = Door(serve, Gateway(), no_rules, Metrics())  # type: ignore[arg-type] # nobody asks from a page
    server = Server(door.handle, lingering_time=0.0)
    server.bounds, server.accounts = Bounds(PATIENCE, PATIENCE), door.accounts
    runner = web.ServerRunner(server)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield server, runner.addresses[0][1]
    finally:
        await runner.cleanup()


def request(key: str) -> bytes:
    """A GET as it is on the wire."""
    return f"GET /{BUCKET}/{key} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def connected(server: Server) -> int:
    """How many clients are there."""
    return sum(one.transport is not None for one in server.connections)


@pytest.mark.semantics("C-5")
async def test_what_was_for_a_client_that_has_left_goes_to_no_connection_that_came_later(tmp_path: Path) -> None:
    far = Far(lets=BLOCK_BYTES)
    async with cached(tmp_path, far) as there, served(there.cache) as (server, port):
        await far.put("large", pattern(3 * BLOCK_BYTES))
        await far.put("small", b"of those who came later")
        reader, leaver = await asyncio.open_connection("127.0.0.1", port)
        leaver.write(request("large"))
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(BLOCK_BYTES)
        leaver.transport.abort()
        # A connection is known to the server until its answer has ended, and has no transport any more.
        await until(lambda: not connected(server))
        followers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(FOLLOWERS)]
        await until(lambda: connected(server) == FOLLOWERS)
        far.let(None)
        # Then nobody reads or sends of it any more.
        await until(lambda: not there.cache._copies._live)
        for reader, writer in followers:
            writer.write(request("small"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(23) == b"of those who came later"
            writer.close()
