"""Bodies on disk: one directory, one file a body, named by id and never by key.

A file has a name only when it is whole: it is written without one (O_TMPFILE), synced, linked, and the directory is
synced before its id is given out. Nothing here knows which id is wanted; `sweep` is told. A failed write or sync
abandons its file. Nobody's data is ever deleted on suspicion: a file that is not ours is moved to `quarantine/`.

Disk and digest work runs in threads of its own; the event loop only gathers blocks. A body in flight holds about three
blocks of memory, whatever its length; where many are in flight, the blocks are smaller.
"""

import asyncio
import contextlib
import functools
import hashlib
import itertools
import logging
import math
import os
import re
import secrets
import stat
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from errno import EINVAL, EISDIR, ELOOP, EMLINK, ENOENT, ENOSPC, ENXIO, EOPNOTSUPP, EPERM
from pathlib import Path
from typing import Any, TypeVar

from s3d.api import Body, Send
from s3d.errors import CorruptBody, S3Error
from s3d.store.db import StoreFailed, store_error, sync_dir

T = TypeVar("T")
log = logging.getLogger(__name__)
Hasher = Callable[[bytes], None]
Came = Callable[[int], Awaitable[None]]
Stamp = tuple[int, int]
"""What changes when a file is written to or another takes its name: its inode, and the time of its last write."""

BLOCK = 1 << 20
"""Bytes that are written, hashed and read at a time."""
BLOCKS = 8 * BLOCK
"""Bytes that are gathered of all bodies together, before they are written."""
MIN_BLOCK = 16 << 10
WRITEBACK = 8 * BLOCK
"""Bytes after which what was written starts on its way to the disk."""
STRETCH = 8 * BLOCK
"""Most bytes that a thread sends at a time."""
THREADS = 16
"""Threads for disk and digest work; a sync of a large body holds one for as long as it takes."""
SWEEP_BATCH = 500
"""Files that a sweep looks at at a time."""
MAX_INTACT = 16_384
"""Bodies of which it is remembered that they hold what was stored; one that was forgotten is read once more."""
MAX_CHUNKS = 1000
"""Chunks in a block; writev takes 1,024 (IOV_MAX)."""
QUARANTINE = "quarantine"
LABEL = ".queue"
"""In the quarantine, where no sweep looks: a directory, in which another one bears the label as its name."""
ID = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8,16}")
DRAFT = re.compile(rf"\.draft-{ID.pattern}")
OURS = re.compile(rf"{ID.pattern}|{DRAFT.pattern}|{QUARANTINE}|")


@dataclass(frozen=True, slots=True)
class Stored:
    """A received body: its bytes where it is small, else the id of its file."""

    inline: bytes | None
    id: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by file name."""

    removed: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()


class Bodies:
    """One directory of bodies, owned by one process and used from one event loop."""

    def __init__(self, root: Path, *, inline_limit: int = 16 << 10) -> None:
        """Make `root` where it is missing (its parent must exist). Bodies of up to `inline_limit` bytes get no file.

        Blocks; meant for start-up. Raises StoreFailed.
        """
        self.root = root
        self.inline_limit = inline_limit
        # Names carry the process's own token: a sweep tells what may still be on its way to a row without asking a
        # clock that can be set.
        self.run = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3d-bodies")
        self._intact = _Intact()
        self._receiving = 0
        try:
            if not root.is_dir():
                root.mkdir(mode=0o700)
                sync_dir(root.parent)
            if not (root / QUARANTINE).is_dir():
                (root / QUARANTINE).mkdir(mode=0o700)
                sync_dir(root)
            self._dir = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._names = _Names(self._dir, self._pool)
        except OSError as error:
            raise store_error(error, f"{root} cannot be used") from error

    async def receive(self, body: Body, hasher: Hasher | None = None, came: Came | None = None) -> Stored:
        """Take a body whole and put it on stable storage; a small one is returned instead. Closes the body.

        The bytes of a body that is stored here already are shared: it is read and verified, and gets one name more.
        `hasher` is given every byte in order, in a thread, never twice at a time. `came` is told how many bytes have
        come, before they touch the disk, and may raise. Raises what the body raises; S3Error IncompleteBody when it
        ends short of its length; StoreFull and StoreFailed. Any failure, and cancellation, leaves nothing behind.
        The caller owns the file: it deletes one that gets no row, unless the row's commit ended
        in StoreFailed other than StoreFull, when the row may yet turn out to be stored.
        """
        try:
            if body.length is not None and body.length <= self.inline_limit:
                if came:
                    await came(body.length)
                return await _receive_inline(body, hasher)
            if isinstance(body, FileBody):
                if came:
                    await came(body.length)
                    came = None
                if shared := await self._share(body, hasher):
                    return shared
            return await self._receive_file(body, hasher, came)
        finally:
            await body.aclose()

    def open(self, id: str, size: int | None, md5: str | None = None) -> "FileBody":  # noqa: A002
        """Open a stored body for reading; a later delete does not reach it.

        With `md5` (hex), reading the whole body verifies it, and so does `verify`. Raises CorruptBody when the file is
        missing or is not `size` bytes long (None: it may have any length); StoreFailed.
        """
        if not ID.fullmatch(id):
            raise CorruptBody(f"{id!r} is the id of no body")
        try:
            # A pipe in the place of the file would be waited for.
            fd = os.open(id, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._dir)
        except OSError as error:
            if error.errno in {ENOENT, ELOOP, ENXIO}:
                raise CorruptBody(f"the body {id} is missing") from None
            raise store_error(error, f"the body {id} cannot be read") from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise CorruptBody(f"the body {id} is missing: something else has its name")
        size = found.st_size if size is None else size
        if found.st_size != size:
            os.close(fd)
            raise CorruptBody(f"the body {id} has {found.st_size} bytes, not {size}")
        return FileBody(_File(fd, self._pool), id, size, md5, _stamp(found), self._intact)

    async def delete(self, id: str) -> None:  # noqa: A002
        """Remove a body; one that is gone is fine. It may be back after a power cut, as an orphan for `sweep`.

        One that cannot be removed is such an orphan too, and no error: the row that was its reason has gone already.
        What is no id is nothing of ours.
        """
        if not ID.fullmatch(id):
            log.warning("%r is the id of no body", id)
            return
        self._intact.forget(id)
        try:
            await self._in_thread(_unlink, self._dir, id)
        except StoreFailed as error:
            log.warning("the body %s is left to the sweep: %s", id, error)

    async def quarantine(self, id: str, reason: str) -> None:  # noqa: A002
        """Move a body aside, with the reason in a file beside it."""
        await self._in_thread(_quarantine, self.root, id, reason)

    async def label(self) -> str:
        """The label of the queue that these bodies belong to; "" where they have none yet. Raises StoreFailed."""
        return await self._in_thread(_read_label, self.root / QUARANTINE / LABEL)

    async def set_label(self, label: str) -> None:
        """Give these bodies a label. Raises StoreFailed."""
        await self._in_thread(_write_label, self.root / QUARANTINE / LABEL, label)

    async def names(self) -> list[str]:
        """Ids of some bodies that are here. Raises StoreFailed."""
        return await self._in_thread(_some_names, self.root)

    async def runs(self) -> set[str]:
        """The runs of s3d that made the bodies which are here. Raises StoreFailed."""
        return await self._in_thread(_runs_in, self.root)

    async def sweep(self, known: Callable[[list[str]], set[str]], grace: float) -> Swept:
        """Remove bodies that nobody knows, and quarantine files that are not ours.

        `known` gets up to 500 ids on the loop's thread and returns those that have a row; what it raises ends the sweep
        with nothing of that batch removed. Bodies of this process and files younger than `grace` seconds stay.
        """
        removed: list[str] = []
        strange: list[str] = []
        with os.scandir(self.root) as entries:
            while names := await self._in_thread(_old_names, entries, time.time() - grace):
                drafts = [name for name in names if DRAFT.fullmatch(name) and self.run not in name]
                bodies = [name for name in names if ID.fullmatch(name) and not name.startswith(self.run)]
                wanted = known(bodies) if bodies else set()
                orphans = drafts + [name for name in bodies if name not in wanted]
                for name in orphans:
                    await self._in_thread(_unlink, self._dir, name)
                removed += orphans
                strange += [name for name in names if not OURS.fullmatch(name)]
        for name in strange:
            await self._in_thread(_quarantine, self.root, name, "s3d does not make files of this name")
        return Swept(tuple(removed), tuple(strange))

    async def close(self) -> None:
        """Wait for the threads and let go of the directory."""
        await self._intact.close()
        await asyncio.to_thread(self._pool.shutdown)
        if self._dir >= 0:
            os.close(self._dir)
            self._dir = -1

    async def _receive_file(self, body: Body, hasher: Hasher | None, came: Came | None) -> Stored:
        id = f"{self.run}-{next(self._numbers):08x}"  # noqa: A001
        with self._failing():
            file = _File(_open_draft(self._dir, id), self._pool)
        digests = _Line(self._pool)
        kept = False
        size = 0
        working: list[asyncio.Future[None]] = []
        try:
            self._receiving += 1
            if body.length:
                # A full disk is found before the client sends the bytes.
                await self._finish(file.start(_refuse_full, body.length))
            async with contextlib.aclosing(_blocks(body, self._block_size)) as blocks:
                async for block in blocks:
                    length = sum(map(len, block))
                    size += length
                    if came:
                        await came(length)
                    # One block is at work and one waits behind it, so that no thread waits for the loop.
                    ahead = [file.start(_write, block)]
                    if hasher:
                        ahead.append(digests.start(_hash, block, hasher))
                    await self._finish(*working)
                    working = ahead
            await self._finish(*working)
            _check_length(body, size)
            publishing = file.start(_publish, self._dir, id)
            await self._finish(publishing)
            await self._finish(self._names.sync())
            kept = True
            if hasher:
                self._intact.note(id, publishing.result())
            return Stored(None, id, size)
        finally:
            self._receiving -= 1
            file.close(None if kept else functools.partial(_forget, self._dir, id))

    def _block_size(self) -> int:
        """Bytes that are gathered of each body, so that all that are being received hold little together."""
        return max(MIN_BLOCK, min(BLOCK, BLOCKS // max(1, self._receiving)))

    async def _share(self, body: "FileBody", hasher: Hasher | None) -> Stored | None:
        """Give a stored body another name; None where it has none any more, or cannot have one more."""
        id = f"{self.run}-{next(self._numbers):08x}"  # noqa: A001
        line = _Line(self._pool)
        kept = False
        try:
            with self._failing():
                if not await asyncio.shield(line.start(_link, self._dir, body.id, id)):
                    return None
            await self._finish(self._names.sync())
            async for block in body.chunks():
                if hasher:
                    await asyncio.shield(line.start(hasher, block))
            kept = True
            if hasher:
                self._intact.note(id, body.stamp)
            return Stored(None, id, body.length)
        finally:
            if not kept:
                line.finish(functools.partial(_forget, self._dir, id))

    async def _finish(self, *working: asyncio.Future[Any]) -> None:
        """Wait for work on the disk, which goes on when the caller is cancelled."""
        with self._failing():
            for future in working:
                await asyncio.shield(future)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        with self._failing():
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise store_error(error, f"{self.root} cannot be written") from error


class FileBody(Body):
    """A stored body; replayable, and readable by several at once."""

    replayable = True

    def __init__(
        self,
        file: "_File",
        id: str,  # noqa: A002
        size: int,
        md5: str | None,
        stamp: Stamp,
        intact: "_Intact",
    ) -> None:
        """Take over an open file of `size` bytes, and what remembers which files were verified."""
        self._file = file
        self.id = id
        self._size = size
        self._md5 = md5
        self.stamp = stamp
        self._intact = intact

    @property
    def length(self) -> int:
        """Length in bytes."""
        return self._size

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield blocks of up to 1 MiB, one of them read ahead. Raises CorruptBody and StoreFailed."""
        end = self._size if end is None else min(end, self._size)
        whole = self._md5 is not None and start == 0 and end == self._size
        digest = hashlib.md5(usedforsecurity=False) if whole else None
        ahead = self._file.start(_read, start, end, digest) if start < end else None
        while ahead:
            try:
                block = await asyncio.shield(ahead)
            except OSError as error:
                raise store_error(error, f"the body {self.id} cannot be read") from error
            start += len(block)
            if not block:
                raise CorruptBody(f"the body {self.id} ends before its {self._size} bytes")
            ahead = self._file.start(_read, start, end, digest) if start < end else None
            if digest and not ahead and digest.hexdigest() != self._md5:
                self._intact.forget(self.id)
                raise CorruptBody(f"the body {self.id} does not match its MD5 {self._md5}")
            yield block

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Hash the whole file, whichever stretch of it is wanted, unless this process did so before or wrote it, and
        the file was not written to since. All who ask at once share one look. Raises CorruptBody and StoreFailed.
        """
        if self._md5 is not None and start < (self._size if end is None else end):
            await self._intact.look(self)

    def again(self) -> "FileBody":
        """The same open file for a reader of its own, which outlives this one."""
        return FileBody(self._file.again(), self.id, self._size, self._md5, self.stamp, self._intact)

    @property
    def send(self) -> Send:
        """Sends a stretch to a socket."""
        return self._send

    async def _send(self, socket: int, start: int = 0, end: int | None = None) -> None:
        """Send a stretch to a non-blocking socket by sendfile(2). No byte passes through us, so none is verified.

        Raises ConnectionError when the other side leaves, CorruptBody when the file ends early, and StoreFailed.
        """
        end = self._size if end is None else min(end, self._size)
        # A number of our own: a thread may still hold it when the connection is gone and its number another's.
        out = os.dup(socket)
        try:
            while start < end:
                try:
                    sent = await asyncio.shield(self._file.start(_send, out, start, end - start))
                except BlockingIOError:
                    await _until_writable(out)
                    continue
                except ConnectionError:
                    raise
                except OSError as error:
                    raise store_error(error, f"the body {self.id} cannot be read") from error
                if not sent:
                    raise CorruptBody(f"the body {self.id} ends before its {self._size} bytes")
                start += sent
        finally:
            self._file.start(_close_socket, out)

    async def aclose(self) -> None:
        """Let go of the file, once no thread reads it any more."""
        self._file.close()


class _Intact:
    """Which bodies hold what was stored, so far as this process wrote them or has read them whole since it started.

    A file that was written to since, or that another has taken the place of, is known no more (see Stamp). What rots on
    the medium without a write is found at hand-over, which reads every byte.
    """

    def __init__(self) -> None:
        self._stamps: dict[str, Stamp] = {}
        self._looks: dict[tuple[str, Stamp], asyncio.Future[None]] = {}

    def note(self, id: str, stamp: Stamp) -> None:  # noqa: A002
        """Remember a body as it is now; the one that was noted first is forgotten for it where there are too many."""
        self._stamps[id] = stamp
        if len(self._stamps) > MAX_INTACT:
            del self._stamps[next(iter(self._stamps))]

    def forget(self, id: str) -> None:  # noqa: A002
        """Have a body verified anew."""
        self._stamps.pop(id, None)

    async def look(self, body: FileBody) -> None:
        """Verify a body that is not known. The look outlives whoever asked for it first."""
        if self._stamps.get(body.id) == body.stamp:
            return
        name = (body.id, body.stamp)
        look = self._looks.get(name)
        if look is None:
            look = self._looks[name] = asyncio.ensure_future(self._read(body.again()))
            look.add_done_callback(functools.partial(self._done, name))
        await asyncio.shield(look)

    async def close(self) -> None:
        """End the looks that are under way."""
        looks = list(self._looks.values())
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    async def _read(self, body: FileBody) -> None:
        try:
            async for _ in body.chunks():
                pass
            self.note(body.id, body.stamp)
        finally:
            await body.aclose()

    def _done(self, name: tuple[str, Stamp], look: asyncio.Future[None]) -> None:
        del self._looks[name]
        # Whoever asked may have left; that is no reason for a warning.
        if not look.cancelled():
            look.exception()


class _Line:
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


class _File:
    """A descriptor and the line of work on it. Closing is the last piece: its number may then be another file's."""

    def __init__(self, fd: int, pool: ThreadPoolExecutor) -> None:
        self.fd = fd
        self._pool = pool
        self._line = _Line(pool)
        self._closed = False

    def again(self) -> "_File":
        """The same open file under a descriptor of its own."""
        return _File(os.dup(self.fd), self._pool)

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


class _Names:
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


async def _until_writable(socket: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(socket, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(socket)


async def _receive_inline(body: Body, hasher: Hasher | None) -> Stored:
    data = await body.whole()
    _check_length(body, len(data))
    if hasher:
        hasher(data)
    return Stored(data, None, len(data))


async def _blocks(body: Body, size: Callable[[], int]) -> AsyncGenerator[list[bytes], None]:
    """Gather a body's chunks into lists of about so many bytes."""
    block: list[bytes] = []
    room = size()
    async for chunk in body.chunks():
        block.append(chunk)
        room -= len(chunk)
        if room <= 0 or len(block) == MAX_CHUNKS:
            yield block
            block, room = [], size()
    if block:
        yield block


def _check_length(body: Body, size: int) -> None:
    if body.length is not None and body.length != size:
        raise S3Error(
            "IncompleteBody",
            f"You did not provide the number of bytes specified by the Content-Length HTTP header: {size} came.",
        )


# What follows runs in threads.


def _open_draft(directory: int, id: str) -> int:  # noqa: A002
    """Open a new file that has no name yet, or a draft's name where the file system cannot do without."""
    try:
        return os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno not in {EOPNOTSUPP, EISDIR, ENOENT, EINVAL}:
            raise
    return os.open(_draft_name(id), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)


def _draft_name(id: str) -> str:  # noqa: A002
    return f".draft-{id}"


def _refuse_full(fd: int, size: int) -> None:
    disk = os.fstatvfs(fd)
    if disk.f_bavail * disk.f_frsize < size:
        raise OSError(ENOSPC, os.strerror(ENOSPC))


def _write(fd: int, block: list[bytes]) -> None:
    # Of the disk too only what has come is taken.
    os.posix_fallocate(fd, os.lseek(fd, 0, os.SEEK_CUR), sum(map(len, block)))
    written = os.writev(fd, block)
    rest = memoryview(b"".join(block) if written < sum(map(len, block)) else b"")[written:]
    while rest:
        rest = rest[os.write(fd, rest) :]
    end = os.lseek(fd, 0, os.SEEK_CUR)
    if end % WRITEBACK < BLOCK:
        # On dirty pages this starts their way to the disk and drops nothing: the sync at the end has little left to do.
        os.posix_fadvise(fd, max(0, end - WRITEBACK - BLOCK), WRITEBACK + BLOCK, os.POSIX_FADV_DONTNEED)


def _hash(block: list[bytes], hasher: Hasher) -> None:
    for chunk in block:
        hasher(chunk)


def _publish(fd: int, directory: int, id: str) -> Stamp:  # noqa: A002
    os.fsync(fd)
    written = os.fstat(fd)
    if written.st_nlink:
        os.link(_draft_name(id), id, src_dir_fd=directory, dst_dir_fd=directory)
        _unlink(directory, _draft_name(id))
    else:
        # With dst_dir_fd Python takes linkat(2), which follows this link; link(2) would not.
        os.link(f"/proc/self/fd/{fd}", id, dst_dir_fd=directory)
    return _stamp(written)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_ino, found.st_mtime_ns


def _link(directory: int, id: str, name: str) -> bool:  # noqa: A002
    try:
        os.link(id, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        if error.errno in {ENOENT, EMLINK, EPERM, EOPNOTSUPP}:
            return False
        raise
    return True


def _read(fd: int, start: int, end: int, digest: "hashlib._Hash | None") -> bytes:
    block = os.pread(fd, min(BLOCK, end - start), start)
    if digest:
        digest.update(block)
    return block


def _send(fd: int, socket: int, start: int, size: int) -> int:
    return os.sendfile(socket, fd, start, min(size, STRETCH))


def _close_socket(_: int, socket: int) -> None:
    os.close(socket)


def _close(fd: int, after: Callable[[], None] | None) -> None:
    try:
        os.close(fd)
    finally:
        if after:
            after()


def _forget(directory: int, id: str) -> None:  # noqa: A002
    """Take away what an abandoned body may have left; what cannot be taken is an orphan, for `sweep`."""
    with contextlib.suppress(OSError):
        _unlink(directory, _draft_name(id))
        _unlink(directory, id)


def _unlink(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def any_body(root: Path) -> bool:
    """Whether there are bodies in a directory, which need not be there. Blocks."""
    return bool(_some_names(root))


def is_used(root: Path) -> bool:
    """Whether a directory, which need not be there, holds bodies or has a label. Blocks."""
    return any_body(root) or bool(_read_label(root / QUARANTINE / LABEL))


def _some_names(root: Path) -> list[str]:
    try:
        with os.scandir(root) as entries:
            return list(itertools.islice((entry.name for entry in entries if ID.fullmatch(entry.name)), SWEEP_BATCH))
    except FileNotFoundError:
        return []


def run_of(id: str) -> str:  # noqa: A002
    """The run of s3d that made a body."""
    return id.partition("-")[0]


def _runs_in(root: Path) -> set[str]:
    with os.scandir(root) as entries:
        return {run_of(entry.name) for entry in entries if ID.fullmatch(entry.name)}


def _read_label(path: Path) -> str:
    try:
        return min((entry.name for entry in path.iterdir()), default="")
    except FileNotFoundError:
        return ""


def _write_label(path: Path, label: str) -> None:
    for directory in (path, path / label):
        directory.mkdir(mode=0o700, exist_ok=True)
    sync_dir(path)
    sync_dir(path.parent)


def _old_names(entries: Iterator[os.DirEntry[str]], before: float) -> list[str]:
    """Take a batch of entries: the names of those last changed before a point of time, "" for the others."""
    return [entry.name if _changed_at(entry) < before else "" for entry in itertools.islice(entries, SWEEP_BATCH)]


def _changed_at(entry: os.DirEntry[str]) -> float:
    """Return the time of the last write or link; for ever for an entry that has gone meanwhile."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return math.inf
    return max(found.st_mtime, found.st_ctime)


def _quarantine(root: Path, name: str, reason: str) -> None:
    aside = root / QUARANTINE
    target = aside / name
    if os.path.lexists(target):
        target = aside / f"{name}.{secrets.token_hex(4)}"
    target.with_name(target.name + ".reason").write_text(reason + "\n")
    with contextlib.suppress(FileNotFoundError):
        (root / name).rename(target)
    sync_dir(aside)
    sync_dir(root)
