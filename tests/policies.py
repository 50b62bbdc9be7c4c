"""Real Open Policy Agents, as built by e2e/cluster/tools.sh, and servers that answer as one should not."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.processes import NotStarted, Program, free_port, running, start
from tests.remotes import find_program

ALLOW = "package s3d\n\ndefault allow := false\n\nallow if input.operation\n"


@dataclass(frozen=True, slots=True)
class Agent:
    """A running OPA."""

    url: str
    program: Program


@contextlib.contextmanager
def agent(directory: Path, rego: str, *words: str, url: str = "", port: int = 0) -> Iterator[Agent]:
    """An OPA with a policy; `words` are more of its options, `url` is its own where it is another."""
    port = port or free_port()
    (directory / "policy.rego").write_text(rego)
    address = url if url.startswith("unix:") else f"127.0.0.1:{port}"
    command: list[str | Path] = [find_program("opa"), "run", "--server", "--disable-telemetry", "--log-level", "error"]
    command += ["--addr", address, *words, directory / "policy.rego"]
    with running(start(command, directory / "opa.log", {}, cwd=directory)) as program:
        wait_for(program, address)
        yield Agent(url or f"http://127.0.0.1:{port}", program)


def wait_for(program: Program, address: str) -> None:
    """Wait until something takes connections at an address. Raises NotStarted."""
    path = address.removeprefix("unix://")
    host, _, port = address.rpartition(":")
    end = time.monotonic() + 60
    while program.running and time.monotonic() < end:
        with socket.socket(socket.AF_UNIX if path != address else socket.AF_INET) as client:
            if client.connect_ex(path if path != address else (host, int(port))) == 0:
                return
        time.sleep(0.02)
    raise NotStarted(program.output())


@contextlib.contextmanager
def hung(port: int) -> Iterator[None]:
    """Something that takes connections and says nothing."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        yield


Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def answering(answer: Answering) -> AsyncIterator[str]:
    """A server in this process that answers every request so; its URL."""
    app = web.Application()
    under_way: set[asyncio.Task[Any] | None] = set()

    async def handle(request: web.Request) -> web.StreamResponse:
        task = asyncio.current_task()
        under_way.add(task)
        try:
            return await answer(request)
        finally:
            under_way.discard(task)

    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]  # the port that the kernel gave
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        for task in under_way:
            if task is not None:
                task.cancel()
        await runner.cleanup()


class Scripted:
    """A policy in this process whose answers a test sets: `says` is the document for an input; it may hang."""

    def __init__(self, says: Callable[[dict[str, Any]], object] = lambda _: True) -> None:
        self.says = says
        """The result for an input."""
        self.asked: list[dict[str, Any]] = []
        self.hangs = False
        self.hangs_up = False
        """Whether it ends each connection without a word."""
        self.instead: tuple[int, str] | None = None
        """The status and the text of its answers, where they are none of OPA's."""
        self.answers = asyncio.Event()
        """Set where a hanging one answers again."""

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer as OPA does."""
        question = (await request.json())["input"]
        self.asked.append(question)
        if self.hangs:
            await self.answers.wait()
        if self.hangs_up and request.transport is not None:
            request.transport.close()
        if self.instead is not None:
            status, text = self.instead
            return web.Response(status=status, text=text)
        return web.json_response(text=json.dumps({"result": self.says(question), "decision_id": f"d{len(self.asked)}"}))

    def hang_up(self) -> None:
        """End each connection without a word from now on, also of those who wait."""
        self.hangs, self.hangs_up = False, True
        self.answers.set()

    def heal(self) -> None:
        """Answer from now on, also to those who wait."""
        self.hangs = self.hangs_up = False
        self.answers.set()
