"""A TCP relay in front of a remote that breaks as networks do, when it is told to.

Modes: `pass`; `refuse` (nothing listens, open connections are reset); `silence` (connections open, no byte moves);
`drop` (requests go through, the reply is lost and its connection reset). Beside the mode: `delay`, seconds that each
request waits, and `bandwidth`, bytes per second each way. `only` limits delay and drop to some methods. It counts
requests and knows how many wait for their reply.

In a process of its own: `python -m e2e.relay HOST:PORT --listen PORT --control PORT [--mode MODE]`, then
`control(PORT, mode="refuse")`. Inside a program: `async with Relay(...) as relay: await relay.set(mode="refuse")`.
"""

import argparse
import asyncio
import dataclasses
import json
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Self

BLOCK = 64 << 10
NO_LINGER = struct.pack("ii", 1, 0)
TCP_ESTABLISHED = 1
MODES = ("pass", "refuse", "silence", "drop")
Mode = Literal["pass", "refuse", "silence", "drop"]


@dataclass(slots=True, eq=False)
class Link:
    """One connection of a client and the one that it leads to."""

    client: asyncio.StreamWriter
    remote: asyncio.StreamWriter
    method: str = ""
    waiting: bool = False
    """A request is under way and nothing of its reply has come."""

    def reset(self) -> None:
        """Break both connections at once, so that both sides see a reset."""
        for writer in (self.client, self.remote):
            if not writer.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            writer.transport.abort()


@dataclass(slots=True)
class Relay:
    """The relay. It listens from entry to exit, on `port`, or on a free one that is then there."""

    target: tuple[str, int]
    port: int = 0
    host: str = "127.0.0.1"
    mode: Mode = "pass"
    delay: float = 0.0
    bandwidth: int = 0
    only: tuple[str, ...] = ()
    requests: int = 0
    _links: set[Link] = field(default_factory=set)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _moving: asyncio.Event = field(default_factory=asyncio.Event)
    _due: dict[str, float] = field(default_factory=dict)
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.set(mode=self.mode)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.set(mode="refuse")
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def in_flight(self) -> int:
        """Requests that have started and wait for the first byte of their reply."""
        return sum(link.waiting for link in self._links)

    def stats(self) -> dict[str, Any]:
        """The settings and the counts."""
        return {
            "port": self.port,
            "mode": self.mode,
            "delay": self.delay,
            "bandwidth": self.bandwidth,
            "only": list(self.only),
            "connections": len(self._links),
            "requests": self.requests,
            "in_flight": self.in_flight,
        }

    async def set(
        self,
        *,
        mode: Mode | None = None,
        delay: float | None = None,
        bandwidth: int | None = None,
        only: tuple[str, ...] | None = None,
    ) -> None:
        """Change what is given; it holds for open connections too."""
        self.delay = self.delay if delay is None else delay
        self.bandwidth = self.bandwidth if bandwidth is None else bandwidth
        self.only = self.only if only is None else tuple(only)
        if mode is None:
            return
        if mode not in MODES:
            raise ValueError(f"{mode!r} is none of {', '.join(MODES)}")
        self.mode = mode
        if mode == "silence":
            self._moving.clear()
        else:
            self._moving.set()
        if mode == "refuse":
            self._close()
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port, limit=BLOCK)
            self.port = self._server.sockets[0].getsockname()[1]

    def _close(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for link in tuple(self._links):
            link.reset()

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            remote_reader, remote = await asyncio.open_connection(*self.target, limit=BLOCK)
        except OSError:
            client.transport.abort()
            return
        link = Link(client, remote)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry_requests(link, client_reader))
                group.create_task(self._carry_replies(link, remote_reader))
        except* OSError:
            pass  # one side broke its connection, so the other one's breaks too
        finally:
            for writer in (client, remote):
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
            self._links.discard(link)

    async def _carry_requests(self, link: Link, reader: asyncio.StreamReader) -> None:
        while block := await reader.read(BLOCK):
            if not link.waiting:
                link.waiting = True
                link.method = block.split(b" ", 1)[0].decode("latin-1")
                self.requests += 1
                if self.delay and self._concerns(link):
                    await asyncio.sleep(self.delay)
                    if has_left(link.client):
                        link.reset()
                        return
            await self._pass_on(link.remote, block, "requests")
        with suppress(OSError):
            link.remote.write_eof()

    async def _carry_replies(self, link: Link, reader: asyncio.StreamReader) -> None:
        while block := await reader.read(BLOCK):
            # A 100 Continue is no reply yet.
            if not block.startswith(b"HTTP/1.1 100 "):
                if self.mode == "drop" and self._concerns(link):
                    link.reset()
                    return
                link.waiting = False
            await self._pass_on(link.client, block, "replies")
        # The remote is done with this connection, whatever the client still has to say.
        link.client.close()
        await link.client.wait_closed()

    async def _pass_on(self, writer: asyncio.StreamWriter, block: bytes, direction: str) -> None:
        if self.bandwidth:
            now = asyncio.get_running_loop().time()
            due = max(now, self._due.get(direction, 0.0)) + len(block) / self.bandwidth
            self._due[direction] = due
            await asyncio.sleep(due - now)
        await self._moving.wait()
        writer.write(block)
        await writer.drain()

    def _concerns(self, link: Link) -> bool:
        return not self.only or link.method in self.only


def has_left(writer: asyncio.StreamWriter) -> bool:
    """Whether the other side has ended its connection, whatever it sent before.

    Its process may be gone: its request must not reach the remote after what the next process sends.
    """
    info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return bool(info[0] != TCP_ESTABLISHED)


def control(port: int, **changes: Any) -> dict[str, Any]:
    """Change a relay that runs as a process, by its control port; its settings and counts. Raises ValueError."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(json.dumps(changes).encode() + b"\n")
        with connection.makefile("rb") as answer:
            stats: dict[str, Any] = json.loads(answer.readline())
    if "error" in stats:
        raise ValueError(stats["error"])
    return stats


async def run(relay: Relay, control_port: int) -> None:
    """Relay until cancelled, and obey the control port: a JSON object of changes a line, answered by the stats."""

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                try:
                    await relay.set(**json.loads(line))
                    answer = relay.stats()
                except (ValueError, TypeError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async with relay, await asyncio.start_server(obey, "127.0.0.1", control_port) as server:
        print(json.dumps({**relay.stats(), "control": server.sockets[0].getsockname()[1]}), flush=True)
        await server.serve_forever()


def main(words: list[str]) -> None:
    """Run a relay as a process."""
    fields = {f.name: f.default for f in dataclasses.fields(Relay)}
    parser = argparse.ArgumentParser(prog="python -m e2e.relay", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", help="HOST:PORT of the remote")
    parser.add_argument("--host", default=fields["host"], help="address to listen on (default: %(default)s)")
    parser.add_argument("--listen", type=int, default=0, help="port on it (default: a free one)")
    parser.add_argument("--control", type=int, default=0, help="control port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--mode", choices=MODES, default=fields["mode"])
    parser.add_argument("--delay", type=float, default=fields["delay"], help="seconds that each request waits")
    parser.add_argument("--bandwidth", type=int, default=fields["bandwidth"], help="bytes per second, each way")
    parser.add_argument("--only", nargs="*", default=(), help="methods that delay and drop are for (default: all)")
    given = parser.parse_args(words)
    host, _, port = given.target.rpartition(":")
    relay = Relay(
        (host, int(port)), given.listen, given.host, given.mode, given.delay, given.bandwidth, tuple(given.only)
    )
    with suppress(KeyboardInterrupt):
        asyncio.run(run(relay, given.control))


if __name__ == "__main__":
    main(sys.argv[1:])
