"""What reviews may hold in memory, all together: the bytes of their bodies, and what is made of them.

Anybody who reaches the webhook's port may send, since the API server shows no certificate. Room is taken as bytes come,
never because they were announced; where there is none left, the largest body that is still on its way goes, since a
review of a pod is small. What JSON becomes in Python is twenty times as large, so that only so much is looked at at a
time: one review of the largest size, or hundreds of the usual.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

# The API server takes no request that is larger, so that it sends no pod that is.
REVIEW_BYTES = 3 << 20
# All bodies that are here, and those of them that are looked at.
BODIES_BYTES, OPEN_BYTES = 8 << 20, REVIEW_BYTES
# Objects and lists of a review: an empty one has three bytes on the way and sixty here.
MAX_BRACKETS = 100_000
# The API server waits for five seconds, and sends all at once.
READ_SECONDS = 5


@dataclass(slots=True, eq=False)
class Body:
    """One body."""

    data: bytearray = field(default_factory=bytearray)
    is_whole: bool = False
    is_dropped: bool = False


class Intake:
    """The bodies that are here."""

    def __init__(self) -> None:
        self._bodies: list[Body] = []
        self._open = 0
        self._closed = asyncio.Event()

    @property
    def held(self) -> int:
        """Bytes of all bodies that are here."""
        return sum(len(body.data) for body in self._bodies)

    @asynccontextmanager
    async def take(self, request: web.Request) -> AsyncIterator[bytes]:
        """Read the body of a request, and hold its place while it is looked at.

        Raises HTTPException where it is too large or slow, or was dropped for others.
        """
        body = Body()
        self._bodies.append(body)
        size = 0
        try:
            await self._read(request, body)
            while self._open and self._open + len(body.data) > OPEN_BYTES:
                self._closed.clear()
                await self._closed.wait()
            size = len(body.data)
            self._open += size
            yield bytes(body.data)
        finally:
            self._open -= size
            self._bodies.remove(body)
            self._closed.set()

    async def _read(self, request: web.Request, body: Body) -> None:
        """Read a body, as long as there is room for it."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                async for block in request.content.iter_any():
                    body.data += block
                    if len(body.data) > REVIEW_BYTES:
                        raise web.HTTPRequestEntityTooLarge(REVIEW_BYTES, len(body.data))
                    self._make_room()
                    if body.is_dropped:
                        raise web.HTTPServiceUnavailable(text="too many bytes of reviews at a time\n")
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"the review was not here after {READ_SECONDS} s\n") from None
        body.is_whole = True
        if body.data.count(b"{") + body.data.count(b"[") > MAX_BRACKETS:
            raise web.HTTPRequestEntityTooLarge(MAX_BRACKETS, len(body.data), text="no pod has so many parts\n")

    def _make_room(self) -> None:
        """Drop the largest bodies that are on their way until the rest fits."""
        while self.held > BODIES_BYTES:
            largest = max((body for body in self._bodies if not body.is_whole), key=lambda body: len(body.data))
            largest.is_dropped = True
            largest.data.clear()
