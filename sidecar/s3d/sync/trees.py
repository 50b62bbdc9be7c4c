"""The three trees of a folder: what is here, what is at the remote, and what both had when they were equal last. Pure.

Each is walked once, in the order of UTF-8 bytes (which is that of Python's strings), so that no tree is ever in memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes, by what tells them from others."""

    sha256: bytes
    md5: str
    """In hexadecimal: the ETag of most objects that were put in one piece."""
    size: int

    def is_same(self, other: "Content") -> bool:
        """Whether both are the same bytes."""
        return self.sha256 == other.sha256


class Kind(StrEnum):
    """What a name in the folder is."""

    FILE = "file"
    DIRECTORY = "directory"
    OPAQUE = "opaque"
    """A link, a device, a mount point, or what cannot be read: nobody knows what is there, nor what is below."""


@dataclass(frozen=True, slots=True)
class Here:
    """A name in the folder."""

    path: str
    kind: Kind = Kind.FILE
    content: Content | None = None
    """Of a file; None while it is being written, or could not be read in whole."""
    changed: float = 0.0
    """When its content was changed last, in Unix seconds, as its time says."""


@dataclass(frozen=True, slots=True)
class There:
    """An object at the remote, as a listing shows it."""

    path: str
    etag: str
    """Without quotes."""
    size: int
    changed: float = 0.0
    """When it was written, in Unix seconds, as the remote says."""

    def is_surely(self, content: Content) -> bool:
        """Whether the listing alone says that the object has these bytes. False says nothing: not every ETag is an
        MD5."""
        return self.etag == content.md5 and self.size == content.size

    @property
    def has_md5(self) -> bool:
        """Whether its ETag looks like an MD5: that of an upload in parts has a dash."""
        return "-" not in self.etag


@dataclass(frozen=True, slots=True)
class Base:
    """What both sides had when they were equal last."""

    path: str
    etag: str
    content: Content
    former: tuple[str, ...] = ()
    """ETags that the remote had before: one that comes back is a remote that was rolled back."""
    is_delivered: bool = True
    """Whether the remote itself was seen to have it, and not only the write queue, out of which a person may discard
    it."""
    is_spared: bool = False
    """Whether one side has deleted it, and the other keeps it for good (S-5a)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One path in the three trees."""

    path: str
    here: Here | None
    there: There | None
    base: Base | None


Entry = TypeVar("Entry", Here, There, Base)


class OutOfOrder(ValueError):
    """A tree is not in the order of its paths: what seems to be missing may come later."""


def side_by_side(here: Iterable[Here], there: Iterable[There], base: Iterable[Base]) -> Iterator[Row]:
    """Walk the three trees together. Raises OutOfOrder: a name that comes too late would look deleted before."""
    one, two, three = _ordered(here), _ordered(there), _ordered(base)
    first, second, third = next(one, None), next(two, None), next(three, None)
    while first or second or third:
        path = min(entry.path for entry in (first, second, third) if entry)
        row = Row(
            path,
            first if first and first.path == path else None,
            second if second and second.path == path else None,
            third if third and third.path == path else None,
        )
        if row.here:
            first = next(one, None)
        if row.there:
            second = next(two, None)
        if row.base:
            third = next(three, None)
        yield row


def _ordered(tree: Iterable[Entry]) -> Iterator[Entry]:
    before: str | None = None
    for entry in tree:
        if before is not None and entry.path <= before:
            raise OutOfOrder(f"{entry.path!r} comes after {before!r}")
        before = entry.path
        yield entry
