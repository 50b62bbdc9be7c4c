"""What has become of objects, told to those who work on them in this process: the mount, the sync, the cache (SEMANTICS
R-13).

So many events are kept, and numbered. Whoever follows takes those behind the last one that it has taken, and nobody
ever waits for it: one that is too late is told that it missed some, and looks at everything anew. Nothing here outlives
the process.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from weakref import WeakSet

MAX_EVENTS = 4096
"""Events that are kept."""


class Why(StrEnum):
    """What has happened to an object."""

    ACKNOWLEDGED = "acknowledged"
    """A write of it was queued."""
    THROUGH = "through"
    """A write of it went to the remote while its client waited."""
    DELIVERED = "delivered"
    """A queued write is at the remote, with the ETag that this shows."""
    DISCARDED = "discarded"
    """A person has dropped a queued write: the remote's object is the one that shows."""


class Event(NamedTuple):
    """An object is another now."""

    number: int
    bucket: str
    key: str
    etag: str | None
    """Without quotes; "" where there is no object, None where nobody knows."""
    why: Why


@dataclass(frozen=True, slots=True)
class Events:
    """What has happened since one took events last, in order."""

    events: tuple[Event, ...]
    missed: bool = False
    """Whether there were more, which are not kept any more."""


class Feed:
    """The events, and who follows them."""

    def __init__(self, kept: int = MAX_EVENTS) -> None:
        """Begin with none."""
        self._events: deque[Event] = deque(maxlen=kept)
        self._followers: WeakSet[Follower] = WeakSet()
        self._was_followed = False
        """Whether there ever was a follower: it costs less to ask than how many there are."""
        self.number = 0
        """Of the latest event."""

    def publish(self, bucket: str, key: str, etag: str | None, why: Why) -> None:
        """Tell of an event."""
        self.number += 1
        self._events.append(Event(self.number, bucket, key, etag, why))
        if self._was_followed:
            for follower in self._followers:
                follower.woken.set()

    def follow(self) -> "Follower":
        """Follow from now on."""
        follower = Follower(self)
        self._followers.add(follower)
        self._was_followed = True
        return follower

    def since(self, number: int) -> Events:
        """The events behind one."""
        new = self.number - number
        kept = min(new, len(self._events))
        behind = [self._events[index] for index in range(len(self._events) - kept, len(self._events))]
        return Events(tuple(behind), missed=kept < new)


class Follower:
    """One who follows; who is let go of follows no longer."""

    def __init__(self, feed: Feed) -> None:
        """Begin behind the latest event."""
        self._feed = feed
        self._number = feed.number
        self.woken = asyncio.Event()

    async def take(self) -> Events:
        """The events since the last time, as soon as there are some."""
        while self._feed.number == self._number:
            self.woken.clear()
            await self.woken.wait()
        found = self._feed.since(self._number)
        self._number = self._feed.number
        return found
