"""Files that are open: which bytes a read gets, and when what was written becomes an object.

A descriptor that is closed makes its file an object, if something was written since (SEMANTICS M-1); what comes behind
that, as pages of a memory map do, follows when the last one is closed. A file is loaded when it is first written to.
"""

import asyncio
import errno
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from s3d.client import Client
from s3d.errors import S3DError
from s3d.mount.reads import Reader
from s3d.mount.sessions import Place, Session, Sessions, is_conflict
from s3d.mount.stage import Stage
from s3d.mount.tree import Node, Tree
from s3d.mount.views import Directory, Entry, File

log = logging.getLogger(__name__)

LOOK_INTERVAL = 1.0
"""Seconds between two looks at what is due."""
RETRY_INTERVAL = 10.0
"""Seconds after which what could not become an object is tried again."""


@dataclass(slots=True)
class Handle:
    """An open descriptor, with those that were made of it."""

    node: Node
    reader: Reader


class Files:
    """What is open."""

    def __init__(self, client: Client, tree: Tree, sessions: Sessions, publish_after: float) -> None:
        """Begin with nothing."""
        self._client = client
        self._tree = tree
        self._sessions = sessions
        self._publish_after = publish_after
        self._handles: dict[int, Handle] = {}
        self._last = 0
        self._beginning: dict[Node, asyncio.Lock] = {}
        self._nodes: dict[Session, Node] = {}
        self._retry_at = 0.0
        self._closed = asyncio.Event()

    async def closed(self) -> None:
        """Wait until nothing is open."""
        while self._handles:
            self._closed.clear()
            await self._closed.wait()

    def __len__(self) -> int:
        """How many descriptors are open."""
        return len(self._handles)

    def written(self, bucket: str, key: str) -> Node | None:
        """The inode of what is being written under a name."""
        session = self._sessions.named.get((bucket, key))
        return self._nodes[session] if session is not None else None

    def names_in(self, place: Directory) -> Iterator[tuple[str, Entry]]:
        """What is being written in a directory, which the S3 does not show yet: files, and directories of such."""
        for (bucket, key), session in list(self._sessions.named.items()):
            if bucket == place.bucket and bucket and key.startswith(place.prefix) and session.dirty:
                name, slash, _ = key[len(place.prefix) :].partition("/")
                yield name, Directory(bucket, place.prefix + name + "/") if slash else session.file

    def open(self, node: Node) -> int:
        """Open a file; the number of its handle."""
        if not isinstance(node.what, File):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        node.opens += 1
        self._last += 1
        self._handles[self._last] = Handle(node, Reader(self._client, lambda: file_of(node)))
        return self._last

    async def create(self, bucket: str, key: str) -> Node:
        """Make a new file, which is an object when it is closed. Raises S3DError."""
        session = await self._sessions.begin(File(bucket, key, "", 0, 0), load=False, exists=False)
        node = self._tree.of(session.file)
        self._attach(node, session)
        self._sessions.named[bucket, key] = session
        return node

    def _attach(self, node: Node, session: Session) -> None:
        node.session = session
        self._nodes[session] = node

    async def session_of(self, node: Node, *, load: bool = True) -> Session:
        """The session of a file, which begins where there is none. Raises S3DError and OSError."""
        if node.session is not None:
            return node.session
        async with self._beginning.setdefault(node, asyncio.Lock()):
            session = node.session
            if session is None:
                file = file_of(node)
                session = await self._sessions.begin(file, load=load)
                self._attach(node, session)
                self._sessions.name(session)
        self._beginning.pop(node, None)
        return session

    async def keep(self, bucket: str, key: str) -> list[Node]:
        """The inodes of an object that goes, with its bytes here for those who have it open; without room for them
        they get ESTALE."""
        nodes = dict.fromkeys(self._tree.at(bucket, key))
        nodes |= {self._nodes[one]: None for one in self._sessions.of(bucket, key) if one in self._nodes}
        for node in nodes:
            try:
                await self.session_of(node)
            except (S3DError, OSError) as error:
                log.warning("a file that is open is not kept beyond its object: %s", error)
        return [node for node in nodes if node.session is not None]

    async def read(self, handle: int, at: int, length: int) -> bytes:
        """Read. Raises S3DError."""
        found = self._handles[handle]
        if found.node.session is not None:
            return await self._sessions.read(found.node.session, at, length)
        return await found.reader.read(at, length)

    async def write(self, handle: int, at: int, data: bytes) -> int:
        """Write. Raises S3DError and OSError."""
        node = self._handles[handle].node
        await self._sessions.write(await self.session_of(node), at, data)
        return len(data)

    async def truncate(self, node: Node, size: int) -> None:
        """Give a file a size; one that nobody has open is an object at once. Raises S3DError and OSError."""
        session = await self.session_of(node, load=size > 0)
        await self._sessions.truncate(session, size)
        if not node.opens:
            await self.finish(node)

    async def flush(self, handle: int) -> None:
        """A descriptor is closed. Raises S3DError."""
        if session := self._handles[handle].node.session:
            await self._sessions.publish(session)

    async def sync(self, handle: int) -> None:
        """Make what was written survive a crash. Raises S3DError."""
        if session := self._handles[handle].node.session:
            await self._sessions.sync(session)

    async def stamp(self, node: Node, modified_ns: int, *, executable: bool) -> bool:
        """Give a file that is being written a time, and a mode; whether it is."""
        if node.session is None:
            return False
        await self._sessions.stamp(node.session, modified_ns, executable=executable)
        return True

    async def release(self, handle: int) -> None:
        """The last of the descriptors of a handle is closed. An error reaches nobody any more."""
        found = self._handles.pop(handle)
        self._closed.set()
        found.reader.close()
        found.node.opens -= 1
        if not found.node.opens:
            try:
                await self.finish(found.node)
            except S3DError as error:
                log.error("a file of the mount has not become an object, and is tried again: %s", error)
                if found.node.session is not None:
                    await self._sessions.secure(found.node.session)
        self._tree.tidy(found.node)

    async def finish(self, node: Node) -> None:
        """Make a file that nobody has open an object. Raises S3DError; then it stays, and is tried again."""
        session = node.session
        if session is None:
            return
        await self._sessions.publish(session)
        if node.opens or node.session is not session or (session.dirty and not session.nameless):
            return
        node.session = None
        del self._nodes[session]
        if session.nameless:
            self._tree.unname(node)
        else:
            self._tree.rename(node, session.file)
        self._sessions.drop(session)
        self._tree.tidy(node)

    async def recover(self, stage: Stage) -> int:
        """Take up what an earlier life has synced, which is due at once: how many files."""
        found = await stage.found()
        for staged, record, size in found:
            session = Session(record.bucket, record.key, record.base, record.members, staged)
            session.size, session.modified_ns, session.executable = size, record.modified_ns, record.executable
            session.synced_at = -self._publish_after
            while session.name in self._sessions.named:
                session.key, session.base, session.etag = beside_of(session.key, time.time()), "", ""
            self._sessions.adopt(session)
            self._attach(self._tree.of(session.file), session)
        return len(found)

    async def _publish(self, session: Session) -> None:
        """Make the object; what is left of an earlier run, or of a close() that has failed, becomes one beside another
        that has come since, unless that is this very one."""
        session.recovered = session.recovered or bool(session.error)
        try:
            await self._sessions.publish(session)
        except S3DError as error:
            if not (session.recovered and is_conflict(error)):
                raise
            if not await self._sessions.settle(session):
                await self._publish_beside(session)
        node = self._nodes.get(session)
        if node is not None and not node.opens:
            await self.finish(node)

    async def _publish_beside(self, session: Session) -> None:
        beside = Place(session.bucket, beside_of(session.key, time.time()), recovered=True)
        await self._sessions.move(session, beside)
        log.warning("a file of the mount was changed at the S3 since it was written: it is recovered beside it")
        await self._sessions.publish(session)

    async def publish_due(self) -> None:
        """Make objects of what was synced long ago, and of what could not become one; then rest."""
        now = time.monotonic()
        retry, due = now >= self._retry_at, now - self._publish_after
        for session in self._sessions.unpublished():
            node = self._nodes.get(session)
            if node is None:
                continue
            is_due = session.synced_at is not None and session.synced_at <= due and not session.error
            if not (is_due or (retry and not node.opens)):
                continue
            try:
                await self._publish(session)
            except S3DError as error:
                log.warning("a file of the mount cannot become an object, and is tried again: %s", error)
        if retry:
            self._retry_at = now + RETRY_INTERVAL
        await asyncio.sleep(LOOK_INTERVAL)

    async def publish_all(self) -> list[Session]:
        """Make objects of all that was written; those that could not become one, durable then as far as that goes."""
        left = []
        for session in self._sessions.unpublished():
            try:
                await self._publish(session)
            except S3DError as error:
                log.error("a file of the mount cannot become an object: %s", error)
                await self._sessions.secure(session)
                left.append(session)
        return left


def file_of(node: Node) -> File:
    """The file that an inode is. Raises OSError for a directory."""
    if node.session is not None:
        return node.session.file
    if isinstance(node.what, File):
        return node.what
    raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))


def beside_of(key: str, now: float) -> str:
    """The key of what is recovered beside an object that is another's."""
    return f"{key} (recovered {time.strftime('%Y-%m-%d %H.%M.%S', time.gmtime(now))})"
