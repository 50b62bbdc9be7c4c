"""Copies of objects: one version of an object, its blocks in a file, and who reads and fills it just now.

A copy is in memory while somebody uses it, and a row of the index when something of it has come whole. A *void* copy
is found by nobody any more; who reads it reads on, since it is one version to its end.
"""

import asyncio
import contextlib
import logging
import zlib
from array import array
from dataclasses import dataclass, field

from s3d.api import Headers
from s3d.bounded import BoundedMap
from s3d.errors import CorruptBody
from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.fill import Fill
from s3d.layers.cache.held import MAX_LENGTH, Held
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import Entry, Spot, Tags
from s3d.store.blocks import BLOCK_BYTES, BlockFile, Blocks
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

MAX_VERIFIED = 16_384
"""Files of which it is remembered which blocks were verified since the start."""


@dataclass(slots=True, eq=False)
class Copy:
    """One version of an object."""

    spot: Spot
    etag: str
    length: int
    file: BlockFile
    blocks: "array[int]"
    """By number: 0, or its CRC plus 1 where it is there."""
    verified: set[int]
    """Numbers of blocks that are known to be what was written."""
    data: bytes | None = None
    """All of it, where it is small and whole."""
    row: int | None = None
    """Its number in the index."""
    head: Headers | None = None
    """The headers of the latest plain answer."""
    validated: float = 0.0
    tags: Tags = None
    """The tags of the object, where they were asked for."""
    granted: dict[str, float] = field(default_factory=dict)
    """To whom the remote has given it, so far as that is not in the index."""
    written: int = 0
    """Bytes of the disk that are counted for it."""
    users: int = 0
    void: bool = False
    fills: list[Fill] = field(default_factory=list)
    """What is coming."""
    keeping: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Who has it writes its row."""

    def stretch(self, number: int) -> tuple[int, int]:
        """The bytes of a block."""
        return number * BLOCK_BYTES, min(self.length, (number + 1) * BLOCK_BYTES)

    def fill_of(self, number: int) -> Fill | None:
        """What brings a block just now."""
        return next((fill for fill in self.fills if fill.brings(number)), None)

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """Runs of blocks (from, up to) of a stretch of bytes that are neither there nor coming."""
        runs: list[tuple[int, int]] = []
        for number in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            if self.blocks[number] or self.fill_of(number) is not None:
                continue
            if runs and runs[-1][1] == number:
                runs[-1] = runs[-1][0], number + 1
            else:
                runs.append((number, number + 1))
        return runs

    def has(self, start: int, end: int) -> bool:
        """Whether a stretch of bytes is there."""
        return all(self.blocks[start // BLOCK_BYTES : -(-end // BLOCK_BYTES)])

    async def is_sound(self, number: int) -> bool:
        """Whether a block that is there is what was written: it is looked at once a start. Raises StoreFailed."""
        if number in self.verified:
            return True
        if await self.file.crc(*self.stretch(number)) + 1 != self.blocks[number]:
            return False
        self.verified.add(number)
        return True


class Copies:
    """The copies that are in use, and those in the index."""

    def __init__(self, index: Index, blocks: Blocks, capacity: Capacity) -> None:
        """Take where they are kept, and who counts that."""
        self._index = index
        self._blocks = blocks
        self._capacity = capacity
        self._live: dict[Spot, Copy] = {}
        self._unnamed: list[str] = []
        """Files to delete that no row names."""
        self._verified: BoundedMap[str, set[int]] = BoundedMap(MAX_VERIFIED)
        self._held = Held()

    async def find(self, spot: Spot) -> Copy | None:
        """The copy of a spot, used by the caller from now on (`leave`); None where nothing is cached."""
        copy = self._live.get(spot)
        if copy is None:
            entry = self._entry(spot)
            if entry is None:
                return None
            if (data := self._held.get(entry.file)) is not None:
                copy = self._enter(spot, entry, self._blocks.later(entry.file), data)
            else:
                copy = await self._opened(spot, entry)
        if copy is not None:
            copy.users += 1
        return copy

    async def _opened(self, spot: Spot, entry: Entry) -> Copy | None:
        """The copy of an entry whose bytes are not in memory; None where it has gone meanwhile."""
        try:
            file, data = await self._read(entry)
        except (CorruptBody, StoreFailed) as error:
            await self.lose(spot, entry.file, error)
            return None
        copy, again = self._live.get(spot), self._entry(spot)
        if copy is None and again is not None and again.file == entry.file:
            return self._enter(spot, again, file, data)
        # Somebody else was faster, or it was dropped meanwhile.
        file.close()
        return copy

    async def _read(self, entry: Entry) -> tuple[BlockFile, bytes | None]:
        """The file of an entry; and its bytes where it is small, and what was written. Raises CorruptBody and
        StoreFailed."""
        if 0 < entry.length <= MAX_LENGTH and entry.blocks[0]:
            data = await self._blocks.whole(entry.file, entry.length)
            if zlib.crc32(data) + 1 == entry.blocks[0]:
                self._held.put(entry.file, data)
                return self._blocks.later(entry.file), data
            # Whoever reads it finds that out again, and has it fetched.
            self._verified.forget(entry.file)
        return await self._blocks.open(entry.file), None

    def _entry(self, spot: Spot) -> Entry | None:
        return self._index.read(lambda db: entries.find(db, spot), None)

    def _enter(self, spot: Spot, entry: Entry, file: BlockFile, data: bytes | None) -> Copy:
        copy = Copy(spot, entry.etag, entry.length, file, entry.blocks, self._verified_of(entry.file), data)
        copy.row, copy.written = entry.id, entry.bytes
        copy.head, copy.validated, copy.tags = entry.head, entry.validated, entry.tags
        at, head = self._index.validated(entry.id)
        copy.validated, copy.head = max(at, copy.validated), head or copy.head
        self._live[spot] = copy
        return copy

    async def lose(self, spot: Spot, file: str, error: Exception) -> bool:
        """Drop an entry whose file cannot be opened; whether it was there still."""
        log.warning("what is cached of %s/%s is dropped: %s", spot.bucket, spot.key, error)
        with contextlib.suppress(StoreFailed):
            went = await self._index.write(lambda db: entries.drop_file(db, file))
            self._capacity.went(went, "damaged")
            return went[0] > 0
        return False

    async def begin(self, spot: Spot, etag: str, length: int) -> Copy:
        """A new copy, which takes the place of any other and is used by the caller. Raises StoreFailed."""
        file = await self._blocks.create()
        copy = Copy(
            spot, etag, length, file, array("Q", bytes(8 * -(-length // BLOCK_BYTES))), self._verified_of(file.name)
        )
        copy.users = 1
        if spot in self._live:
            self.make_void(spot.bucket, spot.key)
        self._live[spot] = copy
        return copy

    def damaged(self, copy: Copy, number: int) -> None:
        """Forget a block that is not what was written."""
        copy.blocks[number] = 0
        copy.verified.discard(number)
        copy.data = None
        self._held.forget(copy.file.name)

    def leave(self, copy: Copy) -> None:
        """Say that the caller uses a copy no more."""
        copy.users -= 1
        if copy.users:
            return
        if self._live.get(copy.spot) is copy:
            del self._live[copy.spot]
        copy.file.close()
        if copy.row is None:
            # Nothing of it is in the index: nobody would delete it.
            self._unnamed.append(copy.file.name)

    def files(self) -> set[str]:
        """The files of the copies that may be found."""
        return {copy.file.name for copy in self._live.values()}

    def take_unnamed(self) -> list[str]:
        """The files to delete that no row names."""
        taken, self._unnamed = self._unnamed, []
        return taken

    def make_void(self, bucket: str, key: str) -> None:
        """Have nobody find the copies of a key any more, or of a bucket where `key` is ""; all where no bucket is."""
        for spot, copy in list(self._live.items()):
            if (not bucket or spot.bucket == bucket) and (not key or spot.key == key):
                copy.void = True
                del self._live[spot]

    def forget(self, copy: Copy) -> None:
        """Have nobody find one copy any more."""
        copy.void = True
        if self._live.get(copy.spot) is copy:
            del self._live[copy.spot]

    def _verified_of(self, file: str) -> set[int]:
        known = self._verified.get(file)
        if known is None:
            known = self._verified[file] = set()
        return known
