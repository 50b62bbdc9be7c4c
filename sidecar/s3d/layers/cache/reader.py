"""The body of an answer from the cache: a stretch of a copy, whose blocks are there or on their way."""

import functools
from collections.abc import AsyncIterator

from s3d.api import Body, Call, Send
from s3d.errors import CorruptBody, Unavailable
from s3d.layers.cache.copies import Copies, Copy
from s3d.layers.cache.fills import Fills
from s3d.metrics import Metrics
from s3d.store.blocks import BLOCK_BYTES

MAX_BLOCKS_AHEAD = 8
"""Most blocks that are sent at a time."""
MAX_TRIES = 3
"""How often a block is fetched for one reader, where it is damaged each time."""


class Reader(Body):
    """A stretch of one version of an object. It never gives out a byte of another version, nor of a damaged block."""

    def __init__(
        self, copies: Copies, copy: Copy, fills: Fills, call: Call, stretch: tuple[int, int], metrics: Metrics
    ) -> None:
        """Take over the caller's use of a copy, and the call on whose behalf blocks are fetched."""
        self._copies = copies
        self._copy = copy
        self._file = copy.file.again()
        self._fills = fills
        self._call = call
        self._start, self._end = stretch
        self._metrics = metrics
        self._closed = False

    replayable = True

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self._end - self._start

    @property
    def send(self) -> Send:
        """Sends the stretch to a socket."""
        return functools.partial(self._send)

    async def begin(self) -> None:
        """Have what is missing fetched, and wait for the first block; an empty stretch has none.

        Raises Changed where the remote has another version, NoRoom where what is missing cannot be cached, and else
        Unavailable and StoreFailed.
        """
        if self._start < self._end:
            await self._fills.fetch(self._call, self._copy, self._start, self._end)
            await self._ready(self._start // BLOCK_BYTES)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the blocks. Raises Unavailable and StoreFailed."""
        at, stop = self._inside(start, end)
        while at < stop:
            number = at // BLOCK_BYTES
            await self._ready(number)
            upto = min(stop, self._copy.stretch(number)[1])
            try:
                data = await self._file.read(at, upto)
            except CorruptBody as error:
                self._lose(number, error)
                continue
            yield data
            at = upto

    async def _send(self, socket: int, start: int = 0, end: int | None = None) -> None:
        at, stop = self._inside(start, end)
        while at < stop:
            number = at // BLOCK_BYTES
            await self._ready(number)
            last = number
            while last + 1 < min(number + MAX_BLOCKS_AHEAD, len(self._copy.blocks)) and last + 1 in self._copy.verified:
                last += 1
            upto = min(stop, self._copy.stretch(last)[1])
            await self._file.send(socket, at, upto)
            at = upto

    def _inside(self, start: int, end: int | None) -> tuple[int, int]:
        return self._start + start, self._end if end is None else min(self._end, self._start + end)

    async def _ready(self, number: int) -> None:
        """Wait until a block is there, and sound."""
        copy = self._copy
        for _ in range(MAX_TRIES):
            if not copy.blocks[number]:
                fill = copy.fill_of(number)
                if fill is None:
                    await self._fills.fetch(self._call, copy, *copy.stretch(number))
                    fill = copy.fill_of(number)
                if fill is not None:
                    await fill.wait_for(number)
            if copy.blocks[number] and await copy.is_sound(number):
                return
            self._lose(number, None)
        raise Unavailable("What is cached cannot be read back", hint="look at the disk of S3D_READ_CACHE_DIR")

    def _lose(self, number: int, error: Exception | None) -> None:
        """Forget a block that is not what was written: it is fetched again."""
        if self._copy.blocks[number]:
            self._metrics.cache_corrupt_blocks.inc()
            self._fills.damaged(self._copy, number, error)

    async def aclose(self) -> None:
        """Let go of the copy."""
        if not self._closed:
            self._closed = True
            self._file.close()
            self._copies.leave(self._copy)
