"""What look-ups have found, kept for a second: who works on a thousand files looks at each of them again and again, and
a look is a HEAD and a listing.

What has changed by this gateway since is seen in its feed before any of it is given out again, so that the mount never
shows less than the S3 endpoint has acknowledged (SEMANTICS M-2). What others write at the remote shows when the second
is over, and at open() at once. Without a feed nothing is kept.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from s3d.bounded import BoundedMap
from s3d.feed import Event, Feed, Why
from s3d.mount import paths
from s3d.mount.views import Directory, Entry, File, Views

KEPT_SECONDS = 1.0
MAX_KEPT = 4096
"""Paths, and directories, of which something is kept."""
MAX_NAMES = 4096
"""Names of the directories in one that is kept."""


@dataclass(slots=True)
class Found:
    """What was at a path."""

    what: Entry | None
    mark: int
    """The latest event that is not newer."""
    until: float
    is_used: bool = False
    """Whether it was given out again."""


@dataclass(slots=True)
class Listed:
    """The directories in a directory."""

    prefixes: frozenset[str]
    mark: int
    until: float


class Looks:
    """Look-ups, and what is kept of them."""

    def __init__(self, shown: Views, feed: Feed | None, now: Callable[[], float] = time.monotonic) -> None:
        """Ask what the S3 shows; the feed tells of changes, None of nothing. The clock counts seconds."""
        self._views = shown
        self._feed = feed
        self._now = now
        self._found: BoundedMap[tuple[str, str], Found] = BoundedMap(MAX_KEPT)
        self._listed: BoundedMap[tuple[str, str], Listed] = BoundedMap(MAX_KEPT)

    async def look(self, bucket: str, key: str) -> Entry | None:
        """What is at a path, kept or asked for. Raises S3DError where nobody can say."""
        if self._views.is_kept(bucket, key + "/"):
            return Directory(bucket, key + "/")
        found = self._found.get((bucket, key))
        if found is None or not self._holds_good(bucket, key, found):
            return await self.ask(bucket, key, self._is_listed(bucket, key + "/"))
        found.is_used = True
        return found.what

    async def ask(self, bucket: str, key: str, is_directory: bool | None = None) -> Entry | None:
        """What is at a path, asked for. Whether it is a directory may be known. Raises S3DError."""
        mark = self._mark()
        what = await self._views.look(bucket, key, is_directory)
        self._found[bucket, key] = Found(what, mark, self._now() + KEPT_SECONDS)
        return what

    def is_given_again(self, file: File) -> bool:
        """Whether a version was given out again: another may be at the remote by now."""
        found = self._found.get((file.bucket, file.key))
        return found is not None and found.is_used

    async def entries(self, place: Directory) -> AsyncIterator[tuple[str, Entry]]:
        """Yield what is in a directory, as Views does."""
        mark, prefixes, is_shown = self._mark(), set[str](), True
        async for name, what in self._views.entries(place):
            if isinstance(what, Directory):
                # Nobody tells when one goes that is only kept here.
                is_shown = is_shown and not self._views.is_kept(what.bucket, what.prefix) and len(prefixes) < MAX_NAMES
                if is_shown:
                    prefixes.add(what.prefix)
            yield name, what
        if place.bucket and is_shown:
            self._listed[place.bucket, place.prefix] = Listed(frozenset(prefixes), mark, self._now() + KEPT_SECONDS)

    def _is_listed(self, bucket: str, prefix: str) -> bool | None:
        """Whether a prefix is a directory; None where no listing says it."""
        parent = paths.parent_of(prefix)
        listed = self._listed.get((bucket, parent))
        if listed is None or listed.until < self._now():
            return None
        for event in self._since(listed.mark):
            if event is None or (event.bucket == bucket and _makes_directory(event, parent)):
                self._listed.forget((bucket, parent))
                return None
        listed.mark = self._mark()
        return prefix in listed.prefixes

    def _holds_good(self, bucket: str, key: str, found: Found) -> bool:
        if found.until < self._now():
            return False
        for event in self._since(found.mark):
            if event is None or (event.bucket == bucket and _changes(event, key, found.what)):
                return False
        found.mark = self._mark()
        return True

    def _mark(self) -> int:
        return self._feed.number if self._feed else 0

    def _since(self, mark: int) -> Iterable[Event | None]:
        """The events since a mark; None among them where not all are known."""
        if self._feed is None:
            return (None,)
        events = self._feed.since(mark)
        return (None,) if events.missed else events.events


def _changes(event: Event, key: str, what: Entry | None) -> bool:
    """Whether something else may be at a path after an event."""
    if event.key != key and not event.key.startswith(f"{key}/"):
        return False
    # What is delivered was shown before, but maybe by another ETag.
    return event.why is not Why.DELIVERED or (isinstance(what, File) and event.etag != what.etag)


def _makes_directory(event: Event, parent: str) -> bool:
    """Whether a directory may have come or gone in another one by an event."""
    return event.why is not Why.DELIVERED and event.key.startswith(parent) and "/" in event.key[len(parent) :]
