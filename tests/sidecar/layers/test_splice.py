"""Bytes that the kernel moves from socket to socket arrive whole, or it is said why not."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from s3d.layers.splice import PIPE_BYTES, Pipe, SourceFailed

DATA = random.Random(7).randbytes(5 * PIPE_BYTES + 333)
HELD = 70_001
LIMIT = 30.0
Ends = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """A remote and the source that it fills, a sink and the client that empties it."""
    with ExitStack() as opened:
        remote, source, sink, client = (
            opened.enter_context(end) for pair in (socket.socketpair(), socket.socketpair()) for end in pair
        )
        for end in (remote, source, sink, client):
            end.setblocking(False)
        yield remote, source, sink, client


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()
    pipe.close()


async def patiently(coming: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(LIMIT):
        await coming()


async def read(client: socket.socket, most: int = len(DATA)) -> bytes:
    """What comes until the other side ends, or so much of it."""
    loop = asyncio.get_running_loop()
    data = bytearray()
    async with asyncio.timeout(LIMIT):
        while len(data) < most and (block := await loop.sock_recv(client, most - len(data))):
            data += block
    return bytes(data)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("piece", [1009, 64 << 10, len(DATA)])
async def test_bytes_come_once_and_in_order(ends: Ends, pipe: Pipe, piece: int) -> None:
    remote, source, sink, client = ends
    loop = asyncio.get_running_loop()
    before = descriptors()

    async def send() -> None:
        for start in range(HELD, len(DATA), piece):
            await loop.sock_sendall(remote, DATA[start : start + piece])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(send())
        got = tasks.create_task(read(client))
        await pipe.splice(source.fileno(), sink.fileno(), DATA[:HELD], len(DATA) - HELD, patiently)
    assert got.result() == DATA
    assert descriptors() == before


async def test_what_belongs_to_the_next_answer_stays_in_the_source(ends: Ends, pipe: Pipe) -> None:
    remote, source, sink, _ = ends
    remote.send(b"thisnext")
    await pipe.splice(source.fileno(), sink.fileno(), b"", 4, patiently)
    assert source.recv(100) == b"next"


async def test_a_source_that_ends_early_fails(ends: Ends, pipe: Pipe) -> None:
    remote, source, sink, client = ends
    before = descriptors()
    remote.send(DATA[:1000])
    remote.shutdown(socket.SHUT_WR)
    with pytest.raises(SourceFailed, match="1 bytes early"):
        await pipe.splice(source.fileno(), sink.fileno(), b"", 1001, patiently)
    assert await read(client, 1000) == DATA[:1000]
    assert descriptors() == before


async def test_a_source_that_is_silent_for_too_long_fails(ends: Ends, pipe: Pipe) -> None:
    _, source, sink, _ = ends

    async def impatiently(coming: Callable[[], Awaitable[None]]) -> None:
        raise TimeoutError

    with pytest.raises(SourceFailed, match="TimeoutError"):
        await pipe.splice(source.fileno(), sink.fileno(), b"", 1, impatiently)


@pytest.mark.parametrize("held", [b"", DATA])
async def test_a_client_that_leaves_is_no_fault_of_the_source(ends: Ends, pipe: Pipe, held: bytes) -> None:
    remote, source, sink, client = ends
    remote.send(DATA[:1000])
    client.close()
    with pytest.raises(BrokenPipeError):
        await pipe.splice(source.fileno(), sink.fileno(), held, 1000, patiently)


async def test_a_task_that_is_cancelled_lets_go_of_everything(ends: Ends, pipe: Pipe) -> None:
    remote, source, sink, _ = ends
    before = descriptors()
    waits = asyncio.Event()

    async def noted(coming: Callable[[], Awaitable[None]]) -> None:
        waits.set()
        await coming()

    moving = asyncio.ensure_future(pipe.splice(source.fileno(), sink.fileno(), b"", 1, noted))
    await waits.wait()
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    assert descriptors() == before
    # Nobody waits for the number any more, so that it may be another's.
    assert os.write(remote.fileno(), b"x") == 1
    assert source.recv(1) == b"x"


async def test_others_have_their_turns_beside_two_fast_sockets(ends: Ends, pipe: Pipe) -> None:
    """The loop goes round between two fillings of the pipe, also where neither socket makes it wait."""
    remote, source, sink, _ = ends
    turns = 0
    size = 6 * os.sysconf("SC_PAGE_SIZE")
    remote.send(DATA[:size])

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    busy = asyncio.ensure_future(others())
    await pipe.splice(source.fileno(), sink.fileno(), b"", size, patiently)
    busy.cancel()
    assert turns
