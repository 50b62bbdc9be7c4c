"""A file of the mount and its twin on a disk: whatever is done is done to both, and shows the same.

While the remote is away, an operation on the mount may fail with EIO, where nobody here can say what it would need. It
has then done nothing: once the remote is back, the same operation is done again and succeeds.
"""

import errno
import mmap
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.daemons import drained, eventually
from tests.mounts import Mounted
from tests.relays import Relayed

T = TypeVar("T")

LARGEST = 300_000
"""Bytes that a file has at most."""
STRETCH = 40_000
"""Bytes that an operation is about at most."""
NAMES = 4


class Twins:
    """Files of some names on the mount and on a disk, one of which is open on both."""

    def __init__(self, mounted: Mounted, relayed: Relayed, disk: Path, chance: random.Random) -> None:
        """Begin with one file; the directories are new."""
        self.mounted = mounted
        self.relayed = relayed
        self.chance = chance
        self.done: Counter[str] = Counter()
        self.mode = "pass"
        self._dirs = mounted.dir / "d", disk
        for directory in self._dirs:
            directory.mkdir()
        self.name = "0"
        self._fds = self._open(os.O_RDWR | os.O_CREAT)

    @property
    def paths(self) -> tuple[Path, Path]:
        """Where the open file is."""
        return self._dirs[0] / self.name, self._dirs[1] / self.name

    @property
    def size(self) -> int:
        """Bytes that the file has on the disk."""
        return os.fstat(self._fds[1]).st_size

    def step(self) -> None:
        """Do one operation, and compare."""
        kinds, weights = zip(*OPERATIONS.items(), strict=True)
        kind = self.chance.choices(kinds, weights)[0]
        self.done[kind] += 1
        getattr(self, kind)()
        size = os.fstat(self._fds[0]).st_size
        assert size == self.size, f"{kind}: {size} bytes instead of {self.size}"

    def flap(self) -> None:
        """Change how the remote can be reached."""
        self.set(self.chance.choice(["pass", "pass", "refuse", "drop"]))

    def set(self, mode: str) -> None:
        """Let the remote be reached like that from now on."""
        self.mode = mode
        self.relayed.set(mode=mode)

    def come_back(self) -> None:
        """Have the remote back."""
        self.set("pass")
        eventually(lambda: self.mounted.daemon.status()["remote"]["state"] == "reachable")

    def on_mount(self, work: Callable[[], T]) -> T:
        """Do something to the mount; once more with the remote back, where it was away and is needed."""
        try:
            return work()
        except OSError as error:
            if error.errno != errno.EIO or self.mode == "pass":
                raise
        self.done["EIO while the remote was away"] += 1
        self.come_back()
        return work()

    # Operations.

    def write(self) -> None:
        """Write at some place, also beyond the end."""
        at, data = self.chance.randrange(LARGEST), self._data()
        self._both(lambda fd: os.pwrite(fd, data, at))

    def append(self) -> None:
        """Write at the end."""
        if self.size < LARGEST:
            data = self._data()
            fds = self._open(os.O_WRONLY | os.O_APPEND)
            for fd, around in zip(fds, (self.on_mount, call), strict=True):
                around(partial(os.write, fd, data))
            self._close(fds)

    def read(self) -> None:
        """Read some bytes."""
        at, length = self.chance.randrange(LARGEST), self.chance.randrange(1, STRETCH)
        self._both(lambda fd: os.pread(fd, length, at))

    def truncate(self) -> None:
        """Cut it, or make it longer."""
        size = self.chance.randrange(LARGEST)
        self._both(lambda fd: os.ftruncate(fd, size))

    def cut(self) -> None:
        """Cut it by its name."""
        size = self.chance.randrange(LARGEST)
        self.on_mount(lambda: os.truncate(self.paths[0], size))
        os.truncate(self.paths[1], size)

    def copy(self) -> None:
        """Copy a stretch within the file in the kernel."""
        length = self.chance.randrange(1, STRETCH)
        source, target = self.chance.randrange(LARGEST // 2 - STRETCH), self.chance.randrange(LARGEST // 2, LARGEST)
        self._both(lambda fd: os.copy_file_range(fd, fd, length, source, target))

    def map_read(self) -> None:
        """Look at all of it in memory."""
        if size := self.size:
            # A page that cannot be had would be SIGBUS: all of them are here first.
            self._both(lambda fd: os.pread(fd, size, 0))
            seen = []
            for fd in self._fds:
                with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages:
                    seen.append(pages[:])
            assert seen[0] == seen[1]

    def map_write(self) -> None:
        """Change some bytes in memory; every other time without a msync."""
        if size := self.size:
            at = self.chance.randrange(size)
            data = self._data()[: size - at]
            flush = self.chance.random() < 0.5
            self._both(lambda fd: os.pread(fd, size, 0))
            self._both(lambda fd: os.pwrite(fd, data[:1], at))
            for fd in self._fds:
                with mmap.mmap(fd, size) as pages:
                    pages[at : at + len(data)] = data
                    if flush:
                        pages.flush()

    def sync(self) -> None:
        """Have it on stable storage."""
        self.on_mount(lambda: os.fsync(self._fds[0]))

    def duplicate(self) -> None:
        """Close a second descriptor: the object is made."""
        os.close(os.dup(self._fds[0]))

    def look(self) -> None:
        """Read all of it by another descriptor."""
        seen = [self.on_mount(self.paths[0].read_bytes), self.paths[1].read_bytes()]
        assert seen[0] == seen[1]

    def reopen(self) -> None:
        """Close it, and open it again, or another one; it is the object in between."""
        self._close(self._fds)
        self.check(self.name)
        self.name = str(self.chance.randrange(NAMES))
        self._fds = self._open(os.O_RDWR | os.O_CREAT)

    def rename(self) -> None:
        """Give it another name while it is open; what has that name goes."""
        old, self.name = self.paths, str(self.chance.randrange(NAMES))
        for path, new, around in zip(old, self.paths, (self.on_mount, call), strict=True):
            around(partial(path.rename, new))

    def replace(self) -> None:
        """Unlink it while it is open, and make another of its name."""
        for path, around in zip(self.paths, (self.on_mount, call), strict=True):
            around(path.unlink)
        self.read()
        self.write()
        self._close(self._fds)
        self._fds = self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)

    def names(self) -> None:
        """See which names there are."""
        there, disk = self._dirs
        seen = self.on_mount(lambda: {path.name for path in there.iterdir()}), {path.name for path in disk.iterdir()}
        assert seen[0] == seen[1]

    # What is compared at the end.

    def check(self, name: str) -> None:
        """What is closed is the object, by the S3 door; asked while the remote is there."""
        if self.mode == "pass":
            assert self.mounted.get(f"d/{name}") == (self._dirs[1] / name).read_bytes()

    def end(self) -> None:
        """Close it, have all delivered, and compare all with what the remote itself has."""
        self._close(self._fds)
        self.come_back()
        eventually(lambda: drained(self.mounted.daemon), 300)
        remote = self.relayed.remote.client()
        shown = remote.list_objects_v2(Bucket=self.mounted.bucket, Prefix="d/").get("Contents", ())
        found = {
            one["Key"][2:]: remote.get_object(Bucket=self.mounted.bucket, Key=one["Key"])["Body"].read()
            for one in shown
            if one["Key"] != "d/"
        }
        assert found == {path.name: path.read_bytes() for path in self._dirs[1].iterdir()}
        assert self.mounted.daemon.status()["mount"]["unpublished"] == 0

    def _data(self) -> bytes:
        return self.chance.randbytes(self.chance.randrange(1, STRETCH))

    def _both(self, work: Callable[[int], object]) -> None:
        seen = self.on_mount(lambda: work(self._fds[0])), work(self._fds[1])
        assert seen[0] == seen[1]

    def _open(self, flags: int) -> tuple[int, int]:
        return self.on_mount(lambda: os.open(self.paths[0], flags)), os.open(self.paths[1], flags)

    def _close(self, fds: tuple[int, int]) -> None:
        # A close never fails: the queue takes what is written whether or not the remote is there.
        for fd in fds:
            os.close(fd)


def call(work: Callable[[], T]) -> T:
    """Do something to the disk."""
    return work()


OPERATIONS = {
    "write": 200,
    "read": 200,
    "map_read": 60,
    "map_write": 80,
    "truncate": 60,
    "sync": 20,
    "copy": 20,
    "append": 10,
    "cut": 10,
    "duplicate": 10,
    "look": 10,
    "reopen": 10,
    "rename": 5,
    "replace": 5,
    "names": 5,
}
"""What is done, and how often in comparison."""
