"""Whether the files of the local dir are still where they were opened (SEMANTICS D-12).

A directory that is deleted, moved, replaced or mounted over leaves open files as they are: writes to them succeed, and
nobody ever finds them again. So each name is compared with the file that was opened by it. What comes back as the same
file is as good as before; another one in its place is never taken for it. Nor is one that somebody has cut off: what
was written into it is gone for good, also when it grows again.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path


class Place:
    """Some files and directories, each held open by its name; used from any thread."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Hold what is there now. Blocks. Raises OSError."""
        # By names as text: each commit looks at all of them.
        self._held: list[tuple[str, int, tuple[int, int]]] = []
        self._least: dict[str, int] = {}
        self._torn = ""
        self._lock = threading.Lock()
        self.trouble = ""
        """What the latest look found: "" where all is in its place."""
        try:
            for path in paths:
                # O_PATH: closing it lets go of no lock that SQLite holds on the same file.
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                self._held.append((str(path), fd, _identity(os.fstat(fd))))
        except BaseException:
            self.close()
            raise

    def look(self) -> str:
        """What is not in its place, in words; "" where all is. Some system calls, without a wait; they may block on a
        file system that hangs."""
        torn = self.look_at_sizes()
        with self._lock:
            self.trouble = torn or next(filter(None, (_compare(*held) for held in self._held)), "")
        return self.trouble

    def expect(self, path: Path, size: int) -> None:
        """Say that a file is to have at least so many bytes from now on."""
        with self._lock:
            self._least[str(path)] = size

    def look_at_sizes(self) -> str:
        """Which file has fewer bytes than it is to have, or had at any time, in words; "" where none does."""
        with self._lock:
            least = ((path, fd, self._least.get(path, 0)) for path, fd, _ in self._held)
            short = (path for path, fd, size in least if size and os.fstat(fd).st_size < size)
            self._torn = self._torn or next((f"{path} was cut off" for path in short), "")
            return self._torn

    def close(self) -> None:
        """Let the files go."""
        with self._lock:
            for _, fd, _ in self._held:
                os.close(fd)
            self._held.clear()


def _compare(path: str, fd: int, identity: tuple[int, int]) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path for each look of each commit costs more than the look)
    except FileNotFoundError:
        return f"{path} was deleted" if not os.fstat(fd).st_nlink else f"{path} was moved away"
    except OSError as error:
        return f"{path} cannot be reached: {error.strerror}"
    return "" if _identity(found) == identity else f"{path} is another file than the one that s3d has open"


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
