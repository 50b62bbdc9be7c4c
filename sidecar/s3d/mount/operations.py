"""What the kernel asks, as pyfuse3 hands it on: each operation finds what is meant, and has it done elsewhere.

No error leaves an operation but as an errno: one that did would end the worker that served it. What is not here
(links, devices) pyfuse3 refuses with ENOSYS, which programs see as such, or the kernel as EPERM.
"""

import errno
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import pyfuse3

from s3d.errors import S3DError
from s3d.metrics import Metrics
from s3d.mount import attributes, errnos, paths
from s3d.mount.files import Files, file_of
from s3d.mount.looks import Looks
from s3d.mount.moves import Moves, refuse
from s3d.mount.stage import Stage
from s3d.mount.tree import Node, Tree
from s3d.mount.views import Directory, Entry, File, Views
from s3d.mount.xattrs import Xattrs
from s3d.settings import FuseMount

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

WRITING = frozenset(
    ["create", "flush", "fsync", "mkdir", "rename", "rmdir", "setattr", "setxattr", "removexattr", "unlink", "write"]
)
"""Operations for which a store that takes nothing just now is full."""
USER = "user."
"""The one namespace of extended attributes that there is."""


def served(operation: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Have an operation answer with an errno where it fails, and count it."""
    name = operation.__name__
    writes = name in WRITING

    @wraps(operation)
    async def answer(*arguments: P.args, **named: P.kwargs) -> T:
        self: Any = arguments[0]
        try:
            result = await operation(*arguments, **named)
        except OSError as error:
            number = error.errno or errno.EIO
        except S3DError as error:
            number = errnos.of(error, writes=writes)
            if number in (errno.EINVAL, errno.EIO):
                log.warning("the mount answers %s to %s: %s", errno.errorcode[number], name, error)
        except Exception:
            log.exception("a bug: the mount answers EIO to %s", name)
            number = errno.EIO
        else:
            self.metrics.mount_requests.labels(name, "ok").inc()
            return result
        self.metrics.mount_requests.labels(name, errno.errorcode.get(number, str(number))).inc()
        raise pyfuse3.FUSEError(number)

    return answer


@dataclass(slots=True)
class Reading:
    """A directory that is being read: what has been seen of it, and where the rest comes from."""

    seen: list[tuple[str, Entry]]
    rest: AsyncIterator[tuple[str, Entry]]
    names: set[str] = field(default_factory=set)


class Operations(pyfuse3.Operations):
    """All of them."""

    supports_dot_lookup = False
    enable_writeback_cache = False

    def __init__(
        self,
        settings: FuseMount,
        shown: Views,
        tree: Tree,
        files: Files,
        moves: Moves,
        looks: Looks,
        xattrs: Xattrs,
        stage: Stage,
        room: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        """Take the parts that do it."""
        super().__init__()
        self.settings = settings
        self.metrics = metrics
        self._views = shown
        self._tree = tree
        self._files = files
        self._moves = moves
        self._looks = looks
        self._xattrs = xattrs
        self._stage = stage
        self._room = room
        self._readings: dict[int, Reading] = {}
        self._last = 0

    # Look-ups.

    @served
    async def lookup(self, parent_inode: int, name: bytes, ctx: Any) -> pyfuse3.EntryAttributes:
        """What a name in a directory stands for."""
        place = self._directory(parent_inode)
        text = paths.text_of(name)
        if place.bucket:
            node = await self._moves.look(place.bucket, place.prefix + text)
        else:
            found = await self._views.bucket(text)
            node = self._tree.of(found) if found is not None else None
        if node is None:
            refuse(errno.ENOENT)
        self._tell(node)
        return attributes.of(node, self.settings)

    def _tell(self, node: Node) -> None:
        """Count that the kernel knows an inode; where it knows too many, it is asked to forget others."""
        node.lookups += 1
        for directory, name in self._tree.surplus():
            pyfuse3.invalidate_entry_async(directory, name.encode(), ignore_enoent=True)

    @served
    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        """The kernel forgets inodes."""
        for ino, lookups in inode_list:
            self._tree.forget(ino, lookups)

    @served
    async def getattr(self, inode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        """The attributes of an inode; those of a version do not change."""
        return attributes.of(self._tree.node(inode), self.settings)

    @served
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: Any,
    ) -> pyfuse3.EntryAttributes:
        """Change size, time, or the bit by which a file is executed. Other bits, and times of directories, pass."""
        node = self._tree.node(inode)
        uid, gid = self.settings.owner
        if (fields.update_uid and attr.st_uid != uid) or (fields.update_gid and attr.st_gid != gid):
            refuse(errno.EPERM)
        if isinstance(node.what, File):
            self._refuse_where_read_only()
            if fh is None:
                await self._see_again(node)
            try:
                if fields.update_size:
                    await self._files.truncate(node, attr.st_size)
                await self._stamp(node, attr, fields)
            except (OSError, S3DError):
                # Where another version is there the kernel looks up the name once more, and is to find that.
                self._looks.forget(node.what.bucket, node.what.key)
                raise
        return attributes.of(node, self.settings)

    async def _see_again(self, node: Node) -> None:
        """See that a version is there still which was given out without a question. Raises OSError ESTALE where it is
        not: the kernel looks up the name once more, and comes with what is there."""
        mark = node.unasked_at
        if mark is None or node.session is not None or not isinstance(node.what, File):
            return
        bucket, key = node.what.bucket, node.what.key
        found = await self._moves.look_anew(bucket, key)
        # Who has no name to look up, but a descriptor, comes once more with this one.
        node.unasked_at = None
        # What has changed here since the look-up comes after it: who opens gets what was there then. The kernel retries
        # once alone, and a program that many write beside would see the error.
        if found is not node and not self._looks.is_changed_here(bucket, key, mark):
            self._looks.forget(bucket, key)
            refuse(errno.ESTALE)

    async def _stamp(self, node: Node, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> None:
        file = file_of(node)
        modified = attr.st_mtime_ns if fields.update_mtime else file.modified_ns
        executable = bool(attr.st_mode & 0o100) if fields.update_mode else file.executable
        if (modified, executable) == (file.modified_ns, file.executable):
            return
        if not await self._files.stamp(node, modified, executable=executable) and node.name is not None:
            await self._moves.restamp(node, modified, executable=executable)

    @served
    async def statfs(self, ctx: Any) -> pyfuse3.StatvfsData:
        """How much fits."""
        total, free = await self._stage.free()
        return attributes.of_filesystem(total, min(free, self._room()))

    @served
    async def access(self, inode: int, mode: int, ctx: Any) -> bool:
        """The kernel judges by owner and mode; nothing more is known here."""
        return True

    # Directories.

    @served
    async def opendir(self, inode: int, ctx: Any) -> int:
        """Begin to read a directory."""
        place = self._directory(inode)
        self._last += 1
        self._readings[self._last] = Reading([], self._entries(place))
        return self._last

    async def _entries(self, place: Directory) -> AsyncIterator[tuple[str, Entry]]:
        for found in self._files.names_in(place):
            yield found
        async for found in self._looks.entries(place):
            yield found

    @served
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """Read on."""
        reading = self._readings[fh]
        at = start_id
        while True:
            while at >= len(reading.seen):
                found = await anext(reading.rest, None)
                if found is None:
                    return
                if found[0] not in reading.names:
                    reading.names.add(found[0])
                    reading.seen.append(found)
            name, what = reading.seen[at]
            node = (self._files.written(what.bucket, what.key) if isinstance(what, File) else None) or self._tree.of(
                what
            )
            if not pyfuse3.readdir_reply(token, name.encode(), attributes.of(node, self.settings), at + 1):
                self._tree.tidy(node)
                return
            self._tell(node)
            at += 1

    @served
    async def releasedir(self, fh: int) -> None:
        """No more is read of it."""
        del self._readings[fh]

    @served
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        """Names are durable when they are answered."""

    @served
    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: Any) -> pyfuse3.EntryAttributes:
        """Make a directory."""
        self._refuse_where_read_only()
        bucket, key = self._child(parent_inode, name)
        node = await self._moves.mkdir(bucket, key + "/" if bucket else "")
        self._tell(node)
        return attributes.of(node, self.settings)

    @served
    async def rmdir(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        """Remove a directory."""
        self._refuse_where_read_only()
        bucket, key = self._child(parent_inode, name)
        await self._moves.rmdir(bucket, key + "/" if bucket else "")

    @served
    async def unlink(self, parent_inode: int, name: bytes, ctx: Any) -> None:
        """Remove a file."""
        self._refuse_where_read_only()
        await self._moves.unlink(*self._child(parent_inode, name))

    @served
    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int, ctx: Any
    ) -> None:
        """Rename."""
        self._refuse_where_read_only()
        old, new = self._child(parent_inode_old, name_old), self._child(parent_inode_new, name_new)
        await self._moves.rename(old, new, flags)

    # Files.

    @served
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: Any
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        """Make a file and open it."""
        self._refuse_where_read_only()
        bucket, key = self._child(parent_inode, name)
        if not bucket:
            refuse(errno.EPERM)
        # The kernel has just looked it up; where that asked nobody, what is there by now must not be taken for nothing.
        anew = flags & os.O_EXCL or self._looks.is_given_again(bucket, key)
        node = await (self._moves.look_anew if anew else self._moves.look)(bucket, key)
        if node is not None and flags & os.O_EXCL:
            refuse(errno.EEXIST)
        if node is None:
            node = await self._files.create(bucket, key)
            if mode & 0o100 and node.session is not None:
                node.session.executable = True
            flags &= ~os.O_TRUNC
        handle = await self._opened(node, flags)
        self._tell(node)
        return pyfuse3.FileInfo(fh=handle), attributes.of(node, self.settings)

    @served
    async def open(self, inode: int, flags: int, ctx: Any) -> pyfuse3.FileInfo:
        """Open a file."""
        node = self._tree.node(inode)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            self._refuse_where_read_only()
        await self._see_again(node)
        return pyfuse3.FileInfo(fh=await self._opened(node, flags))

    async def _opened(self, node: Node, flags: int) -> int:
        """The number of a new handle. A file that is cut is opened first: so it is no object before it is closed."""
        handle = self._files.open(node)
        if flags & os.O_TRUNC:
            try:
                await self._files.truncate(node, 0)
            except BaseException:
                await self._files.release(handle)
                raise
        return handle

    @served
    async def read(self, fh: int, off: int, size: int) -> bytes:
        """Read."""
        return await self._files.read(fh, off, size)

    @served
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        """Write."""
        return await self._files.write(fh, off, buf)

    @served
    async def flush(self, fh: int) -> None:
        """A descriptor is closed."""
        await self._files.flush(fh)

    @served
    async def fsync(self, fh: int, datasync: bool) -> None:
        """What was written survives a crash from now on."""
        await self._files.sync(fh)

    @served
    async def release(self, fh: int) -> None:
        """The last descriptor is closed."""
        await self._files.release(fh)

    # Extended attributes.

    @served
    async def getxattr(self, inode: int, name: bytes, ctx: Any) -> bytes:
        """One of them."""
        text = name.decode(errors="replace")
        node = self._tree.node(inode)
        if not text.startswith(USER) or not isinstance(node.what, File):
            refuse(errno.ENODATA)
        return await self._xattrs.get(file_of(node), text)

    @served
    async def listxattr(self, inode: int, ctx: Any) -> Sequence[bytes]:
        """All of them."""
        node = self._tree.node(inode)
        if not isinstance(node.what, File):
            return []
        return [name.encode() for name in await self._xattrs.names(file_of(node))]

    @served
    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: Any) -> None:
        """Set a tag."""
        await self._set_tag(inode, name, value)

    @served
    async def removexattr(self, inode: int, name: bytes, ctx: Any) -> None:
        """Remove a tag."""
        await self._set_tag(inode, name, None)

    async def _set_tag(self, inode: int, name: bytes, value: bytes | None) -> None:
        self._refuse_where_read_only()
        node = self._tree.node(inode)
        if not isinstance(node.what, File):
            refuse(errno.EOPNOTSUPP)
        tags = await self._xattrs.set(file_of(node), name.decode(errors="replace"), value)
        if node.session is not None:
            node.session.members["Tags"] = tags

    def _directory(self, inode: int) -> Directory:
        what = self._tree.node(inode).what
        if not isinstance(what, Directory):
            refuse(errno.ENOTDIR)
        return what

    def _child(self, parent_inode: int, name: bytes) -> tuple[str, str]:
        place = self._directory(parent_inode)
        text = paths.text_of(name)
        return (place.bucket, place.prefix + text) if place.bucket else ("", text)

    def _refuse_where_read_only(self) -> None:
        if self.settings.read_only:
            refuse(errno.EROFS)
