"""The bytes of a file in the folder, on their way to the remote: all of the version that was planned, or none of it.

Two reads that give the same digest, with nothing written between them, are what tells a whole file from one that is
being written: the walk's look was the first, and this is the second (SEMANTICS S-8).
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable

from s3d.api import Body
from s3d.errors import S3DError
from s3d.store.threads import OpenFile
from s3d.sync.files import BLOCK_BYTES, stamp_of
from s3d.sync.root import Root
from s3d.sync.trees import Content


class FileChanged(S3DError):
    """A file was written to while it was read. It is sent when it is at rest."""


class SteadyBody(Body):
    """An open file that must hold what was planned."""

    def __init__(self, file: OpenFile, content: Content) -> None:
        """Take over an open file."""
        self._file = file
        self._content = content

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self._content.size

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the whole file. Raises FileChanged instead of the last block where it is not what was planned."""
        if start or end is not None:
            raise ValueError("a file of the folder is read in whole")
        before = await self.stat()
        digest, at, held = hashlib.sha256(), 0, b""
        while block := await asyncio.shield(self._file.start(_read, at, digest.update)):
            at += len(block)
            if at > self._content.size:
                break
            if held:
                yield held
            held = block
        after = await self.stat()
        is_same = digest.digest() == self._content.sha256 and at == self._content.size
        if not is_same or stamp_of(before) != stamp_of(after):
            raise FileChanged
        if held:
            yield held

    async def stat(self) -> os.stat_result:
        """What the file is like."""
        return await asyncio.shield(self._file.start(os.fstat))

    async def aclose(self) -> None:
        """Close the file, once no thread reads it any more."""
        self._file.close()


async def open_steady(root: Root, path: str, content: Content) -> SteadyBody:
    """A file of the folder. Raises FileChanged where it is gone."""
    fd = await root.run(root.open_file, path)
    if fd is None:
        raise FileChanged("A file is gone before it could be read")
    return SteadyBody(OpenFile(fd, root.threads), content)


def _read(fd: int, at: int, update: Callable[[bytes], None]) -> bytes:
    block = os.pread(fd, BLOCK_BYTES, at)
    update(block)
    return block
