"""The read cache as a layer: what it answers, what it drops, and what it hands inward (SEMANTICS, section C).

GetObject is answered by `serve.py`. What only reads is handed inward. Anything else may change what is cached: it is
dropped for good first, and handed inward then (C-9).
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from s3d.api import S3, Body, Call, Delivered, Reply
from s3d.background import for_ever
from s3d.errors import Unavailable
from s3d.filters.match import Truth
from s3d.layers.cache import requests
from s3d.layers.cache.ahead import Ahead
from s3d.layers.cache.asking import Asking
from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.changes import Changes
from s3d.layers.cache.choice import Choice
from s3d.layers.cache.consent import Consent
from s3d.layers.cache.copies import Copies
from s3d.layers.cache.fills import Fills
from s3d.layers.cache.handed import HandedOver
from s3d.layers.cache.index import Index, remove
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import Entry, Spot
from s3d.layers.cache.serve import Serving
from s3d.layers.cache.validate import Validations
from s3d.layers.cache.verify import Verification
from s3d.metrics import Metrics
from s3d.policy import Ask
from s3d.settings import Settings
from s3d.store.blocks import Blocks
from s3d.store.failures import StoreFailed, store_error
from s3d.store.lock import make_private

log = logging.getLogger(__name__)

INDEX, BLOCKS = "cache.db", "blocks"
"""Names in the directory of the cache."""
LOOK_INTERVAL = 0.5
"""Seconds between two looks at the room that others have on the disk."""
NOTED_INTERVAL = 10
"""Looks after which what was noted of reads is written, and a closed index is opened again."""


class Cache:
    """The cache in front of a remote."""

    def __init__(
        self, inner: S3, index: Index, blocks: Blocks, settings: Settings, metrics: Metrics, ask: Ask | None
    ) -> None:
        """Take what is inside, where it keeps what it has read, and who is asked what it may keep; `open_cache` is the
        way in."""
        limits = settings.read_cache
        kept_free = 2 * settings.write_queue.ballast if settings.write_queue.enabled else 0
        self._inner = inner
        self._index = index
        self._blocks = blocks
        self._metrics = metrics
        self._changes = Changes()
        self._consent = Consent(ask, settings.opa)
        self._choice = Choice(inner, self._changes, limits, self._consent)
        self.capacity = Capacity(index, blocks, limits, metrics, kept_free)
        self._copies = Copies(index, blocks, self.capacity)
        self._fills = Fills(inner, index, self._copies, self._changes, self.capacity, metrics)
        self._validations = Validations(inner, limits, metrics)
        self._serving = Serving(
            inner, index, self._copies, self._changes, self._choice, self._fills, self._validations, limits, metrics
        )
        self._handed = HandedOver(index, blocks, self._copies, self._changes, self._choice, self.capacity, metrics)
        self._asking = Asking(index, self._copies, self._consent, self.capacity)
        self._verification = Verification(index, blocks, self._copies, self._fills, metrics)
        self._ahead = Ahead(self, inner, index, self.capacity, self._fills, limits, metrics)
        self._looks = 0
        self._judged_by: str | None = None
        """The filter that all entries were judged by; None: it is not looked up yet."""
        self._has_lost = False
        """Whether files of this run have lost their rows."""
        index.on_anew = self._begun_anew
        self.capacity.count()

    async def __call__(self, call: Call) -> Reply:
        """Serve one call; raises what an S3 may raise."""
        if not requests.only_reads(call):
            return await self._change(call)
        if call.operation == "GetObject" and requests.may_be_cached(call):
            return await self._serving.get(call)
        if call.operation == "HeadObject" and requests.may_be_cached(call):
            return await self._serving.head(call)
        return await self._inner(call)

    async def _change(self, call: Call) -> Reply:
        """Drop what a call may change, durably, then hand it inward. What is being read of it meanwhile is not kept."""
        bucket, key = call.bucket, "" if call.operation in requests.OF_TWO_KEYS else call.key
        with self._changes.changing(bucket, key):
            try:
                await self.drop(bucket, key)
            except StoreFailed as error:
                if call.body is not None:
                    await call.body.aclose()
                raise Unavailable(
                    f"What is cached of bucket {bucket} cannot be dropped: {error.message}", hint=error.hint
                ) from error
            reply = await self._inner(call)
            if key and reply.status < 300:
                await self._ahead.follow(call)
            return reply

    async def drop(self, bucket: str, key: str) -> None:
        """Drop a key, or a bucket where `key` is "", for good. Raises StoreFailed."""
        self._copies.make_void(bucket, key)
        self._choice.forget(bucket, key)
        if not self._changes.has_eras(bucket, key) and not self._index.read(
            lambda db: entries.is_cached(db, bucket, key), otherwise=True
        ):
            return
        count, size = await self._index.drop(bucket, key)
        self.capacity.changed(-count, -size)
        if count:
            self._metrics.cache_evictions.labels("changed").inc(count)

    async def hand_over(self, delivered: Delivered, body: Body) -> None:
        """Take the body of what was delivered, and close it. Raises StoreFailed."""
        await self._handed.take(delivered, body)

    def _begun_anew(self) -> None:
        self._has_lost = True
        self._judged_by = None
        self._copies.make_void("", "")
        self.capacity.count()

    async def sweep(self) -> None:
        """Delete the files that a crash has left, or an index that is gone. Raises StoreFailed."""
        own, self._has_lost = self._has_lost, False

        def known(names: list[str]) -> set[str]:
            named = self._index.read(lambda db: entries.known_files(db, names), set(names))
            return named | self._copies.files()

        await self._blocks.sweep(known, own=own)

    async def rejudge(self) -> None:
        """Drop what the filter leaves out, where it is another than before. Raises StoreFailed."""
        wanted = self._choice.text
        if self._judged_by is None:
            nothing: dict[str, str] = {}
            self._judged_by = self._index.read(entries.meta, nothing).get("filter", "")
        if wanted == self._judged_by or not self._index.is_open:
            return
        after = 0
        while page := self._some(after):
            after = page[-1][1].id
            left_out = [(spot, entry.file) for spot, entry in page if not self._may_stay(spot, entry)]
            for spot, _ in left_out:
                self._copies.make_void(spot.bucket, spot.key)
            files = [file for _, file in left_out]
            self.capacity.went(await self._index.write(partial(entries.drop_files, files=files)), "filter")
        await self._index.write(lambda db: entries.keep(db, {"filter": wanted}))
        self._judged_by = wanted

    def _some(self, after: int) -> list[tuple[Spot, Entry]]:
        nothing: list[tuple[Spot, Entry]] = []
        return self._index.read(lambda db: entries.some(db, after), nothing)

    def _may_stay(self, spot: Spot, entry: Entry) -> bool:
        """Whether some identity may be given an entry out of the cache."""
        said = self._choice.of_kept(spot, None, entry.head, entry.length, entry.tags)
        return said is Truth.YES or (said is Truth.UNKNOWN and self._choice.is_personal)

    async def look(self) -> None:
        """Hold the limits, leave the disk to others, write what was noted, delete what nobody names; then rest."""
        self._looks += 1
        if not self._looks % NOTED_INTERVAL and not self._index.is_open:
            await self._index.open()
            self.capacity.count()
        try:
            if self._has_lost and self._index.is_open:
                await self.sweep()
            await self.rejudge()
            await self.capacity.trim()
            await self._blocks.delete(self._copies.take_unnamed())
            if not self._looks % NOTED_INTERVAL:
                await self._index.flush()
        except StoreFailed as error:
            if self._index.is_open:
                log.warning("the read cache cannot be tidied: %s", error)
        self._show()
        await asyncio.sleep(LOOK_INTERVAL)

    async def run(self) -> None:
        """Run until cancelled."""
        try:
            await self.sweep()
        except StoreFailed as error:
            log.warning("what a crash has left in the read cache cannot be deleted: %s", error)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(for_ever("the read cache", self.look, self._metrics))
            tasks.create_task(for_ever("what is pinned", self._ahead.look, self._metrics))
            tasks.create_task(for_ever("what the policy says of the read cache", self._asking.look, self._metrics))

    def _show(self) -> None:
        self._metrics.cache_entries.set(self.capacity.files)
        self._metrics.cache_bytes.set(self.capacity.bytes)
        if not self._looks % NOTED_INTERVAL:
            self._ahead.show()

    def status(self) -> dict[str, Any]:
        """The cache in counts."""
        return {
            "entries": self.capacity.files,
            "bytes": self.capacity.bytes,
            "usable": self._index.is_open,
            "decided": self._consent.decides or not self._consent.is_asked_for,
            "pins": dict(self._ahead.counts()),
        }

    def listed(self, bucket: str, prefix: str, after: int) -> list[dict[str, Any]]:
        """A page of what is cached, in the order in which it came. Times are Unix times."""
        nothing: list[dict[str, Any]] = []
        page = self._index.read(lambda db: entries.listed(db, bucket, prefix, after), nothing)
        clock = self._index.clock
        for one in page:
            for name in ("validated", "used"):
                one[name] = clock.wall_of(one[name])
            one["pinned"] = bool(one["pinned"])
        return page

    async def discard(self, bucket: str, prefix: str) -> dict[str, Any]:
        """Drop what is cached below a prefix, of a bucket, or all: how much. Raises StoreFailed."""
        with self._changes.changing(bucket, ""):
            self._copies.make_void(bucket, "")
            count, size = await self._index.write(lambda db: entries.drop(db, bucket, "", prefix))
        self.capacity.changed(-count, -size)
        await self.capacity.delete()
        return {"entries": count, "bytes": size}

    async def verify(self, bucket: str, prefix: str, after: int, block: int) -> dict[str, Any]:
        """Compare some of what is cached with its checksums, and drop what is damaged (`verify.py`). Raises
        StoreFailed."""
        return await self._verification.look(bucket, prefix, after, block)

    async def close(self) -> None:
        """End what is under way, and close the index."""
        await self._handed.close()
        await self._fills.close()
        await self._validations.close()
        await self._index.close()
        await self._blocks.close()


def forget(directory: Path) -> None:
    """Forget what is cached in a directory where nobody goes on with it. Blocks; raises OSError and StoreFailed."""
    if (directory / INDEX).exists():
        remove(directory / INDEX)
    if (directory / BLOCKS).exists():
        shutil.rmtree(directory / BLOCKS)


@contextlib.asynccontextmanager
async def open_cache(
    settings: Settings, inner: S3, remote: str, metrics: Metrics, ask: Ask | None = None
) -> AsyncIterator[Cache]:
    """Open the cache in front of a remote; a policy may be asked what is kept. What is wrong with its files is no
    reason not to start; a directory that cannot be made is. Raises StoreFailed."""
    directory = settings.cache_dir
    await asyncio.to_thread(make_private, directory)
    try:
        blocks = await asyncio.to_thread(Blocks, directory / BLOCKS)
    except OSError as error:
        raise store_error(error, f"{directory} cannot be used") from error
    index = await asyncio.to_thread(Index, directory / INDEX, remote)
    await index.open()
    cache = Cache(inner, index, blocks, settings, metrics, ask)
    try:
        if not cache.capacity.files:
            # There is nothing to judge anew, and what comes is judged by the filter of now.
            with contextlib.suppress(StoreFailed):
                await cache.rejudge()
        yield cache
    finally:
        await cache.close()
