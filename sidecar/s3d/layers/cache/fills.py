"""The fills that are under way: each owns an answer of the remote, and the room that it needs.

An object that is read whole is filled by the client's own request. What is missing of a stretch is asked for block by
block, each with If-Match: an answer of another version ends the copy, and never gets into it (SEMANTICS C-1).
"""

import asyncio
import contextlib
import logging
from array import array
from collections.abc import Awaitable, Callable, Collection

from s3d import client
from s3d.api import S3, Body, Call
from s3d.errors import S3DError, Unavailable
from s3d.layers.cache import requests
from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.changes import Changes, Era
from s3d.layers.cache.copies import Copies, Copy
from s3d.layers.cache.fill import Changed, Fill
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries, pins
from s3d.layers.cache.rows.entries import New, Spot
from s3d.metrics import Metrics
from s3d.store.blocks import BLOCK_BYTES
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

MAX_FILLS = 32
"""Fills at once; what would be one more is not cached."""
CARRIED = ("ExpectedBucketOwner", "RequestPayer", "VersionId")
"""Members of a read that a request for its blocks has too."""
GONE = (404, 412)
"""What the remote says of a block where its version is there no more."""


class NoRoom(S3DError):
    """There is no room in the cache."""


class Fills:
    """Starts fills, and keeps what they bring."""

    def __init__(
        self, inner: S3, index: Index, copies: Copies, changes: Changes, capacity: Capacity, metrics: Metrics
    ) -> None:
        """Take what is asked, and where what comes is kept."""
        self._inner = inner
        self._index = index
        self._copies = copies
        self._changes = changes
        self._capacity = capacity
        self._metrics = metrics
        self._tasks: dict[asyncio.Task[None], Spot] = {}

    async def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ended(self, spot: Spot) -> None:
        """Wait until what is under way of a spot just now has come, and is written or not."""
        if running := [task for task, filled in self._tasks.items() if filled == spot]:
            await asyncio.wait(running)

    async def whole(self, call: Call, copy: Copy, body: Body, era: contextlib.ExitStack, sound: Era) -> None:
        """Fill a new copy by the answer to a read of the whole object. Raises NoRoom and StoreFailed; else it takes
        over the body and the era."""
        await self._reserve(copy, [(0, len(copy.blocks))])

        async def answer(_: Fill) -> Body:
            return body

        self._start(call, copy, [Fill(0, len(copy.blocks), copy.length)], answer, era.pop_all(), sound)

    async def fetch(self, call: Call, copy: Copy, start: int, end: int) -> None:
        """Begin to fetch what is missing of a stretch. Raises NoRoom and StoreFailed."""
        runs = copy.missing(start, end)
        if not runs:
            return None
        await self._reserve(copy, runs)
        if copy.missing(start, end) != runs:
            # Somebody else began meanwhile.
            self._capacity.give_back(_size(copy, runs))
            return await self.fetch(call, copy, start, end)
        era = contextlib.ExitStack()
        sound = era.enter_context(self._changes.era(copy.spot.bucket, copy.spot.key))
        fills = [Fill(first, last, copy.stretch(last - 1)[1]) for first, last in runs]

        async def answer(fill: Fill) -> Body:
            return await self._ask(call, copy, fill)

        return self._start(call, copy, fills, answer, era, sound)

    def damaged(self, copy: Copy, number: int, error: Exception | None) -> None:
        """Forget a block that is damaged on the disk."""
        log.warning(
            "block %d of the cached %s/%s is damaged, and is fetched again%s",
            *(number, copy.spot.bucket, copy.spot.key, f": {error}" if error else ""),
        )
        self._copies.damaged(copy, number)

    async def lose(self, copy: Copy, numbers: Collection[int]) -> None:
        """Forget damaged blocks for good: whoever reads them has them fetched again."""
        for number in numbers:
            self.damaged(copy, number, None)
        with self._changes.era(copy.spot.bucket, copy.spot.key) as era:
            await self._keep(copy, [], era)

    async def drop(self, copy: Copy) -> None:
        """Forget a copy whose version is not the newest any more."""
        self._copies.forget(copy)
        with contextlib.suppress(StoreFailed):
            count, size = await self._index.write(lambda db: entries.drop_file(db, copy.file.name))
            self._capacity.changed(-count, -size)

    async def _reserve(self, copy: Copy, runs: list[tuple[int, int]]) -> None:
        """Take room in the limits and on the disk."""
        size = _size(copy, runs)
        if len(self._tasks) >= MAX_FILLS or not await self._capacity.take(size, 0 if copy.row is not None else 1):
            raise NoRoom
        try:
            for first, last in runs:
                await copy.file.reserve(first * BLOCK_BYTES, copy.stretch(last - 1)[1])
        except BaseException:
            self._capacity.give_back(size)
            raise

    def _start(
        self,
        call: Call,
        copy: Copy,
        fills: list[Fill],
        answer: Callable[[Fill], Awaitable[Body]],
        era: contextlib.ExitStack,
        sound: Era,
    ) -> None:
        copy.fills += fills
        copy.users += 1
        task = asyncio.ensure_future(self._run(call, copy, fills, answer, era, sound))
        self._tasks[task] = copy.spot
        task.add_done_callback(self._tasks.pop)

    async def _run(
        self,
        call: Call,
        copy: Copy,
        fills: list[Fill],
        answer: Callable[[Fill], Awaitable[Body]],
        era: contextlib.ExitStack,
        sound: Era,
    ) -> None:
        """Bring the blocks, then keep them. What goes wrong is for those who wait for the blocks."""
        end = "broken"
        file = copy.file.again()
        try:
            for fill in fills:
                await fill.run(await answer(fill), file, copy.blocks, copy.verified)
            end = "whole" if await self._keep(copy, fills, sound) else "changed"
        except asyncio.CancelledError:
            self._fail(copy, fills, Unavailable("s3d is ending"))
            raise
        except Changed as error:
            end = "changed"
            self._fail(copy, fills, error)
            await self.drop(copy)
        except (S3DError, OSError) as error:
            log.info("a fill of %s/%s broke off: %s", copy.spot.bucket, copy.spot.key, error)
            self._fail(copy, fills, error)
        except Exception as bug:
            log.exception("a bug: a fill of %s/%s ended", copy.spot.bucket, copy.spot.key)
            self._metrics.background_failures.labels("fills").inc()
            self._fail(copy, fills, bug)
        finally:
            copy.fills = [fill for fill in copy.fills if fill not in fills]
            self._capacity.give_back(_size(copy, [(fill.first, fill.last) for fill in fills]))
            era.close()
            file.close()
            self._copies.leave(copy)
            self._metrics.cache_fills.labels(end).inc()

    def _fail(self, copy: Copy, fills: list[Fill], error: Exception) -> None:
        """Take away what a fill has brought."""
        for fill in fills:
            for number in range(fill.first, fill.last):
                copy.blocks[number] = 0
                copy.verified.discard(number)
            fill.failed(error)

    async def _ask(self, call: Call, copy: Copy, fill: Fill) -> Body:
        """Ask for the blocks of a fill. Raises Changed and Unavailable."""
        start, end = fill.first * BLOCK_BYTES, fill.end
        named = {name: call.params[name] for name in CARRIED if name in call.params}
        asked = client.request(
            "GetObject",
            {
                "Bucket": copy.spot.bucket,
                "Key": copy.spot.key,
                **named,
                "Range": f"bytes={start}-{end - 1}",
                "IfMatch": copy.etag,
            },
        )
        asked.identity, asked.origin, asked.trace = call.identity, call.origin, call.trace
        reply = await self._inner(asked)
        shown = requests.stretch_of(reply.headers, reply.status, reply.body.length if reply.body else None)
        if reply.status in (200, 206) and reply.body is not None:
            if reply.headers.get("ETag") == copy.etag and shown == (start, end, copy.length):
                return reply.body
            await reply.body.aclose()
            raise Changed("The object has changed at the remote while it was read")
        if reply.body is not None:
            await reply.body.aclose()
        if reply.status in GONE:
            raise Changed("The object has changed at the remote while it was read")
        raise Unavailable(f"The remote has answered status {reply.status} to a request for the rest of an object")

    async def _keep(self, copy: Copy, fills: list[Fill], sound: Era) -> bool:
        """Write what has come into the index; whether it is there. Who reads it reads on in any case."""
        async with copy.keeping:
            try:
                return await self._write(copy, fills, sound)
            except StoreFailed as error:
                log.warning("what was read of %s/%s is not cached: %s", copy.spot.bucket, copy.spot.key, error)
                self._copies.forget(copy)
                return False

    async def _write(self, copy: Copy, fills: list[Fill], sound: Era) -> bool:
        size = await copy.file.size()
        blocks = array("Q", copy.blocks)
        for other in copy.fills:
            if other not in fills:
                for number in range(other.first, other.last):
                    blocks[number] = 0
        new = New(
            *(copy.etag, copy.length, copy.file.name, blocks.tobytes(), size),
            *(copy.head, copy.validated, dict(copy.granted), copy.tags, next(iter(copy.granted), "")),
        )
        used = self._index.clock.now()

        def apply(db: entries.Tables) -> tuple[int, int, int] | None:
            if not sound.sound or copy.void:
                return None
            if copy.row is None:
                return pins.put(db, copy.spot, new, used)
            return (copy.row, 1, copy.written) if entries.grow(db, copy.row, new) else None

        kept = await self._index.write(apply)
        if kept is None:
            self._copies.forget(copy)
            return False
        row, gone, freed = kept
        self._capacity.changed(1 - gone, size - freed)
        copy.row, copy.written = row, size
        return True


def _size(copy: Copy, runs: list[tuple[int, int]]) -> int:
    """Bytes of some runs of blocks."""
    return sum(copy.stretch(last - 1)[1] - first * BLOCK_BYTES for first, last in runs)
