"""Blocks of objects in sparse files, for what may be lost: one file an object, named by number and never by key.

Nothing is synced: whoever keeps the CRC of a block finds out by it whether the block is what was written. A block takes
room on the disk before it comes (posix_fallocate), so that a full disk is met before anybody waits for the bytes.
"""

import asyncio
import itertools
import os
import secrets
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from s3d.errors import CorruptBody
from s3d.store import sending
from s3d.store.failures import store_error
from s3d.store.file_body import FileBody
from s3d.store.threads import LaterFile, OpenFile, make_pool

T = TypeVar("T")

BLOCK_BYTES = 1 << 20
"""Bytes of a block; the last one of an object may be shorter."""
SWEEP_BATCH = 500
"""Names that a sweep asks about at once."""
FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a file that is there is opened."""


class Kept(NamedTuple):
    """A file that was written at once."""

    name: str
    crcs: list[int]
    """Of each block."""
    size: int
    """Bytes that the disk gave for it."""


class BlockFile:
    """An open file of blocks."""

    def __init__(self, file: OpenFile, name: str) -> None:
        """Take over an open file; `name` is its own in the directory."""
        self._file = file
        self.name = name

    def again(self) -> "BlockFile":
        """The same open file, for somebody who reads or writes beside others."""
        return BlockFile(self._file.again(), self.name)

    async def reserve(self, start: int, end: int) -> None:
        """Take room on the disk. Raises StoreFull and StoreFailed."""
        await self._do(_reserve, start, end)

    async def write(self, at: int, data: bytes) -> int:
        """Write a block; its CRC. Raises StoreFailed."""
        return await self._do(_write, at, data)

    async def read(self, start: int, end: int) -> bytes:
        """Read a stretch. Raises CorruptBody when the file ends early, and StoreFailed."""
        data = await self._do(_read, start, end)
        if len(data) < end - start:
            raise CorruptBody(f"the cached file {self.name} ends before byte {end}")
        return data

    async def crc(self, start: int, end: int) -> int:
        """The CRC of a stretch as it is on the disk; of what there is of it, where the file ends early."""
        return await self._do(_crc, start, end)

    async def size(self) -> int:
        """Bytes that the disk gave for it."""
        return await self._do(_size)

    async def send(self, socket: int, start: int, end: int) -> None:
        """Send a stretch to a socket. Raises what `sending.send` raises."""
        await sending.send(self._file, f"the cached file {self.name}", socket, start, end)

    def close(self) -> None:
        """Let go of the file once no thread works on it any more."""
        self._file.close()

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.shield(self._file.start(work, *arguments))
        except OSError as error:
            raise store_error(error, f"the cached file {self.name} cannot be used") from error


class Blocks:
    """A directory of such files, owned by one process and used from one event loop."""

    def __init__(self, root: Path) -> None:
        """Make `root` where it is missing. Blocks; raises OSError."""
        self.root = root
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._pool = make_pool()
        root.mkdir(mode=0o700, exist_ok=True)
        for number in range(256):
            (root / f"{number:02x}").mkdir(mode=0o700, exist_ok=True)

    async def create(self) -> BlockFile:
        """Open a new, empty file. Raises StoreFailed."""
        name = f"{self._run}-{next(self._numbers):08x}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return BlockFile(OpenFile(await self._in_thread(os.open, self._path(name), flags, 0o600), self._pool), name)

    async def keep(self, data: bytes) -> Kept:
        """Write a new file at once. Raises StoreFull and StoreFailed; then there is none."""
        name = f"{self._run}-{next(self._numbers):08x}"
        return Kept(name, *await self._in_thread(_keep, self._path(name), data))

    async def take(self, body: FileBody) -> BlockFile | None:
        """Give the file of a stored body a name of ours, and open it; None where it cannot have one here."""
        name = f"{self._run}-{next(self._numbers):08x}"
        if not await body.link(self._path(name)):
            return None
        try:
            return await self.open(name)
        except CorruptBody:
            return None

    async def open(self, name: str) -> BlockFile:
        """Open a file that is there. Raises CorruptBody where it is not, and StoreFailed."""
        return BlockFile(OpenFile(await self._looked(name, os.open, FLAGS), self._pool), name)

    def later(self, name: str) -> BlockFile:
        """A file that is opened when something is done to it, which raises StoreFailed where it is not there."""
        return BlockFile(LaterFile(self._path(name), FLAGS, self._pool), name)

    async def whole(self, name: str, length: int) -> bytes:
        """What a file has of its first bytes. Raises CorruptBody where there is no such file, and StoreFailed."""
        return await self._looked(name, _whole, length)

    async def _looked(self, name: str, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, self._path(name), *arguments)
        except FileNotFoundError:
            raise CorruptBody(f"the cached file {name} is missing") from None
        except OSError as error:
            raise store_error(error, f"the cached file {name} cannot be opened") from error

    async def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are gone are fine. Raises StoreFailed."""
        await self._in_thread(_delete, [self._path(name) for name in names])

    async def free(self) -> int:
        """Bytes that are free on the disk. Raises StoreFailed."""
        disk = await self._in_thread(os.statvfs, self.root)
        return disk.f_bavail * disk.f_frsize

    async def sweep(self, known: Callable[[list[str]], set[str]], *, own: bool = False) -> int:
        """Delete files that `known`, which is called on the loop, does not return; how many. Those of this run are
        looked at only with `own`."""
        gone = 0
        for number in range(256):
            names = await self._in_thread(os.listdir, self.root / f"{number:02x}")
            old = [name for name in names if own or not name.startswith(self._run)]
            for start in range(0, len(old), SWEEP_BATCH):
                some = old[start : start + SWEEP_BATCH]
                orphans = set(some) - known(some)
                await self.delete(orphans)
                gone += len(orphans)
        return gone

    async def close(self) -> None:
        """Wait for the threads."""
        await asyncio.to_thread(self._pool.shutdown)

    def _path(self, name: str) -> Path:
        return self.root / name[-2:] / name

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        except OSError as error:
            raise store_error(error, f"{self.root} cannot be used") from error


def _whole(path: Path, length: int) -> bytes:
    fd = os.open(path, FLAGS)
    try:
        return os.pread(fd, length, 0)
    finally:
        os.close(fd)


def _keep(path: Path, data: bytes) -> tuple[list[int], int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _reserve(fd, 0, len(data))
        crcs = [_write(fd, at, data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)]
        return crcs, _size(fd)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(fd)


def _reserve(fd: int, start: int, end: int) -> None:
    if end > start:
        os.posix_fallocate(fd, start, end - start)


def _write(fd: int, at: int, data: bytes) -> int:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written
    return zlib.crc32(data)


def _read(fd: int, start: int, end: int) -> bytes:
    return os.pread(fd, end - start, start)


def _crc(fd: int, start: int, end: int) -> int:
    return zlib.crc32(os.pread(fd, end - start, start))


def _size(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def _delete(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
