"""Syncs of directories: a name is on stable storage once the directory that has it is synced."""

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def sync_dir(path: Path) -> None:
    """Put the names in a directory on stable storage."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class DirectorySyncs:
    """Syncs of a directory, each shared by all who began to wait before it started."""

    def __init__(self, directory: int, pool: ThreadPoolExecutor) -> None:
        self._directory = directory
        self._pool = pool
        self._next: asyncio.Future[None] | None = None
        self._busy = False

    def sync(self) -> asyncio.Future[None]:
        """Put every name that is in the directory now on stable storage. Whoever shares a sync shares its OSError."""
        waiting = self._next
        if not waiting:
            waiting = self._next = asyncio.get_running_loop().create_future()
        if not self._busy:
            self._start()
        return waiting

    def _start(self) -> None:
        waiting, self._next = self._next, None
        if waiting:
            self._busy = True
            sync = waiting.get_loop().run_in_executor(self._pool, os.fsync, self._directory)
            sync.add_done_callback(functools.partial(self._done, waiting))

    def _done(self, waiting: asyncio.Future[None], sync: asyncio.Future[None]) -> None:
        self._busy = False
        error = sync.exception()
        if error:
            waiting.set_exception(error)
            waiting.exception()
        else:
            waiting.set_result(None)
        self._start()
