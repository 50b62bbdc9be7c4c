"""The directories that a daemon owns: their locks, and what is forgotten where there is no cache any more."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from s3d.layers.cache import forget as forget_cache
from s3d.layers.names import forget as forget_names
from s3d.settings import Settings
from s3d.store.earlier import forget_earlier
from s3d.store.lock import LockFile, lock_dir, make_private

CACHE_MARKER = "cache.dirs"
"""The file in the local dir that says where a read cache was kept."""


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[Sequence[LockFile]]:
    """Own the local dir and the directories of queue and cache until the end (D-8).

    Also where one is in the other: another daemon may call the queue's directory by another name. Where both are the
    same directory it has one lock.
    """
    places: list[Path] = [settings.gateway.local_dir]
    if settings.write_queue.enabled:
        places.append(settings.queue_dir)
    if settings.read_cache.enabled:
        places.append(settings.cache_dir)
    locks: list[LockFile] = []
    try:
        for place in places:
            make_private(place)
            if not any(lock.path.parent.samefile(place) for lock in locks):
                locks.append(lock_dir(place, wait=settings.gateway.lock_wait))
        yield locks
    finally:
        for lock in locks:
            lock.release()


def forget_elsewhere(settings: Settings) -> None:
    """Forget what was cached where no cache is any more: what changes meanwhile nobody would note. Blocks."""
    current = settings.cache_dir.absolute() if settings.read_cache.enabled else None
    local_dir = settings.gateway.local_dir.absolute()
    known = [local_dir / "cache", settings.cache_dir.absolute()]

    def forget(directory: Path) -> None:
        lock = lock_dir(directory)
        try:
            forget_names(directory)
            forget_cache(directory)
        finally:
            lock.release()

    forget_earlier(local_dir / CACHE_MARKER, known, current, forget)
