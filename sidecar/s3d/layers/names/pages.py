"""What a page of the remote's teaches, and how it is kept. Pure: it runs beside the loop.

A page that says of some name neither that it is there nor that it is not teaches nothing: one in another order, with
names that may be encoded, or with names that were not asked for.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from s3d.errors import S3Error
from s3d.layers.names.asked import Asked
from s3d.layers.names.spans import Span
from s3d.protocol import listings, paging
from s3d.protocol.listings import Entry, Page

COMPRESSION_LEVEL = 1
"""Of the compression: names are much alike, and a page is to be kept quickly."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a page teaches."""

    span: Span
    entries: tuple[Entry, ...]
    data: bytes
    """The entries, as they are kept."""
    cursor: bytes
    """Names the token or marker by which the remote goes on; b"" where it gave none."""


def learn(asked: Asked, low: str | None, document: bytes) -> Learnt | None:
    """Read a page that begins at `low` (None: nobody knows where); None where it teaches nothing."""
    try:
        page = listings.read(document)
    except S3Error:
        return None
    span = span_of(asked, low, page)
    if span is None:
        return None
    return Learnt(span, page.entries, pack(page.entries), digest(page.cursor) if page.truncated else b"")


def span_of(asked: Asked, low: str | None, page: Page) -> Span | None:
    """The names that a page shows in whole; None for none."""
    entries = page.entries
    if not page.ordered or page.versioned or (asked.encoded and not page.told):
        return None
    if any(not entry.name.startswith(asked.prefix) or not entry.name for entry in entries):
        return None
    if not entries:
        return None if page.truncated or low is None else whole(low, asked.end)
    first, last = entries[0], entries[-1]
    if low is None:
        low = first.name
    elif first.name < low:
        # A page may begin within a common prefix, and shows it; another name before its beginning is out of order.
        end = paging.past(first).low
        if first.inner is not None or (end is not None and end <= low):
            return None
        low = first.name
    return whole(low, paging.past(last).low if page.truncated else asked.end)


def whole(low: str, high: str | None) -> Span | None:
    """A span; None for an empty one."""
    return Span(low, high) if high is None or low < high else None


def digest(cursor: str) -> bytes:
    """What a token of the remote's is kept as: they are long."""
    return hashlib.sha256(cursor.encode()).digest()[:16] if cursor else b""


def pack(entries: Iterable[Entry]) -> bytes:
    """Entries as they are kept."""
    return zlib.compress(json.dumps([list(entry) for entry in entries]).encode(), COMPRESSION_LEVEL)


def unpack(data: bytes) -> tuple[Entry, ...]:
    """Entries that were kept. Raises ValueError for what is damaged."""
    try:
        return tuple(Entry(name, inner, bool(keyed)) for name, inner, keyed in json.loads(zlib.decompress(data)))
    except (zlib.error, TypeError) as error:
        raise ValueError(str(error)) from None
