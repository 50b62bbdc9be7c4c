"""The files of what is being written, in a directory of the local dir: named by id and never by key.

A file without a record beside it is of use to nobody but who has it open: the next start removes it. The record says
which object it becomes; it is written, durably, when what is in the file is synced first (SEMANTICS M-1), and the next
start goes by it (M-5).
"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from s3d import documents
from s3d.store.failures import store_error
from s3d.store.lock import make_private
from s3d.store.syncs import sync_dir
from s3d.store.threads import OpenFile, make_pool

T = TypeVar("T")
log = logging.getLogger(__name__)

RECORD = ".json"
DRAFT = ".new"
MAX_RECORD = 1 << 20
"""Bytes of a record; metadata and headers of an object are a hundredth."""


@dataclass(frozen=True, slots=True)
class Record:
    """Which object a file becomes."""

    bucket: str
    key: str
    base: str
    """The ETag of the version that it was begun on; "" for none."""
    members: dict[str, Any]
    """Of its PutObject."""
    modified_ns: int
    executable: bool


class Staged:
    """One file."""

    def __init__(self, stage: "Stage", id: str, file: OpenFile) -> None:  # noqa: A002 (a file's id)
        """Take over an open file."""
        self._stage = stage
        self.id = id
        self._file = file
        self.has_record = False

    def again(self) -> OpenFile:
        """The same open file, for somebody who reads beside others."""
        return self._file.again()

    async def read(self, at: int, length: int) -> bytes:
        """A stretch of it. Raises StoreFailed."""
        return await self._do(os.pread, length, at)

    async def write(self, at: int, data: bytes) -> None:
        """Write a stretch. Raises StoreFull and StoreFailed."""
        await self._do(_write, at, data)

    async def truncate(self, size: int) -> None:
        """Give it a size. Raises StoreFull and StoreFailed."""
        await self._do(os.ftruncate, size)

    async def sync(self) -> None:
        """Put the bytes on stable storage. Raises StoreFailed."""
        await self._do(os.fsync)

    async def remember(self, record: Record) -> None:
        """Put down, durably, which object it becomes. Raises StoreFull and StoreFailed."""
        await self._do(lambda _: _remember(self._stage.root, self.id, record))
        self.has_record = True

    async def forget(self) -> None:
        """Take the record away, durably. Raises StoreFailed."""
        if self.has_record:
            await self._do(lambda _: _forget(self._stage.root, self.id))
            self.has_record = False

    def close(self) -> None:
        """Let go of it: without a record it is removed."""
        path = self._stage.root / self.id
        self._file.close(None if self.has_record else lambda: path.unlink(missing_ok=True))

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.shield(self._file.start(work, *arguments))
        except OSError as error:
            raise store_error(error, f"the file {self.id} of the mount") from error


class Stage:
    """The directory."""

    def __init__(self, root: Path) -> None:
        """Use a directory, which is made where it is missing; blocks. Raises ConfigError."""
        make_private(root)
        self.root = root
        self._pool: ThreadPoolExecutor = make_pool()

    async def new(self) -> Staged:
        """A new file. Raises StoreFull and StoreFailed."""
        id = secrets.token_hex(8)  # noqa: A001 (a file's id)
        try:
            return Staged(self, id, await self._open(id, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except OSError as error:
            raise store_error(error, "a file of the mount cannot be made") from error

    async def found(self) -> list[tuple[Staged, Record, int]]:
        """What an earlier life has left: files, their records and sizes. What has no record is removed.

        What cannot be read stays where it is, and is logged.
        """
        left = []
        for id, record in await self._run(_records, self.root):  # noqa: A001 (a file's id)
            try:
                file = await self._open(id, os.O_RDWR)
            except OSError as error:
                log.error("the file %s of the mount cannot be opened: %s", id, error)
                continue
            staged = Staged(self, id, file)
            staged.has_record = True
            left.append((staged, record, await self._run(_size, file.fd)))
        return left

    async def free(self) -> tuple[int, int]:
        """Bytes of the disk: all, and those that are free. Raises StoreFailed."""
        try:
            disk = await self._run(os.statvfs, self.root)
        except OSError as error:
            raise store_error(error, "the directory of the mount cannot be read") from error
        return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize

    async def _open(self, id: str, flags: int) -> OpenFile:  # noqa: A002 (a file's id)
        return OpenFile(await self._run(os.open, self.root / id, flags | os.O_CLOEXEC, 0o600), self._pool)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Finish what was asked for."""
        self._pool.shutdown()


def read_record(path: Path) -> Record:
    """Read a record. Raises ValueError and OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise ValueError(f"it is larger than {MAX_RECORD} bytes")
    try:
        return Record(**documents.parse(data))
    except TypeError as error:
        raise ValueError(f"it is no record: {error}") from None


def _write(fd: int, at: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, at)
        rest, at = rest[written:], at + written


def _size(fd: int) -> int:
    return os.fstat(fd).st_size


def _remember(root: Path, id: str, record: Record) -> None:  # noqa: A002 (a file's id)
    draft = root / (id + DRAFT)
    with draft.open("w", encoding="ascii") as file:
        json.dump(asdict(record), file)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(root / (id + RECORD))
    sync_dir(root)


def _forget(root: Path, id: str) -> None:  # noqa: A002 (a file's id)
    (root / (id + RECORD)).unlink(missing_ok=True)
    sync_dir(root)


def _records(root: Path) -> list[tuple[str, Record]]:
    """The records in a directory, by id; files that have none, and drafts, are removed."""
    records = []
    names = {path.name for path in root.iterdir()}
    for name in sorted(names):
        if name.endswith(RECORD):
            try:
                records.append((name.removesuffix(RECORD), read_record(root / name)))
            except (OSError, ValueError) as error:
                log.error("the record %s of the mount cannot be read, and stays: %s", name, error)
        elif name + RECORD not in names:
            (root / name).unlink(missing_ok=True)
    return records
