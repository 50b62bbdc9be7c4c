"""What every implementation of a body keeps."""

import asyncio
import functools
import socket
from array import array
from collections.abc import Awaitable, Callable

import pytest

from s3d.api import Body

MakeBody = Callable[[bytes], Awaitable[Body]]
BodyCheck = Callable[[MakeBody], Awaitable[None]]
SIZES = (0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 19) + 7)
RANGES = ((0, None), (0, 1), (1, None), (4096, 4096), (1 << 20, None), (100, (2 << 20) + 5), (0, 1 << 40))


@functools.lru_cache(maxsize=32)
def pattern(size: int) -> bytes:
    """Bytes of which no two aligned blocks are equal."""
    numbers = array("Q", range(size // 8 + 1))
    numbers.byteswap()
    return numbers.tobytes()[:size]


async def blocks_of(body: Body, start: int = 0, end: int | None = None) -> list[bytes]:
    """All blocks that a body yields."""
    return [block async for block in body.chunks(start, end)]


async def all_bytes_come_once_and_in_order_behind_their_length_and_no_block_is_empty(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert body.length == size
        blocks = await blocks_of(body)
        assert b"".join(blocks) == pattern(size)
        assert all(blocks)
        await body.aclose()


async def a_replayable_body_comes_again(make: MakeBody) -> None:
    body = await make(pattern(3 << 20))
    first = await blocks_of(body)
    assert not body.replayable or await blocks_of(body) == first
    await body.aclose()


async def a_replayable_body_yields_any_range(make: MakeBody) -> None:
    data = pattern(SIZES[-1])
    body = await make(data)
    for start, end in RANGES if body.replayable else ():
        assert b"".join(await blocks_of(body, start, end)) == data[start:end]
    await body.aclose()


async def a_small_body_may_be_read_at_once(make: MakeBody) -> None:
    for size in (0, 1, 4096):
        body = await make(pattern(size))
        assert await body.whole() == pattern(size)
        await body.aclose()


async def a_body_goes_to_a_socket_as_it_is_read_or_refuses(make: MakeBody) -> None:
    for size in (4096, 5 << 20):
        body = await make(pattern(size))
        if body.send is not None:
            assert await sent_by(body.send, size) == pattern(size)
            if body.replayable:
                part = functools.partial(body.send, start=100, end=4000)
                assert await sent_by(part, 3900) == pattern(size)[100:4000]
        await body.aclose()


async def sent_by(send: Callable[[int], Awaitable[None]], size: int) -> bytes:
    """What arrives at the other end of a socket; more than `size` bytes are seen, too."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        sending = asyncio.ensure_future(send(near.fileno()))
        came = b""
        while len(came) < size:
            came += await asyncio.get_running_loop().sock_recv(far, 1 << 20)
        await sending
        near.shutdown(socket.SHUT_WR)
        return came + await asyncio.get_running_loop().sock_recv(far, 1 << 20)


async def a_body_may_be_left_unread(make: MakeBody) -> None:
    await (await make(pattern(1 << 20))).aclose()


async def a_body_may_be_left_in_the_middle_and_closed_twice(make: MakeBody) -> None:
    body = await make(pattern(4 << 20))
    async for _ in body.chunks():
        break
    await body.aclose()
    await body.aclose()


BODY_CHECKS: tuple[BodyCheck, ...] = (
    all_bytes_come_once_and_in_order_behind_their_length_and_no_block_is_empty,
    a_replayable_body_comes_again,
    a_replayable_body_yields_any_range,
    a_small_body_may_be_read_at_once,
    a_body_goes_to_a_socket_as_it_is_read_or_refuses,
    a_body_may_be_left_unread,
    a_body_may_be_left_in_the_middle_and_closed_twice,
)
body_contract = pytest.mark.parametrize("check", BODY_CHECKS, ids=lambda check: check.__name__)
