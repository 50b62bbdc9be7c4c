"""Asks the remote whether what is cached is what is there: by the client's own request, as a HEAD (SEMANTICS C-2).

One HEAD serves all who ask alike and came before it began; who comes later waits for the next one. So nobody is given
an answer that is older than its request, and however many ask, two are under way at most. One that hangs holds up
nobody who comes after it.
"""

import asyncio
import time
from dataclasses import dataclass

from s3d.api import S3, Call, Outcome, Reply
from s3d.layers.cache import requests
from s3d.metrics import Metrics
from s3d.settings import ReadCache


@dataclass(frozen=True, slots=True)
class Shown:
    """What the remote said."""

    reply: Reply
    length: int | None
    """The length that it said of a body, which a HEAD has not."""

    @property
    def is_trouble(self) -> bool:
        """Whether it says nothing about the object: the store is in trouble."""
        return self.reply.status >= 500 or self.reply.status == 429

    @property
    def is_clear(self) -> bool:
        """Whether the store itself has said it."""
        return self.reply.outcome not in (Outcome.UNCLEAR, Outcome.UNKNOWN)


@dataclass(slots=True, eq=False)
class Line:
    """Who asks alike."""

    running: asyncio.Task[Shown] | None = None
    began: float = 0.0
    next: asyncio.Task[Shown] | None = None


class Validations:
    """The HEADs that are under way."""

    def __init__(self, inner: S3, limits: ReadCache, metrics: Metrics) -> None:
        """Take what is asked."""
        self._inner = inner
        self._limits = limits
        self._metrics = metrics
        self._lines: dict[str, Line] = {}

    def ask(self, call: Call) -> "asyncio.Future[Shown]":
        """An answer of the remote to a read, asked from now on. It is shared: wait for it by `asyncio.wait`."""
        name = requests.fingerprint(call)
        line = self._lines.setdefault(name, Line())
        hangs = line.running is not None and time.monotonic() - line.began > self._limits.validate_timeout
        if line.running is None or hangs:
            return self._start(name, line, call)
        if line.next is None:
            line.next = asyncio.ensure_future(self._after(line.running, name, line, call))
            line.next.add_done_callback(_heed)
        return line.next

    async def close(self) -> None:
        """End those that are under way."""
        tasks = [task for line in self._lines.values() for task in (line.running, line.next) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, line: Line, call: Call) -> asyncio.Task[Shown]:
        task = asyncio.ensure_future(self._head(requests.as_head(call)))
        line.running, line.began = task, time.monotonic()
        task.add_done_callback(lambda done: self._ended(name, line, done))
        return task

    async def _after(self, running: asyncio.Task[Shown], name: str, line: Line, call: Call) -> Shown:
        """The next HEAD, once the one before has been answered or hangs."""
        left = line.began + self._limits.validate_timeout - time.monotonic()
        await asyncio.wait({running}, timeout=max(0.0, left))
        line.next = None
        task = self._start(name, line, call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.cancel()
            raise

    async def _head(self, call: Call) -> Shown:
        started = time.perf_counter()
        reply = await self._inner(call)
        said = reply.headers.get("Content-Length", "")
        length = int(said) if said.isdigit() else None
        if reply.body is not None:
            length = reply.body.length if length is None else length
            await reply.body.aclose()
        self._metrics.cache_validations.observe(time.perf_counter() - started)
        return Shown(reply, length)

    def _ended(self, name: str, line: Line, task: asyncio.Task[Shown]) -> None:
        _heed(task)
        if line.running is task:
            line.running = None
            if line.next is None and self._lines.get(name) is line:
                del self._lines[name]


def _heed(task: "asyncio.Task[Shown]") -> None:
    """Whoever asked may have left; that is no reason for a warning."""
    if not task.cancelled():
        task.exception()
