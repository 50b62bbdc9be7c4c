"""What every implementation of a seam keeps. A fake is an implementation that passes.

A test module gives `make`, which wraps bytes into its kind of body:

    @body_contract
    async def test_bytes_bodies_keep_the_contract(check: BodyCheck) -> None:
        await check(make)
"""

from collections.abc import Awaitable, Callable

import pytest

from s3d.api import Body

MakeBody = Callable[[bytes], Awaitable[Body]]
BodyCheck = Callable[[MakeBody], Awaitable[None]]

SIZES = (0, 1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 19) + 7)
RANGES = ((0, None), (0, 1), (1, None), (4096, 4096), (1 << 20, None), (100, (2 << 20) + 5), (0, 1 << 40))


def pattern(size: int) -> bytes:
    """Bytes of which no two aligned blocks are equal."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


async def blocks_of(body: Body, start: int = 0, end: int | None = None) -> list[bytes]:
    """All blocks that a body yields."""
    return [block async for block in body.chunks(start, end)]


async def all_bytes_come_once_and_in_order(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert b"".join(await blocks_of(body)) == pattern(size)
        await body.aclose()


async def the_length_is_known_before_the_bytes(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert body.length == size
        await body.aclose()


async def no_block_is_empty(make: MakeBody) -> None:
    for size in SIZES:
        body = await make(pattern(size))
        assert all(await blocks_of(body))
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


async def a_body_may_be_left_unread(make: MakeBody) -> None:
    await (await make(pattern(1 << 20))).aclose()


async def a_body_may_be_left_in_the_middle_and_closed_twice(make: MakeBody) -> None:
    body = await make(pattern(4 << 20))
    async for _ in body.chunks():
        break
    await body.aclose()
    await body.aclose()


BODY_CHECKS: tuple[BodyCheck, ...] = (
    all_bytes_come_once_and_in_order,
    the_length_is_known_before_the_bytes,
    no_block_is_empty,
    a_replayable_body_comes_again,
    a_replayable_body_yields_any_range,
    a_body_may_be_left_unread,
    a_body_may_be_left_in_the_middle_and_closed_twice,
)
body_contract = pytest.mark.parametrize("check", BODY_CHECKS, ids=lambda check: check.__name__)
