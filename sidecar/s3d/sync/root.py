"""The folder on its disk. All work on names goes by descriptors of directories, opened one after another below the
folder and never through a link, so that nothing outside of it is read or written, at no instant (SEMANTICS S-7).

A file takes a name in one step, in whole: it is written in `.s3d/stage`, synced, and exchanged with what has the name
(S-3). Nothing is ever deleted or overwritten here: what loses its name is in the stage then, and is looked at there.

Everything in here blocks and raises OSError, and is done in threads of the folder's own: a thread cannot be cancelled,
and no descriptor is closed before the last of them is done with it.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from errno import EACCES, EAGAIN, EEXIST, EINVAL, ELOOP, ENOENT, ENOSYS, ENOTDIR, ENOTSUP, EXDEV
from functools import partial
from pathlib import Path
from typing import TypeVar

from s3d.sync.files import BLOCK_BYTES, Stamp, content_of, open_regular, stamp_of
from s3d.sync.names import OWN, conflict_copy
from s3d.sync.trees import Content

T = TypeVar("T")

MAX_THREADS = 6
STAGE, TRASH, MARKER, LOCK = "stage", "trash", "folder.json", "lock"
DRAFT = ".part"
"""The ending of a file in the stage that is not whole yet."""
NO_REPLACE, EXCHANGE = 1, 2
"""Flags of renameat2(2)."""
LIBC = ctypes.CDLL(None, use_errno=True)
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NOT_THERE = {ENOENT, ENOTDIR, ELOOP}


class Blocked(OSError):
    """Something else than a file has the name, or a part of its path is no directory of the folder."""


class Root:
    """An open folder."""

    def __init__(self, path: Path) -> None:
        """Open it; nothing is made in it before `prepare`."""
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.device = os.fstat(self.fd).st_dev
        self._own: dict[str, int] = {}
        self.threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="s3d-sync")

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """Do something that blocks in one of the folder's threads."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(work, *arguments))

    def prepare(self) -> None:
        """Make s3d's own directory in it, where it is not there yet, and keep other gateways out: what one has in the
        stage is the other's rubbish. Raises Blocked, and OSError where another one uses the folder."""
        for name in (STAGE, TRASH):
            if name not in self._own:
                self._own[name] = self.directory([OWN, name], make=True)
        if LOCK not in self._own:
            self._own[LOCK] = self._lock()

    def _lock(self) -> int:
        with self.parent(f"{OWN}/{LOCK}") as (directory, name):
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(fd)
            raise OSError(EAGAIN, "another s3d uses the folder") from error
        return fd

    def close(self) -> None:
        """Let go of it, when its threads are done. Safe to call twice."""
        self.threads.shutdown()
        for fd in (*self._own.values(), self.fd):
            if fd >= 0:
                os.close(fd)
        self._own, self.fd = {}, -1

    def is_in_place(self) -> bool:
        """Whether the path still leads to the folder that was opened: nothing was mounted over it, nor put there."""
        try:
            found = self.path.stat()
        except OSError:
            return False
        opened = os.fstat(self.fd)
        return (found.st_dev, found.st_ino) == (opened.st_dev, opened.st_ino) and opened.st_nlink > 0

    # Names.

    def directory(self, parts: Sequence[str], *, make: bool = False) -> int:
        """Open a directory below the folder; the caller closes it. Raises Blocked where a part is something else."""
        fd = os.dup(self.fd)
        try:
            for part in parts:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o777 if parts[0] != OWN else 0o700, dir_fd=fd)
                        os.fsync(fd)
                try:
                    below = os.open(part, OPEN_DIRECTORY, dir_fd=fd)
                except OSError as error:
                    if error.errno in {ENOTDIR, ELOOP}:
                        raise Blocked(error.errno, "a part of the path is no directory") from error
                    raise
                os.close(fd)
                fd = below
                self._refuse_other(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _refuse_other(self, fd: int) -> None:
        if os.fstat(fd).st_dev != self.device:
            raise Blocked(EXDEV, "a part of the path is another file system")

    @contextmanager
    def parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The open directory of a path, and its name there."""
        *parts, name = path.split("/")
        fd = self.directory(parts, make=make)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def open_file(self, path: str) -> int | None:
        """Open a regular file for reading; None where there is none. The caller closes it."""
        try:
            with self.parent(path) as (directory, name):
                return open_regular(directory, name)
        except OSError as error:
            if error.errno in NOT_THERE or isinstance(error, Blocked):
                return None
            raise

    def is_gone(self, path: str) -> bool:
        """Whether it is sure that no file has a path: not where a link or another file system is above it."""
        parts = path.split("/")
        for number in range(1, len(parts) + 1):
            try:
                with self.parent("/".join(parts[:number])) as (directory, name):
                    mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            except FileNotFoundError:
                return True
            except Blocked:
                return False
            if stat.S_ISREG(mode):
                return number < len(parts)
            if not stat.S_ISDIR(mode):
                return False
        return True

    def make_place(self, path: str) -> None:
        """Make the directories of a path, and see that a file can get a name there: nothing is downloaded in vain.
        Raises Blocked and PermissionError."""
        with self.parent(path, make=True) as (directory, _):
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=directory, effective_ids=True):
                raise PermissionError(EACCES, "its directory cannot be written to")

    def mode_of(self, path: str) -> int | None:
        """The mode of a file; None where there is none."""
        fd = self.open_file(path)
        if fd is None:
            return None
        try:
            return stat.S_IMODE(os.fstat(fd).st_mode)
        finally:
            os.close(fd)

    def hash(self, path: str, stamp: Stamp) -> Content | None:
        """The content of a file that has a stamp; None where it has another, before or after it was read (S-8)."""
        fd = self.open_file(path)
        if fd is None:
            return None
        try:
            found = content_of(fd) if stamp_of(os.fstat(fd)) == stamp else None
            return found if stamp_of(os.fstat(fd)) == stamp else None
        finally:
            os.close(fd)

    # The stage.

    def draft(self) -> tuple[str, int]:
        """A new file in the stage, and its id. The caller writes and closes it."""
        name = secrets.token_hex(8)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return name, os.open(name + DRAFT, flags, 0o666, dir_fd=self._own[STAGE])

    def finish(self, name: str, fd: int) -> None:
        """A draft is whole: sync it, and let its name say so."""
        os.fsync(fd)
        rename(self._own[STAGE], name + DRAFT, self._own[STAGE], name, NO_REPLACE)
        os.fsync(self._own[STAGE])

    def abandon(self, name: str) -> None:
        """A draft will never be whole."""
        with suppress(FileNotFoundError):
            os.unlink(name + DRAFT, dir_fd=self._own[STAGE])

    def staged(self) -> list[str]:
        """What is in the stage, drafts with their ending."""
        return _names_in(self._own[STAGE])

    def staged_content(self, name: str) -> Content | None:
        """What a file in the stage holds; None where there is none."""
        try:
            fd = open_regular(self._own[STAGE], name)
        except FileNotFoundError:
            return None
        if fd is None:
            return None
        try:
            return content_of(fd)
        finally:
            os.close(fd)

    def swap(self, name: str, path: str) -> bool:
        """Give a path what is staged, in one step. Whether something is displaced, and in the stage now.

        Raises Blocked where no file can have the path.
        """
        stage = self._own[STAGE]
        with self.parent(path, make=True) as (directory, last):
            while True:
                try:
                    rename(stage, name, directory, last, NO_REPLACE)
                except FileExistsError:
                    if not stat.S_ISREG(os.stat(last, dir_fd=directory, follow_symlinks=False).st_mode):
                        raise Blocked(EEXIST, "it is no regular file") from None
                    try:
                        rename(stage, name, directory, last, EXCHANGE)
                    except FileNotFoundError:
                        continue
                    self._look(name, directory, last)
                    displaced = True
                else:
                    displaced = False
                os.fsync(directory)
                os.fsync(stage)
                return displaced

    def _look(self, name: str, directory: int, last: str) -> None:
        """Only files are displaced: something else has come between the look and the exchange, and goes back."""
        stage = self._own[STAGE]
        if not stat.S_ISREG(os.stat(name, dir_fd=stage, follow_symlinks=False).st_mode):
            try:
                rename(stage, name, directory, last, EXCHANGE)
            except FileNotFoundError:
                rename(stage, name, directory, last, NO_REPLACE)
            raise Blocked(EEXIST, "it is no regular file")

    def take(self, path: str) -> str:
        """Move a file into the stage, and say under which id. Raises FileNotFoundError and Blocked."""
        return self.take_as(secrets.token_hex(8), path)

    def take_as(self, name: str, path: str) -> str:
        """The same under an id that is known before."""
        stage = self._own[STAGE]
        with self.parent(path) as (directory, last):
            if not stat.S_ISREG(os.stat(last, dir_fd=directory, follow_symlinks=False).st_mode):
                raise Blocked(EEXIST, "it is no regular file")
            rename(directory, last, stage, name, NO_REPLACE)
            if not stat.S_ISREG(os.stat(name, dir_fd=stage, follow_symlinks=False).st_mode):
                rename(stage, name, directory, last, NO_REPLACE)
                raise Blocked(EEXIST, "it is no regular file")
            os.fsync(stage)
            os.fsync(directory)
        return name

    def give_back(self, name: str, path: str) -> bool:
        """Give a path what was taken from it; False where something else has it by now."""
        with self.parent(path, make=True) as (directory, last):
            try:
                rename(self._own[STAGE], name, directory, last, NO_REPLACE)
            except FileExistsError:
                return False
            os.fsync(directory)
            os.fsync(self._own[STAGE])
        return True

    def keep_copy(self, name: str, path: str, content: Content) -> str:
        """Make what is staged a conflict copy of a path, and say what that is called. One with these bytes is enough
        (S-1)."""
        number = 1
        while True:
            copy = conflict_copy(path, content.sha256, number)
            if self.give_back(name, copy):
                return copy
            fd = self.open_file(copy)
            if fd is not None:
                try:
                    is_same = content_of(fd).is_same(content)
                finally:
                    os.close(fd)
                if is_same:
                    self.drop_staged(name)
                    return copy
            number += 1

    def to_trash(self, name: str) -> None:
        """Move what is staged into the trash, where it has the same id."""
        rename(self._own[STAGE], name, self._own[TRASH], name, NO_REPLACE)
        os.fsync(self._own[TRASH])
        os.fsync(self._own[STAGE])

    def drop_staged(self, name: str) -> None:
        """Delete what is staged: the same bytes are elsewhere."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._own[STAGE])

    def check(self) -> str:
        """Why the folder's file system cannot be used; "" where it can."""
        stage = self._own[STAGE]
        first, second = self.draft(), self.draft()
        try:
            rename(stage, first[0] + DRAFT, stage, second[0] + DRAFT, EXCHANGE)
            os.stat(first[0] + DRAFT.upper(), dir_fd=stage)
        except FileNotFoundError:
            return ""
        except OSError as error:
            if error.errno in {EINVAL, ENOSYS, ENOTSUP}:
                return "the file system of the folder cannot exchange two names (renameat2)"
            raise
        finally:
            for name, fd in (first, second):
                os.close(fd)
                self.abandon(name)
        return "the file system of the folder tells no capital letters from small ones, and keys differ by them"

    # The trash.

    def trash(self) -> list[str]:
        """The ids of what is in the trash."""
        with os.scandir(self._own[TRASH]) as entries:
            return sorted(entry.name for entry in entries if not entry.is_dir(follow_symlinks=False))

    def empty_trash(self, name: str) -> None:
        """Delete one file of it for good."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._own[TRASH])

    def restore(self, name: str, path: str) -> bool:
        """Give a path what is in the trash; False where something has the path."""
        with self.parent(path, make=True) as (directory, last):
            try:
                rename(self._own[TRASH], name, directory, last, NO_REPLACE)
            except FileExistsError:
                return False
            os.fsync(directory)
            os.fsync(self._own[TRASH])
        return True

    def prune(self, path: str) -> None:
        """Remove the directories of a path that are empty now, from below."""
        parts = path.split("/")[:-1]
        while parts:
            try:
                with self.parent("/".join(parts)) as (directory, name):
                    os.rmdir(name, dir_fd=directory)
            except OSError:
                return
            parts.pop()

    # The marker.

    def marker(self) -> dict[str, str] | None:
        """What the marker says; None where there is none, or none that can be read."""
        fd = self.open_file(f"{OWN}/{MARKER}")
        if fd is None:
            return None
        try:
            found = json.loads(os.read(fd, BLOCK_BYTES))
        except ValueError:
            return None
        finally:
            os.close(fd)
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else None

    def mark(self, says: dict[str, str]) -> None:
        """Write the marker, durably."""
        name, fd = self.draft()
        try:
            os.write(fd, json.dumps(says).encode())
            os.fsync(fd)
            with self.parent(f"{OWN}/{MARKER}") as (directory, last):
                os.replace(name + DRAFT, last, src_dir_fd=self._own[STAGE], dst_dir_fd=directory)
                os.fsync(directory)
        finally:
            os.close(fd)
            self.abandon(name)

    def unmark(self) -> None:
        """Take the marker away."""
        try:
            with self.parent(f"{OWN}/{MARKER}") as (directory, last):
                os.unlink(last, dir_fd=directory)
        except FileNotFoundError:
            return


def rename(from_directory: int, name: str, to_directory: int, to: str, flags: int) -> None:
    """renameat2(2), which Python does not have."""
    if LIBC.renameat2(from_directory, os.fsencode(name), to_directory, os.fsencode(to), flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), to)


def _names_in(directory: int) -> list[str]:
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries)
