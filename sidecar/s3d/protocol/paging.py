"""The order in which a listing walks names: what rolls names up, and the places between two of them. Pure.

Names are compared as text, which is the order of their bytes in UTF-8. `low` is the least name not passed yet.
"""

from dataclasses import dataclass

from s3d.protocol.listings import Entry


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two names: what a remote is told to start after, and the least name that is not passed."""

    after: str
    low: str | None
    """None: everything is passed."""

    def passed(self, name: str) -> bool:
        """Whether a name is before the place."""
        return self.low is None or name < self.low


def rolled(name: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that stands for a name; None where the name stands for itself."""
    if not delimiter or not name.startswith(prefix):
        return None
    end = name.find(delimiter, len(prefix))
    return None if end < 0 else name[: end + len(delimiter)]


def begin(after: str, prefix: str, delimiter: str) -> Cursor:
    """Where the names after `after` begin. A marker that is itself a common prefix has passed all that is under it."""
    if after < prefix:
        return Cursor("", prefix)
    if rolled(after, prefix, delimiter) == after:
        return past(Entry(after))
    return Cursor(after, after + "\0" if after else "")


def past(entry: Entry) -> Cursor:
    """The place after an entry; a common prefix takes all that is under it along."""
    return Cursor(entry.name, beyond(entry.name) if entry.inner is None else entry.name + "\0")


def passed(entry: Entry, low: str) -> bool:
    """Whether an entry, and all that it stands for, is before a place."""
    end = past(entry).low
    return end is not None and end <= low


def beyond(prefix: str) -> str | None:
    """The least text that is greater than everything with a prefix; None where there is none."""
    for end in range(len(prefix) - 1, -1, -1):
        point = ord(prefix[end]) + 1
        if point == 0xD800:
            point = 0xE000
        if point <= 0x10FFFF:
            return prefix[:end] + chr(point)
    return None
