"""The relay breaks in the way that it is told to, and in no other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from e2e.relay import Relay

REQUEST = b"PUT / HTTP/1.1\r\n\r\n"
REPLY = b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay in front of a server that answers each block that it reads."""
    tasks = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(ConnectionError):
            while await reader.read(1 << 16):
                writer.write(REPLY)
        await close(writer)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        async with Relay(server.sockets[0].getsockname()) as relay:
            yield relay
        if tasks:
            await asyncio.wait(tasks)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever its state."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def ask(relay: Relay, request: bytes = REQUEST) -> bytes:
    """One request over a connection of its own; nothing where the connection breaks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        writer.write(request)
        return await reader.read(1 << 16)
    except ConnectionError:
        return b""
    finally:
        await close(writer)


async def test_bytes_pass_both_ways_and_requests_are_counted(relay: Relay) -> None:
    assert [await ask(relay), await ask(relay)] == [REPLY, REPLY]
    assert relay.requests == 2


async def test_refusing_nothing_listens_and_open_connections_are_reset(relay: Relay) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(REQUEST)
    assert await reader.read(1 << 16) == REPLY
    await relay.set(mode="refuse")
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    await close(writer)
    with pytest.raises(ConnectionRefusedError):
        await ask(relay)


async def test_it_listens_on_the_same_port_again(relay: Relay) -> None:
    port = relay.port
    await relay.set(mode="refuse")
    await relay.set(mode="pass")
    assert (await ask(relay), relay.port) == (REPLY, port)


async def test_silent_a_request_waits_and_passes_later(relay: Relay) -> None:
    await relay.set(mode="silence")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ask(relay), 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(REQUEST)
    await relay.set(mode="pass")
    assert await reader.read(1 << 16) == REPLY
    assert relay.in_flight == 0
    await close(writer)


async def test_dropping_the_request_arrives_and_the_reply_does_not(relay: Relay) -> None:
    await relay.set(mode="drop", only=("PUT",))
    assert await ask(relay) == b""
    assert await ask(relay, b"GET / HTTP/1.1\r\n\r\n") == REPLY
    assert relay.requests == 2


async def test_an_unknown_mode_is_refused(relay: Relay) -> None:
    with pytest.raises(ValueError, match="none of pass"):
        await relay.set(mode="explode")  # type: ignore[arg-type]


async def test_a_delayed_request_of_a_client_that_has_left_reaches_nobody(relay: Relay) -> None:
    await relay.set(delay=0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(REQUEST)
    writer.write_eof()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    await close(writer)
