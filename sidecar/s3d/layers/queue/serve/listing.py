"""ListObjects, ListObjectsV2 and ListObjectVersions with what is pending merged in (SEMANTICS R-1, R-8).

The pending changes of a stretch of names are read *before* the remote is asked for it: a change that is delivered in
between is then seen twice, never not at all. A page is gathered stretch by stretch, each as far as both sides are
known. Where nothing is pending under a prefix the remote's page is handed on as it came, but for its token.

The remote goes on by its own token, whose meaning only it knows, and never by a name that it gave: a page may be empty
and truncated, and not every store starts after a name (R-8a). Where a page of a client ends inside one of the remote's,
that one is read again, and what was given of it is left out.

What a client asks for, and where in it a page is, stands in `list_requests.py`. A store whose pages come in another
order cannot be merged: what is pending is delivered first (R-8b).
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from multidict import CIMultiDict

from s3d.api import S3, BytesBody, Call, Headers, Reply, read_all
from s3d.client import Client, error_of
from s3d.errors import S3Error
from s3d.layers.queue.remote_facts.buckets import VERSIONS, Bucket
from s3d.layers.queue.remote_facts.facts import RemoteFacts
from s3d.layers.queue.rows import lookups
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rules import allowlist
from s3d.layers.queue.serve import forward
from s3d.layers.queue.serve.list_requests import Ask, Position, remote_wire
from s3d.layers.queue.turns import Turns
from s3d.protocol import encode, listings
from s3d.protocol.listings import Entry, Page, Place, Token
from s3d.protocol.paging import Cursor, past
from s3d.store.db import Database

MAX_PAGE = 32 << 20
MAX_STRETCH = 1000
"""Names of a stretch, at most."""
MAX_BATCH = 250
"""Rows that are read while nobody else is served."""
NEXT = re.compile(rb"<(NextContinuationToken|NextMarker|NextKeyMarker)\b[^>]*>.*?</\1\s*>", re.DOTALL)
ECHO = re.compile(rb"<(ContinuationToken|Marker|KeyMarker)\b[^>]*>.*?</\1\s*>", re.DOTALL)
TRUNCATED = re.compile(rb"<IsTruncated\b[^>]*>\s*true")
NOTHING = Page((), truncated=False)
LOOKAHEAD = 2
"""Entries that the first page asks for beyond what it shows: a marker's own common prefix may come again, and the
order of what follows is seen early."""


@dataclass(frozen=True, slots=True)
class Context:
    """What listings are made of."""

    db: Database
    inner: S3
    client: Client
    facts: RemoteFacts
    turns: Turns
    forward: forward.Context


class VersionedError(Exception):
    """The bucket keeps versions, which only the remote knows."""


class OtherOrderError(Exception):
    """The remote's pages do not come in the order of their names."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a page of a client is made of."""

    entries: Mapping[str, Entry | Change]
    """By name and in order."""
    more: bool
    page: Page
    """The remote's last page, for its owner."""
    position: Position
    """Where the remote goes on."""
    place: Place
    """Where that is, seen from the last entry."""
    age: int | None = None
    """Seconds since the remote showed what is oldest in it, where a memory has answered in its place."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is pending in a stretch of names: by name a change, or of a common prefix whether a put is under it."""

    items: Mapping[str, Change | bool]
    end: Cursor


async def list_objects(context: Context, call: Call) -> Reply:
    """Serve ListObjects, ListObjectsV2 and, of a bucket that keeps no versions, ListObjectVersions."""
    wire = call.wire
    params = call.params
    second, versions = call.operation == "ListObjectsV2", call.operation == "ListObjectVersions"
    if versions and params.get("VersionIdMarker", "null") not in ("", "null"):
        return await forward.after(context.forward, call)
    marker = params.get("KeyMarker" if versions else "Marker", "")
    given = params.get("ContinuationToken", "") if second else marker
    token = listings.decode_token(given)
    strange = allowlist.unsupported(wire, call.operation) or params.get("EncodingType", "url") != "url"
    if strange or params.get("MaxKeys", 1) < 1 or (second and given and token is None):
        return await forward.after(context.forward, call)
    ask = Ask(
        call,
        second=second,
        versions=versions,
        prefix=params.get("Prefix", ""),
        delimiter=params.get("Delimiter", ""),
        after=token.last if token else params.get("StartAfter", "") if second else marker,
        most=min(params.get("MaxKeys", listings.MAX_KEYS), listings.MAX_KEYS),
        encoded="EncodingType" in params,
        token=token,
    )
    if token is not None and token.query != ask.query:
        raise incorrect(ask, "a token goes with the prefix and delimiter that it was given for")
    if wire.headers.get("x-s3d-listing", "").lower() == "pending":
        return await _merged(context, ask, remote=False)
    if not context.facts.traits.lists_in_order(call.bucket):
        return await _in_the_remotes_order(context, ask)
    begin = ask.first
    idle = begin.low is not None and not lookups.listed(context.db, call.bucket, begin.low, ask.below, 1)
    idle = idle and not leaves_ghost(context, ask)
    try:
        if idle and (token is None or (token.remote and token.place is not Place.INSIDE)):
            return await _forwarded(context, ask)
        return await _merged(context, ask, remote=True)
    except VersionedError:
        versioned = Bucket(call.bucket, "versioned", "versions in a listing")
        await context.facts.buckets.learn(versioned, call.identity)
        if token is not None:
            raise incorrect(ask, "the bucket keeps versions by now; begin the listing again") from None
        return await forward.after(context.forward, call)
    except OtherOrderError:
        context.facts.traits.listed_out_of_order(call.bucket)
    if token is None and ask.after and not second:
        raise out_of_order(ask)
    return await _in_the_remotes_order(context, ask)


async def list_versions(context: Context, call: Call) -> Reply:
    """Serve ListObjectVersions: where a bucket keeps versions, only the remote knows them."""
    bucket = context.facts.buckets.remembered(call.bucket)
    if bucket is None and lookups.listed(context.db, call.bucket, "", None, 1):
        bucket = await context.facts.buckets.get(call.bucket, call.identity)
    if bucket is None or bucket.through in VERSIONS:
        return await forward.after(context.forward, call)
    return await list_objects(context, call)


async def _in_the_remotes_order(context: Context, ask: Ask) -> Reply:
    """Hand on the remote's page when what is pending under the prefix is delivered: nothing can be merged into it."""
    if ask.token is not None and ask.token.place is not Place.BEHIND:
        raise out_of_order(ask)
    await context.turns.barrier(ask.bucket, None, ask.prefix, identity=ask.call.identity)
    return await _forwarded(context, ask, judged=False)


async def _forwarded(context: Context, ask: Ask, *, judged: bool = True) -> Reply:
    """Hand on the remote's page, with a token of ours: it must go on after what becomes pending meanwhile.

    Raises OtherOrderError, if `judged`, where something is pending that the remote's order may show too late.
    """
    call, token = ask.call, ask.token
    remote = token.remote if token is not None else ""
    tried: set[str] = set()
    while True:
        if remote:
            call = replace(call, wire=remote_wire(ask, Position(remote)))
        reply = await context.inner(call)
        if reply.status >= 300:
            return reply
        data = await read_page(reply)
        # Of what is passed nothing is looked at, unless the remote goes back there.
        watched = (
            judged and token is not None and bool(lookups.listed(context.db, ask.bucket, ask.prefix, ask.below, 1))
        )
        if watched or TRUNCATED.search(data):
            page = listings.read(data)
            if ask.versions and page.versioned:
                raise VersionedError
            if not page.ordered or (token is not None and page.entries and page.entries[0].name < token.last):
                context.facts.traits.listed_out_of_order(ask.bucket)
                if judged and lookups.listed(context.db, ask.bucket, ask.prefix, ask.below, 1):
                    raise OtherOrderError
            if page.truncated and not page.entries and page.cursor:
                if page.cursor in tried:
                    raise stuck(remote)
                tried.add(remote := page.cursor)
                continue
            data = await _with_our_token(context, ask, page, Position(remote, "" if remote else ask.after), data)
        if remote:
            data = ECHO.sub(lambda _: echo(ask), data)
        return Reply(reply.status, reply.headers, body=BytesBody(data), source=reply.source)


async def _with_our_token(context: Context, ask: Ask, page: Page, position: Position, data: bytes) -> bytes:
    """A truncated page of the remote's that says to go on by a token of ours. A NextMarker that is a name stays."""
    if not page.truncated or not page.cursor or not page.entries:
        return data
    if ask.encoded and not page.told:
        page = await remote_page(context, ask, position, ask.most)
    last = page.entries[-1].name if page.entries else ask.after
    if not ask.second and page.cursor == last:
        return data
    place = Place.BEHIND if ask.token is None else ask.token.place
    ours = listings.encode_token(Token(last, page.cursor, ask.query, place))
    return NEXT.sub(rb"<\1>%s</\1>" % ours.encode(), data)


def echo(ask: Ask) -> bytes:
    """What a page says of the place that the client asked for, whichever the remote was asked for."""
    params = ask.call.params
    if ask.versions:
        marker = params.get("KeyMarker", "")
        return (
            f"<KeyMarker>{listings.url_encoded(marker) if ask.encoded else encode.escape(marker)}</KeyMarker>".encode()
        )
    if ask.second:
        token = params.get("ContinuationToken")
        return b"" if token is None else f"<ContinuationToken>{encode.escape(token)}</ContinuationToken>".encode()
    marker = params.get("Marker", "")
    return f"<Marker>{listings.url_encoded(marker) if ask.encoded else encode.escape(marker)}</Marker>".encode()


async def _merged(context: Context, ask: Ask, *, remote: bool) -> Reply:
    """Make the page out of what is pending and, with `remote`, what the remote has."""
    gathered = await gather(context, ask, remote=remote)
    entries = gathered.entries.values()
    owner = ""
    if ask.shows_owner and any(isinstance(entry, Change) for entry in entries):
        owner = gathered.page.owner or await owner_of(context, ask.call, remote=remote)
    only = listings.ONLY_VERSION if ask.versions else ""
    shown = [entry if isinstance(entry, Entry) else described(entry, owner, only) for entry in entries]
    headers: Headers = CIMultiDict({"Content-Type": "application/xml"})
    if not remote:
        headers["x-s3d-listing"] = "pending"
    document = listings.write(
        ask.bucket, head_of(ask, shown, gathered), shown, encoded=ask.encoded, versions=ask.versions
    )
    if gathered.age is None:
        return Reply(200, headers, BytesBody(document), source="queue")
    headers.update({"x-cache": "STALE", "Age": str(gathered.age)})
    return Reply(200, headers, BytesBody(document), source="stale")


async def gather(context: Context, ask: Ask, *, remote: bool) -> Gathered:
    """Gather the entries of a page. Raises OtherOrderError where the remote's pages come in an order of its own."""
    found: dict[str, Entry | Change] = {}
    page = NOTHING
    cursor, position = ask.first, ask.position
    tried, ages = set[Position](), list[int]()
    while cursor.low is not None:
        stretch = await pending_in(context, ask, cursor.low, None if remote else ask.call.identity)
        hidden = sum(
            item is False or (isinstance(item, Change) and item.op == "delete") for item in stretch.items.values()
        )
        end, behind = Cursor("", None), position
        if remote:
            extra = 0 if position.token else LOOKAHEAD
            page = await remote_page(
                context, ask, position, min(ask.most - len(found) + hidden + extra, listings.MAX_KEYS)
            )
            if ask.versions and page.versioned:
                raise VersionedError
            ages += [] if page.age is None else [page.age]
            check_order(page, position.floor)
            end, behind = ends(page, cursor)
        merged = merge(stretch.items, page, cursor.low)
        nearer = min((c for c in (stretch.end, end) if c.low is not None), key=lambda c: c.low or "", default=end)
        for name in sorted(merged):
            if nearer.low is not None and name >= nearer.low:
                break
            entry = merged[name]
            if isinstance(entry, Entry) and entry.inner is None and is_ghost(context, ask, name):
                entry = None
            if entry is None:
                inside = await under(context, ask, name, cursor.low, remote=remote)
                ages += [] if inside.age is None else [inside.age]
                if not inside.entries:
                    continue
            if len(found) == ask.most:
                return Gathered(found, True, page, position, Place.INSIDE, max(ages, default=None))
            found[name] = entry or Entry(name)
        passed = page.truncated and nearer.low == end.low
        if len(found) == ask.most and page.truncated and stretch.end.low is None:
            # The remote has more, and nothing pending can hide it.
            return Gathered(found, True, page, behind, Place.MERGED, max(ages, default=None))
        if passed:
            tried.add(position)
            if behind in tried:
                raise stuck(behind.token or behind.after)
            position = behind
        cursor = nearer
    return Gathered(found, False, page, position, Place.INSIDE, max(ages, default=None))


def ends(page: Page, cursor: Cursor) -> tuple[Cursor, Position]:
    """How far the names are known with a page, and how the remote is asked for the next one."""
    if not page.truncated:
        return Cursor("", None), Position()
    if not page.entries:
        if not page.cursor:
            raise stuck(cursor.after)
        return cursor, Position(page.cursor)
    last = page.entries[-1]
    end = past(last)
    behind = Position(page.cursor, "", last.name) if page.cursor else Position("", last.name)
    # A page of what is passed already leads no further, and none behind the last name of all is needed.
    passed = end.low is not None and cursor.low is not None and end.low < cursor.low
    return cursor if passed else end, behind


def check_order(page: Page, floor: str) -> None:
    """Raise OtherOrderError where names do not come in byte order, or one comes that is before the page."""
    if not page.ordered or (page.entries and page.entries[0].name < floor):
        raise OtherOrderError


def stuck(place: str) -> S3Error:
    """The answer where a remote comes round in circles."""
    return S3Error("InternalError", f"The remote's listing does not go on after {place!r}", status=500)


def incorrect(ask: Ask, hint: str) -> S3Error:
    """The answer to a token that leads nowhere."""
    name, words = ("continuation-token", "continuation token") if ask.second else ("marker", "marker")
    return S3Error("InvalidArgument", f"The {words} provided is incorrect", details={"ArgumentName": name}, hint=hint)


def out_of_order(ask: Ask) -> S3Error:
    """The answer in the middle of a listing: which of the remote's names were given cannot be told any more."""
    return incorrect(ask, "the remote lists this bucket in an order of its own; begin the listing again")


async def pending_in(context: Context, ask: Ask, low: str, whose: str | None) -> Stretch:
    """What is pending from `low` on. Of a common prefix a put is enough; else all that is under it is looked at.

    That of all identities (`whose` is None) counts where the remote is asked as well: by giving its page it says that
    this one may list the bucket (A-8).

    Others are served between two looks, and no look reads more than MAX_BATCH rows, however much is pending.
    """
    items: dict[str, Change | bool] = {}
    cursor = Cursor("", low)
    under = ""  # The common prefix of which nothing but deletes was seen yet.
    while cursor.low is not None and (under or len(items) < MAX_STRETCH):
        rows = lookups.listed(context.db, ask.bucket, cursor.low, ask.below, MAX_BATCH)
        for change in rows:
            if cursor.passed(change.key):
                # Under a common prefix that has a put.
                continue
            if whose not in (None, change.identity):
                cursor = past(Entry(change.key, ""))
                continue
            prefix = ask.rolled(change.key)
            if prefix is None:
                items[change.key] = change
            else:
                items[prefix] = change.op != "delete"
            under = prefix if prefix is not None and items[prefix] is False else ""
            cursor = past(Entry(change.key, "") if under or prefix is None else Entry(prefix))
        if len(rows) < MAX_BATCH:
            return Stretch(items, Cursor("", None))
        await asyncio.sleep(0)
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


async def under(context: Context, ask: Ask, prefix: str, low: str, *, remote: bool) -> Gathered:
    """What is left under a common prefix when the pending deletes are done: the first name of it."""
    inside = replace(ask, prefix=prefix, delimiter="", after="", most=1, token=None)
    if low > prefix:
        inside = replace(inside, after=ask.after)
    return await gather(context, inside, remote=remote)


def is_ghost(context: Context, ask: Ask, name: str) -> bool:
    """Whether a common prefix may be what is left of an object whose delete is pending.

    Some stores keep an object in a directory of its name, and list it as a prefix while they take it away.
    """
    if not ask.delimiter or not name.endswith(ask.delimiter):
        return False
    change = lookups.visible(context.db, ask.bucket, name.removesuffix(ask.delimiter))
    return change is not None and change.op == "delete"


def leaves_ghost(context: Context, ask: Ask) -> bool:
    """Whether an object before the beginning of the page may leave a common prefix on it."""
    after, delimiter = ask.after, ask.delimiter
    ends = range(len(ask.prefix), len(after) + 1) if delimiter and after.startswith(ask.prefix) else ()
    return any(after[end:] < delimiter and is_ghost(context, ask, after[:end] + delimiter) for end in ends if end)


async def remote_page(context: Context, ask: Ask, position: Position, most: int) -> Page:
    """The remote's page at a position. Raises the remote's own S3Error.

    A store that does not say how it writes names is asked once more where that makes a difference, for names as they
    are: an encoding that it was not asked for is no encoding.
    """
    page = NOTHING
    for encoding in ("url", None):
        reply = await context.inner(replace(ask.call, wire=remote_wire(ask, position, most, encoding)))
        data = await read_page(reply)
        if reply.status >= 300:
            raise error_of(reply, data)
        page = replace(listings.read(data), age=age_of(reply))
        if page.told:
            break
    return page


def age_of(reply: Reply) -> int | None:
    """Seconds since the remote showed a page that a memory has answered with; None for one of its own."""
    return int(reply.headers.get("Age", "0")) if reply.source == "stale" else None


async def read_page(reply: Reply) -> bytes:
    """A page's document. Raises S3Error InternalError for one that is larger than any page."""
    try:
        return await read_all(reply.body, MAX_PAGE)
    except ValueError as error:
        raise S3Error("InternalError", f"The remote's listing cannot be read: {error}", status=500) from None


async def owner_of(context: Context, call: Call, *, remote: bool) -> str:
    """The owner of what this gateway writes, as an element; "" where the remote does not say."""
    if not remote:
        return ""
    try:
        answer = await context.client.acting(call.identity, call.trace).ask("ListBuckets", {})
    except S3Error:
        return ""
    owner: Mapping[str, str] = answer.result.get("Owner", {})
    inner = "".join(
        f"<{name}>{encode.escape(owner[name])}</{name}>" for name in ("ID", "DisplayName") if owner.get(name)
    )
    return f"<Owner>{inner}</Owner>" if inner else ""


def described(change: Change, owner: str, only: str = "") -> Entry:
    """A pending object as a line of a page; `only` says in a page of versions that it has no other."""
    sums = [name for name in change.members if name in allowlist.CHECKSUMS]
    kind = change.members.get("x-amz-checksum-type", "FULL_OBJECT")
    checksum = (sums[0].rpartition("-")[2].upper(), kind) if sums else ("", "")
    storage = change.members.get("x-amz-storage-class", "STANDARD")
    elements = listings.pending(change.acked_at, change.etag, change.size, storage, checksum, owner)
    return Entry(change.key, only + elements)


def head_of(ask: Ask, shown: list[Entry], gathered: Gathered) -> dict[str, str | None]:
    """The elements before the entries, in S3's order."""
    params = ask.call.params
    last = shown[-1].name if shown else ""
    more = gathered.more
    head: dict[str, str | None] = {"Prefix": ask.prefix}
    if ask.second:
        token = Token(last, gathered.position.token, ask.query, gathered.place)
        head["StartAfter"] = params.get("StartAfter")
        head["ContinuationToken"] = params.get("ContinuationToken")
        head["NextContinuationToken"] = listings.encode_token(token) if more else None
        head["KeyCount"] = str(len(shown))
    elif ask.versions:
        head["KeyMarker"] = params.get("KeyMarker", "")
        head["VersionIdMarker"] = params.get("VersionIdMarker", "")
        head["NextKeyMarker"] = last if more else None
        head["NextVersionIdMarker"] = "null" if more else None
    else:
        head["Marker"] = params.get("Marker", "")
        head["NextMarker"] = last if more and ask.delimiter else None
    head["MaxKeys"] = str(ask.most)
    head["Delimiter"] = ask.delimiter or None
    head["EncodingType"] = "url" if ask.encoded else None
    head["IsTruncated"] = "true" if more else "false"
    return head
