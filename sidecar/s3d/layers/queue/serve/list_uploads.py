"""ListMultipartUploads: the uploads that are staged here and the remote's, as one list (SEMANTICS Q-16, R-1, R-8).

In byte order of the keys; of one key, the remote's come first and in its order, then ours by id. So a marker that names
one of ours says that the remote's of its key were given, and the remote can be asked from there. Uploads at the remote
that are ours (of a push, or spilled) are not shown twice.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.errors import S3Error
from s3d.layers.queue.rows import uploads
from s3d.protocol import encode, listings
from s3d.store.db import Database

MAX_ENTRIES = 1000
"""Entries of a page, whatever a client asks for."""
LAST = "\U0010ffff"
"""Behind every id."""


@dataclass(frozen=True, slots=True)
class Context:
    """What open uploads are listed from."""

    db: Database
    inner: S3
    client: Client


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a page: an upload, or a common prefix, which has none."""

    name: str
    upload_id: str = ""
    upload: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """What a client asks for."""

    bucket: str
    prefix: str
    delimiter: str
    key_marker: str
    id_marker: str

    def rolled(self, key: str) -> str:
        """The common prefix that a key is shown under; "" where it is shown itself."""
        if not self.delimiter:
            return ""
        head, found, _ = key[len(self.prefix) :].partition(self.delimiter)
        return self.prefix + head + found if found else ""

    def shows(self, key: str) -> bool:
        """Whether a key is shown by itself."""
        return key.startswith(self.prefix) and not self.rolled(key)


async def list_uploads(context: Context, call: Call) -> Reply:
    """List the open uploads of a bucket; while the remote is away only on demand for what is pending."""
    params = call.params
    only_ours = call.wire.headers.get("x-s3d-listing", "") == "pending"
    if not only_ours and not uploads.concern(context.db, call.bucket):
        return await context.inner(call)
    most = min(params.get("MaxUploads", MAX_ENTRIES), MAX_ENTRIES)
    if most < 0:
        raise S3Error("InvalidArgument", "Argument max-uploads must be an integer between 0 and 2147483647")
    query = Query(
        call.bucket,
        params.get("Prefix", ""),
        params.get("Delimiter", ""),
        params.get("KeyMarker", ""),
        params.get("UploadIdMarker", "") if params.get("KeyMarker") else "",
    )
    # Ours before the remote's page is asked: what is completed meanwhile is at least in one of them.
    mine = [entry async for entry in ours(context, call.identity, query, most + 1)]
    theirs: list[Entry] = []
    if not only_ours:
        async for entry in remotes(context, call, query):
            theirs.append(entry)
            if len(theirs) > most:
                break
    entries = merged(theirs, mine)
    page, more = entries[:most], len(entries) > most > 0
    return encode.reply(call.operation, result(params, query, most, page, more=more))


async def ours(context: Context, identity: str, query: Query, most: int) -> AsyncIterator[Entry]:
    """Up to so many entries of the uploads of an identity that are staged here. Others are served between two looks at
    the table."""
    marker = uploads.find(context.db, query.id_marker) if query.id_marker else None
    # Of the marker's key, none of ours was given before the remote's were.
    at = query.id_marker if marker is not None or not query.id_marker else ""
    after = (query.key_marker, at or ("" if query.id_marker else LAST))
    count, last = 0, ""
    while count < most:
        found = uploads.open_in(context.db, query.bucket, identity, prefix=query.prefix, after=after, limit=MAX_ENTRIES)
        for one in found:
            after = (one.key, one.id)
            rolled = query.rolled(one.key)
            if rolled:
                if rolled == last or (query.key_marker and rolled <= query.key_marker):
                    continue
                last = rolled
                yield Entry(rolled)
            else:
                shown = {
                    "UploadId": one.id,
                    "Key": one.key,
                    "Initiated": datetime.fromtimestamp(int(one.began_at), UTC),
                    "StorageClass": one.members.get("x-amz-storage-class", "STANDARD"),
                }
                if one.algorithm:
                    shown |= {"ChecksumAlgorithm": one.algorithm.upper(), "ChecksumType": one.kind}
                yield Entry(one.key, one.id, shown)
            count += 1
            if count == most:
                return
        if len(found) < MAX_ENTRIES:
            return
        await asyncio.sleep(0)


async def remotes(context: Context, call: Call, query: Query) -> AsyncIterator[Entry]:
    """The remote's entries behind the markers, without the uploads that are ours."""
    if query.id_marker and uploads.find(context.db, query.id_marker) is None and query.shows(query.key_marker):
        for entry in await rest_of_key(context, call, query):
            yield entry
    asked = {"Prefix": query.prefix, "Delimiter": query.delimiter, "KeyMarker": query.key_marker}
    async for entry in pages(context, call, asked):
        # A prefix that was given as the marker comes again from remotes that only compare keys with it.
        if entry.name > query.key_marker:
            yield entry


async def rest_of_key(context: Context, call: Call, query: Query) -> list[Entry]:
    """The remote's uploads of the marker's key that follow the marker's id.

    The key is asked for by itself: not every remote takes the id that it gave as a marker.
    """
    found: list[Entry] = []
    async for entry in pages(context, call, {"Prefix": query.key_marker}):
        if entry.name != query.key_marker:
            break
        found.append(entry)
    ids = [entry.upload_id for entry in found]
    if query.id_marker in ids:
        return found[ids.index(query.id_marker) + 1 :]
    return [entry for entry in found if entry.upload_id > query.id_marker]


async def pages(context: Context, call: Call, asked: dict[str, str]) -> AsyncIterator[Entry]:
    """The remote's entries, page by page, without the uploads that are ours."""
    params: dict[str, Any] = {"Bucket": call.bucket, "MaxUploads": MAX_ENTRIES, "EncodingType": "url"}
    params.update((name, value) for name, value in asked.items() if value)
    client = context.client.acting(call.identity, call.trace)
    while True:
        page = (await client.ask("ListMultipartUploads", params)).result
        plain = unquote_plus if page.get("EncodingType") == "url" else str
        entries = [Entry(plain(one.get("Prefix", ""))) for one in page.get("CommonPrefixes", ())]
        for one in page.get("Uploads", ()):
            key = plain(one.get("Key", ""))
            if not uploads.is_remotes(context.db, call.bucket, one.get("UploadId", "")):
                entries.append(Entry(key, one.get("UploadId", ""), {**one, "Key": key}))
        # Stable: of one key, the remote's own order stays.
        entries.sort(key=lambda entry: entry.name)
        for entry in entries:
            yield entry
        if not page.get("IsTruncated") or not page.get("NextKeyMarker"):
            return
        following = (plain(page["NextKeyMarker"]), page.get("NextUploadIdMarker") or None)
        if following == (params.get("KeyMarker"), params.get("UploadIdMarker")):
            return
        params["KeyMarker"], params["UploadIdMarker"] = following


def merged(theirs: list[Entry], mine: list[Entry]) -> list[Entry]:
    """Two lists in one order; a common prefix that both have is there once."""
    prefixes = {entry.name for entry in theirs if entry.upload is None}
    return sorted(
        [*theirs, *(entry for entry in mine if entry.upload is not None or entry.name not in prefixes)],
        key=lambda entry: entry.name,
    )


def result(params: dict[str, Any], query: Query, most: int, page: list[Entry], *, more: bool) -> dict[str, Any]:
    """Botocore's members of the answer."""
    encoded = params.get("EncodingType") == "url"

    def shown(name: str) -> str:
        return listings.url_encoded(name) if encoded else name

    answer: dict[str, Any] = {
        "Bucket": query.bucket,
        "KeyMarker": shown(query.key_marker),
        "UploadIdMarker": query.id_marker,
        "Prefix": shown(query.prefix),
        "MaxUploads": most,
        "IsTruncated": more,
        "Uploads": [{**entry.upload, "Key": shown(entry.name)} for entry in page if entry.upload is not None],
        "CommonPrefixes": [{"Prefix": shown(entry.name)} for entry in page if entry.upload is None],
    }
    if query.delimiter:
        answer["Delimiter"] = shown(query.delimiter)
    if encoded:
        answer["EncodingType"] = "url"
    if more:
        answer |= {"NextKeyMarker": shown(page[-1].name), "NextUploadIdMarker": page[-1].upload_id}
    return answer
