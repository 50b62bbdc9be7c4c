"""The canonical request of AWS Signature Version 4: what is signed, and what a signature is verified against.

A path and a query are decoded once and quoted anew, as AWS does it; no dots, slashes or case are resolved. Whoever
signs chooses the headers (`signed_names`), whoever verifies takes the names that the client gives.
"""

import hashlib
import re
from collections.abc import Iterable
from enum import StrEnum
from urllib.parse import quote, unquote_to_bytes

from s3d.api import AnyHeaders

UNRESERVED = re.compile(r"[A-Za-z0-9_.~-]*\Z")
PLAIN_PATH = re.compile(r"[A-Za-z0-9/_.~-]*\Z")
SIGNED = frozenset(["host", "content-md5", "content-type"])
RUN = re.compile(r"  +")
ODD_BLANK = re.compile(r"[^\S ]")
"""White space that is no space."""


class Reading(StrEnum):
    """How white space inside a header's value is read for a signature; at its ends all of it is left out."""

    SPACES = "spaces"
    """Runs of spaces are one space; other white space stands for itself. It is what AWS documents."""
    ALL = "all"
    """Runs of any white space are one space."""


def digest(*, method: str, path: str, query: str, headers: str, names: str, payload_hash: str) -> str:
    """The SHA-256 of a canonical request in hex, of its parts as the functions below give them."""
    text = f"{method}\n{path}\n{query}\n{headers}\n{names}\n{payload_hash}"
    # Bytes that are no UTF-8 come as lone surrogates and go out as the same bytes.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def path(text: str) -> str:
    """A path decoded once and quoted anew; no dots or slashes are resolved."""
    return text if PLAIN_PATH.match(text) else quote(_unquoted(text), safe="/-_.~")


def query(text: str, without: str | None = None) -> str:
    """A query decoded once, quoted anew and sorted; the member named `without` is left out."""
    if not text:
        return ""
    pairs = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((_requoted(name), _requoted(value)))
    pairs.sort()
    return "&".join([f"{name}={value}" for name, value in pairs if name != without])


def _unquoted(text: str) -> bytes:
    # As in `digest`.
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _requoted(text: str) -> str:
    if UNRESERVED.match(text):
        return text
    return quote(_unquoted(text.replace("+", "%20")), safe="-_.~")


def query_as_sent(text: str, without: str) -> str:
    """A query that is sorted, but not quoted anew; the member named `without` is left out."""
    if not text:
        return ""
    pairs = sorted(part.partition("=") for part in text.split("&"))
    return "&".join([f"{name}={value}" for name, _, value in pairs if name != without])


def headers(sent: AnyHeaders, names: Iterable[str], reading: Reading) -> str:
    """The lines of the headers of the given lower-case names: values trimmed, several of one name joined."""
    return "".join(
        [
            f"{name}:{','.join([trimmed(value, reading) for value in values])}\n"
            for name in names
            if (values := sent.getall(name, None))
        ]
    )


def trimmed(value: str, reading: Reading) -> str:
    """The value of a header as it is signed."""
    return " ".join(value.split()) if reading is Reading.ALL else RUN.sub(" ", value.strip())


def signed_names(sent: AnyHeaders) -> list[str]:
    """The headers that s3d signs: lower case and sorted."""
    return sorted({low for name in sent if is_signed(low := name.lower())})


def is_signed(name: str) -> bool:
    """Whether s3d signs a header, by its name in lower case."""
    return name in SIGNED or name.startswith("x-amz-")


def is_ambiguous(sent: AnyHeaders) -> bool:
    """Whether the signature over headers depends on the reading of white space."""
    return any(is_signed(name.lower()) and ODD_BLANK.search(value.strip()) for name, value in sent.items())
