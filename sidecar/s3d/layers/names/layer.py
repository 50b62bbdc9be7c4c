"""Remembers what listings and HEADs show, and answers them while the remote is away (SEMANTICS C-10): a layer that
hands every call inward first.

It learns from answers of the remote alone, beside their way. A call that may change a name is noted durably before it
goes on, and what it has made of the name after its answer; in between, and where the answer does not tell, the name is
in doubt, and whoever would have to show it says 503. What asks for a fresh answer is never answered here (C-12).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from s3d.api import S3, BytesBody, Call, Outcome, Reply
from s3d.clock import MACHINE, Machine, tick
from s3d.errors import S3DError, S3Error, Unavailable
from s3d.layers.health import Health
from s3d.layers.names import answers, asked, effects, heads, mend, pages, rows
from s3d.layers.names.asked import Asked
from s3d.layers.names.effects import Effect, Object, Touch
from s3d.layers.names.flights import Flights, Question
from s3d.layers.names.memory import NAME, Memory, open_memory, remove
from s3d.metrics import Metrics
from s3d.protocol import listings, paging
from s3d.settings import ReadCache
from s3d.store.db import Database
from s3d.store.failures import StoreFailed
from s3d.store.lock import make_private

log = logging.getLogger(__name__)

MAX_LEARNING = 64
"""Pages that may wait to be learnt from; what comes beyond is not remembered."""
FAILING = frozenset([429, 500, 502, 503, 504])
"""Statuses by which the remote says that it cannot answer just now."""
AWAY = "ServiceUnavailable"
"""The code of an error by which the remote gave no answer; others are about us."""
MEND_INTERVAL = 1.0
"""Seconds between two looks at what is in doubt."""
ANEW_INTERVAL = 30.0
"""Seconds between two tries to remember again, after the file has failed."""
DENIED, ABSENT = 403, 404
MAX_DOCUMENT = 2 << 20
"""Bytes of the document of a DeleteObjects; 1,000 of the longest keys, escaped, fit into it."""


class Names:
    """The layer."""

    def __init__(self, inner: S3, settings: ReadCache, health: Health, memory: Memory, metrics: Metrics) -> None:
        """Take what is inside; `open_names` is the way in."""
        self._inner = inner
        self._settings = settings
        self._health = health
        self._memory = memory
        self._metrics = metrics
        self._flights = Flights(rows.last_seq(memory.db) if memory.db else 0)
        self._order = asyncio.Lock()
        self._anew_at = 0.0
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="s3d-names")
        self._learning: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """Outcomes of calls that are not written yet."""

    async def __call__(self, call: Call) -> Reply:
        """Serve a listing or a HEAD, or hand a call inward."""
        if self._memory.db is None:
            return await self._without(call)
        if call.operation == "DeleteObjects":
            call = await _with_document(call)
        touch = effects.touched(call)
        if touch is not None:
            return await (self._change(call, touch) if touch.keys else self._sweep(call))
        if (listing := asked.read(call)) is not None:
            return await self._list(listing)
        if (members := heads.read(call)) is not None:
            return await self._head(call, members)
        return await self._inner(call)

    async def _without(self, call: Call) -> Reply:
        """Hand a call inward while nothing is remembered; a listing goes on where one out of memory has ended. What a
        change may make wrong is not learnt over the moment in which it is begun anew."""
        if effects.touched(call) is not None:
            self._flights.begin_sweep(call.bucket)
            try:
                return await self._inner(call)
            finally:
                self._flights.end_sweep(call.bucket)
        listing = asked.read(call)
        if listing is not None and (last := listing.last) is not None:
            return await self._onward(listing, last)
        return await self._inner(call)

    # Listings.

    async def _list(self, listing: Asked) -> Reply:
        call, last = listing.call, listing.last
        question = self._flights.ask(call.bucket)
        learning = False
        try:
            reply = await (self._inner(call) if last is None else self._onward(listing, last))
            if reply.status == 200 and last is None:
                learning = self._learn(question, listing, reply)
        except Unavailable as error:
            remembered = None if call.fresh or error.code != AWAY else await self._recall(listing)
            self._metrics.cache_listings.labels("missed" if remembered is None else "stale").inc()
            if remembered is None:
                raise unremembered(error) from error
            return remembered
        finally:
            if not learning:
                self._flights.drop(question)
        if reply.status in FAILING and not call.fresh and (remembered := await self._recall(listing)) is not None:
            reply = remembered
        if reply.status == DENIED:
            await self._forget(call.bucket, call.identity)
        elif reply.status == ABSENT and reply.outcome is Outcome.REFUSED:
            await self._forget(call.bucket)
        self._metrics.cache_listings.labels(reply.source if reply.source == "stale" else "remote").inc()
        return reply

    def _low(self, listing: Asked) -> str | None:
        """The least name of the page that is asked for; None where all are passed, or only the remote knows."""
        given = listing.token if listing.second else listing.start
        db = self._memory.db
        if given and db is not None and listing.last is None:
            with contextlib.suppress(StoreFailed):
                low = rows.low_of(db, listing.call.bucket, pages.digest(given))
                if low is not None or listing.token:
                    return low
        return listing.low

    async def _onward(self, listing: Asked, last: str) -> Reply:
        """Ask the remote for what comes behind a page out of memory, which ended with a name.

        Not every store starts after a name, and a common prefix may come again: what is passed is left out.
        """
        low = listing.low
        token, tried = "", set[str]()
        while True:
            for encoded in dict.fromkeys([listing.encoded, False]):
                sent = asked.elsewhere(listing, last, token, encoded=encoded)
                reply = await self._inner(sent)
                if reply.status != 200 or not isinstance(reply.body, BytesBody):
                    return reply
                page = listings.read(reply.body.data)
                if page.told or not encoded:
                    break
            left = [entry for entry in page.entries if low is not None and not paging.passed(entry, low)]
            if left or not page.truncated or page.cursor in tried or not page.cursor:
                return answers.page(listing, left, page.cursor if page.truncated else "", None)
            tried.add(token := page.cursor)

    def _learn(self, question: Question, listing: Asked, reply: Reply) -> bool:
        """Have a page remembered, beside its way; whether that was begun."""
        body = reply.body
        if reply.source != "remote" or reply.outcome is not Outcome.DONE or not isinstance(body, BytesBody):
            return False
        if question.spoiled or len(self._learning) >= MAX_LEARNING:
            return False
        self._start(self._learning, self._remember(question, listing, body.data))
        return True

    async def _remember(self, question: Question, listing: Asked, document: bytes) -> None:
        try:
            # One by one: where a page begins the one before it has told.
            async with self._order:
                low, loop = self._low(listing), asyncio.get_running_loop()
                learnt = await loop.run_in_executor(self._parser, partial(pages.learn, listing, low, document))
                most = self._settings.max_names
                if learnt is None or question.spoiled or len(learnt.entries) > most:
                    return
                # From here on nothing may come between: what flies now is noted with the page.
                flying = self._flights.flying(question.bucket)
                now, floor = self._memory.clock.now(), self._flights.floor
                await self._memory.write(rows.keep(listing.view, learnt, now, question.seq, flying, floor, most))
        finally:
            self._flights.drop(question)

    async def _recall(self, listing: Asked) -> Reply | None:
        """The page out of memory; None where not all of it is remembered."""
        await self.learnt()
        db, now = self._memory.db, self._memory.clock.now()
        low = self._low(listing)
        known = low is not None or not listing.token
        if db is None or not known or (listing.splits and not listing.token):
            return None
        try:
            gathered = answers.gather(db, listing, low, now - self._settings.max_stale)
        except (StoreFailed, ValueError) as error:
            await self._memory.abandon(str(error))
            return None
        if gathered is None:
            return None
        view, found = gathered
        await self._memory.write(rows.use(view, now), short=True)
        return answers.answer(listing, found, self._age(found.seen))

    # HEADs.

    async def _head(self, call: Call, members: str) -> Reply:
        question = self._flights.ask(call.bucket, call.key)
        learning = False
        try:
            reply = await self._inner(call)
            kept = heads.pack(reply) if reply.source == "remote" and reply.outcome is Outcome.DONE else None
            if kept is not None and not question.spoiled and len(self._learning) < MAX_LEARNING:
                self._start(self._learning, self._keep_head(question, call, members, kept))
                learning = True
        except Unavailable as error:
            remembered = None if call.fresh or error.code != AWAY else await self._recall_head(call, members)
            self._metrics.cache_heads.labels("missed" if remembered is None else "stale").inc()
            if remembered is None:
                raise
            return remembered
        finally:
            if not learning:
                self._flights.drop(question)
        if reply.status in FAILING and not call.fresh:
            remembered = await self._recall_head(call, members)
            if remembered is not None:
                if reply.body is not None:
                    await reply.body.aclose()
                reply = remembered
        elif reply.status in (DENIED, ABSENT) and (db := self._memory.db) and rows.has_head(db, call.bucket, call.key):
            whose = call.identity if reply.status == DENIED else None
            await self._memory.write(rows.forget_head(call.bucket, [call.key], whose), short=True)
        self._metrics.cache_heads.labels(reply.source if reply.source == "stale" else "remote").inc()
        return reply

    async def _keep_head(self, question: Question, call: Call, members: str, headers: str) -> None:
        try:
            if question.spoiled:
                return
            now, most = self._memory.clock.now(), self._settings.max_names
            write = rows.keep_head(call.bucket, call.key, call.identity, members, headers, now, most)
            await self._memory.write(write)
        finally:
            self._flights.drop(question)

    async def _recall_head(self, call: Call, members: str) -> Reply | None:
        await self.learnt()
        db = self._memory.db
        if db is None:
            return None
        try:
            kept = rows.head(db, call.bucket, call.key, call.identity, members)
            if kept is None or kept[1] < self._memory.clock.now() - self._settings.max_stale:
                return None
            return heads.answer(kept[0], self._age(kept[1]))
        except (StoreFailed, ValueError) as error:
            await self._memory.abandon(str(error))
            return None

    # What changes names.

    async def _change(self, call: Call, touch: Touch) -> Reply:
        """Hand a call inward that may change names: in doubt before it, known after its answer."""
        bucket, keys = call.bucket, touch.keys
        self._flights.begin(bucket, keys)
        outcome: Mapping[str, Effect] = dict.fromkeys(keys, "unknown")
        try:
            try:
                await self._note(call, touch)
            except BaseException:
                outcome = dict.fromkeys(keys, "nothing")
                raise
            try:
                reply = await self._inner(call)
            except S3Error as error:
                if not error.unknown:
                    outcome = dict.fromkeys(keys, "nothing")
                raise
            outcome = effects.effects(call, touch, reply)
            return reply
        finally:
            self._end(call, touch, outcome)

    async def _note(self, call: Call, touch: Touch) -> None:
        """Note names durably, as far as anything is remembered of them."""
        db, bucket = self._memory.db, call.bucket
        if db is None:
            return
        asking = self._flights.is_asked(bucket)
        try:
            doubted = [key for key in touch.keys if rows.is_doubted(db, bucket, key)]
            if touch.heads_only:
                noted = [key for key in touch.keys if asking or rows.has_head(db, bucket, key)]
            else:
                noted = [
                    key
                    for key in touch.keys
                    if asking or key in doubted or rows.covers(db, bucket, key) or rows.has_head(db, bucket, key)
                ]
        except StoreFailed as error:
            await self._memory.abandon(str(error))
            return
        for key in doubted:
            self._flights.doubt(bucket, key)
        if not noted:
            return
        if touch.heads_only:
            await self._memory.write(rows.forget_head(bucket, noted), short=True)
        else:
            write = rows.doubt(bucket, noted, call.identity, self._flights.next())
            await self._memory.write(write, short=len(noted) == 1)

    def _end(self, call: Call, touch: Touch, outcome: Mapping[str, Effect]) -> None:
        """Have the outcome of a call written. Nobody waits for it but who is answered out of memory: until it is on
        the disk the names are in doubt there."""
        bucket = call.bucket
        self._flights.spoil(bucket, touch.keys)
        found: list[tuple[str, str | None, int]] = []
        as_before: list[str] = []
        unknown: list[str] = []
        for key in touch.keys:
            flight = self._flights.end(bucket, key)
            effect = "unknown" if flight is None or flight.mixed else outcome.get(key, "unknown")
            if flight is None or touch.heads_only:
                continue
            if effect == "unknown":
                unknown.append(key)
            elif effect != "nothing":
                found.append((key, effect.pack() if isinstance(effect, Object) else None, self._flights.next()))
            elif not flight.doubted:
                as_before.append(key)
        found = [one for one in found if self._matters(bucket, one[0])]
        unknown = [key for key in unknown if self._matters(bucket, key)]
        if found:
            self._start(self._ending, self._memory.submit(rows.settle(bucket, found), short=len(found) == 1))
        if unknown:
            write = rows.doubt(bucket, unknown, call.identity, self._flights.next())
            self._start(self._ending, self._memory.submit(write, short=len(unknown) == 1))
        if as_before:
            self._start(self._ending, self._memory.submit(rows.trust(bucket, as_before), short=len(as_before) == 1))

    def _matters(self, bucket: str, key: str) -> bool:
        """Whether a page shows a name or may yet, or that it is not there."""
        db = self._memory.db
        with contextlib.suppress(StoreFailed):
            return db is not None and (self._flights.is_asked(bucket) or rows.covers(db, bucket, key))
        return True

    async def _sweep(self, call: Call) -> Reply:
        """Hand a call inward that may change a bucket in whole: nothing is known of it any more."""
        self._flights.begin_sweep(call.bucket)
        try:
            await self._forget(call.bucket)
            return await self._inner(call)
        finally:
            self._flights.end_sweep(call.bucket)

    async def _forget(self, bucket: str, identity: str | None = None) -> None:
        """Forget what was shown of a bucket, durably, and what is about to be remembered of it."""
        self._flights.spoil(bucket)
        await self._memory.write(rows.forget(bucket, identity, self._flights.floor))

    # The rest.

    async def _settled(self) -> None:
        """Wait until the outcomes of all calls that were answered are in the tables."""
        while self._ending:
            await asyncio.wait(self._ending)

    async def learnt(self) -> None:
        """Wait until all that was shown is remembered, or was left out."""
        while self._learning:
            await asyncio.wait(self._learning)
        await self._settled()

    def _start(self, among: set[asyncio.Task[None]], work: Awaitable[None]) -> None:
        async def do() -> None:
            try:
                await work
            except S3Error as error:
                log.error("%s", error)

        task = asyncio.get_running_loop().create_task(do())
        among.add(task)
        task.add_done_callback(among.discard)

    def _age(self, seen: float) -> int:
        """Seconds since the remote showed something."""
        now = self._memory.clock.now()
        return int(max(0.0, now - min(seen, now)))

    @property
    def db(self) -> Database | None:
        """The tables; None while nothing is remembered."""
        return self._memory.db

    async def look_after(self) -> None:
        """Find out about names in doubt while the remote is there, and rest until the next time."""
        await self._health.present()
        if self._memory.db is None and tick() >= self._anew_at:
            self._anew_at = tick() + ANEW_INTERVAL
            await self.begin_anew()
        await self.mend()
        await asyncio.sleep(MEND_INTERVAL)

    async def begin_anew(self) -> None:
        """Remember from now on, where that is possible again."""
        try:
            await self._memory.begin_anew()
        except (OSError, S3DError) as error:
            log.warning("names are not remembered yet: %s", error)

    async def mend(self) -> None:
        """Find out about names in doubt."""
        await self._settled()
        await mend.look(self._memory, self._flights, self._inner)

    def show(self) -> None:
        """Set the gauges."""
        names, kept = (0, 0) if self._memory.db is None else rows.counted(self._memory.db)
        self._metrics.cache_names.labels("names").set(names)
        self._metrics.cache_names.labels("heads").set(kept)

    async def aclose(self) -> None:
        """Finish what was begun, and close the file."""
        await self.learnt()
        self._parser.shutdown(wait=False)  # it is at rest
        await self._memory.aclose()


class Document(BytesBody):
    """A document that was read, with the digests of the body that it came as."""

    __slots__ = ("_digests",)

    def __init__(self, data: bytes, digests: Mapping[str, str]) -> None:
        """Take both."""
        super().__init__(data)
        self._digests = digests

    @property
    def digests(self) -> Mapping[str, str]:
        """Those of the body."""
        return self._digests


async def _with_document(call: Call) -> Call:
    """The same call with its document at hand, unless that is larger than any of S3's."""
    body = call.body
    if body is None or body.length is None or body.length > MAX_DOCUMENT:
        return call
    try:
        data = await body.whole()
    finally:
        await body.aclose()
    return replace(call, body=Document(data, body.digests))


def unremembered(error: Unavailable) -> Unavailable:
    """The 503 of a listing that is not remembered."""
    return Unavailable(
        f"{error.message}. This page of the listing is not remembered",
        hint="what was listed before is listed while the remote is away, with the same delimiter and fields",
        sent=error.sent,
    )


@contextlib.asynccontextmanager
async def open_names(
    inner: S3,
    settings: ReadCache,
    directory: Path,
    endpoint: str,
    health: Health,
    metrics: Metrics,
    machine: Machine = MACHINE,
) -> AsyncIterator[Names]:
    """Open what is remembered in a directory of the store at an endpoint. Raises ConfigError and StoreFailed."""
    await asyncio.to_thread(make_private, directory)
    names = Names(inner, settings, health, await open_memory(directory, endpoint, machine), metrics)
    try:
        yield names
    finally:
        await names.aclose()


def forget(directory: Path) -> None:
    """Forget what is remembered in a directory: changes pass from now on that nobody notes. Blocks. Raises OSError."""
    if (directory / NAME).exists():
        remove(directory / NAME)
