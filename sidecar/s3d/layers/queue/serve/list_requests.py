"""What a client asks for by a listing, where in it a page is, and how the remote is asked for it. Pure.

Names are compared as text, which is the order of their bytes in UTF-8. `low` is the least name not passed yet.
"""

from dataclasses import dataclass, replace
from urllib.parse import quote

from s3d.api import Call, Wire
from s3d.protocol import listings
from s3d.protocol.listings import Entry, Place, Token


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client asks for."""

    call: Call
    second: bool
    """ListObjectsV2."""
    versions: bool
    """ListObjectVersions, of a bucket that keeps none: each object is its only version."""
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
    def query(self) -> bytes:
        """What a token for it belongs to."""
        return listings.query_of(self.prefix, self.delimiter)

    @property
    def position(self) -> "Position":
        """How the remote is asked first."""
        token = self.token
        if token is None:
            return Position("", self.first.after)
        if token.remote:
            return Position(token.remote, "", "" if token.place is Place.INSIDE else token.last)
        return Position("", self.call.params.get("StartAfter", "") if token.place is Place.INSIDE else token.last)

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

    def passed(self, name: str) -> bool:
        """Whether a name is before the place."""
        return self.low is None or name < self.low


@dataclass(frozen=True, slots=True)
class Position:
    """How the remote is asked for a page."""

    token: str = ""
    """By its own token; "" for none."""
    after: str = ""
    """Without a token, by the name that it is to start after."""
    floor: str = ""
    """A name that everything on the page must come behind."""


def remote_wire(ask: Ask, position: Position, most: int | None = None, encoding: str | None = None) -> Wire:
    """The request for a page: as the client sent it but for where it goes on and, for a merge (`most`), how much it
    asks for and how names are written."""
    params, token = ask.call.params, position.token
    encoding = encoding if most is not None else params.get("EncodingType")
    names: dict[str, object] = {"prefix": ask.prefix or None, "delimiter": ask.delimiter or None}
    names |= {"max-keys": params.get("MaxKeys") if most is None else most, "encoding-type": encoding}
    if ask.second:
        names |= {"list-type": 2, "continuation-token": token or None, "start-after": position.after or None}
        names["fetch-owner"] = "true" if params.get("FetchOwner") else None
        if token and "StartAfter" in params:
            names["start-after"] = params["StartAfter"]
    elif ask.versions:
        names |= {"versions": "", "key-marker": token or position.after or None}
    else:
        names["marker"] = token or position.after or None
    query = "&".join(f"{name}={quote(str(value), safe='-_.~')}" for name, value in names.items() if value is not None)
    return replace(ask.call.wire, query=query)


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
