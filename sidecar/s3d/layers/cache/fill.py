"""A fill: one answer of the remote on its way into the blocks of a copy, for all who wait for them.

It outlives each of its readers. A block is there for readers as soon as it is written; what of it is kept is decided
when the fill has come whole. A fill that breaks off, or has another length than was said, leaves nothing.
"""

import asyncio
from array import array

from s3d.api import Body
from s3d.errors import Unavailable
from s3d.store.blocks import BLOCK_BYTES, BlockFile


class Changed(Unavailable):
    """The remote has another version by now."""


class Fill:
    """Blocks from `first` up to, not including, `last`."""

    def __init__(self, first: int, last: int, end: int) -> None:
        """Take which blocks it brings, and the byte at which they end."""
        self.first = first
        self.last = last
        self.end = end
        self._reached = first
        self._error: Exception | None = None
        self._moved = asyncio.Event()

    def brings(self, number: int) -> bool:
        """Whether a block will come by it, or has."""
        return self.first <= number < self.last and self._error is None

    async def wait_for(self, number: int) -> None:
        """Wait until a block is there. Raises what ended the fill before."""
        while self._reached <= number:
            if self._error is not None:
                kind = Changed if isinstance(self._error, Changed) else Unavailable
                raise kind(str(getattr(self._error, "message", self._error))) from self._error
            await self._moved.wait()

    def failed(self, error: Exception) -> None:
        """End it for all who wait."""
        self._error = error
        self._wake()

    async def run(self, body: Body, file: BlockFile, blocks: "array[int]", verified: set[int]) -> None:
        """Write what comes of a body, which is closed: a block is written while the next one comes. Raises Unavailable
        where it does not come whole, and StoreFailed."""
        held: list[bytes] = []
        size, at = 0, self.first * BLOCK_BYTES
        writing: asyncio.Task[None] | None = None
        try:
            async for chunk in body.chunks():
                held.append(chunk)
                size += len(chunk)
                while size >= BLOCK_BYTES:
                    data = b"".join(held)
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(self._write(file, at, data[:BLOCK_BYTES], blocks, verified))
                    held, size, at = [data[BLOCK_BYTES:]], size - BLOCK_BYTES, at + BLOCK_BYTES
            if writing is not None:
                await writing
            if at + size != self.end:
                raise Unavailable("The remote's response has another length than it said")
            if size:
                await self._write(file, at, b"".join(held), blocks, verified)
        finally:
            if writing is not None:
                # Where the fill breaks off: what is thrown away then must not come after that.
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
            await body.aclose()

    async def _write(self, file: BlockFile, at: int, data: bytes, blocks: "array[int]", verified: set[int]) -> None:
        number = at // BLOCK_BYTES
        if number >= self.last or at + len(data) > self.end:
            raise Unavailable("The remote's response is longer than it said")
        blocks[number] = await file.write(at, data) + 1
        verified.add(number)
        self._reached = number + 1
        self._wake()

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
