"""What a listing asks for, read from its request, and how the remote is asked for the same from another place. Pure.

A request that says what nobody knows here is handed on, and neither learnt from nor answered.
"""

import base64
import binascii
from dataclasses import dataclass, replace
from urllib.parse import quote

from s3d.api import AnyHeaders, Call, Wire
from s3d.errors import S3Error
from s3d.protocol import decode, listings, paging, sigv4

LISTINGS = frozenset(["ListObjects", "ListObjectsV2"])
KNOWN = frozenset(
    "prefix delimiter max-keys encoding-type list-type start-after continuation-token fetch-owner marker x-id".split()
)
"""Members of the query that are understood."""
OURS = "s3n."
"""What a continuation token of ours begins with."""


@dataclass(frozen=True, slots=True)
class View:
    """A way in which names are shown: listings of one view can be put together."""

    identity: str
    bucket: str
    delimiter: str
    folder: str
    """The prefix up to which names are not rolled up; "" without a delimiter."""
    members: str
    """What the request says beside the query, and whether owners are shown."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A listing."""

    call: Call
    second: bool
    """ListObjectsV2."""
    prefix: str
    delimiter: str
    start: str
    """The name that the listing comes after: StartAfter or Marker; "" for none."""
    token: str
    """The continuation token; "" for none."""
    most: int
    encoded: bool
    owners: bool
    members: str

    @property
    def last(self) -> str | None:
        """The name that a token of ours comes after; None where there is none."""
        return decode_token(self.token) if self.token else None

    @property
    def after(self) -> str:
        """The name that the page comes after, where no token of the remote's says it."""
        last = self.last
        return self.start if last is None else last

    @property
    def low(self) -> str | None:
        """The least name that the page may have, where no token of the remote's says it; None where all are passed."""
        return paging.begin(self.after, self.prefix, self.delimiter).low

    @property
    def end(self) -> str | None:
        """The least name beyond all that is asked for; None for no end."""
        return paging.beyond(self.prefix) if self.prefix else None

    @property
    def splits(self) -> bool:
        """Whether the page begins within a common prefix, of which nobody knows what is left."""
        return paging.rolled(self.after, self.prefix, self.delimiter) not in (None, self.after)

    def rolled(self, name: str) -> str | None:
        """The common prefix that stands for a name; None where the name stands for itself."""
        return paging.rolled(name, self.prefix, self.delimiter)

    @property
    def view(self) -> View:
        """The view of its pages."""
        return self._view(self.delimiter, folder_of(self.prefix, self.delimiter))

    @property
    def flat(self) -> View:
        """The view of all names, out of which those of any delimiter can be made."""
        return self._view("", "")

    def _view(self, delimiter: str, folder: str) -> View:
        members = f"owner {self.members}" if self.owners else self.members
        return View(self.call.identity, self.call.bucket, delimiter, folder, members)


def folder_of(prefix: str, delimiter: str) -> str:
    """The prefix that all listings share which roll up names alike: up to the last delimiter in it.

    A longer delimiter may begin within the prefix and end behind it, so then it is all of it.
    """
    if len(delimiter) != 1:
        return prefix if delimiter else ""
    return prefix[: prefix.rfind(delimiter) + 1]


def read(call: Call) -> Asked | None:
    """What a call asks for; None for what is no listing that can be learnt from, or answered."""
    if call.operation not in LISTINGS or not call.bucket:
        return None
    second = call.operation == "ListObjectsV2"
    try:
        text, headers = sigv4.strip_auth(call.wire.query, call.wire.headers)
        pairs = decode.query(text)
        query = dict(pairs)
        most = min(int(query.get("max-keys", listings.MAX_KEYS)), listings.MAX_KEYS)
    except (S3Error, ValueError):
        return None
    if len(query) < len(pairs) or query.keys() - KNOWN or most < 1 or query.get("encoding-type", "url") != "url":
        return None
    return Asked(
        call,
        second=second,
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        start=query.get("start-after" if second else "marker", ""),
        token=query.get("continuation-token", "") if second else "",
        most=most,
        encoded="encoding-type" in query,
        owners=not second or query.get("fetch-owner") == "true",
        members=members_of(headers),
    )


def members_of(headers: AnyHeaders) -> str:
    """What the headers of a request say that may change its answer."""
    named = sorted((name.lower(), value) for name, value in headers.items())
    return " ".join(
        f"{name}={quote(value)}"
        for name, value in named
        if (name.startswith("x-amz-") and name not in decode.MEANINGLESS) or name in CONDITIONS
    )


CONDITIONS = frozenset(["range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])


def elsewhere(asked: Asked, after: str, token: str = "", *, encoded: bool) -> Call:
    """The same call for the page after a name or, with `token`, the one to which a token of the remote's leads."""
    names: dict[str, object] = {"list-type": 2, "prefix": asked.prefix or None, "delimiter": asked.delimiter or None}
    names |= {"max-keys": asked.most, "encoding-type": "url" if encoded else None}
    names |= {"fetch-owner": "true" if asked.owners else None}
    names |= {"continuation-token": token or None, "start-after": None if token else after}
    query = "&".join(f"{name}={quote(str(value), safe='-_.~')}" for name, value in names.items() if value is not None)
    headers = sigv4.strip_auth(asked.call.wire.query, asked.call.wire.headers)[1]
    wire: Wire = replace(asked.call.wire, query=query, headers=headers)
    return replace(asked.call, wire=wire)


def encode_token(last: str) -> str:
    """A token of ours: the listing goes on after a name."""
    return OURS + base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def decode_token(token: str) -> str | None:
    """The name in a token of ours; None for another."""
    if not token.startswith(OURS):
        return None
    body = token.removeprefix(OURS)
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
