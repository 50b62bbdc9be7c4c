import asyncio
import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from s3d_operator import intake
from s3d_operator.intake import BODIES_BYTES, MAX_BRACKETS, OPEN_BYTES, REVIEW_BYTES, Intake
from s3d_operator.webhook import decide, read_review
from tests.operator.conftest import Eventually
from tests.operator.goldens import IMAGE, gateway
from tests.operator.injections import ANONYMOUS
from tests.operator.test_webhook import pod, review


class Door:
    """A door that reads reviews and answers when it may."""

    def __init__(self) -> None:
        self.intake, self.may_end, self.open = Intake(), asyncio.Event(), 0

    async def answer(self, request: web.Request) -> web.Response:
        async with self.intake.take(request) as body:
            self.open += len(body)
            await self.may_end.wait()
            self.open -= len(body)
        return web.Response(text="ok")


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
async def post(door: Door) -> AsyncIterator[Any]:
    """Posts a body, or one that comes in parts."""
    app = web.Application()
    app.router.add_post("/", door.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = "http://{}:{}/".format(*runner.addresses[0][:2])
    async with aiohttp.ClientSession() as session:

        async def send(data: Any) -> int:
            async with session.post(url, data=io.BytesIO(data) if isinstance(data, bytes) else data) as response:
                return response.status

        yield send
    await runner.cleanup()


@asynccontextmanager
async def unfinished(post: Any, size: int) -> AsyncIterator[asyncio.Task[int]]:
    """A request that sends some of its body, and no more until the end."""
    ends = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"x" * size
        await ends.wait()
        yield b"x"

    task = asyncio.ensure_future(post(parts()))
    try:
        yield task
    finally:
        ends.set()
        await asyncio.wait([task])


async def test_a_body_that_is_larger_than_the_api_servers_is_refused(door: Door, post: Any) -> None:
    door.may_end.set()
    assert await post(b"x" * REVIEW_BYTES) == 200
    assert await post(b"x" * (REVIEW_BYTES + 1)) == 413
    assert await post(b"[" * (MAX_BRACKETS + 1)) == 413
    assert door.intake.held == 0


async def test_of_bodies_that_do_not_end_the_largest_goes_and_small_ones_are_answered(
    door: Door, post: Any, eventually: Eventually
) -> None:
    door.may_end.set()
    size = REVIEW_BYTES - 1
    count = BODIES_BYTES // size
    async with AsyncExitStack() as stack:
        for number in range(count):
            await stack.enter_async_context(unfinished(post, size))
            await eventually(lambda: door.intake.held == (number + 1) * size)  # noqa: B023
        last = await stack.enter_async_context(unfinished(post, size - 1))
        await eventually(lambda: any(body.is_dropped for body in door.intake._bodies))
        assert door.intake.held <= BODIES_BYTES
        assert await post(b"{}") == 200
        assert not last.done()
    assert door.intake.held == 0


async def test_only_so_much_is_looked_at_at_a_time(door: Door, post: Any, eventually: Eventually) -> None:
    size = OPEN_BYTES * 2 // 3
    tasks = [asyncio.ensure_future(post(b"x" * size)) for _ in range(3)]
    # A body is here before it is known that it has ended, and looked at after that.
    await eventually(lambda: (door.intake.held, door.open) == (3 * size, size))
    door.may_end.set()
    assert await asyncio.gather(*tasks) == [200, 200, 200]
    assert (door.intake.held, door.open) == (0, 0)


async def test_a_body_that_does_not_come_is_given_up(door: Door, post: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "READ_SECONDS", 0.01)
    async with unfinished(post, 1) as task:
        assert await task == 408


@pytest.mark.parametrize("part", ["{}", '"a"', "1.5", '{"k":0}'])
def test_the_largest_review_takes_less_than_the_memory_of_the_webhook(part: str) -> None:
    given = json.dumps(review(pod(odd="PARTS")))
    room = min(REVIEW_BYTES - len(given), (len(part) + 1) * MAX_BRACKETS if "{" in part else REVIEW_BYTES)
    body = given.replace('"PARTS"', f"[{','.join([part] * (room // (len(part) + 1) - 1))}]").encode()
    tracemalloc.start()
    try:
        decide(read_review(body)["object"], gateway(ANONYMOUS), IMAGE, denies=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120 << 20


def test_a_review_of_brackets_is_none() -> None:
    with pytest.raises(web.HTTPBadRequest):
        read_review(b"[" * MAX_BRACKETS)
