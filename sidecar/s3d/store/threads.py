"""Work on files, in a bounded number of threads: what is asked of one file is done in the order in which it was asked.

Nothing here knows what the work is. A thread cannot be cancelled, so work goes on when whoever asked for it leaves.
"""

import asyncio
import contextlib
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
MAX_THREADS = 16
"""Threads for disk and digest work; a sync of a large body holds one for as long as it takes."""


def make_pool() -> ThreadPoolExecutor:
    """Make the threads that all bodies of a directory share."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="s3d-bodies")


class Line:
    """Work that threads do one piece after another, in the order in which it was asked for.

    A thread goes back to the pool after each piece, so that a busy line does not keep the others waiting.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._running = False

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Ask for a piece of work. Await it shielded: a thread cannot be cancelled."""
        future: Future[T] = Future()
        self._append(future, functools.partial(work, *args))
        answer = asyncio.wrap_future(future)
        # Whoever was cancelled never looks at the outcome; that is no reason for a warning.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer

    def finish(self, work: Callable[[], None]) -> None:
        """Ask for the last piece of all, which nobody waits for."""
        self._append(Future(), work)

    def _append(self, future: Future[Any], work: Callable[[], Any]) -> None:
        with self._lock:
            self._waiting.append((future, work))
            if self._running:
                return
            self._running = True
        try:
            self._pool.submit(self._run)
        except RuntimeError:
            self._run()

    def _run(self) -> None:
        while True:
            future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 (it is for whoever waits)
                    future.set_exception(error)
            with self._lock:
                self._running = bool(self._waiting)
                if not self._running:
                    return
            with contextlib.suppress(RuntimeError):
                self._pool.submit(self._run)
                return
            # The pool is shutting down and takes nothing new; what has been asked for is still done.


class OpenFile:
    """A descriptor and the line of work on it. Closing is the last piece: its number may then be another file's."""

    def __init__(self, fd: int, pool: ThreadPoolExecutor) -> None:
        self.fd = fd
        self._pool = pool
        self._line = Line(pool)
        self._closed = False

    def again(self) -> "OpenFile":
        """The same open file under a descriptor of its own."""
        return OpenFile(os.dup(self.fd), self._pool)

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run `work(fd, *args)` after what was asked for before."""
        if self._closed:
            raise ValueError("the body is closed")
        return self._line.start(work, self.fd, *args)

    def close(self, after: Callable[[], None] | None = None) -> None:
        """Close when all is done, then run `after`. In a thread: freeing a large file takes a while."""
        if not self._closed:
            self._closed = True
            self._line.finish(functools.partial(_close, self.fd, after))


class LaterFile(OpenFile):
    """A file that is opened by the first piece of work on it: where there is none, nothing is opened or closed."""

    def __init__(self, path: Path, flags: int, pool: ThreadPoolExecutor) -> None:
        super().__init__(-1, pool)
        self._path = path
        self._flags = flags
        self._asked = False

    def again(self) -> OpenFile:
        """The same file, opened by itself."""
        return LaterFile(self._path, self._flags, self._pool)

    def start(self, work: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Run `work(fd, *args)` after what was asked for before; raises OSError where the file cannot be opened."""
        if self._closed:
            raise ValueError("the body is closed")
        self._asked = True
        return self._line.start(self._open, work, args)

    def close(self, after: Callable[[], None] | None = None) -> None:
        """Close when all is done, then run `after`."""
        if not self._closed:
            self._closed = True
            if self._asked:
                self._line.finish(lambda: _close(self.fd, after))
            elif after:
                after()

    def _open(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        if self.fd < 0:
            self.fd = os.open(self._path, self._flags)
        return work(self.fd, *args)


def _close(fd: int, after: Callable[[], None] | None) -> None:
    try:
        if fd >= 0:
            os.close(fd)
    finally:
        if after:
            after()
