"""The body of a completed upload: the files of its parts, one after another, as if they were one (SEMANTICS R-1).

A part that is read whole is verified against its MD5 before its last block is given out; of one that is read in part,
`verify` is asked before. One file is open at a time.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence

from s3d.api import Body, BytesBody
from s3d.errors import CorruptBody
from s3d.layers.queue.rows import uploads
from s3d.layers.queue.rows.uploads import Part
from s3d.layers.queue.staging import Staging
from s3d.store.bodies import Bodies
from s3d.store.db import Database


class ConcatenatedBody(Body):
    """Parts in their order; replayable."""

    replayable = True
    length = 0

    def __init__(
        self, bodies: Bodies, parts: Sequence[Part], release: Callable[[], None], *, verified: bool = True
    ) -> None:
        """Take the parts, the small ones with their bytes; `release` is called once, at the end.

        Without `verified` they are given out as they are on the disk.
        """
        self._verified = verified
        self._bodies = bodies
        self._parts = parts
        self.release = release
        """Lets the files go."""
        self.length = sum(part.size for part in parts)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the blocks. Raises CorruptBody and StoreFailed."""
        end = self.length if end is None else min(end, self.length)
        offset = 0
        for part in self._parts:
            first, last = max(start - offset, 0), min(end - offset, part.size)
            if first < last:
                async with opened(self._bodies, part, verified=self._verified) as body:
                    async for block in body.chunks(first, last):
                        yield block
            offset += part.size

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Verify the parts that a stretch touches, as FileBody.verify does. Raises CorruptBody and StoreFailed."""
        end = self.length if end is None else min(end, self.length)
        offset = 0
        for part in self._parts:
            if max(start, offset) < min(end, offset + part.size):
                async with opened(self._bodies, part) as body:
                    await body.verify()
            offset += part.size

    async def aclose(self) -> None:
        """Let the files go."""
        self.release()


def open_parts(
    db: Database, bodies: Bodies, staging: Staging, upload_id: str, *, verified: bool = True
) -> ConcatenatedBody:
    """The body of a completed upload. Its files stay until it is closed."""
    parts = [
        part if part.file is not None else uploads.part_of(db, upload_id, part.number) or part
        for part in (uploads.parts_of if verified else uploads.remains_of)(db, upload_id)
    ]
    if not parts:
        raise CorruptBody(f"the parts of upload {upload_id} are missing")
    return ConcatenatedBody(bodies, parts, staging.read(upload_id), verified=verified)


def open_part(bodies: Bodies, part: Part, *, verified: bool = True) -> Body:
    """The body of one part, verified when it is read whole. Raises CorruptBody."""
    if part.file is not None:
        return bodies.open(part.file, part.size, part.etag if verified else None)
    data = part.inline or b""
    if not verified:
        return BytesBody(data)
    if len(data) != part.size or hashlib.md5(data, usedforsecurity=False).hexdigest() != part.etag:
        raise CorruptBody(f"the body of part {part.number} does not match its digest")
    return BytesBody(data)


@contextlib.asynccontextmanager
async def opened(bodies: Bodies, part: Part, *, verified: bool = True) -> AsyncIterator[Body]:
    """A part's body for as long as the context lasts."""
    body = open_part(bodies, part, verified=verified)
    try:
        yield body
    finally:
        await body.aclose()
