"""The body of a remote's answer, where the kernel cannot move it."""

import asyncio
import errno
import os
import random
from collections.abc import Callable

import pytest

from s3d.client import Client
from s3d.layers.remote import connect
from s3d.layers.splice import check
from s3d.layers.transfers import SPLICE_MIN_BYTES
from s3d.metrics import Metrics
from s3d.settings import Remote
from tests.contracts.bodies import blocks_of

DATA = random.Random(7).randbytes(SPLICE_MIN_BYTES)


@pytest.fixture(autouse=True)
def no_blocking_calls() -> None:
    """Connecting reads the trusted certificates, which blocks; a daemon does so at its start."""


def no_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3d.layers.splice.PIPE_BYTES", -1)  # no system has one of this size


def forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EPERM, "as a filter of system calls says it")

    check.cache_clear()
    monkeypatch.setattr(os, "splice", refuse)


@pytest.mark.parametrize("hinder", [no_pipe, forbidden])
async def test_where_the_kernel_may_not_move_it_a_large_body_comes_the_ordinary_way(
    hinder: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    hinder(monkeypatch)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + DATA)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(Remote(endpoint=endpoint, anonymous=True), Metrics()) as far:
            body = (await Client(far).get_object("b", "k")).body
            assert body is not None
            assert body.send is None
            assert b"".join(await blocks_of(body)) == DATA
            await body.aclose()
