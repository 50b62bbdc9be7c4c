"""Pages of ListObjects and ListObjectsV2: read from a remote's document, written for a client (SEMANTICS R-8).

The model's encoder walks shapes and takes 43 ms for a page of 1,000 keys; what is in here is made for the two documents
alone. An entry of the remote's keeps every element that it came with, also one that nobody here knows: where its
elements are plain, as every store writes them, it is cut out of the text and handed on as it stands, its key written
anew where it may have to be. The rest of the document, and entries that are not plain, are parsed.
"""

import base64
import binascii
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus
from xml.sax.saxutils import unescape

from s3d import documents
from s3d.errors import S3Error
from s3d.protocol.encode import NAMESPACE, PROLOGUE, escape

MOST_KEYS = 1000
"""Entries of a page, whatever a client asks for."""
TOKEN_VERSION = 1
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

    @property
    def owner(self) -> str:
        """The owner of some object in it, as an element; "" where none is shown."""
        owners = (OWNER.search(entry.inner) for entry in self.entries if entry.inner is not None)
        return next((owner[0] for owner in owners if owner), "")


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
        # What stands between the plain objects, and of each the groups.
        pieces = PLAIN.split(data.decode())
        rest = "".join(pieces[::GROUPS])
        if "<!" in rest:
            raise ValueError("it has a document type or a comment")  # noqa: TRY301
        root = ET.fromstring(rest)  # noqa: S314 - without a document type there is nothing to expand
        if local(root.tag) != "ListBucketResult":
            raise ValueError(f"its root is {local(root.tag)}")  # noqa: TRY301
        return _page(root, zip(pieces[1::GROUPS], pieces[2::GROUPS], strict=True))
    except (ET.ParseError, ValueError) as unreadable:
        raise S3Error("InternalError", f"The remote's listing cannot be read: {unreadable}", status=500) from unreadable


def _page(root: ET.Element, plain: Iterable[tuple[str, str | None]]) -> Page:
    entries = [_cut(elements) if name is None else Entry(name, elements, True) for elements, name in plain]
    encoded = truncated = False
    for element in root:
        tag = local(element.tag)
        if tag == "Contents":
            keys = [child.text or "" for child in element if local(child.tag) == "Key"]
            inner = "".join(written(child) for child in element if local(child.tag) != "Key")
            entries.append(Entry(keys[0] if keys else "", inner))
        elif tag == "CommonPrefixes":
            entries += [Entry(child.text or "") for child in element if local(child.tag) == "Prefix"]
        elif tag == "IsTruncated":
            truncated = element.text == "true"
        elif tag == "EncodingType":
            encoded = element.text == "url"
    if encoded:
        entries = [entry if entry.keyed else Entry(unquote_plus(entry.name), entry.inner) for entry in entries]
    entries.sort(key=attrgetter("name"))
    return Page(tuple(entries), truncated)


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


def write(bucket: str, head: Mapping[str, str | None], entries: Iterable[Entry], *, encoded: bool) -> bytes:
    """Write a page: the elements of its head in their order (None: left out), then its entries."""
    keys: list[str] = []
    prefixes: list[str] = []
    for entry in entries:
        if entry.keyed:
            keys.append(f"<Contents>{entry.inner}</Contents>")
            continue
        name = url_encoded(entry.name) if encoded else escape(entry.name)
        if entry.inner is None:
            prefixes.append(f"<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
        else:
            keys.append(f"<Contents><Key>{name}</Key>{entry.inner}</Contents>")
    named = {"Prefix", "Delimiter", "StartAfter", "Marker", "NextMarker"}
    shown = "".join(
        f"<{name}>{url_encoded(value) if encoded and name in named else escape(value)}</{name}>"
        for name, value in head.items()
        if value is not None
    )
    return (
        f'{PROLOGUE}<ListBucketResult xmlns="{NAMESPACE}"><Name>{escape(bucket)}</Name>{shown}'
        f"{''.join(keys)}{''.join(prefixes)}</ListBucketResult>"
    ).encode()


def url_encoded(name: str) -> str:
    """A name as encoding-type=url has it.

    A space is %20: every client reads that, and a `+`, which some stores write, only those that take it for a form's.
    """
    return name if SAFE.fullmatch(name) else quote(name, safe="/*")


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
        fields: Any = documents.parse(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None
    if not isinstance(fields, list) or len(fields) != 4 or fields[0] != TOKEN_VERSION:
        return None
    return Token(*fields[1:]) if all(isinstance(field, str) for field in fields[1:]) else None
