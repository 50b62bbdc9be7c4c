"""The names in a folder, in the order of their paths, with one directory at a time in memory. It blocks.

No link is followed, and no other file system is entered (SEMANTICS S-7). What cannot be entered or read is OPAQUE:
nobody knows what is below it.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from s3d.sync.files import Stamp, stamp_of
from s3d.sync.names import OWN
from s3d.sync.root import OPEN_DIRECTORY, Root
from s3d.sync.trees import Kind


@dataclass(frozen=True, slots=True)
class Found:
    """A name in the folder."""

    path: str
    kind: Kind
    stamp: Stamp | None = None
    """Of a file."""


def _enter(_: int) -> None:
    """Nobody watches."""


@dataclass(slots=True)
class Walk:
    """One walk, and what was met on it."""

    root: Root
    enter: Callable[[int], None] = _enter
    """Told of each open directory before its names are read: what comes after that is an event."""
    is_whole: bool = True
    """Whether each directory was looked into, or its own entry says that nobody can. One that moved away may have taken
    its names to where the walk had been before; one that could not be opened (no descriptor is left, the disk fails,
    something is mounted there just now) has names that nobody saw."""
    odd: list[str] = field(default_factory=list)
    """Names that are no UTF-8, as they can be shown. No key can be called so."""

    def names(self) -> Iterator[Found]:
        """Walk. Raises OSError where the folder itself cannot be read."""
        fd = os.dup(self.root.fd)
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            yield from self._below(fd, "")
        finally:
            os.close(fd)

    def _below(self, fd: int, above: str) -> Iterator[Found]:
        """What is in a directory. A name sorts as it is, and what is below it as with its slash: `a`, `a-`, `a/b`."""
        opaque: set[str] = set()
        names = self._sorted(fd, is_top=not above)
        listed = {name for name in names if name.endswith("/")}
        for name in names:
            path = above + name
            if not name.endswith("/"):
                found = self._look(fd, name, path)
                if found:
                    yield found
                if found and found.kind is Kind.OPAQUE:
                    opaque.add(name + "/")
                elif found and found.kind is Kind.DIRECTORY and name + "/" not in listed:
                    # It has become one since the names were read.
                    self.is_whole = False
                continue
            try:
                below = os.open(name[:-1], OPEN_DIRECTORY, dir_fd=fd)
            except OSError:
                # Where nobody can read it, its own entry has said so.
                self.is_whole = self.is_whole and name in opaque
                continue
            try:
                if os.fstat(below).st_dev == self.root.device:
                    yield from self._below(below, path)
                else:
                    self.is_whole = self.is_whole and name in opaque
            finally:
                os.close(below)

    def _sorted(self, fd: int, *, is_top: bool) -> list[str]:
        self.enter(fd)
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                try:
                    entry.name.encode()
                except UnicodeEncodeError:
                    self.odd.append(os.fsencode(entry.name).decode(errors="backslashreplace"))
                    continue
                if is_top and entry.name == OWN:
                    continue
                names.append(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    names.append(entry.name + "/")
        return sorted(names)

    def _look(self, fd: int, name: str, path: str) -> Found | None:
        try:
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISREG(found.st_mode):
            return Found(path, Kind.FILE, stamp_of(found))
        if stat.S_ISDIR(found.st_mode) and found.st_dev == self.root.device:
            can_be_read = os.access(name, os.R_OK | os.X_OK, dir_fd=fd, effective_ids=True, follow_symlinks=True)
            return Found(path, Kind.DIRECTORY if can_be_read else Kind.OPAQUE)
        return Found(path, Kind.OPAQUE)
