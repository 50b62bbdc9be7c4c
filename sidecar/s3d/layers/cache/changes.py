"""Which keys are being changed, and what was begun before: nothing that was read before or during a change is kept.

A fill begins an era. A change of its key or bucket, at its beginning and at its end, makes the era void, and while a
change is under way no era is sound.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator


class Era:
    """What was read since a moment of one key."""

    __slots__ = ("_changes", "bucket", "key", "void")

    def __init__(self, changes: "Changes", bucket: str, key: str) -> None:
        self._changes = changes
        self.bucket = bucket
        self.key = key
        self.void = False

    @property
    def sound(self) -> bool:
        """Whether nothing has changed the key since, as far as it passed here."""
        return not self.void and not self._changes.is_changing(self.bucket, self.key)


class Changes:
    """The changes that are under way, and the eras."""

    def __init__(self) -> None:
        """Start with none."""
        self._running: Counter[tuple[str, str]] = Counter()
        self._eras: dict[str, set[Era]] = {}

    @contextlib.contextmanager
    def era(self, bucket: str, key: str) -> Iterator[Era]:
        """An era, until what was read in it is written or thrown away."""
        era = Era(self, bucket, key)
        self._eras.setdefault(bucket, set()).add(era)
        try:
            yield era
        finally:
            of_bucket = self._eras[bucket]
            of_bucket.discard(era)
            if not of_bucket:
                del self._eras[bucket]

    @contextlib.contextmanager
    def changing(self, bucket: str, key: str) -> Iterator[None]:
        """A change of a key, or of a bucket where `key` is "", is under way."""
        self._running[bucket, key] += 1
        self._end_eras(bucket, key)
        try:
            yield
        finally:
            self._end_eras(bucket, key)
            self._running[bucket, key] -= 1
            if not self._running[bucket, key]:
                del self._running[bucket, key]

    def is_changing(self, bucket: str, key: str) -> bool:
        """Whether a change of a key, or of its bucket, is under way."""
        return bool(self._running) and ((bucket, key) in self._running or (bucket, "") in self._running)

    def has_eras(self, bucket: str, key: str) -> bool:
        """Whether something of a key, or of a bucket, may be written just now."""
        return any(not key or era.key == key for era in self._eras.get(bucket, ()))

    def _end_eras(self, bucket: str, key: str) -> None:
        for era in self._eras.get(bucket, ()):
            if not key or era.key == key:
                era.void = True
