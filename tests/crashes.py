"""What a crash leaves of a local dir: as it is (kill), or only what was synced (power cut).

`Disk` watches the syncs of files and directories while it is entered. Of a directory of bodies a power cut leaves the
names that were there when the directory was last synced, and of each file the bytes that were there when the file was.
SQLite's own syncs do not pass here: its files are copied as they are, the WAL first, and e2e/chaos cuts their power.
"""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Disk:
    """What was synced."""

    def __init__(self) -> None:
        """Nothing was, so far."""
        self._bytes: dict[tuple[int, int], int] = {}
        self._names: dict[tuple[int, int], set[str]] = {}

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Watch, and spare the real disk: no test here outlives its machine."""
        before = os.fsync, os.open

        def open_file(*arguments: Any, **options: Any) -> int:
            number = before[1](*arguments, **options)
            if arguments[1] & os.O_TMPFILE == os.O_TMPFILE or arguments[1] & os.O_CREAT:
                # A new file may bear the number of one that is gone.
                found = os.fstat(number)
                self._bytes.pop((found.st_dev, found.st_ino), None)
            return number

        def fsync(file: Any) -> None:
            number = file if isinstance(file, int) else file.fileno()
            found = os.fstat(number)
            if stat.S_ISDIR(found.st_mode):
                self._names[found.st_dev, found.st_ino] = {entry.name for entry in os.scandir(number)}
            else:
                self._bytes[found.st_dev, found.st_ino] = found.st_size

        os.fsync, os.open = fsync, open_file  # type: ignore[assignment]  # both also take what has a fileno
        try:
            yield self
        finally:
            os.fsync, os.open = before

    def copy(self, source: Path, target: Path, *, power_cut: bool) -> None:
        """Make `target` what a crash leaves of the queue's directory `source`. Everything in it counts as synced."""
        target.mkdir(parents=True)
        for name in ("queue.db-wal", "queue.db"):
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        bodies = source / "bodies"
        place = bodies.stat()
        names = {path.name for path in bodies.iterdir()}
        if power_cut:
            names &= self._names.get((place.st_dev, place.st_ino), set())
        (target / "bodies").mkdir()
        for name in names:
            self._copy_body(bodies / name, target / "bodies" / name, power_cut=power_cut)
        kept = (target / "bodies").stat()
        self._names[kept.st_dev, kept.st_ino] = {path.name for path in (target / "bodies").iterdir()}

    def copy_cache(self, source: Path, target: Path, *, power_cut: bool) -> None:
        """The same of the directory of a read cache: no name is synced there, and no block."""
        (target / "blocks").mkdir(parents=True)
        for name in ("cache.db-wal", "cache.db"):
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        for directory in (source / "blocks").iterdir():
            (target / "blocks" / directory.name).mkdir()
            for path in directory.iterdir():
                self._copy_body(path, target / "blocks" / directory.name / path.name, power_cut=power_cut)

    def _copy_body(self, source: Path, target: Path, *, power_cut: bool) -> None:
        if source.is_dir():
            shutil.copytree(source, target)
            return
        try:
            found = source.stat()
            data = source.read_bytes()
        except FileNotFoundError:
            return
        if power_cut:
            data = data[: self._bytes.get((found.st_dev, found.st_ino), 0)]
        target.write_bytes(data)
        kept = target.stat()
        self._bytes[kept.st_dev, kept.st_ino] = len(data)
