"""Fetches what is pinned before somebody reads it (SEMANTICS C-7a).

A name is looked at when something has happened to it, and each hour. A look asks the remote what the object and its
tags are, as the identity that pinned it. What is here of that version is kept; what is missing is read through the
cache itself, as a client would read it, a stretch at a time, so that the rate holds within large objects too. Nothing
but this look tells that a name is pinned no more. One name is looked at after another.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from s3d.api import S3, Call
from s3d.client import Answer, Client
from s3d.clock import tick
from s3d.errors import S3Error, Unavailable
from s3d.layers.cache import requests
from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.choice import NO_TAGS
from s3d.layers.cache.fills import Fills
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries, pins
from s3d.layers.cache.rows.entries import Entry, Spot, is_pinned
from s3d.layers.cache.rows.pins import Pin, State
from s3d.metrics import Metrics
from s3d.settings import ReadCache
from s3d.store.blocks import BLOCK_BYTES
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

LOOK_INTERVAL = 1.0
"""Seconds until it is seen that there is something to do."""
RECHECK_INTERVAL = 3600.0
"""Seconds after which a pinned object is looked at again, of which nobody has said that it has changed."""
REFUSED_PAUSE = 600.0
"""Seconds after which an object is tried again that was read, and is still not cached."""
TROUBLE_PAUSE = 10.0
"""Seconds for which nothing is asked of a remote that is away or in trouble."""
STRETCH = 8 * BLOCK_BYTES
"""Bytes that are asked for at a time."""
COMPLETED = frozenset(["CompleteMultipartUpload", "CopyObject"])
"""What makes objects whose tags the request does not name."""


class Ahead:
    """Who looks at the pinned names."""

    def __init__(
        self, cache: S3, inner: S3, index: Index, capacity: Capacity, fills: Fills, limits: ReadCache, metrics: Metrics
    ) -> None:
        """Take the cache, through which objects are read, and the remote, which says what they are."""
        self._reader = Client(cache)
        self._remote = Client(inner)
        self._index = index
        self._capacity = capacity
        self._fills = fills
        self._limits = limits
        self._metrics = metrics
        self._has_uploads = False
        """Whether an upload was begun, since the start, of an object that is to be pinned."""

    async def follow(self, call: Call) -> None:
        """Note a name whose change has succeeded, where it is pinned or may be by now."""
        tagging = call.params.get("Tagging")
        says_so = isinstance(tagging, str) and is_pinned(requests.tags_in(tagging))
        if call.operation == "CreateMultipartUpload":
            self._has_uploads = self._has_uploads or says_so
            return
        bucket, key = call.bucket, call.key
        if says_so or self._may_pin(call) or self._index.read(lambda db: pins.is_noted(db, bucket, key), False):
            try:
                await self._index.write(lambda db: pins.note(db, bucket, key, call.identity))
            except StoreFailed as error:
                log.debug("%s/%s is not fetched ahead: %s", bucket, key, error)

    def _may_pin(self, call: Call) -> bool:
        """Whether a change may have pinned its object without a word in its headers."""
        if call.operation in COMPLETED:
            return self._has_uploads or self._index.read(pins.has_any, False)
        return call.operation == "PutObjectTagging"

    def counts(self) -> Mapping[State, int]:
        """How many names are in which state."""
        return self._index.read(pins.counts, dict.fromkeys(pins.STATES, 0))

    async def look(self) -> None:
        """Look at the name that is due, or rest."""
        nothing: Pin | None = None
        now = self._index.clock.now()
        pin = self._index.read(lambda db: pins.due(db, now), nothing)
        if pin is None:
            await asyncio.sleep(LOOK_INTERVAL)
            return
        try:
            settled = await self._settle(pin)
            if settled is None:
                await self._index.write(partial(pins.forget, bucket=pin.bucket, key=pin.key))
            else:
                state, after = settled
                at = self._index.clock.now() + after
                await self._index.write(lambda db: pins.settle(db, pin, state, at))
        except (Unavailable, StoreFailed) as error:
            log.debug("%s/%s is fetched later: %s", pin.bucket, pin.key, error)
            await asyncio.sleep(TROUBLE_PAUSE)

    async def _settle(self, pin: Pin) -> tuple[State, float] | None:
        """Have a pinned object here; its state, and when it is looked at again. None where it is not pinned any more.

        Raises Unavailable and StoreFailed where that cannot be told now.
        """
        try:
            head = await self._ask(pin)
            if head is None:
                return None
            length, etag = int(head.result.get("ContentLength", 0)), head.headers.get("ETag", "")
            here = self._here(pin, etag)
            if not await self._capacity.may_pin(length, here):
                await self._index.write(lambda db: pins.fasten(db, pin, stays=False))
                return "over", RECHECK_INTERVAL
            if here is not None and all(here.blocks):
                await self._read(pin, (0, 1) if length else None)
            else:
                await self._fetch(pin, length, here)
        except S3Error as error:
            if error.code in NO_TAGS:
                return None
            if error.status >= 500 or error.status == 429 or error.unknown:
                raise Unavailable(error.message) from error
            if error.status in (403, 404):
                return None
            return "waiting", REFUSED_PAUSE
        here = self._here(pin, etag)
        if here is None or not all(here.blocks):
            return "waiting", REFUSED_PAUSE
        await self._index.write(lambda db: pins.fasten(db, pin, stays=True))
        return "kept", RECHECK_INTERVAL

    async def _ask(self, pin: Pin) -> Answer | None:
        """What the remote says of a name; None where it is not pinned. Raises S3Error and Unavailable."""
        remote = self._remote.acting(pin.identity)
        named = {"Bucket": pin.bucket, "Key": pin.key}
        said = await remote.ask("GetObjectTagging", named, fresh=True)
        return await remote.head_object(pin.bucket, pin.key, fresh=True) if is_pinned(said.tags) else None

    def _here(self, pin: Pin, etag: str) -> Entry | None:
        """What is cached of a version."""
        nothing: Entry | None = None
        entry = self._index.read(lambda db: entries.find(db, Spot(pin.bucket, pin.key)), nothing)
        return entry if entry is not None and entry.etag == etag else None

    async def _fetch(self, pin: Pin, length: int, here: Entry | None) -> None:
        """Read what is missing of an object. Raises S3Error and Unavailable."""
        began, moved = tick(), 0
        for start, end in _missing(length, here):
            await asyncio.sleep(pause(moved, self._limits.pin_rate, tick() - began))
            await self._read(pin, None if (start, end) == (0, length) else (start, end))
            moved += end - start
        await self._fills.ended(Spot(pin.bucket, pin.key))

    async def _read(self, pin: Pin, stretch: tuple[int, int] | None) -> None:
        """Read a stretch of an object (None: all of it) through the cache. Raises S3Error and Unavailable."""
        asked: dict[str, Any] = {"Range": f"bytes={stretch[0]}-{stretch[1] - 1}"} if stretch else {}
        answer = await self._reader.acting(pin.identity).get_object(pin.bucket, pin.key, **asked)
        if answer.body is not None:
            try:
                async for _ in answer.body.chunks():
                    pass
            finally:
                await answer.body.aclose()

    def show(self) -> None:
        """Show in the metrics how many names are in which state."""
        for state, count in self.counts().items():
            self._metrics.cache_pins.labels(state).set(count)


def pause(moved: int, rate: int, since: float) -> float:
    """Seconds until so many bytes have taken their time, of which some have passed."""
    return max(0.0, moved / rate - since)


def _missing(length: int, here: Entry | None) -> Iterator[tuple[int, int]]:
    """The stretches of an object of which something is not here; an empty one has one, which is empty."""
    for start in range(0, max(length, 1), STRETCH):
        end = min(length, start + STRETCH)
        if here is None or not all(here.blocks[start // BLOCK_BYTES : -(-end // BLOCK_BYTES)]):
            yield start, end
