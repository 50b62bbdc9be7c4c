"""Pages of ListObjects and ListObjectsV2: read from a remote's document, written for a client (SEMANTICS R-8).

The model's encoder walks shapes and takes 43 ms for a page of 1,000 keys; what is in here is made for the two documents
alone. An entry of the remote's keeps every element that it came with, also one that nobody here knows.
"""

import base64
import binascii
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, unquote_plus

from s3d.errors import S3Error
from s3d.protocol.encode import NAMESPACE, PROLOGUE, escape

MOST_KEYS = 1000
"""Entries of a page, whatever a client asks for."""
TOKEN_VERSION = 1
URL_SAFE = "/*"
"""What encoding-type=url leaves as it is, beside letters, digits and `-_.~`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a page: an object, or a common prefix, which has no `inner`."""

    name: str
    inner: str | None = None
    """The elements of an object after its key, as they are written."""


@dataclass(frozen=True, slots=True)
class Page:
    """A remote's page, its entries in byte order."""

    entries: tuple[Entry, ...]
    truncated: bool
    owner: str
    """The owner of some object in it, as an element; "" where none is shown."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a continuation token says: the last name that was given, and the remote's own token where it had one."""

    last: str
    remote: str
    query: str
    """The prefix and delimiter that it belongs to."""


def read(data: bytes) -> Page:
    """Read a page. Raises S3Error InternalError (500) for what is no listing.

    A document type is refused unread, so no entity can grow: nothing else in a page begins with `<!`.
    """
    try:
        if b"<!" in data:
            raise ValueError("it has a document type or a comment")  # noqa: TRY301
        root = ET.fromstring(data)  # noqa: S314 - without a document type there is nothing to expand
        if local(root.tag) != "ListBucketResult":
            raise ValueError(f"its root is {local(root.tag)}")  # noqa: TRY301
        return _page(root)
    except (ET.ParseError, ValueError) as unreadable:
        raise S3Error("InternalError", f"The remote's listing cannot be read: {unreadable}", status=500) from unreadable


def _page(root: ET.Element) -> Page:
    entries: list[Entry] = []
    encoded = truncated = False
    owner = ""
    for element in root:
        tag = local(element.tag)
        if tag == "Contents":
            key, inner, shown = "", "", ""
            for child in element:
                name = local(child.tag)
                if name == "Key":
                    key = child.text or ""
                elif len(child):
                    shown = written(child)
                    inner += shown
                    owner = shown if name == "Owner" else owner
                else:
                    inner += f"<{name}>{escape(child.text or '')}</{name}>"
            entries.append(Entry(key, inner))
        elif tag == "CommonPrefixes":
            entries += [Entry(child.text or "") for child in element if local(child.tag) == "Prefix"]
        elif tag == "IsTruncated":
            truncated = element.text == "true"
        elif tag == "EncodingType":
            encoded = element.text == "url"
    if encoded:
        entries = [Entry(unquote_plus(entry.name), entry.inner) for entry in entries]
    entries.sort(key=lambda entry: entry.name)
    return Page(tuple(entries), truncated, owner)


def local(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]


def written(element: ET.Element) -> str:
    """An element and what is in it, without namespaces."""
    name = local(element.tag)
    inner = "".join(map(written, element)) if len(element) else escape(element.text or "")
    return f"<{name}>{inner}</{name}>"


def pending(acked_at: float, etag: str, size: int, storage_class: str, checksum: tuple[str, str], owner: str) -> str:
    """The elements of a pending object; `acked_at` is Unix time, `checksum` the algorithm and type, or two ""."""
    modified = datetime.fromtimestamp(int(acked_at), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    algorithm, kind = checksum
    sums = f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>" if algorithm else ""
    return (
        f"<LastModified>{modified}</LastModified><ETag>&quot;{etag}&quot;</ETag>{sums}<Size>{size}</Size>"
        f"{owner}<StorageClass>{escape(storage_class)}</StorageClass>"
    )


def write(bucket: str, head: Mapping[str, str | None], entries: Iterable[Entry], *, encoded: bool) -> bytes:
    """Write a page: the elements of its head in their order (None: left out), then its entries."""
    keys: list[str] = []
    prefixes: list[str] = []
    for entry in entries:
        name = quote_plus(entry.name, safe=URL_SAFE) if encoded else escape(entry.name)
        if entry.inner is None:
            prefixes.append(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
        else:
            keys.append(f"<Contents><Key>{name}</Key>{entry.inner}</Contents>")
    named = {"Prefix", "Delimiter", "StartAfter", "Marker", "NextMarker"}
    shown = "".join(
        f"<{name}>{quote_plus(value, safe=URL_SAFE) if encoded and name in named else escape(value)}</{name}>"
        for name, value in head.items()
        if value is not None
    )
    return (
        f'{PROLOGUE}<ListBucketResult xmlns="{NAMESPACE}"><Name>{escape(bucket)}</Name>{shown}'
        f"{''.join(keys)}{''.join(prefixes)}</ListBucketResult>"
    ).encode()


def encode_token(token: Token) -> str:
    """A token as a client gets it: opaque, and nothing that a URL would change."""
    text = json.dumps([TOKEN_VERSION, token.last, token.remote, token.query], separators=(",", ":"))
    return "s3d." + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(text: str) -> Token | None:
    """The token in a client's text; None for one that is not ours."""
    ours, dot, body = text.partition(".")
    if (ours, dot) != ("s3d", "."):
        return None
    try:
        fields: Any = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != TOKEN_VERSION:
        return None
    return Token(*fields[1:]) if all(isinstance(field, str) for field in fields[1:]) else None
