"""The fault proxy does what its script says, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from e2e.faults import PAGE, PORTAL, Proxy, gateway
from tests.stores import until

PUT = b"PUT /b/k?partNumber=2 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabcdef"
GET = b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n"


class Server:
    """Answers each request with its own body, or "none", and remembers the bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 6 if b"Content-Length: 6" in head else 0
                body = await reader.readexactly(length)
                self.bodies.append(body)
                body = body or b"none"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Proxy]]:
    """A server and a proxy in front of it."""
    server = Server()
    async with (
        await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening,
        Proxy(listening.sockets[0].getsockname()) as proxy,
    ):
        yield server, proxy


@asynccontextmanager
async def connected(proxy: Proxy) -> AsyncIterator[Callable[[bytes], Awaitable[bytes]]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)

    async def ask(request: bytes) -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
        return head.split(b" ", 2)[1] + b" " + await reader.readexactly(length)

    try:
        yield ask
    finally:
        writer.close()


async def test_without_a_rule_requests_pass_over_one_connection(server: tuple[Server, Proxy]) -> None:
    _, proxy = server
    async with connected(proxy) as ask:
        assert [await ask(PUT), await ask(GET), await ask(PUT)] == [b"200 abcdef", b"200 none", b"200 abcdef"]
    assert proxy.seen == ["PUT /b/k?partNumber=2", "GET /b/k", "PUT /b/k?partNumber=2"]


async def test_a_rule_answers_in_the_remotes_place_as_often_as_it_says(server: tuple[Server, Proxy]) -> None:
    remote, proxy = server
    proxy.set([{"method": "PUT", "path": "partNumber=2", "skip": 1, "times": 1, "status": 503, "code": "SlowDown"}])
    async with connected(proxy) as ask:
        assert await ask(PUT) == b"200 abcdef"
        assert (await ask(PUT)).startswith(b"503 <?xml")
        assert await ask(PUT) == b"200 abcdef"
    assert proxy.stats()["hits"] == [1]
    assert remote.bodies == [b"abcdef"] * 2


async def test_the_remote_may_get_a_request_whose_answer_is_another(server: tuple[Server, Proxy]) -> None:
    remote, proxy = server
    proxy.set([{"method": "PUT", "status": 200, "body": "<Error/>", "forward": True}])
    async with connected(proxy) as ask:
        assert await ask(PUT) == b"200 <Error/>"
    assert remote.bodies == [b"abcdef"]


async def test_a_request_is_reset_in_the_middle_of_its_body(server: tuple[Server, Proxy]) -> None:
    remote, proxy = server
    proxy.set([{"method": "PUT", "reset_at": 3, "times": 1}])
    async with connected(proxy) as ask:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await ask(PUT)
    assert remote.bodies == []


async def test_a_body_in_slices_is_the_same_body(server: tuple[Server, Proxy]) -> None:
    remote, proxy = server
    proxy.set([{"slice": 1}])
    async with connected(proxy) as ask:
        assert await ask(PUT) == b"200 abcdef"
    assert remote.bodies == [b"abcdef"]


def test_a_rule_that_does_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="reset_at or slice"):
        Proxy(("127.0.0.1", 1)).set([{"method": "PUT"}])


async def test_a_portal_answers_everything_and_a_head_without_a_body(server: tuple[Server, Proxy]) -> None:
    there, proxy = server
    proxy.set(PORTAL)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for request in (PUT, GET.replace(b"GET", b"HEAD"), GET):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"Content-Type: text/html\r\n" in head
        if not request.startswith(b"HEAD"):
            assert (await reader.readexactly(len(PAGE))).decode() == PAGE
    writer.close()
    assert there.bodies == []


async def test_a_late_request_is_answered_first_and_arrives_whole(server: tuple[Server, Proxy]) -> None:
    there, proxy = server
    proxy.set(gateway(0.05))
    async with connected(proxy) as ask:
        assert (await ask(PUT)).startswith(b"504 ")
        assert (there.bodies, proxy.stats()["late"]) == ([], 1)
        proxy.set([])
        assert await ask(GET) == b"200 none"
    await until(lambda: not proxy.stats()["late"])
    assert there.bodies == [b"", b"abcdef"]


async def test_a_late_request_that_waits_is_told_to_go_on(server: tuple[Server, Proxy]) -> None:
    there, proxy = server
    proxy.set(gateway(0.0))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(PUT.replace(b"Host: h", b"Host: h\r\nExpect: 100-continue"))
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 504 ")
    writer.close()
    await until(lambda: bool(there.bodies))
    assert there.bodies == [b"abcdef"]
