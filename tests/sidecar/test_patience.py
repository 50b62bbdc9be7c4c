"""Copies and completed uploads take long: their clients are kept waiting, as S3 does it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from s3d.access.cors import Rule, Rules
from s3d.api import Call, Reply
from s3d.door import handler
from s3d.door.handler import Door
from s3d.door.server import listen
from s3d.errors import S3Error
from s3d.metrics import Metrics
from s3d.protocol import encode
from s3d.settings import Gateway
from tests.processes import free_port

COPY = (
    b"PUT /b/k HTTP/1.1\r\nHost: localhost\r\nx-amz-copy-source: /b/other\r\n"
    b"Origin: https://app.example\r\nConnection: close\r\n\r\n"
)


class Late:
    """An S3 that answers when it is told to."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

    async def __call__(self, call: Call) -> Reply:
        return await self.answer


async def rules_of(_: str) -> Rules:
    return Rules((Rule(("https://app.example",), ("PUT",)),))


@pytest.fixture
async def late(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Late, asyncio.StreamReader]]:
    """A client that has asked such an S3 for a copy, and got its first blank."""
    monkeypatch.setattr(handler, "BLANK_INTERVAL", 0.01)
    settings = Gateway(endpoint=f"http://127.0.0.1:{free_port()}")
    slow = Late()
    async with listen(Door(slow, settings, rules_of, Metrics()), settings, Metrics()):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(settings.endpoint.rpartition(":")[2]))
        writer.write(COPY)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Access-Control-Allow-Origin: https://app.example\r\n" in head
        await reader.readuntil(b"\r\n \r\n")
        yield slow, reader
        writer.close()


@pytest.mark.semantics("R-12a")
async def test_a_client_of_a_long_copy_gets_blanks_and_then_the_result(late: tuple[Late, asyncio.StreamReader]) -> None:
    slow, reader = late
    slow.answer.set_result(encode.reply("CopyObject", {"CopyObjectResult": {"ETag": '"e"'}}))
    rest = await reader.read()
    assert b"<CopyObjectResult" in rest
    assert b"<?xml" not in rest  # it came before the blanks


async def test_a_long_copy_that_fails_says_so_inside_its_200(late: tuple[Late, asyncio.StreamReader]) -> None:
    slow, reader = late
    slow.answer.set_exception(S3Error("SlowDown", "later", status=503))
    assert b"<Error><Code>SlowDown</Code>" in (await reader.read()).replace(b"\n", b"")
