"""Ballast: a file that keeps room for the drain (SEMANTICS Q-7).

When the disk is full, the file goes, so that what is pending can still be delivered and its delivery recorded. While it
is gone no new write is taken, or the room would be used up by those. It is laid again when there is room for it twice
over, and then writes are taken again: at its edge a disk must not open and close.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

log = logging.getLogger(__name__)

POLL_INTERVAL = 1.0
"""Seconds between two looks at a full disk."""
MIN_SHARE = 16
"""One in so many bytes of a small disk is kept for the drain."""


Shed = Callable[[int], Awaitable[bool]]
"""Has whoever keeps what may be lost (the read cache) give so many free bytes to the disk; whether they are there."""


class Ballast:
    """The file, of `size` bytes, on a small disk less; 0: there is none, and nothing is kept back for the drain."""

    def __init__(self, path: Path, size: int, shed: Shed | None = None) -> None:
        """Take the name, in a directory that is there, and who gives way first; `lay` makes the file."""
        self._shed = shed
        self._path = path
        self._size = min(size, _total(path) // MIN_SHARE)
        self._lock = asyncio.Lock()
        self.dropped = False
        """Whether the disk is full, and no new write is to be taken."""

    async def lay(self) -> bool:
        """Make the file where it is not there and there is room for it; whether writes can be taken."""
        async with self._lock:
            await self._make_room()
            try:
                laid = await asyncio.to_thread(_lay, self._path, self._size)
            except OSError as error:
                log.warning("the ballast %s cannot be laid: %s", self._path, error)
                laid = False
            if laid and self.dropped:
                log.info("there is room on the disk of the local dir: writes are taken")
            self.dropped = not laid
            return laid

    async def drop(self) -> None:
        """Give the room to the drain, where the disk is full indeed: one write may be larger than what is free."""
        if self.dropped or not self._size or await asyncio.to_thread(_free, self._path) >= 2 * self._size:
            return
        if await self._make_room():
            return
        async with self._lock:
            self.dropped = True
            log.error("the disk of the local dir is full: no writes are taken until there is room; deliveries go on")
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _make_room(self) -> bool:
        """Have others give way; whether there is room for the ballast twice over now."""
        return self._shed is not None and bool(self._size) and await self._shed(2 * self._size)

    async def watch(self) -> None:
        """Rest, and lay it again where there is room. A write that comes looks by itself."""
        await asyncio.sleep(POLL_INTERVAL)
        if self.dropped:
            await self.lay()


def _lay(path: Path, size: int) -> bool:
    if not size:
        path.unlink(missing_ok=True)
        return True
    if path.exists() and path.stat().st_blocks * 512 >= size:
        return True
    path.unlink(missing_ok=True)
    if _free(path) < 2 * size:
        return False
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(file, 0, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
    return True


def _free(path: Path) -> int:
    """Bytes that are free on the disk of a file that need not be there."""
    disk = os.statvfs(path.parent)
    return disk.f_bavail * disk.f_frsize


def _total(path: Path) -> int:
    """Bytes that the disk of a file has in all."""
    disk = os.statvfs(path.parent)
    return disk.f_blocks * disk.f_frsize
