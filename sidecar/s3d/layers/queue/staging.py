"""What the modules of multipart uploads share in memory: who reads parts, who sends them, who moves an upload.

Nothing in here is owed to anybody: a restart forgets it all, and the tables say the rest (SEMANTICS Q-13).
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

MAX_SENDING = 16
"""Parts on their way to the remote at once, over all uploads: each holds about two blocks of memory."""

MAX_LET_GO = 10_000
"""Uploads of the remote that are remembered to have tags of their own."""


class Staging:
    """The moving side of uploads."""

    def __init__(self) -> None:
        """Start with nobody at work."""
        self.slots = asyncio.Semaphore(MAX_SENDING)
        self.work = asyncio.Event()
        self._readers: Counter[str] = Counter()
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._let_go: dict[str, None] = {}

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

    def let_go(self, remote: str) -> None:
        """Note an upload of the remote, by its id there, whose own tags let it leave whatever its bucket's say."""
        while len(self._let_go) >= MAX_LET_GO:
            del self._let_go[next(iter(self._let_go))]
        self._let_go[remote] = None

    def is_let_go(self, remote: str) -> bool:
        """Whether it is such an upload. One that is forgotten is judged by its bucket alone."""
        return remote in self._let_go

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
