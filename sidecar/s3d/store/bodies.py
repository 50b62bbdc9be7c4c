"""Bodies on disk: one directory, one file a body, named by id and never by key.

A file has a name only when it is whole: it is written without one (O_TMPFILE), synced, linked, and the directory is
synced before its id is given out. Nothing here knows which id is wanted; `sweep` is told. A failed write or sync
abandons its file. Nobody's data is ever deleted on suspicion: a file that is not ours is moved to `quarantine/`.

Disk and digest work runs in threads of its own; the event loop only gathers blocks. A body in flight holds about three
blocks of memory, whatever its length; where many are in flight, the blocks are smaller.
"""

import asyncio
import contextlib
import functools
import itertools
import logging
import os
import secrets
import stat
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from errno import ELOOP, ENOENT, ENXIO
from pathlib import Path
from typing import Any, TypeVar

from s3d.api import Body
from s3d.errors import CorruptBody, S3Error
from s3d.store import files
from s3d.store.failures import StoreFailed, StoreFull, store_error
from s3d.store.file_body import FileBody, Intact
from s3d.store.files import BLOCK_BYTES
from s3d.store.syncs import DirectorySyncs, sync_dir
from s3d.store.threads import Line, OpenFile, make_pool

T = TypeVar("T")
log = logging.getLogger(__name__)
Hasher = Callable[[bytes], None]
MakeRoom = Callable[[int], Awaitable[bool]]
Came = Callable[[int], Awaitable[None]]
BLOCKS = 8 * BLOCK_BYTES
"""Bytes that are gathered of all bodies together, before they are written."""
MIN_BLOCK = 16 << 10
MAX_CHUNKS = 1000
"""Chunks in a block; writev takes 1,024 (IOV_MAX)."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A received body: its bytes where it is small, else the id of its file."""

    inline: bytes | None
    id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by file name."""

    removed: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()


class Bodies:
    """One directory of bodies, owned by one process and used from one event loop."""

    def __init__(self, root: Path, *, inline_limit: int = 16 << 10, make_room: MakeRoom | None = None) -> None:
        """Make `root` where it is missing (its parent must exist). Bodies of up to `inline_limit` bytes get no file.
        `make_room` is asked for room where the disk has none for what is to come.

        Blocks; meant for start-up. Raises StoreFailed.
        """
        self.root = root
        self.inline_limit = inline_limit
        # Names carry the process's own token: a sweep tells what may still be on its way to a row without asking a
        # clock that can be set.
        self.run = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._pool = make_pool()
        self._intact = Intact()
        self._receiving = 0
        self._make_room = make_room
        try:
            if not root.is_dir():
                root.mkdir(mode=0o700)
                sync_dir(root.parent)
            if not (root / files.QUARANTINE).is_dir():
                (root / files.QUARANTINE).mkdir(mode=0o700)
                sync_dir(root)
            self._dir = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._syncs = DirectorySyncs(self._dir, self._pool)
        except OSError as error:
            raise store_error(error, f"{root} cannot be used") from error

    async def receive(self, body: Body, hasher: Hasher | None = None, came: Came | None = None) -> Stored:
        """Take a body whole and put it on stable storage; a small one is returned instead. Closes the body.

        The bytes of a body that is stored here already are shared: it is read and verified, and gets one name more.
        `hasher` is given every byte in order, in a thread, never twice at a time. `came` is told how many bytes have
        come, before they touch the disk, and may raise. Raises what the body raises; S3Error IncompleteBody when it
        ends short of its length; StoreFull and StoreFailed. Any failure, and cancellation, leaves nothing behind.
        The caller owns the file: it deletes one that gets no row, unless the row's commit ended
        in StoreFailed other than StoreFull, when the row may yet turn out to be stored.
        """
        try:
            if body.length is not None and body.length <= self.inline_limit:
                if came:
                    await came(body.length)
                data = await body.whole()
                _check_length(body, len(data))
                if hasher:
                    hasher(data)
                return Stored(data, None, len(data))
            if isinstance(body, FileBody):
                if came:
                    await came(body.length)
                    came = None
                if shared := await self._share(body, hasher):
                    return shared
            return await self._receive_file(body, hasher, came)
        finally:
            await body.aclose()

    def open(self, id: str, size: int | None, md5: str | None = None) -> FileBody:  # noqa: A002
        """Open a stored body for reading; a later delete does not reach it.

        With `md5` (hex), reading the whole body verifies it, and so does `verify`. Raises CorruptBody when the file is
        missing or is not `size` bytes long (None: it may have any length); StoreFailed.
        """
        if not files.ID.fullmatch(id):
            raise CorruptBody(f"{id!r} is the id of no body")
        try:
            # A pipe in the place of the file would be waited for.
            fd = os.open(id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._dir)
        except OSError as error:
            if error.errno in {ENOENT, ELOOP, ENXIO}:
                raise CorruptBody(f"the body {id} is missing") from None
            raise store_error(error, f"the body {id} cannot be read") from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise CorruptBody(f"the body {id} is missing: something else has its name")
        size = found.st_size if size is None else size
        if found.st_size != size:
            os.close(fd)
            raise CorruptBody(f"the body {id} has {found.st_size} bytes, not {size}")
        return FileBody(OpenFile(fd, self._pool), id, size, md5, files.stamp_of(found), self._intact)

    async def delete(self, id: str) -> None:  # noqa: A002
        """Remove a body; one that is gone is fine. It may be back after a power cut, as an orphan for `sweep`.

        One that cannot be removed is such an orphan too, and no error: the row that was its reason has gone already.
        What is no id is nothing of ours.
        """
        if not files.ID.fullmatch(id):
            log.warning("%r is the id of no body", id)
            return
        self._intact.forget(id)
        try:
            await self._in_thread(files.unlink, self._dir, id)
        except StoreFailed as error:
            log.warning("the body %s is left to the sweep: %s", id, error)

    async def quarantine(self, id: str, reason: str) -> None:  # noqa: A002
        """Move a body aside, with the reason in a file beside it."""
        await self._in_thread(files.quarantine, self.root, id, reason)

    async def label(self) -> str:
        """The label of the queue that these bodies belong to; "" where they have none yet. Raises StoreFailed."""
        return await self._in_thread(files.read_label, self.root / files.QUARANTINE / files.LABEL)

    async def set_label(self, label: str) -> None:
        """Give these bodies a label. Raises StoreFailed."""
        await self._in_thread(files.write_label, self.root / files.QUARANTINE / files.LABEL, label)

    async def names(self) -> list[str]:
        """Ids of some bodies that are here. Raises StoreFailed."""
        return await self._in_thread(files.some_names, self.root)

    async def runs(self) -> set[str]:
        """The runs of s3d that made the bodies which are here. Raises StoreFailed."""
        return await self._in_thread(files.runs_in, self.root)

    async def sweep(self, known: Callable[[list[str]], set[str]], grace: float) -> Swept:
        """Remove bodies that nobody knows, and quarantine files that are not ours.

        `known` gets up to 500 ids on the loop's thread and returns those that have a row; what it raises ends the sweep
        with nothing of that batch removed. Bodies of this process and files younger than `grace` seconds stay.
        """
        removed: list[str] = []
        strange: list[str] = []
        with os.scandir(self.root) as entries:
            while names := await self._in_thread(files.old_names, entries, time.time() - grace):
                drafts = [name for name in names if files.DRAFT.fullmatch(name) and self.run not in name]
                bodies = [name for name in names if files.ID.fullmatch(name) and not name.startswith(self.run)]
                wanted = known(bodies) if bodies else set()
                orphans = drafts + [name for name in bodies if name not in wanted]
                for name in orphans:
                    await self._in_thread(files.unlink, self._dir, name)
                removed += orphans
                strange += [name for name in names if not files.OURS.fullmatch(name)]
        for name in strange:
            await self._in_thread(files.quarantine, self.root, name, "s3d does not make files of this name")
        return Swept(tuple(removed), tuple(strange))

    async def close(self) -> None:
        """Wait for the threads and let go of the directory."""
        await self._intact.close()
        await asyncio.to_thread(self._pool.shutdown)
        if self._dir >= 0:
            os.close(self._dir)
            self._dir = -1

    async def _receive_file(self, body: Body, hasher: Hasher | None, came: Came | None) -> Stored:
        id = f"{self.run}-{next(self._numbers):08x}"  # noqa: A001
        with self._failing():
            file = OpenFile(files.open_draft(self._dir, id), self._pool)
        digests = Line(self._pool)
        kept = False
        size = 0
        working: list[asyncio.Future[None]] = []
        try:
            self._receiving += 1
            if body.length:
                # A full disk is found before the client sends the bytes.
                await self._reserve(file, body.length)
            async with contextlib.aclosing(_blocks(body, self._block_size)) as blocks:
                async for block in blocks:
                    length = sum(map(len, block))
                    size += length
                    if came:
                        await came(length)
                    # One block is at work and one waits behind it, so that no thread waits for the loop.
                    ahead = [file.start(files.write, block)]
                    if hasher:
                        ahead.append(digests.start(_hash, block, hasher))
                    await self._finish(*working)
                    working = ahead
            await self._finish(*working)
            _check_length(body, size)
            publishing = file.start(files.publish, self._dir, id)
            await self._finish(publishing)
            await self._finish(self._syncs.sync())
            kept = True
            if hasher:
                self._intact.note(id, publishing.result())
            return Stored(None, id, size)
        finally:
            self._receiving -= 1
            file.close(None if kept else functools.partial(files.forget, self._dir, id))

    async def _reserve(self, file: OpenFile, size: int) -> None:
        """Refuse what the disk has no room for, once others have given way. Raises StoreFull."""
        try:
            await self._finish(file.start(files.refuse_full, size))
        except StoreFull:
            if self._make_room is None or not await self._make_room(size):
                raise
            await self._finish(file.start(files.refuse_full, size))

    def _block_size(self) -> int:
        """Bytes that are gathered of each body, so that all that are being received hold little together."""
        return max(MIN_BLOCK, min(BLOCK_BYTES, BLOCKS // max(1, self._receiving)))

    async def _share(self, body: FileBody, hasher: Hasher | None) -> Stored | None:
        """Give a stored body another name; None where it has none any more, or cannot have one more."""
        id = f"{self.run}-{next(self._numbers):08x}"  # noqa: A001
        line = Line(self._pool)
        kept = False
        try:
            with self._failing():
                if not await asyncio.shield(line.start(files.link, self._dir, body.id, id)):
                    return None
            await self._finish(self._syncs.sync())
            async for block in body.chunks():
                if hasher:
                    await asyncio.shield(line.start(hasher, block))
            kept = True
            if hasher:
                self._intact.note(id, body.stamp)
            return Stored(None, id, body.length)
        finally:
            if not kept:
                line.finish(functools.partial(files.forget, self._dir, id))

    async def _finish(self, *working: asyncio.Future[Any]) -> None:
        """Wait for work on the disk, which goes on when the caller is cancelled."""
        with self._failing():
            for future in working:
                await asyncio.shield(future)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        with self._failing():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store_error(error, f"{self.root} cannot be written") from error


async def _blocks(body: Body, size: Callable[[], int]) -> AsyncGenerator[list[bytes], None]:
    """Gather a body's chunks into lists of about so many bytes."""
    block: list[bytes] = []
    room = size()
    async for chunk in body.chunks():
        block.append(chunk)
        room -= len(chunk)
        if room <= 0 or len(block) == MAX_CHUNKS:
            yield block
            block, room = [], size()
    if block:
        yield block


def _check_length(body: Body, size: int) -> None:
    if body.length is not None and body.length != size:
        raise S3Error(
            "IncompleteBody",
            f"You did not provide the number of bytes specified by the Content-Length HTTP header: {size} came.",
        )


def _hash(block: list[bytes], hasher: Hasher) -> None:
    for chunk in block:
        hasher(chunk)
