"""Answers reads of one object: from a copy where the remote says that it is the newest version, else from the remote.

`x-cache` says which: REVALIDATED (the remote was asked, the bytes were here), HIT (it was not asked, by `fresh_for`),
STALE (it could not be asked), MISS (the bytes are the remote's).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from s3d.api import S3, BytesBody, Call, Headers, Outcome, Reply
from s3d.bounded import BoundedMap
from s3d.clock import tick
from s3d.errors import S3Error, Unavailable
from s3d.layers.cache import requests
from s3d.layers.cache.changes import Changes, Era
from s3d.layers.cache.choice import Choice, Wish
from s3d.layers.cache.copies import Copies, Copy
from s3d.layers.cache.fill import Changed
from s3d.layers.cache.fills import Fills, NoRoom
from s3d.layers.cache.index import Index
from s3d.layers.cache.reader import Reader
from s3d.layers.cache.rows import entries, pins
from s3d.layers.cache.rows.entries import Spot, Tags
from s3d.layers.cache.validate import Shown, Validations
from s3d.metrics import Metrics
from s3d.protocol import conditions
from s3d.settings import ReadCache
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

NOT_CACHED_SECONDS = 60.0
"""Seconds for which nobody waits for another's read of an object that turned out not to be cacheable."""
MAX_NOT_CACHED = 10_000
MAX_LENGTH = 64 << 30
"""Bytes of the largest object of which anything is cached: each of its blocks takes 8 bytes of its row."""


class Serving:
    """What answers reads."""

    def __init__(
        self,
        inner: S3,
        index: Index,
        copies: Copies,
        changes: Changes,
        choice: Choice,
        fills: Fills,
        validations: Validations,
        limits: ReadCache,
        metrics: Metrics,
    ) -> None:
        """Take the parts."""
        self._inner = inner
        self._index = index
        self._copies = copies
        self._changes = changes
        self._choice = choice
        self._fills = fills
        self._validations = validations
        self._limits = limits
        self._metrics = metrics
        self._first: dict[Spot, asyncio.Event] = {}
        """Spots of which somebody waits for the head of the remote's answer."""
        self._not_cached: BoundedMap[Spot, float] = BoundedMap(MAX_NOT_CACHED)

    async def get(self, call: Call) -> Reply:
        """Answer GetObject."""
        spot = requests.spot_of(call)
        if self._index.is_open:
            async with self._found(spot) as copy:
                if copy is not None and (reply := await self._by_copy(call, copy)) is not None:
                    return self._counted(reply)
            if copy is None and "Range" in call.params and (reply := await self._by_blocks(call, spot)) is not None:
                return self._counted(reply)
        return self._counted(await self._by_remote(call, spot))

    async def head(self, call: Call) -> Reply:
        """Answer HeadObject: what is cached answers where the remote cannot be asked."""
        try:
            reply = await self._inner(call)
        except Unavailable:
            if (stale := await self._stale_head(call)) is not None:
                return stale
            raise
        shown = Shown(reply, None)
        if shown.is_trouble and (stale := await self._stale_head(call)) is not None:
            if reply.body is not None:
                await reply.body.aclose()
            return stale
        return reply

    async def _stale_head(self, call: Call) -> Reply | None:
        copy = await self._copies.find(requests.spot_of(call))
        if copy is None:
            return None
        try:
            age = self._age(copy, call.identity)
            if copy.head is None or age is None or age > self._limits.max_stale or not requests.is_understood(call):
                return None
            if not await self._may_answer(call, copy):
                return None
            reply, stretch = self._answered(call, copy, copy.head)
            if reply.status in (200, 206):
                reply.headers["Content-Length"] = str(stretch[1] - stretch[0])
            return self._counted(marked(reply, "STALE", age))
        finally:
            self._copies.leave(copy)

    @contextlib.asynccontextmanager
    async def _found(self, spot: Spot) -> AsyncIterator[Copy | None]:
        """The copy of a spot. Where the first answer of the remote is on its way, its head is waited for."""
        copy = await self._copies.find(spot)
        first = self._first.get(spot)
        if copy is None and first is not None and not self._is_not_cached(spot):
            await first.wait()
            copy = await self._copies.find(spot)
        try:
            yield copy
        finally:
            if copy is not None:
                self._copies.leave(copy)

    def _is_not_cached(self, spot: Spot) -> bool:
        until = self._not_cached.get(spot)
        return until is not None and tick() < until

    # From a copy.

    async def _by_copy(self, call: Call, copy: Copy) -> Reply | None:
        """Answer from a copy; None where it cannot, and the remote has to."""
        age = self._age(copy, call.identity)
        is_fresh = age is not None and self._limits.fresh_for > 0 and age <= self._limits.fresh_for
        if age is not None and is_fresh and (reply := await self._unasked(call, copy, "HIT", age)) is not None:
            return reply
        asked, at = self._validations.ask(call), self._index.clock.now()
        await asyncio.wait({asked}, timeout=self._limits.validate_timeout)
        if not asked.done() and (reply := await self._stale(call, copy)) is not None:
            return reply
        try:
            shown = await asyncio.shield(asked)
        except Unavailable:
            if (reply := await self._stale(call, copy)) is not None:
                return reply
            raise
        if shown.is_trouble:
            return await self._stale(call, copy)
        return await self._judged(call, copy, shown, at)

    async def _judged(self, call: Call, copy: Copy, shown: Shown, at: float) -> Reply | None:
        """Answer from a copy by what the remote has said of it; None where the remote has to answer itself."""
        reply = shown.reply
        if not shown.is_clear or not await self._is_newest(copy, call, shown):
            return None
        if reply.status == 304:
            return marked(Reply(304, reply.headers.copy(), source="cache", validated=True), "REVALIDATED", 0)
        wish, tags = await self._choice.wants(call, copy.spot, reply.headers, copy.length)
        if wish is Wish.DROP:
            self._note_left_out(copy.spot)
            await self._fills.drop(copy)
        if wish is not Wish.KEEP:
            return None
        await self._note_tags(call, copy, tags)
        head = reply.headers.copy()
        self._note(call, copy, head, at)
        answer = Reply(reply.status, head, source="cache", validated=True)
        try:
            stretch = _shown_stretch(call, answer, shown, copy)
        except S3Error:
            return None
        if stretch is None:
            return None
        was_there = copy.has(*stretch)
        if not await self._give(call, copy, answer, stretch):
            return None
        if was_there:
            self._metrics.cache_saved_bytes.inc(stretch[1] - stretch[0])
            return marked(answer, "REVALIDATED", 0)
        answer.source, answer.validated = "remote", False
        return marked(answer, "MISS", None)

    async def _is_newest(self, copy: Copy, call: Call, shown: Shown) -> bool:
        """Whether a copy is what the remote has; if not, it is dropped as far as the answer says."""
        status, headers = shown.reply.status, shown.reply.headers
        if status == 304:
            return headers.get("ETag", copy.etag) == copy.etag
        if status in (200, 206):
            stretch = requests.stretch_of(headers, status, shown.length)
            same = stretch is not None and headers.get("ETag") == copy.etag and stretch[2] == copy.length
            if same and requests.may_be_kept(headers):
                return True
            await self._fills.drop(copy)
        else:
            await self._refused(copy, call, status)
        return False

    async def _refused(self, copy: Copy, call: Call, status: int) -> None:
        """Drop what the remote has refused: a copy that is gone there, or an identity's right to it (C-4)."""
        if status == 404:
            await self._fills.drop(copy)
        elif status == 403:
            copy.granted.pop(call.identity, None)
            if copy.row is not None and not copy.void:
                with contextlib.suppress(StoreFailed):
                    await self._index.revoke(copy.row, call.identity)

    async def _give(self, call: Call, copy: Copy, answer: Reply, stretch: tuple[int, int]) -> bool:
        """Give an answer its body, with the first block there; False where the blocks cannot be had."""
        if copy.data is not None:
            answer.body = BytesBody(copy.data[slice(*stretch)])
            self._use(copy)
            return True
        copy.users += 1
        reader = Reader(self._copies, copy, self._fills, call, stretch, self._metrics)
        try:
            await reader.begin()
        except (Changed, NoRoom, StoreFailed) as error:
            log.debug("the remote answers itself: %s", error)
            await reader.aclose()
            return False
        except BaseException:
            await reader.aclose()
            raise
        answer.body = reader
        self._use(copy)
        return True

    def _use(self, copy: Copy) -> None:
        """Note that a copy is read."""
        if copy.row is not None and not copy.void:
            self._index.use(copy.row)

    # Without asking.

    async def _stale(self, call: Call, copy: Copy) -> Reply | None:
        age = self._age(copy, call.identity)
        if age is None or age > self._limits.max_stale:
            return None
        return await self._unasked(call, copy, "STALE", age)

    async def _unasked(self, call: Call, copy: Copy, how: str, age: float) -> Reply | None:
        """Answer from a copy alone; None where that needs the remote."""
        if copy.void or copy.head is None or not requests.is_understood(call):
            return None
        if not await self._may_answer(call, copy) or copy.void:
            return None
        reply, stretch = self._answered(call, copy, copy.head)
        if reply.status in (200, 206):
            if not copy.has(*stretch) or not await self._give(call, copy, reply, stretch):
                return None
            self._metrics.cache_saved_bytes.inc(stretch[1] - stretch[0])
        return marked(reply, how, age)

    def _answered(self, call: Call, copy: Copy, head: Headers) -> tuple[Reply, tuple[int, int]]:
        try:
            return requests.answer(call, head, copy.etag, copy.length)
        except S3Error as error:
            return requests.refusal(call, error), (0, 0)

    def _age(self, copy: Copy, identity: str) -> float | None:
        """Seconds since the remote gave a copy to an identity; None where it never did. None is ever negative."""
        at = copy.granted.get(identity)
        if at is None and copy.row is not None and not copy.void:
            at = self._index.noted(copy.row, identity)
        return None if at is None else max(0.0, self._index.clock.now() - at)

    def _note(self, call: Call, copy: Copy, head: Headers, at: float) -> None:
        """Note that the remote has given a copy to an identity, and by which headers. `at` is when it was asked."""
        kept = requests.kept_head(head) if requests.is_plain(call) else None
        changed = kept is not None and kept != copy.head
        copy.granted[call.identity] = max(at, copy.granted.get(call.identity, 0.0))
        copy.validated = max(copy.validated, at)
        copy.head = kept or copy.head
        if copy.row is not None and not copy.void:
            self._index.note(copy.row, call.identity, at, kept if changed else None)

    # By the filter and the policy.

    async def _may_answer(self, call: Call, copy: Copy) -> bool:
        """Whether a copy may still be answered without asking the remote."""
        return await self._choice.may_answer(copy.spot, call.identity, copy.head, copy.length, copy.tags)

    async def _wants(self, call: Call, spot: Spot, reply: Reply, length: int) -> tuple[Wish, Tags]:
        """What becomes of what the remote has just begun to give, and its tags."""
        try:
            return await self._choice.wants(call, spot, reply.headers, length)
        except BaseException:
            if reply.body is not None:
                await reply.body.aclose()
            raise

    def _note_left_out(self, spot: Spot) -> None:
        """Let nobody wait for another's read of what is not cached."""
        self._not_cached[spot] = tick() + NOT_CACHED_SECONDS

    async def _note_tags(self, call: Call, copy: Copy, tags: Tags) -> None:
        if tags is None or tags == copy.tags:
            return
        copy.tags = tags
        if copy.row is None or copy.void:
            return
        row = copy.row

        def apply(db: entries.Tables) -> None:
            entries.retag(db, row, tags)
            pins.follow(db, copy.spot, tags, call.identity)

        with contextlib.suppress(StoreFailed):
            await self._index.write(apply)

    # From the remote.

    async def _by_blocks(self, call: Call, spot: Spot) -> Reply | None:
        """Answer a read of a range by the blocks that it touches; None where the remote has to answer itself."""
        if "If-Range" in call.wire.headers or self._is_not_cached(spot) or self._choice.leaves_out(call):
            return None
        at = self._index.clock.now()
        shown = await asyncio.shield(self._validations.ask(call))
        headers = shown.reply.headers
        stretch = requests.stretch_of(headers, shown.reply.status, shown.length)
        if stretch is None or not stretch[2] or not shown.is_clear:
            return None
        if not requests.may_be_kept(headers) or stretch[2] > MAX_LENGTH:
            self._not_cached[spot] = tick() + NOT_CACHED_SECONDS
            return None
        wish, _ = await self._choice.wants(call, spot, headers, stretch[2])
        if wish is Wish.DROP:
            self._note_left_out(spot)
        if wish is not Wish.KEEP:
            return None
        copy = await self._copies.find(spot)
        try:
            if copy is None:
                copy = await self._copies.begin(spot, headers["ETag"], stretch[2])
            return await self._judged(call, copy, shown, at)
        except StoreFailed as error:
            log.warning("a range of %s/%s is not cached: %s", spot.bucket, spot.key, error)
            return None
        finally:
            if copy is not None:
                self._copies.leave(copy)

    async def _by_remote(self, call: Call, spot: Spot) -> Reply:
        """Hand a read inward, and fill a copy by its answer where that is the whole object."""
        first = self._first.get(spot)
        mine = None
        if first is None:
            mine = self._first[spot] = asyncio.Event()
        try:
            with contextlib.ExitStack() as stack:
                era = stack.enter_context(self._changes.era(spot.bucket, spot.key))
                at = self._index.clock.now()
                reply = await self._inner(call)
                if reply.status not in (200, 206):
                    if reply.outcome is Outcome.REFUSED and (copy := await self._copies.find(spot)) is not None:
                        await self._refused(copy, call, reply.status)
                        self._copies.leave(copy)
                    return reply
                marked(reply, "MISS", None)
                length = reply.body.length if reply.body is not None else None
                if reply.status == 206 or length is None or not self._index.is_open:
                    return reply
                if not requests.may_be_kept(reply.headers):
                    self._not_cached[spot] = tick() + NOT_CACHED_SECONDS
                    return reply
                if not era.sound:
                    return reply
                wish, tags = await self._wants(call, spot, reply, length)
                if wish is Wish.KEEP:
                    await self._fill(call, spot, reply, tags, stack, era, at)
                elif wish is Wish.DROP:
                    self._note_left_out(spot)
                return reply
        finally:
            if mine is not None:
                del self._first[spot]
                mine.set()

    async def _fill(
        self, call: Call, spot: Spot, reply: Reply, tags: Tags, stack: contextlib.ExitStack, era: Era, at: float
    ) -> None:
        """Begin a copy by an answer, and answer from it; where it cannot be begun the answer stays as it is."""
        body = reply.body
        length = body.length if body is not None else None
        if body is None or length is None or length > min(MAX_LENGTH, self._limits.max_size):
            return
        try:
            copy = await self._copies.begin(spot, reply.headers["ETag"], length)
        except StoreFailed as error:
            log.warning("%s/%s is not cached: %s", spot.bucket, spot.key, error)
            return
        try:
            kept = requests.kept_head(reply.headers) if requests.is_plain(call) else None
            copy.head, copy.validated, copy.granted[call.identity], copy.tags = kept, at, at, tags
            await self._fills.whole(call, copy, body, stack, era)
        except (NoRoom, StoreFailed) as error:
            log.debug("%s/%s is not cached: %s", spot.bucket, spot.key, error)
            self._copies.forget(copy)
        else:
            copy.users += 1
            reader = Reader(self._copies, copy, self._fills, call, (0, length), self._metrics)
            reply.body = reader
            try:
                await reader.begin()
            except BaseException:
                await reader.aclose()
                raise
        finally:
            self._copies.leave(copy)

    def _counted(self, reply: Reply) -> Reply:
        self._metrics.cache_requests.labels(reply.headers.get("x-cache", "pass").lower()).inc()
        return reply


def marked(reply: Reply, how: str, age: float | None) -> Reply:
    """Say in an answer where it is from, and how old it is."""
    reply.headers["x-cache"] = how
    if age is not None:
        reply.headers["Age"] = str(int(age))
    if how in ("HIT", "STALE"):
        reply.source = "stale" if how == "STALE" else "cache"
    return reply


def _shown_stretch(call: Call, answer: Reply, shown: Shown, copy: Copy) -> tuple[int, int] | None:
    """The stretch that an answer shows, which is made the answer to a GET; None where only the remote can say.

    A store need not heed the range of a HEAD, nor the headers that a request asks for in the place of others.
    """
    answer.headers.popall("Content-Length", None)
    stretch = requests.stretch_of(answer.headers, answer.status, shown.length)
    if stretch is None:
        return None
    conditions.override(answer.headers, call.params)
    if answer.status == 200 and ("If-Range" in call.wire.headers or "PartNumber" in call.params):
        return None
    if answer.status == 200 and "Range" in call.params:
        part = conditions.select(call.params["Range"], copy.length)
        if part is not None:
            requests.make_partial(answer, part, copy.length)
            return part
    return stretch[0], stretch[1]
