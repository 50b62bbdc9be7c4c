"""A body in a file: read by threads, sent to a socket by the kernel, verified once."""

import asyncio
import functools
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from s3d.api import Body, Send
from s3d.bounded import BoundedMap
from s3d.errors import CorruptBody
from s3d.store import sending
from s3d.store.failures import store_error
from s3d.store.files import BLOCK_BYTES, Stamp, link_open
from s3d.store.threads import OpenFile

MAX_INTACT = 16_384
"""Bodies of which it is remembered that they hold what was stored; one that was forgotten is read once more."""


class FileBody(Body):
    """A stored body; replayable, and readable by several at once."""

    replayable = True

    def __init__(
        self,
        file: OpenFile,
        id: str,  # noqa: A002
        size: int,
        md5: str | None,
        stamp: Stamp,
        intact: "Intact",
    ) -> None:
        """Take over an open file of `size` bytes, and what remembers which files were verified."""
        self._file = file
        self.id = id
        self._size = size
        self._md5 = md5
        self.stamp = stamp
        self._intact = intact

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self._size

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield blocks of up to 1 MiB, one of them read ahead. Raises CorruptBody and StoreFailed."""
        end = self._size if end is None else min(end, self._size)
        whole = self._md5 is not None and start == 0 and end == self._size
        digest = hashlib.md5(usedforsecurity=False) if whole else None
        ahead = self._file.start(_read, start, end, digest) if start < end else None
        while ahead:
            try:
                block = await asyncio.shield(ahead)
            except OSError as error:
                raise store_error(error, f"the body {self.id} cannot be read") from error
            start += len(block)
            if not block:
                raise CorruptBody(f"the body {self.id} ends before its {self._size} bytes")
            ahead = self._file.start(_read, start, end, digest) if start < end else None
            if digest and not ahead and digest.hexdigest() != self._md5:
                self._intact.forget(self.id)
                raise CorruptBody(f"the body {self.id} does not match its MD5 {self._md5}")
            yield block

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Hash the whole file, whichever stretch of it is wanted, unless this process did so before or wrote it, and
        the file was not written to since. All who ask at once share one look. Raises CorruptBody and StoreFailed.
        """
        if self._md5 is not None and start < (self._size if end is None else end):
            await self._intact.look(self)

    def again(self) -> "FileBody":
        """The same open file for a reader of its own, which outlives this one."""
        return FileBody(self._file.again(), self.id, self._size, self._md5, self.stamp, self._intact)

    @property
    def send(self) -> Send:
        """Sends a stretch to a socket."""
        return self._send

    async def _send(self, socket: int, start: int = 0, end: int | None = None) -> None:
        """Send a stretch to a non-blocking socket by sendfile(2). No byte passes through us, so none is verified.

        Raises ConnectionError when the other side leaves, CorruptBody when the file ends early, and StoreFailed.
        """
        end = self._size if end is None else min(end, self._size)
        await sending.send(self._file, f"the body {self.id}", socket, start, end)

    async def link(self, path: Path) -> bool:
        """Give the file another name; False where it cannot have one there. Raises StoreFailed."""
        try:
            return await asyncio.shield(self._file.start(link_open, path))
        except OSError as error:
            raise store_error(error, f"the body {self.id} cannot be linked") from error

    async def aclose(self) -> None:
        """Let go of the file, once no thread reads it any more."""
        self._file.close()


class Intact:
    """Which bodies hold what was stored, so far as this process wrote them or has read them whole since it started.

    A file that was written to since, or that another has taken the place of, is known no more (see Stamp). What rots on
    the medium without a write is found at hand-over, which reads every byte.
    """

    def __init__(self) -> None:
        self._stamps: BoundedMap[str, Stamp] = BoundedMap(MAX_INTACT)
        self._looks: dict[tuple[str, Stamp], asyncio.Future[None]] = {}

    def note(self, id: str, stamp: Stamp) -> None:  # noqa: A002
        """Remember a body as it is now."""
        self._stamps[id] = stamp

    def forget(self, id: str) -> None:  # noqa: A002
        """Have a body verified anew."""
        self._stamps.forget(id)

    async def look(self, body: FileBody) -> None:
        """Verify a body that is not known. The look outlives whoever asked for it first."""
        if self._stamps.get(body.id) == body.stamp:
            return
        name = (body.id, body.stamp)
        look = self._looks.get(name)
        if look is None:
            look = self._looks[name] = asyncio.ensure_future(self._read(body.again()))
            look.add_done_callback(functools.partial(self._done, name))
        await asyncio.shield(look)

    async def close(self) -> None:
        """End the looks that are under way."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    async def _read(self, body: FileBody) -> None:
        try:
            async for _ in body.chunks():
                pass
            self.note(body.id, body.stamp)
        finally:
            await body.aclose()

    def _done(self, name: tuple[str, Stamp], look: asyncio.Future[None]) -> None:
        del self._looks[name]
        # Whoever asked may have left; that is no reason for a warning.
        if not look.cancelled():
            look.exception()


def _read(fd: int, start: int, end: int, digest: "hashlib._Hash | None") -> bytes:
    block = os.pread(fd, min(BLOCK_BYTES, end - start), start)
    if digest:
        digest.update(block)
    return block
