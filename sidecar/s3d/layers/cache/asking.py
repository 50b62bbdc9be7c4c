"""Asks the policy about all that is cached, so that what it forbids by now does not stay because nobody reads it.

Some objects at a time, oldest first, and from the beginning again. Only a denial drops anything: for want of a decision
nothing goes (SEMANTICS F-3h). What is answered from the cache does not wait for this look (consent.py).
"""

import asyncio
import logging
import time
from functools import partial

from s3d.layers.cache.capacity import Capacity
from s3d.layers.cache.choice import told
from s3d.layers.cache.consent import Consent
from s3d.layers.cache.copies import Copies
from s3d.layers.cache.index import Index
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import Entry, Spot
from s3d.policy import Verdict
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

MAX_CONCURRENT = 16
"""Questions that are under way at once."""
INTERVAL = 0.5
"""Seconds between two times that it asks."""
FULL_LOOK_INTERVAL = 60.0
"""Seconds at least between the beginnings of two looks at all."""


class Asking:
    """Asks until cancelled."""

    def __init__(self, index: Index, copies: Copies, consent: Consent, capacity: Capacity) -> None:
        """Take what is looked at, and who is asked."""
        self._index = index
        self._copies = copies
        self._consent = consent
        self._capacity = capacity
        self._whom = consent.whom
        self._behind = 0
        self._due_at = time.monotonic()

    async def look(self) -> None:
        """Ask about the next ones where it is time, drop what is denied, and rest."""
        await self._consent.probe()
        if self._whom != self._consent.whom:
            self._whom, self._behind, self._due_at = self._consent.whom, 0, time.monotonic()
        now = time.monotonic()
        if self._consent.is_asked_for and self._consent.is_reached and (self._behind or now >= self._due_at):
            if not self._behind:
                self._due_at = now + FULL_LOOK_INTERVAL
            try:
                await self._next()
            except StoreFailed as error:
                log.warning("what the policy denies cannot be dropped from the read cache: %s", error)
        await asyncio.sleep(INTERVAL)

    async def _next(self) -> None:
        nothing: list[tuple[Spot, Entry]] = []
        page = self._index.read(lambda db: entries.some(db, self._behind, MAX_CONCURRENT), nothing)
        asked = (self._consent.verdict(told(spot, one.head, one.length, one.tags)) for spot, one in page)
        verdicts = await asyncio.gather(*asked)
        denied = [(spot, one) for (spot, one), said in zip(page, verdicts, strict=True) if said is Verdict.DENY]
        for spot, _ in denied:
            self._copies.make_void(spot.bucket, spot.key)
        if files := [one.file for _, one in denied]:
            self._capacity.went(await self._index.write(partial(entries.drop_files, files=files)), "policy")
        if self._consent.is_reached:
            self._behind = page[-1][1].id if page else 0
