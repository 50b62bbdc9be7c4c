"""What the modules of multipart uploads share in memory: who reads parts, who sends them, who moves an upload.

Nothing in here is owed to anybody: a restart forgets it all, and the tables say the rest (SEMANTICS Q-13).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from s3d.layers.queue.rows.subjects import UNKNOWN, Content

MAX_SENDING = 16
"""Parts on their way to the remote at once, over all uploads: each holds about two blocks of memory."""

MAX_BEGUN = 10_000
"""Uploads of the remote of which it is remembered what they were begun with."""


class Staging:
    """The moving side of uploads."""

    def __init__(self) -> None:
        """Start with nobody at work."""
        self.slots = asyncio.Semaphore(MAX_SENDING)
        self.work = asyncio.Event()
        self._readers: Counter[str] = Counter()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._begun: dict[str, Content] = {}

    def wake(self) -> None:
        """Say that there may be uploads to look after, or files of them to delete."""
        self.work.set()

    def read(self, upload_id: str) -> Callable[[], None]:
        """Keep the files of an upload for a reader, whatever becomes of its rows, until the answer is called."""
        self._readers[upload_id] += 1
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                self._readers[upload_id] -= 1
                if not self._readers[upload_id]:
                    del self._readers[upload_id]
                    self.wake()

        return release

    def is_read(self, upload_id: str) -> bool:
        """Whether somebody reads parts of an upload."""
        return upload_id in self._readers

    def begun(self, remote: str, content: Content) -> None:
        """Note what an upload of the remote, by its id there, was begun with."""
        while len(self._begun) >= MAX_BEGUN:
            del self._begun[next(iter(self._begun))]
        self._begun[remote] = content

    def content_of(self, remote: str) -> Content:
        """What is known of the object of such an upload; nothing of one that is forgotten."""
        return self._begun.get(remote, UNKNOWN)

    @contextlib.asynccontextmanager
    async def alone(self, what: str) -> AsyncIterator[None]:
        """Be the only one who moves an upload, or one part of it, to the remote."""
        lock, users = self._locks.get(what, (asyncio.Lock(), 0))
        self._locks[what] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[what]
            if users == 1:
                del self._locks[what]
            else:
                self._locks[what] = (lock, users - 1)
