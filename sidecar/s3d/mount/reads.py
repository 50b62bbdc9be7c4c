"""The bytes of one version of an object, for who has it open.

Each request says the version (If-Match), so that no answer has bytes of another (SEMANTICS M-2a). A bucket that keeps
versions is asked for the one that was opened by its id, once another has come (M-7); where the version is gone, the
reader gets ESTALE. Who reads on gets the blocks ahead of it fetched meanwhile, more of them with each one;
who jumps gets what was asked for and no more.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from typing import Any

from s3d.api import read_all
from s3d.client import Answer, Client
from s3d.errors import S3Error
from s3d.mount.views import File

BLOCK_BYTES = 1 << 20
"""Bytes that are fetched at a time."""
NO_VERSION = "null"
"""The id of the one version that a bucket without versions has."""
GONE = frozenset([404, 412])
"""Statuses by which a version is not there any more."""
MAX_AHEAD = 8
"""Blocks that are fetched ahead of a reader; with those in use they are the memory that it takes."""


class Reader:
    """One who has a version open."""

    def __init__(self, client: Client, file: Callable[[], File]) -> None:
        """Ask by a client for what `file` says: a file may get another name while it is open."""
        self._client = client
        self._file = file
        self._blocks: dict[int, asyncio.Future[bytes]] = {}
        self._next = 0
        self._ahead = 1

    async def read(self, at: int, length: int) -> bytes:
        """A stretch; shorter only at the end of the version. Raises S3DError, and OSError where it is gone."""
        end = min(at + length, self._file().size)
        if at >= end:
            return b""
        # Two requests of the kernel for what follows may come in either order.
        goes_on = abs(at - self._next) <= BLOCK_BYTES
        self._next = end
        if not goes_on:
            self._ahead = 1
            if at // BLOCK_BYTES not in self._blocks:
                return await self._fetch(at, end)
        first, last = at // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        for number in range(first, last + 1 + (self._ahead if goes_on else 0)):
            self._begin(number)
        self._let_go(first)
        parts = []
        for number in range(first, last + 1):
            block = await self._block(number)
            parts.append(block[max(0, at - number * BLOCK_BYTES) : end - number * BLOCK_BYTES])
        return b"".join(parts)

    def _begin(self, number: int) -> None:
        start, end = number * BLOCK_BYTES, min((number + 1) * BLOCK_BYTES, self._file().size)
        if number in self._blocks or start >= end:
            return
        self._ahead = min(self._ahead + 1, MAX_AHEAD)
        self._blocks[number] = fetch = asyncio.ensure_future(self._fetch(start, end))
        # A block that nobody comes to read may fail unheard.
        fetch.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _block(self, number: int) -> bytes:
        try:
            return await asyncio.shield(self._blocks[number])
        except BaseException:
            # The next reader asks anew.
            self._blocks.pop(number, None)
            raise

    def _let_go(self, first: int) -> None:
        """Keep the block before a reader, and what is ahead of it."""
        for number in [one for one in self._blocks if not first - 1 <= one <= first + MAX_AHEAD + 1]:
            self._blocks.pop(number).cancel()

    async def _fetch(self, start: int, end: int) -> bytes:
        file = self._file()
        params: dict[str, Any] = {"IfMatch": f'"{file.etag}"', "Range": f"bytes={start}-{end - 1}"}
        try:
            answer = await self._client.get_object(file.bucket, file.key, **params)
        except S3Error as error:
            answer = await self._fetch_version(file, params, error)
        return await read_all(answer.body, end - start)

    async def _fetch_version(self, file: File, params: dict[str, Any], error: S3Error) -> Answer:
        """Ask for the version by its id, after its key has shown another or none. Raises S3Error and OSError."""
        version = file.members.get("VersionId", NO_VERSION)
        if error.status not in GONE:
            raise error
        if version != NO_VERSION:
            try:
                return await self._client.get_object(file.bucket, file.key, VersionId=version, **params)
            except S3Error as second:
                if second.status not in GONE:
                    raise
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE)) from error

    def close(self) -> None:
        """Let go of all that was fetched."""
        for fetch in self._blocks.values():
            fetch.cancel()
        self._blocks.clear()
