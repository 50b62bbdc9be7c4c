"""An HTTP proxy in front of a remote that answers what a script says, where the remote itself would never say it.

A script is a list of rules. The first rule that matches a request and has not been used up decides what happens to it;
a request that no rule matches passes byte for byte. Rules match by `method`, by `path` (a regular expression, searched
in path and query) and leave out the first `skip` matches. What they do: `status` answers instead of the remote, with
`code` in an error document or with `body` of a `type`; with `forward` the remote gets the request first and its answer
is thrown away, with `late` it gets it so many seconds after the answer. `reset_at` breaks the connection after so many
bytes of the request's body. `slice` passes bytes on in pieces. PORTAL, INGRESS and `gateway(seconds)` are scripts of
what may stand between a gateway and its store.

In a process of its own: `python -m e2e.faults HOST:PORT [--cert FILE --key FILE]`; its first line names the ports, and
`control(PORT, rules=[{"method": "PUT", "status": 503, "code": "SlowDown"}])` gives it a script.
"""

import argparse
import asyncio
import json
import re
import socket
import ssl
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from e2e.relay import NO_LINGER

BLOCK = 64 << 10
HEAD_LIMIT = 256 << 10
BODYLESS = (204, 304)
MOST_KEPT = 100_000
"""Requests that are remembered."""
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
PORTAL: list[dict[str, Any]] = [{"status": 200, "type": "text/html", "body": PAGE}]
"""A captive portal, or a page of maintenance: to everything."""
INGRESS: list[dict[str, Any]] = [{"status": 404, "type": "text/plain", "body": "default backend - 404"}]
"""An ingress whose backend is gone."""


def gateway(seconds: float) -> list[dict[str, Any]]:
    """A proxy that gives up at once on a backend which does what it was asked so many seconds later."""
    return [{"status": 504, "type": "text/html", "body": "<html>504 Gateway Time-out</html>", "late": seconds}]


@dataclass(slots=True)
class Rule:
    """One line of a script."""

    method: str = ""
    path: str = ""
    skip: int = 0
    times: int | None = None
    """How many requests it is for; None: for all."""
    status: int | None = None
    code: str = ""
    body: str | None = None
    type: str = "application/xml"
    forward: bool = False
    late: float | None = None
    reset_at: int | None = None
    slice: int = 0
    hits: int = 0

    def concerns(self, request: "Head") -> bool:
        """Whether this rule decides on a request; counts."""
        if self.method and self.method != request.method:
            return False
        if self.path and not re.search(self.path, request.target):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True

    def answer(self) -> bytes:
        """The answer as bytes of HTTP."""
        document = self.body
        if document is None:
            said = f"<Error><Code>{self.code}</Code><Message>{self.code}, by script</Message></Error>"
            document = f'<?xml version="1.0" encoding="UTF-8"?>\n{said}' if self.code else ""
        body = document.encode()
        head = f"HTTP/1.1 {self.status} By Script\r\nContent-Type: {self.type}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def answer_to(self, request: "Head") -> bytes:
        """The answer to a request: a HEAD's has no body."""
        answer = self.answer()
        return answer if request.method != "HEAD" else answer[: answer.index(b"\r\n\r\n") + 4]


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or of an answer."""

    data: bytes

    @property
    def method(self) -> str:
        return self.data.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.data.split(b" ", 2)[1].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    def header(self, name: str) -> str:
        """A header's value; "" where there is none."""
        found = re.search(rb"\r\n%b:[ \t]*([^\r\n]*)" % name.encode(), self.data, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else ""


@dataclass(slots=True)
class Proxy:
    """The proxy. It listens from entry to exit, on a free port that is then in `port`."""

    target: tuple[str, int]
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    rules: list[Rule] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _late: set[asyncio.Task[Any]] = field(default_factory=set)
    """Requests that the remote is to have later."""
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=HEAD_LIMIT, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def set(self, rules: list[dict[str, Any]] | None = None) -> None:
        """Give it another script. Raises TypeError and ValueError on a rule that is none."""
        if rules is not None:
            made = [Rule(**rule) for rule in rules]
            if any(rule.status is None and rule.reset_at is None and not rule.slice for rule in made):
                raise ValueError("a rule has a status, reset_at or slice")
            self.rules = made

    def stats(self) -> dict[str, Any]:
        """How often each rule was used, and the requests in order, as `METHOD target`."""
        return {
            "port": self.port,
            "hits": [rule.hits for rule in self.rules],
            "requests": self.seen,
            "late": len(self._late),
        }

    def _later(self, seconds: float, request: bytes) -> None:
        """Let the remote have a request after a while."""
        task = asyncio.create_task(self._arrive(seconds, request))
        for tasks in (self._tasks, self._late):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _arrive(self, seconds: float, request: bytes) -> None:
        await asyncio.sleep(seconds)
        with suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(*self.target, limit=HEAD_LIMIT)
            writer.write(request)
            # Whatever it answers, it has done it then.
            await reader.readuntil(b"\r\n\r\n")
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        remote: asyncio.StreamWriter | None = None
        try:
            remote_reader, remote = await asyncio.open_connection(*self.target, limit=HEAD_LIMIT)
            while await self._exchange(reader, writer, remote_reader, remote):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side is gone, so the other one goes too
        finally:
            for each in (writer, remote):
                if each is not None:
                    each.close()
                    with suppress(OSError, asyncio.CancelledError):
                        await each.wait_closed()

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        remote_reader: asyncio.StreamReader,
        remote: asyncio.StreamWriter,
    ) -> bool:
        """One request and its answer; False where the connection ends with it."""
        request = Head(await reader.readuntil(b"\r\n\r\n"))
        if len(self.seen) < MOST_KEPT:
            self.seen.append(f"{request.method} {request.target}")
        rule = next((rule for rule in self.rules if rule.concerns(request)), None)
        if rule is not None and rule.status is not None and not rule.forward:
            if request.header("Expect") and rule.late is None:
                # The client has not sent its body and will not.
                writer.write(rule.answer_to(request))
                await writer.drain()
                return False
            if request.header("Expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request = Head(re.sub(rb"\r\nExpect:[^\r\n]*", b"", request.data, flags=re.IGNORECASE))
            kept = Kept()
            await carry(reader, kept if rule.late is not None else None, request)
            writer.write(rule.answer_to(request))
            await writer.drain()
            if rule.late is not None:
                self._later(rule.late, request.data + bytes(kept.data))
            return True
        remote.write(request.data)
        sending = asyncio.ensure_future(carry(reader, remote, request, rule))
        sending.add_done_callback(partial(end, writer, remote))
        try:
            answer = Head(await remote_reader.readuntil(b"\r\n\r\n"))
            while 100 <= answer.status < 200:
                writer.write(answer.data)
                answer = Head(await remote_reader.readuntil(b"\r\n\r\n"))
            if rule is not None and rule.status is not None:
                await carry(remote_reader, None, answer, request=request)
                writer.write(rule.answer_to(request))
                await writer.drain()
                return False
            writer.write(answer.data)
            await carry(remote_reader, writer, answer, rule, request=request)
            return sending.done() and answer.header("Connection").lower() != "close"
        finally:
            if not sending.done():
                sending.cancel()
            with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError, Broken):
                await sending


@dataclass(slots=True)
class Kept:
    """Takes bytes and keeps them, in the place of a connection."""

    data: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None:
        """There is always room."""


class Broken(Exception):
    """The script says that the connection breaks here."""


def end(client: asyncio.StreamWriter, remote: asyncio.StreamWriter, sending: "asyncio.Future[None]") -> None:
    """Break both connections where a request did not get through whole."""
    if not sending.cancelled() and sending.exception() is not None:
        break_off(client)
        break_off(remote)


def break_off(writer: asyncio.StreamWriter) -> None:
    """Reset a connection."""
    sock = writer.get_extra_info("socket")
    if sock is not None and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
    writer.transport.abort()


async def carry(
    reader: asyncio.StreamReader,
    writer: "asyncio.StreamWriter | Kept | None",
    head: Head,
    rule: Rule | None = None,
    request: Head | None = None,
) -> None:
    """Carry the body that follows a head, as it is framed; to nobody without a writer.

    `request` is that of an answer's head. Raises Broken where the rule breaks a request off.
    """
    if request is not None and (request.method == "HEAD" or head.status in BODYLESS):
        return
    moved = 0

    async def move(data: bytes) -> None:
        nonlocal moved
        if writer is None:
            return
        piece = rule.slice if rule is not None and rule.slice else len(data) or 1
        for at in range(0, len(data), piece):
            part = data[at : at + piece]
            if request is None and rule is not None and rule.reset_at is not None and moved + len(part) > rule.reset_at:
                writer.write(part[: rule.reset_at - moved])
                await writer.drain()
                raise Broken
            moved += len(part)
            writer.write(part)
            await writer.drain()

    if "chunked" in head.header("Transfer-Encoding").lower():
        while True:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            await move(line + await reader.readexactly(size + 2))
            if not size:
                return
    length = head.header("Content-Length")
    left = int(length) if length else 0
    if request is not None and not length:
        while block := await reader.read(BLOCK):
            await move(block)
        return
    while left:
        block = await reader.read(min(BLOCK, left))
        if not block:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(block)
        await move(block)


async def run(proxy: Proxy, control_port: int) -> None:
    """Proxy until cancelled, and obey the control port: a JSON object a line, answered by the stats."""

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                try:
                    proxy.set(**json.loads(line))
                    answer = proxy.stats()
                except (ValueError, TypeError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async with proxy, await asyncio.start_server(obey, "127.0.0.1", control_port) as server:
        print(json.dumps({**proxy.stats(), "control": server.sockets[0].getsockname()[1]}), flush=True)
        await server.serve_forever()


def main(words: list[str]) -> None:
    """Run a proxy as a process."""
    parser = argparse.ArgumentParser(prog="python -m e2e.faults", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", help="HOST:PORT of the remote")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--listen", type=int, default=0, help="port (default: a free one)")
    parser.add_argument("--control", type=int, default=0, help="control port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--cert", help="speak TLS with this certificate")
    parser.add_argument("--key", help="its key")
    given = parser.parse_args(words)
    host, _, port = given.target.rpartition(":")
    tls = None
    if given.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.cert, given.key)
    with suppress(KeyboardInterrupt):
        asyncio.run(run(Proxy((host, int(port)), tls, given.host, given.listen), given.control))


if __name__ == "__main__":
    main(sys.argv[1:])
