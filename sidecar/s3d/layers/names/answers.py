"""Listings out of what is remembered (SEMANTICS C-10): whole, or not at all.

A page is put together out of the pages that the remote gave, each with what has changed since it was asked for. Where
one name of it may have changed and nobody knows how, or no page says anything, there is no answer. What is in doubt
behind the last name of an answer does not matter.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from multidict import CIMultiDict

from s3d.api import BytesBody, Headers, Reply
from s3d.layers.names import effects, heads, pages, rows
from s3d.layers.names.asked import Asked, encode_token
from s3d.layers.names.rows import KeptPage
from s3d.layers.names.spans import Span
from s3d.protocol import listings, paging
from s3d.protocol.listings import Entry
from s3d.store.db import Database

MAX_BATCH = 2000
"""Changes that are read at once."""
GONE = Entry("")
"""Stands for a name that is not there any more."""


@dataclass(slots=True)
class Found:
    """The entries of an answer, as they are gathered."""

    most: int
    entries: dict[str, Entry] = field(default_factory=dict)
    more: bool = False
    doubted: bool = False
    """Whether a name behind the last entry may be there."""
    seen: float = float("inf")
    """When the oldest page of it was shown."""

    @property
    def full(self) -> bool:
        """Whether there are as many as were asked for."""
        return len(self.entries) >= self.most

    def take(self, items: Mapping[str, Entry | None]) -> bool:
        """Take what is known of some names, in order, until one more than enough is; False where one is in doubt."""
        for name in sorted(items):
            entry = items[name]
            if name in self.entries:
                continue
            if entry is None and not self.full:
                return False
            if entry is None:
                self.doubted = True
            elif self.full:
                self.more = True
                return True
            else:
                self.entries[name] = entry
        return True


def gather(db: Database, asked: Asked, low: str | None, since: float) -> tuple[int, Found] | None:
    """The view that tells what is asked for from `low` on, and the entries; None for what is not remembered, or was
    shown before `since`."""
    for view in dict.fromkeys([asked.view, asked.flat]):
        number = rows.view_of(db, view)
        found = Found(asked.most)
        if number is not None and _walk(db, asked, number, low, since, found):
            return number, found
    return None


def _walk(db: Database, asked: Asked, view: int, low: str | None, since: float, found: Found) -> bool:
    """Whether all that is asked for is known; it is in `found` then."""
    end = asked.end
    while low is not None and (end is None or low < end) and not found.more:
        page = rows.page_at(db, view, low)
        if page is None or page.seen < since:
            # Nothing is known from here on but that the list goes on: so the remote said with the page before.
            found.more = found.full
            return found.full
        found.seen = min(found.seen, page.seen)
        high = page.span.high
        span, items = _known(
            db, asked, page, Span(low, end if high is None or (end is not None and end < high) else high)
        )
        if not found.take(_rolled_up(asked, items)):
            return False
        low = span.high
        last = next(reversed(found.entries.values()), GONE)
        if last.name and last.inner is None and low is not None and low.startswith(last.name):
            # What else is under a common prefix that is shown does not matter.
            low = paging.past(last).low
    return found.more or not found.doubted


def _known(db: Database, asked: Asked, page: KeptPage, span: Span) -> tuple[Span, dict[str, Entry | None]]:
    """What is known of the names of a span, or of the first ones in it: the entry, or that it is GONE; None where it is
    in doubt."""
    bucket = asked.call.bucket
    changes = rows.changes(db, bucket, span, page.seq, MAX_BATCH)
    doubts = rows.doubts(db, bucket, span, MAX_BATCH)
    ends = [keys[-1] + "\0" for keys in ([key for key, _ in changes], doubts) if len(keys) == MAX_BATCH]
    if ends:
        span = Span(span.low, min(ends))
    entries = pages.unpack(page.data)
    items: dict[str, Entry | None] = {entry.name: entry for entry in entries if span.holds(entry.name)}
    owner = listings.Page(entries, truncated=False).owner if asked.owners else ""
    for key, text in changes:
        if span.holds(key):
            items[key] = GONE if text is None else Entry(key, effects.unpack(text).inner(owner))
    items |= {key: None for key in doubts if span.holds(key)}
    return span, items


def _rolled_up(asked: Asked, items: Mapping[str, Entry | None]) -> dict[str, Entry | None]:
    """Names as the listing shows them. A common prefix that the remote has shown stays when names under it go: whether
    it is empty then only a view of all names tells."""
    shown: dict[str, Entry | None] = {}
    for name in sorted(items):
        entry, prefix = items[name], asked.rolled(name)
        if prefix is None:
            if entry is not GONE:
                shown[name] = entry
        elif entry is None:
            shown.setdefault(prefix, None)
        elif entry is not GONE:
            shown[prefix] = Entry(prefix)
    return shown


def answer(asked: Asked, found: Found, age: int) -> Reply:
    """The page, marked as one out of memory."""
    last = next(reversed(found.entries), "")
    cursor = (encode_token(last) if asked.second else last) if found.more else ""
    return page(asked, list(found.entries.values()), cursor, age)


def page(asked: Asked, entries: list[Entry], cursor: str, age: int | None) -> Reply:
    """A page as a client gets it. `cursor` is the token, or the marker, by which it goes on, "" at the end; `age` is
    None for one of the remote's."""
    head: dict[str, str | None] = {"Prefix": asked.prefix}
    if asked.second:
        head["StartAfter"] = asked.start or None
        head["ContinuationToken"] = asked.token or None
        head["NextContinuationToken"] = cursor or None
        head["KeyCount"] = str(len(entries))
    else:
        head["Marker"] = asked.start
        head["NextMarker"] = cursor or None if asked.delimiter else None
    head["MaxKeys"] = str(asked.most)
    head["Delimiter"] = asked.delimiter or None
    head["EncodingType"] = "url" if asked.encoded else None
    head["IsTruncated"] = "true" if cursor else "false"
    document = listings.write(asked.call.bucket, head, entries, encoded=asked.encoded)
    headers: Headers = CIMultiDict({"Content-Type": "application/xml"})
    if age is None:
        return Reply(200, headers, BytesBody(document))
    return Reply(200, heads.stale(headers, age), BytesBody(document), source="stale")
