"""Pages of objects, and of versions: read from a remote's document, written for a client (SEMANTICS R-8).

The model's encoder walks shapes and takes 43 ms for a page of 1,000 keys; what is in here is made for these documents
alone. An entry of the remote's keeps every element that it came with, also one that nobody here knows: where its
elements are plain, as every store writes them, it is cut out of the text and handed on as it stands, its key written
anew where it may have to be. The rest of the document, and entries that are not plain, are parsed.
"""

import base64
import binascii
import hashlib
import re
import struct
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import quote, unquote_plus
from xml.parsers import expat
from xml.sax.saxutils import unescape

from s3d.errors import S3Error
from s3d.protocol.encode import NAMESPACE, PROLOGUE, escape

MAX_KEYS = 1000
"""Entries of a page, whatever a client asks for."""
TOKEN_VERSION = 2
QUERY_SIZE = 12
TOKEN_HEAD = struct.Struct(f">Bc{QUERY_SIZE}sH")
"""Version, place, query and length of the last name, which follows, and the remote's token behind it."""
MARK = "s3d"
CUT = f"<{MARK}/>"
"""Stands where a plain object was cut out."""
CHARS = r"[^<&\x00-\x08\x0b\x0c\x0e-\x1f]*+"
TEXT = rf"{CHARS}(?:&(?:amp|lt|gt|quot|apos|#[0-9]{{1,7}}|#x[0-9A-Fa-f]{{1,6}});{CHARS})*+"
TAG = r"[A-Za-z0-9]++"
SAFE = re.compile(r"[A-Za-z0-9/._*~-]*+")
"""A name that is written the same in XML and in a URL."""
PLAIN = re.compile(
    rf"<Contents>((?:<Key>(?={SAFE.pattern}</Key>)({SAFE.pattern})</Key>"
    rf"|<({TAG})>(?:{TEXT}|(?:<(?!Key>)({TAG})>{TEXT}</\4>)++)</\3>)*+)</Contents>"
)
"""An object whose elements have no attributes, and hold text or elements that hold text; and its key, if that is safe.
Nothing in such text can be mistaken for an element: `<` begins one everywhere but in a comment or CDATA, and those are
refused. A group that took something keeps it when its branch fails later on, so the key is looked at before."""
GROUPS = PLAIN.groups + 1
KEY = re.compile(r"<Key>([^<]*)</Key>")
OWNER = re.compile(r"<Owner>.*?</Owner>", re.DOTALL)


class Entry(NamedTuple):
    """One line of a page: an object, or a common prefix, which has no `inner`."""

    name: str
    inner: str | None = None
    """The elements of an object, as they are written."""
    keyed: bool = False
    """Whether its key is one of them, and suits every client as it stands."""


@dataclass(frozen=True, slots=True)
class Page:
    """A remote's page, its entries in byte order."""

    entries: tuple[Entry, ...]
    truncated: bool
    cursor: str = ""
    """What the remote says to go on with: NextContinuationToken or NextMarker. Only the remote knows what it means."""
    ordered: bool = True
    """Whether its objects and its common prefixes each came in byte order."""
    versioned: bool = False
    """Whether it shows that its bucket keeps versions."""
    told: bool = True
    """Whether it says how its names are written: that they are encoded, or by no `%` or `+` that they need not be."""
    age: int | None = None
    """Seconds since the remote showed it, where a memory has answered in its place."""

    @property
    def owner(self) -> str:
        """The owner of some object in it, as an element; "" where none is shown."""
        owners = (OWNER.search(entry.inner) for entry in self.entries if entry.inner is not None)
        return next((owner[0] for owner in owners if owner), "")


class Place(StrEnum):
    """Where the remote goes on by its own token, seen from the last name that a client was given."""

    BEHIND = "b"
    """Behind it, and the client has seen the remote's own pages alone."""
    MERGED = "m"
    """Behind it, and what was pending is among what the client has seen."""
    INSIDE = "i"
    """At the beginning of the remote's page that the name lies in, of which the client has seen a part."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a continuation token says: the last name that was given, and how the remote goes on."""

    last: str
    remote: str
    """The remote's own token; "" for the beginning of the listing."""
    query: bytes
    """Names the prefix and delimiter that it belongs to; see `query_of`."""
    place: Place


def read(data: bytes) -> Page:
    """Read a page. Raises S3Error InternalError (500) for what is no listing.

    A document type is refused unread, so no entity can grow. In comments and CDATA text may look like an element, so
    nothing is cut out of a page that has any.
    """
    try:
        text = data.decode()
        if "<!" in text:
            _check_declarations(text)
            pieces = [text]
        else:
            # What stands between the plain objects, and of each the groups.
            pieces = PLAIN.split(text)
        between = pieces[::GROUPS]
        # Where some objects are plain and others not, what was cut out leaves a mark: their order tells.
        rest = (CUT if any("<Contents" in piece for piece in between) else "").join(between)
        root = ET.fromstring(rest)  # noqa: S314 - without a document type there is nothing to expand
        if local(root.tag) not in ("ListBucketResult", "ListVersionsResult"):
            raise ValueError(f"its root is {local(root.tag)}")  # noqa: TRY301
        return _page(root, zip(pieces[1::GROUPS], pieces[2::GROUPS], strict=True))
    except (ET.ParseError, ValueError) as unreadable:
        raise S3Error("InternalError", f"The remote's listing cannot be read: {unreadable}", status=500) from unreadable


def _check_declarations(text: str) -> None:
    """Raise ValueError where a document has a document type, or is no XML."""

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as unreadable:
        raise ValueError(str(unreadable)) from None


def _page(root: ET.Element, plain: Iterable[tuple[str, str | None]]) -> Page:
    cut = [_cut(elements) if name is None else Entry(name, elements, True) for elements, name in plain]
    left = iter(cut)
    marked = False
    objects: list[Entry] = []
    prefixes: list[Entry] = []
    encoded = truncated = versioned = False
    token = marker = ""
    for element in root:
        tag = local(element.tag)
        if tag == MARK:
            marked = True
            objects.append(next(left))
        elif tag == "DeleteMarker":
            versioned = True
        elif tag in ("Contents", "Version"):
            versioned = versioned or any(_is_of_several(child) for child in element)
            keys = [child.text or "" for child in element if local(child.tag) == "Key"]
            inner = "".join(written(child) for child in element if local(child.tag) != "Key")
            objects.append(Entry(keys[0] if keys else "", inner))
        elif tag == "CommonPrefixes":
            prefixes += [Entry(child.text or "") for child in element if local(child.tag) == "Prefix"]
        elif tag == "IsTruncated":
            truncated = element.text == "true"
        elif tag == "EncodingType":
            encoded = element.text == "url"
        elif tag == "NextContinuationToken":
            token = element.text or ""
        elif tag in ("NextMarker", "NextKeyMarker"):
            marker = element.text or ""
    if not marked:
        objects = [*cut, *objects]
    told = encoded
    if encoded:
        marker = unquote_plus(marker)
        objects = [entry if entry.keyed else Entry(unquote_plus(entry.name), entry.inner) for entry in objects]
        prefixes = [Entry(unquote_plus(entry.name)) for entry in prefixes]
    else:
        told = not any("%" in entry.name or "+" in entry.name for entry in (*objects, *prefixes) if not entry.keyed)
    entries = [*objects, *prefixes]
    ordered = _ascending(objects) and _ascending(prefixes)
    entries.sort(key=attrgetter("name"))
    return Page(tuple(entries), truncated, token or marker, ordered, versioned, told)


def _is_of_several(child: ET.Element) -> bool:
    """Whether an element of a version says that its object may have more than this one."""
    tag, text = local(child.tag), (child.text or "").strip()
    return (tag == "VersionId" and text not in ("", "null")) or (tag == "IsLatest" and text == "false")


def _ascending(entries: list[Entry]) -> bool:
    names = [entry.name for entry in entries]
    return names == sorted(names)


def _cut(elements: str) -> Entry:
    """The entry of an object whose elements are plain and whose key is not safe."""
    key = KEY.search(elements)
    if key is None:
        return Entry("", elements)
    name = key[1]
    if "&#" in name:
        name = ET.fromstring(key[0]).text or ""  # noqa: S314 - an element with text
    elif "&" in name:
        name = unescape(name, {"&quot;": '"', "&apos;": "'"})
    return Entry(name, elements[: key.start()] + elements[key.end() :])


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
    modified = datetime.fromtimestamp(int(acked_at), UTC).isoformat().removesuffix("+00:00")
    algorithm, kind = checksum
    sums = f"<ChecksumAlgorithm>{algorithm}</ChecksumAlgorithm><ChecksumType>{kind}</ChecksumType>" if algorithm else ""
    return (
        f"<LastModified>{modified}.000Z</LastModified><ETag>&quot;{etag}&quot;</ETag>{sums}<Size>{size}</Size>"
        f"{owner}<StorageClass>{escape(storage_class)}</StorageClass>"
    )


ONLY_VERSION = "<VersionId>null</VersionId><IsLatest>true</IsLatest>"
"""What a page of versions says of an object in a bucket that keeps none."""


def write(
    bucket: str, head: Mapping[str, str | None], entries: Iterable[Entry], *, encoded: bool, versions: bool = False
) -> bytes:
    """Write a page, of versions or of objects: the elements of its head in their order (None: left out), then its
    entries."""
    root, element = ("ListVersionsResult", "Version") if versions else ("ListBucketResult", "Contents")
    keys: list[str] = []
    prefixes: list[str] = []
    for entry in entries:
        if entry.keyed:
            keys.append(f"<{element}>{entry.inner}</{element}>")
            continue
        name = url_encoded(entry.name) if encoded else escape(entry.name)
        if entry.inner is None:
            prefixes.append(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
        else:
            keys.append(f"<{element}><Key>{name}</Key>{entry.inner}</{element}>")
    named = {"Prefix", "Delimiter", "StartAfter", "Marker", "NextMarker", "KeyMarker", "NextKeyMarker"}
    shown = "".join(
        f"<{name}>{url_encoded(value) if encoded and name in named else escape(value)}</{name}>"
        for name, value in head.items()
        if value is not None
    )
    return (
        f'{PROLOGUE}<{root} xmlns="{NAMESPACE}"><Name>{escape(bucket)}</Name>{shown}'
        f"{''.join(keys)}{''.join(prefixes)}</{root}>"
    ).encode()


def url_encoded(name: str) -> str:
    """A name as encoding-type=url has it.

    A space is %20: every client reads that, and a `+`, which some stores write, only those that take it for a form's.
    """
    return name if SAFE.fullmatch(name) else quote(name, safe="/*")


def query_of(prefix: str, delimiter: str) -> bytes:
    """What a token says of the query that it belongs to: a digest, since the names may be long."""
    return hashlib.sha256(f"{len(prefix)} {prefix}{delimiter}".encode()).digest()[:QUERY_SIZE]


def encode_token(token: Token) -> str:
    """A token as a client gets it: opaque, nothing that a URL would change, and little longer than what is in it."""
    last = token.last.encode()
    head = TOKEN_HEAD.pack(TOKEN_VERSION, token.place.encode(), token.query, len(last))
    return "s3d." + base64.urlsafe_b64encode(head + last + token.remote.encode()).decode().rstrip("=")


def decode_token(text: str) -> Token | None:
    """The token in a client's text; None for one that is not ours."""
    ours, dot, body = text.partition(".")
    if (ours, dot) != ("s3d", "."):
        return None
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        version, place, query, size = TOKEN_HEAD.unpack_from(data)
        end = TOKEN_HEAD.size + size
        if version != TOKEN_VERSION or end > len(data):
            return None
        return Token(data[TOKEN_HEAD.size : end].decode(), data[end:].decode(), query, Place(place.decode()))
    except (binascii.Error, struct.error, ValueError):
        return None
