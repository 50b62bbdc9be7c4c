"""The log on its way out: a line is written at once where that cannot wait, else a thread writes it from a ring.

So a pipe that nobody reads holds up the log and no request, and where somebody does, what was logged is out before
anything that comes after it. The ring is bounded in lines and in bytes, and a quarter of both is kept for warnings and
errors. What does not fit is dropped and counted, and where lines flow again, one of them
says how many are missing there.
"""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

MAX_LINES = 4096
MAX_BYTES = 4 << 20
RESERVED_SHARE = 4
"""One of so many lines and bytes is kept for warnings and errors."""
MAX_WRITE = 64 << 10
"""Bytes that are written at once, unless one line is longer."""
WRITABLE_MS = 1000
"""Milliseconds between two looks at a descriptor that takes nothing."""


class Journal:
    """The lines that are not written yet, and the thread that writes them."""

    def __init__(self, descriptor: int, missing: Callable[[int], bytes], dropped: Callable[[str, int], None]) -> None:
        """Take where to write, what makes the line that says how many are missing, and who counts them, by the reason:
        full or unwritable."""
        self._descriptor = descriptor
        self._missing = missing
        self._count = dropped
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._is_writing = False
        self._changed = threading.Condition()
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        # A poll is for one thread at a time.
        self._full = select.poll()
        self._full.register(descriptor, select.POLLOUT)
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def put(self, line: bytes, level: int) -> None:
        """Take a line, which ends with a newline, or drop it. It never waits for whoever reads the log."""
        lines, size = MAX_LINES, MAX_BYTES
        if level < logging.WARNING:
            lines, size = lines - lines // RESERVED_SHARE, size - size // RESERVED_SHARE
        with self._changed:
            if self._write_at_once(line):
                return
            if len(self._lines) >= lines or self._size + len(line) > size:
                self._lost += 1
                self._count("full", 1)
                return
            self._say_missing()
            self._append(line)
            self._changed.notify_all()

    def flush(self, seconds: float) -> bool:
        """Wait until all lines are written, for so long at most; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, seconds)

    def _write_at_once(self, line: bytes) -> bool:
        """Write a line, where it is the next one and the descriptor takes it; a pipe that has room has it for so much.
        What goes wrong, the thread meets again and counts."""
        if self._lines or self._is_writing or self._lost or len(line) > select.PIPE_BUF:
            return False
        if self._room.poll(0) != [(self._descriptor, select.POLLOUT)]:
            return False
        try:
            written = os.write(self._descriptor, line)
        except OSError:
            return False
        if written < len(line):
            self._append(line[written:])
            self._changed.notify_all()
        return True

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._size += len(line)

    def _say_missing(self) -> None:
        """Say where lines are missing. It is one line more than fits, at most."""
        if self._lost:
            self._append(self._missing(self._lost))
            self._lost = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                if not self._lines:
                    self._say_missing()
                if not self._lines:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._lines)
                batch = [self._lines.popleft()]
                size = len(batch[0])
                while self._lines and size + len(self._lines[0]) <= MAX_WRITE:
                    batch.append(self._lines.popleft())
                    size += len(batch[-1])
                self._is_writing = True
            try:
                self._write(b"".join(batch))
            except OSError:
                # Nobody will read it: the pipe has no other end any more, or the disk of the file is full.
                self._count("unwritable", len(batch))
            with self._changed:
                # What is being written still takes its room.
                self._size -= size

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                self._full.poll(WRITABLE_MS)
