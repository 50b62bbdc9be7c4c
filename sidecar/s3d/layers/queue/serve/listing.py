"""ListObjects and ListObjectsV2 with what is pending merged in (SEMANTICS R-1, R-8).

The pending changes of a stretch of names are read *before* the remote is asked for it: a change that is delivered in
between is then seen twice, never not at all. A page is gathered stretch by stretch, each as far as both sides are
known. Where nothing is pending under a prefix the remote's page is handed on as it came, but for its token.

Names are compared as text, which is the order of their bytes in UTF-8. `low` is the least name not passed yet.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict

from s3d.api import BytesBody, Call, Headers, Reply, Wire, read_all
from s3d.errors import S3Error
from s3d.layers.judge import error_of
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import views
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import understood
from s3d.layers.queue.serve import forward
from s3d.protocol import decode, encode, listings
from s3d.protocol.listings import Entry, Page, Token

LARGEST_PAGE = 32 << 20
STRETCH = 1000
"""Names that are looked at in one go."""
NEXT_TOKEN = re.compile(rb"<NextContinuationToken>[^<]*</NextContinuationToken>")
ECHO = re.compile(rb"<ContinuationToken>[^<]*</ContinuationToken>")
NOTHING = Page((), truncated=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asks for."""

    call: Call
    second: bool
    """ListObjectsV2."""
    prefix: str
    delimiter: str
    after: str
    """The name that the page comes after; "" for none."""
    most: int
    encoded: bool
    token: Token | None

    @property
    def bucket(self) -> str:
        """The bucket."""
        return self.call.bucket

    @property
    def below(self) -> str | None:
        """The least name that is beyond the prefix; None for no end."""
        return beyond(self.prefix) if self.prefix else None

    @property
    def shows_owner(self) -> bool:
        """Whether objects are shown with their owner."""
        return not self.second or bool(self.call.params.get("FetchOwner"))

    def rolled(self, name: str) -> str | None:
        """The common prefix that stands for a name; None where the name stands for itself."""
        if not self.delimiter or not name.startswith(self.prefix):
            return None
        end = name.find(self.delimiter, len(self.prefix))
        return None if end < 0 else name[: end + len(self.delimiter)]

    @property
    def first(self) -> "Cursor":
        """Where the page begins. A marker that is itself a common prefix has passed all that is under it."""
        if self.after < self.prefix:
            return Cursor("", self.prefix)
        if self.rolled(self.after) == self.after:
            return past(Entry(self.after))
        return Cursor(self.after, self.after + "\0" if self.after else "")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two names: what a remote is told to start after, and the least name that is not passed."""

    after: str
    low: str | None
    """None: everything is passed."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is pending in a stretch of names: by name a change, or of a common prefix whether a put is under it."""

    items: Mapping[str, Change | bool]
    end: Cursor


async def list_objects(parts: Parts, call: Call) -> Reply:
    """Serve ListObjects and ListObjectsV2."""
    wire = forward.wire_of(call)
    params = call.params
    given = params.get("ContinuationToken") or ""
    token = listings.decode_token(given)
    strange = understood.foreign(wire, call.operation) or params.get("EncodingType", "url") != "url"
    if strange or params.get("MaxKeys", 1) < 1 or (given and token is None):
        return await forward.after(parts, call)
    if token is not None and token.query != query_of(params):
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            details={"ArgumentName": "continuation-token"},
            hint="a token goes with the prefix and delimiter that it was given for",
        )
    ask = Ask(
        call,
        second=call.operation == "ListObjectsV2",
        prefix=params.get("Prefix", ""),
        delimiter=params.get("Delimiter", ""),
        after=token.last if token else params.get("StartAfter" if call.operation == "ListObjectsV2" else "Marker", ""),
        most=min(params.get("MaxKeys", listings.MOST_KEYS), listings.MOST_KEYS),
        encoded="EncodingType" in params,
        token=token,
    )
    if wire.headers.get("x-s3d-listing", "").lower() == "pending":
        return await _merged(parts, ask, remote=False)
    begin = ask.first
    idle = begin.low is not None and not views.listed(parts.db, call.bucket, begin.low, ask.below, 1)
    if idle and (token is None or token.remote):
        return await _forwarded(parts, ask)
    return await _merged(parts, ask, remote=True)


async def _forwarded(parts: Parts, ask: Ask) -> Reply:
    """Hand on the remote's page, with a token of ours: it must go on after what becomes pending meanwhile."""
    call, token = ask.call, ask.token
    if token is not None:
        call = replace(call, wire=remote_wire(ask, token=token.remote))
    reply = await parts.inner(call)
    if not ask.second or reply.status >= 300:
        return reply
    data = await read_page(reply)
    if NEXT_TOKEN.search(data):
        theirs = decode.response("ListObjectsV2", 200, reply.headers, data)["NextContinuationToken"]
        last = listings.read(data).entries[-1].name
        ours = listings.encode_token(Token(last, theirs, query_of(ask.call.params)))
        data = NEXT_TOKEN.sub(b"<NextContinuationToken>%s</NextContinuationToken>" % ours.encode(), data)
    if token is not None:
        given = ask.call.params["ContinuationToken"].encode()
        data = ECHO.sub(b"<ContinuationToken>%s</ContinuationToken>" % given, data)
    return Reply(reply.status, reply.headers, body=BytesBody(data))


async def _merged(parts: Parts, ask: Ask, *, remote: bool) -> Reply:
    """Make the page out of what is pending and, with `remote`, what the remote has."""
    entries, more, page = await gather(parts, ask, remote=remote)
    owner = ""
    if ask.shows_owner and any(isinstance(entry, Change) for entry in entries.values()):
        owner = page.owner or await owner_of(parts, remote=remote)
    shown = [entry if isinstance(entry, Entry) else described(entry, owner) for entry in entries.values()]
    headers: Headers = CIMultiDict({"Content-Type": "application/xml"})
    if not remote:
        headers["x-s3d-listing"] = "pending"
    document = listings.write(ask.bucket, head_of(ask, shown, more=more), shown, encoded=ask.encoded)
    return Reply(200, headers, body=BytesBody(document))


async def gather(parts: Parts, ask: Ask, *, remote: bool) -> tuple[dict[str, Entry | Change], bool, Page]:
    """The entries of a page by name and in order, whether there are more, and the remote's last page for its owner."""
    found: dict[str, Entry | Change] = {}
    page = NOTHING
    cursor = ask.first
    while cursor.low is not None:
        stretch = pending_in(parts, ask, cursor.low)
        hidden = sum(
            item is False or (isinstance(item, Change) and item.op == "delete") for item in stretch.items.values()
        )
        missing = ask.most - len(found)
        end = Cursor("", None)
        if remote:
            # Two more: the common prefix that was given last may come again, and one tells whether there are more.
            page = await remote_page(parts, ask, cursor, min(missing + hidden + 2, listings.MOST_KEYS))
            end = past(page.entries[-1]) if page.truncated and page.entries else end
        merged = merge(stretch.items, page, cursor.low)
        nearer = min((c for c in (stretch.end, end) if c.low is not None), key=lambda c: c.low or "", default=end)
        for name in sorted(merged):
            if nearer.low is not None and name >= nearer.low:
                break
            entry = merged[name]
            if entry is None and not await survives(parts, ask, name, cursor.low, remote=remote):
                continue
            if len(found) == ask.most:
                return found, True, page
            found[name] = entry or Entry(name)
        if len(found) == ask.most and page.truncated and stretch.end.low is None:
            # The remote has more, and nothing pending can hide it.
            return found, True, page
        if nearer.low is not None and nearer.low <= cursor.low:
            raise S3Error("InternalError", f"The remote's listing does not go on after {cursor.after!r}", status=500)
        cursor = nearer
    return found, False, page


def pending_in(parts: Parts, ask: Ask, low: str) -> Stretch:
    """What is pending from `low` on. Under a common prefix one look is enough, however much is there."""
    items: dict[str, Change | bool] = {}
    cursor = Cursor("", low)
    while cursor.low is not None and len(items) < STRETCH:
        missing = STRETCH - len(items)
        rows = views.listed(parts.db, ask.bucket, cursor.low, ask.below, missing)
        for change in rows:
            prefix = ask.rolled(change.key)
            if prefix is not None:
                cursor = past(Entry(prefix))
                items[prefix] = change.op != "delete" or views.any_put(parts.db, ask.bucket, change.key, cursor.low)
                break
            items[change.key] = change
        else:
            if len(rows) < missing:
                return Stretch(items, Cursor("", None))
            cursor = past(Entry(rows[-1].key, ""))
    return Stretch(items, cursor)


def merge(items: Mapping[str, Change | bool], page: Page, low: str) -> dict[str, Entry | Change | None]:
    """What both sides show from `low` on, by name; None for a common prefix of which pending deletes may hide all."""
    merged: dict[str, Entry | Change | None] = {}
    for entry in page.entries:
        if entry.name >= low if entry.inner is not None else (past(entry).low or low) > low:
            merged[entry.name] = entry
    for name, item in items.items():
        if item is True:
            merged[name] = Entry(name)
        elif item is False:
            if name in merged:
                merged[name] = None
        elif item.op == "delete":
            merged.pop(name, None)
        else:
            merged[name] = item
    return merged


async def survives(parts: Parts, ask: Ask, prefix: str, low: str, *, remote: bool) -> bool:
    """Whether anything under a common prefix is left when the pending deletes are done."""
    inside = replace(ask, prefix=prefix, delimiter="", after="", most=1, token=None)
    if low > prefix:
        inside = replace(inside, after=ask.after)
    found, _, _ = await gather(parts, inside, remote=remote)
    return bool(found)


async def remote_page(parts: Parts, ask: Ask, cursor: Cursor, most: int) -> Page:
    """The remote's page after a cursor. Raises the remote's own S3Error."""
    call = replace(ask.call, wire=remote_wire(ask, after=cursor.after, most=most))
    reply = await parts.inner(call)
    data = await read_page(reply)
    if reply.status >= 300:
        raise error_of(reply, data)
    return listings.read(data)


async def read_page(reply: Reply) -> bytes:
    """A page's document. Raises S3Error InternalError for one that is larger than any page."""
    try:
        return await read_all(reply.body, LARGEST_PAGE)
    except ValueError as error:
        raise S3Error("InternalError", f"The remote's listing cannot be read: {error}", status=500) from None


def remote_wire(ask: Ask, *, token: str = "", after: str = "", most: int | None = None) -> Wire:
    """The request for a page: as the client sent it but for where it goes on and, for a merge, how much it asks for."""
    params = ask.call.params
    encoding = "url" if most is not None or ask.encoded else None
    names: dict[str, object] = {"prefix": ask.prefix or None, "delimiter": ask.delimiter or None}
    names |= {"max-keys": params.get("MaxKeys") if most is None else most, "encoding-type": encoding}
    if ask.second:
        names |= {"list-type": 2, "continuation-token": token or None, "start-after": after or None}
        names["fetch-owner"] = "true" if params.get("FetchOwner") else None
        if token and "StartAfter" in params:
            names["start-after"] = params["StartAfter"]
    else:
        names["marker"] = after or None
    query = "&".join(f"{name}={quote(str(value), safe='-_.~')}" for name, value in names.items() if value is not None)
    wire = forward.wire_of(ask.call)
    return Wire("GET", wire.path, query, wire.headers)


async def owner_of(parts: Parts, *, remote: bool) -> str:
    """The owner of what this gateway writes, as an element; "" where the remote does not say."""
    if not remote:
        return ""
    try:
        owner: dict[str, Any] = ((await parts.inner(Call("ListBuckets", {}))).result or {}).get("Owner", {})
    except S3Error:
        return ""
    inner = "".join(
        f"<{name}>{encode.escape(owner[name])}</{name}>" for name in ("ID", "DisplayName") if owner.get(name)
    )
    return f"<Owner>{inner}</Owner>" if inner else ""


def described(change: Change, owner: str) -> Entry:
    """A pending object as a line of a page."""
    sums = [name for name in change.members if name in understood.CHECKSUMS]
    kind = change.members.get("x-amz-checksum-type", "FULL_OBJECT")
    checksum = (sums[0].rpartition("-")[2].upper(), kind) if sums else ("", "")
    storage = change.members.get("x-amz-storage-class", "STANDARD")
    return Entry(change.key, listings.pending(change.acked_at, change.etag, change.size, storage, checksum, owner))


def head_of(ask: Ask, shown: list[Entry], *, more: bool) -> dict[str, str | None]:
    """The elements before the entries, in S3's order."""
    params = ask.call.params
    last = shown[-1].name if shown else ""
    head: dict[str, str | None] = {"Prefix": ask.prefix}
    if ask.second:
        head["StartAfter"] = params.get("StartAfter")
        head["ContinuationToken"] = params.get("ContinuationToken")
        head["NextContinuationToken"] = listings.encode_token(Token(last, "", query_of(params))) if more else None
        head["KeyCount"] = str(len(shown))
    else:
        head["Marker"] = ask.after
        head["NextMarker"] = last if more and ask.delimiter else None
    head["MaxKeys"] = str(ask.most)
    head["Delimiter"] = ask.delimiter or None
    head["EncodingType"] = "url" if ask.encoded else None
    head["IsTruncated"] = "true" if more else "false"
    return head


def query_of(params: Mapping[str, Any]) -> str:
    """What a token belongs to."""
    return f"{params.get('Prefix', '')}\n{params.get('Delimiter', '')}"


def past(entry: Entry) -> Cursor:
    """The place after an entry; a common prefix takes all that is under it along."""
    return Cursor(entry.name, beyond(entry.name) if entry.inner is None else entry.name + "\0")


def beyond(prefix: str) -> str | None:
    """The least text that is greater than everything with a prefix; None where there is none."""
    for end in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[end]) + 1
        if point == 0xD800:
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[:end] + chr(point)
    return None
