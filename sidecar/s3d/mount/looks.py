"""What look-ups have found, kept for a second: who works on a thousand files looks at each of them again and again, and
a look is a HEAD and a listing.

What has changed by this gateway since is seen in its feed before any of it is given out again, so that the mount never
shows less than the S3 endpoint has acknowledged (SEMANTICS M-2). What others write at the remote shows when the second
is over, which begins with the question, and at open() at once. Without a feed nothing is kept.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from s3d.bounded import BoundedMap
from s3d.feed import Event, Feed, Why
from s3d.mount import paths
from s3d.mount.views import Directory, Entry, File, Views

KEPT_SECONDS = 1.0
MAX_KEPT = 1024
"""Paths, and directories, of which something is kept: more are not asked for in a second."""
MAX_NAMES = 65_536
"""Directories that are known of all of these."""


@dataclass(slots=True)
class Found:
    """What was at a path."""

    what: Entry | None
    mark: int
    """The latest event that is not newer."""
    until: float
    is_used: bool = False
    """Whether it was given out again."""

    def is_shown_as(self, what: Entry) -> bool:
        """Whether a listing shows the same."""
        if isinstance(what, File):
            return isinstance(self.what, File) and self.what.etag == what.etag
        return self.what == what


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
        self._names = 0
        """In the listings that were kept since they were forgotten last."""

    async def look(self, bucket: str, key: str) -> Entry | None:
        """What is at a path, kept or asked for. Raises S3DError where nobody can say."""
        if self._views.is_kept(bucket, key + "/"):
            return Directory(bucket, key + "/")
        found = self._found.get((bucket, key))
        if found is None or not self._holds_good(bucket, key, found):
            return await self._ask(bucket, key, self._listing(bucket, paths.parent_of(key)))
        found.is_used = True
        return found.what

    async def ask(self, bucket: str, key: str) -> Entry | None:
        """What is at a path, asked for. Raises S3DError."""
        return await self._ask(bucket, key, None)

    async def _ask(self, bucket: str, key: str, listed: Listed | None) -> Entry | None:
        mark, until = self.mark(), self._now() + KEPT_SECONDS
        is_directory = None
        if listed is not None:
            is_directory, until = f"{key}/" in listed.prefixes, listed.until
        what = await self._views.look(bucket, key, is_directory)
        if self._views.is_kept(bucket, f"{key}/"):
            # Nobody tells when one goes that is only kept here.
            self._found.forget((bucket, key))
        else:
            self._found[bucket, key] = Found(what, mark, until)
        return what

    def is_given_again(self, bucket: str, key: str) -> bool:
        """Whether what was found at a path was given out again: something else may be at the remote by now."""
        found = self._found.get((bucket, key))
        return found is not None and found.is_used

    def forget(self, bucket: str, key: str) -> None:
        """Let the next look at a path ask."""
        self._found.forget((bucket, key))

    async def entries(self, place: Directory) -> AsyncIterator[tuple[str, Entry]]:
        """Yield what is in a directory, as Views does. What is known otherwise is forgotten: it shows from now on."""
        mark, until = self.mark(), self._now() + KEPT_SECONDS
        prefixes, is_whole = set[str](), True
        async for name, what in self._views.entries(place):
            found = self._found.get((place.bucket, place.prefix + name))
            if found is not None and not found.is_shown_as(what):
                self.forget(place.bucket, place.prefix + name)
            if isinstance(what, Directory) and is_whole:
                # As above.
                is_whole = not self._views.is_kept(what.bucket, what.prefix) and len(prefixes) < MAX_NAMES
                prefixes.add(what.prefix)
            yield name, what
        if place.bucket and is_whole:
            self._keep_listing(place, Listed(frozenset(prefixes), mark, until))

    def _keep_listing(self, place: Directory, listed: Listed) -> None:
        self._names += len(listed.prefixes)
        if self._names > MAX_NAMES:
            self._listed, self._names = BoundedMap(MAX_KEPT), len(listed.prefixes)
        self._listed[place.bucket, place.prefix] = listed

    def _listing(self, bucket: str, parent: str) -> Listed | None:
        """Which directories are in a directory; None where no listing says it."""
        listed = self._listed.get((bucket, parent))
        if listed is None or listed.until < self._now():
            return None
        for event in self._since(listed.mark):
            if event is None or (event.bucket == bucket and _makes_directory(event, parent)):
                self._listed.forget((bucket, parent))
                return None
        listed.mark = self.mark()
        return listed

    def _holds_good(self, bucket: str, key: str, found: Found) -> bool:
        if found.until < self._now():
            return False
        for event in self._since(found.mark):
            if event is None or (event.bucket == bucket and _changes(event, key, found.what)):
                return False
        found.mark = self.mark()
        return True

    def mark(self) -> int:
        """The latest event of the gateway."""
        return self._feed.number if self._feed else 0

    def is_changed_here(self, bucket: str, key: str, mark: int) -> bool:
        """Whether something at a path has changed by this gateway since an event."""
        return any(
            event is None or (event.bucket == bucket and _changes(event, key, None)) for event in self._since(mark)
        )

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
