"""A map that remembers so many entries and no more: for what may be forgotten, since it can be learned again."""

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(Generic[K, V]):
    """The entries that were set last, up to `most` of them."""

    def __init__(self, most: int) -> None:
        """Start with none."""
        self._most = most
        # A plain dict passes over all that was removed before it finds its first entry.
        self._entries: OrderedDict[K, V] = OrderedDict()

    def __setitem__(self, key: K, value: V) -> None:
        """Set an entry, which is the newest then. Where there are too many, the oldest one goes."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, key: K) -> V | None:
        """The value of an entry, which is no newer for it; None where it is forgotten or was never set."""
        return self._entries.get(key)

    def forget(self, key: K) -> None:
        """Remove an entry; one that is not there is fine."""
        self._entries.pop(key, None)

    def __contains__(self, key: K) -> bool:
        """Whether an entry is remembered."""
        return key in self._entries

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._entries)
