"""What a client asks for by a listing, where in it a page is, and how the remote is asked for it. Pure."""

from dataclasses import dataclass, replace
from urllib.parse import quote

from s3d.api import Call, Wire
from s3d.protocol import listings, paging
from s3d.protocol.listings import Place, Token
from s3d.protocol.paging import Cursor


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
        return paging.beyond(self.prefix) if self.prefix else None

    @property
    def shows_owner(self) -> bool:
        """Whether objects are shown with their owner."""
        return not self.second or bool(self.call.params.get("FetchOwner"))

    def rolled(self, name: str) -> str | None:
        """The common prefix that stands for a name; None where the name stands for itself."""
        return paging.rolled(name, self.prefix, self.delimiter)

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
    def first(self) -> Cursor:
        """Where the page begins."""
        return paging.begin(self.after, self.prefix, self.delimiter)


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
