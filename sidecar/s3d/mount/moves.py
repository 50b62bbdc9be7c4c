"""What changes names: unlink, rename, mkdir, rmdir.

A rename is a put under the new name, and a delete of the old one that names it, so that no crash and no order of
deliveries loses both (SEMANTICS M-4). In between the S3 shows both names, and the mount waits: renames go one after
another, and look-ups stand behind the one that is under way. The kernel has two changes of one directory never at once.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from s3d.api import BytesBody, Terms
from s3d.client import Client
from s3d.errors import S3Error, Unavailable
from s3d.mount import paths, views
from s3d.mount.files import Files, file_of
from s3d.mount.looks import Looks
from s3d.mount.sessions import KEPT, Place, Session, Sessions, is_conflict
from s3d.mount.tree import Node, Tree
from s3d.mount.views import Directory, Entry, File, Views

NOREPLACE = 1
"""Flag of renameat2(2)."""
DIRECTORY_TYPE = "application/x-directory"
"""Content type of a marker."""


class Moves:
    """Changes of names."""

    def __init__(
        self,
        client: Client,
        shown: Views,
        looks: Looks,
        tree: Tree,
        files: Files,
        sessions: Sessions,
        max_rename: int,
    ) -> None:
        """Rename directories of up to `max_rename` objects."""
        self._client = client
        self._views = shown
        self._looks = looks
        self._tree = tree
        self._files = files
        self._sessions = sessions
        self._max_rename = max_rename
        self._lock = asyncio.Lock()

    async def look(self, bucket: str, key: str) -> Node | None:
        """What is at a path, once no rename is under way: of what others write at the remote, a second old at most.
        Raises S3DError."""
        await self._wait()
        node = await self._seen(bucket, key, self._looks.look)
        if node is not None:
            node.unasked_at = self._looks.mark() if self._looks.is_given_again(bucket, key) else None
        return node

    async def look_anew(self, bucket: str, key: str) -> Node | None:
        """What is at a path now, once no rename is under way. Raises S3DError."""
        await self._wait()
        return await self._look(bucket, key)

    async def _wait(self) -> None:
        """Stand behind a rename that is under way."""
        if self._lock.locked():
            async with self._lock:
                pass

    async def _look(self, bucket: str, key: str) -> Node | None:
        return await self._seen(bucket, key, self._looks.ask)

    async def _seen(self, bucket: str, key: str, look: Callable[[str, str], Awaitable[Entry | None]]) -> Node | None:
        node = self._files.written(bucket, key)
        session = node.session if node is not None else None
        if node is not None and session is not None and session.dirty:
            return node
        etag = session.etag if session is not None else ""
        what = await look(bucket, key)
        if session is not None and self._files.written(bucket, key) is node and (session.dirty or session.etag != etag):
            # It was written, or became another object, while the S3 was asked: the answer is of before.
            return node
        if what is None and self._is_written_below(bucket, key + "/"):
            what = Directory(bucket, key + "/")
        if node is not None and session is not None:
            if isinstance(what, File) and what.etag == session.etag:
                return node
            # Somebody else has put another object meanwhile: who has this one open keeps it.
            self._sessions.named.pop((bucket, key), None)
            self._tree.unname(node)
        return None if what is None else self._tree.of(what)

    def _is_written_below(self, bucket: str, prefix: str) -> bool:
        return any(place == bucket and key.startswith(prefix) for place, key in self._sessions.named)

    async def unlink(self, bucket: str, key: str) -> None:
        """Remove a file. Who has it open keeps its bytes. Raises S3DError and OSError."""
        await self._wait()
        async with self._displacing(bucket, key):
            node = self._files.written(bucket, key)
            if node is None or node.session is None or node.session.etag:
                await self._client.ask("DeleteObject", {"Bucket": bucket, "Key": key})
        self._views.keep(bucket, paths.parent_of(key))

    @contextlib.asynccontextmanager
    async def _displacing(self, bucket: str, key: str) -> AsyncIterator[None]:
        """Take the name from what is there, where that succeeds: who has it open keeps its bytes, and nothing of it
        becomes an object meanwhile, nor after that."""
        nodes = await self._files.keep(bucket, key)
        sessions = [node.session for node in nodes if node.session is not None]
        try:
            async with self._sessions.displacing((bucket, key), sessions):
                yield
        finally:
            for node in nodes:
                if node.session is not None and node.session.nameless:
                    self._tree.unname(node)
                    if not node.opens:
                        await self._files.finish(node)

    async def mkdir(self, bucket: str, prefix: str) -> Node:
        """Make a directory: a marker. Raises S3DError and OSError."""
        async with self._lock:
            if not bucket:
                refuse(errno.EPERM)
            if await self._look(bucket, prefix.removesuffix("/")) is not None:
                refuse(errno.EEXIST)
            await self._mark(bucket, prefix)
        return self._tree.of(Directory(bucket, prefix))

    async def _mark(self, bucket: str, prefix: str) -> str:
        params = {"Bucket": bucket, "Key": prefix, "ContentType": DIRECTORY_TYPE}
        return (await self._client.ask("PutObject", params, BytesBody(b""))).etag

    async def rmdir(self, bucket: str, prefix: str) -> None:
        """Remove an empty directory. Raises S3DError and OSError."""
        async with self._lock:
            if not prefix:
                refuse(errno.EPERM)
            if await self._is_in_use(bucket, prefix):
                refuse(errno.ENOTEMPTY)
            await self._client.ask("DeleteObject", {"Bucket": bucket, "Key": prefix})
            self._views.forget(bucket, prefix)
            self._views.keep(bucket, paths.parent_of(prefix))

    async def _is_in_use(self, bucket: str, prefix: str) -> bool:
        return (
            self._is_written_below(bucket, prefix)
            or self._views.kept_below(bucket, prefix) not in ([], [prefix])
            or await self._views.holds(bucket, prefix, beside=prefix)
        )

    async def rename(self, old: tuple[str, str], new: tuple[str, str], flags: int) -> None:
        """Give a file or a directory another name; `old` and `new` are bucket and key. Raises S3DError and OSError."""
        async with self._lock:
            if flags & ~NOREPLACE:
                refuse(errno.EINVAL)
            if not old[1] or not new[1]:
                refuse(errno.EPERM)
            node, there = await self._look(*old), await self._look(*new)
            if node is None:
                refuse(errno.ENOENT)
            if there is not None and flags & NOREPLACE:
                refuse(errno.EEXIST)
            if there is node:
                return
            if isinstance(node.what, Directory):
                await self._rename_directory(node.what, Directory(new[0], new[1] + "/"), there)
            elif there is not None and isinstance(there.what, Directory):
                refuse(errno.EISDIR)
            else:
                async with self._displacing(*new):
                    await self._rename_file(node, new, file_of(there).etag if there is not None else "")
            self._views.keep(old[0], paths.parent_of(old[1]))

    async def _rename_file(self, node: Node, new: tuple[str, str], replaced: str = "") -> None:
        """Give a file another name; `replaced` is the ETag of what has that, "" for no object."""
        session = node.session
        if session is not None:
            await self._rename_session(node, session, Place(*new, replaced))
            return
        file = file_of(node)
        etag = await self._copy(file, new)
        await self._delete((file.bucket, file.key), file.etag, after=(*new, etag))
        self._tree.rename(node, File(*new, etag, file.size, file.modified_ns, file.executable))

    async def _rename_session(self, node: Node, session: Session, place: Place) -> None:
        """Let what is being written go on under another name. It is an object there at once, if it was one."""
        was = await self._sessions.move(session, place)
        if was.etag or not node.opens:
            try:
                await self._sessions.publish(session)
            except BaseException:
                await self._sessions.move(session, was)
                raise
        if was.etag:
            await self._delete((was.bucket, was.key), was.etag, after=(*session.name, session.etag))
        self._tree.rename(node, session.file)
        if not node.opens:
            await self._files.finish(node)

    async def _copy(self, file: File, new: tuple[str, str], changed: dict[str, Any] | None = None) -> str:
        """Put an object under another name, or under its own with other metadata; its ETag there.

        The remote copies what it has, and the queue what it has. While the remote is away, so do we, of the cache. The
        look at the copy lets the queue know which ETag a delete has to wait for.
        """
        source = {"CopySource": quote(f"{file.bucket}/{file.key}"), "CopySourceIfMatch": f'"{file.etag}"'}
        params: dict[str, Any] = {"Bucket": new[0], "Key": new[1], **source}
        if changed is not None:
            params |= {"MetadataDirective": "REPLACE", **changed}
        try:
            await self._client.ask("CopyObject", params)
        except Unavailable:
            return await self._put(file, new)
        return (await self._client.head_object(*new)).etag

    async def _mark_as(self, marker: File, new: tuple[str, str]) -> str:
        """Put a marker under another name, since not every store copies one; its ETag there."""
        members = await self._sessions.members(marker)
        if tags := members.pop("Tags", None):
            members["Tagging"] = urlencode(tags)
        params = {"Bucket": new[0], "Key": new[1], **members}
        return (await self._client.ask("PutObject", params, BytesBody(b""))).etag

    async def _put(self, file: File, new: tuple[str, str]) -> str:
        session = await self._sessions.begin(file, load=True)
        try:
            session.bucket, session.key, session.dirty = *new, True
            await self._sessions.publish(session)
            return session.etag
        finally:
            self._sessions.drop(session)

    async def restamp(self, node: Node, modified_ns: int, *, executable: bool) -> None:
        """Give a file that nobody writes another time, or mode. Raises S3DError."""
        async with self._lock:
            file = file_of(node)
            found = await self._views.file(file.bucket, file.key)
            if found is None or found.etag != file.etag:
                refuse(errno.ESTALE)
            kept = {name: found.members[name] for name in KEPT if name in found.members}
            metadata = found.members.get("Metadata", {})
            of_file = views.metadata_of(modified_ns, executable=executable)
            stamped = File(file.bucket, file.key, file.etag, file.size, modified_ns, executable, found.members)
            etag = await self._copy(stamped, (file.bucket, file.key), {**kept, "Metadata": {**metadata, **of_file}})
            self._tree.rename(node, File(file.bucket, file.key, etag, file.size, modified_ns, executable))

    async def _delete(self, old: tuple[str, str], etag: str, after: tuple[str, str, str]) -> None:
        """Delete what was renamed, and nothing else: what somebody has put at the old name meanwhile is as if it came
        after the rename."""
        terms = Terms(expects=etag, after=after, conflict="Park")
        try:
            await self._client.ask("DeleteObject", {"Bucket": old[0], "Key": old[1]}, terms=terms)
        except S3Error as error:
            if not is_conflict(error):
                raise

    async def _rename_directory(self, old: Directory, new: Directory, there: Node | None) -> None:
        if there is not None and not isinstance(there.what, Directory):
            refuse(errno.ENOTDIR)
        if new.bucket == old.bucket and new.prefix.startswith(old.prefix):
            refuse(errno.EINVAL)
        if there is not None and await self._is_in_use(new.bucket, new.prefix):
            refuse(errno.ENOTEMPTY)
        keys = await self._views.keys(old.bucket, old.prefix, self._max_rename)
        if len(keys) > self._max_rename:
            refuse(errno.EXDEV)
        nodes = self._tree.below(old.bucket, old.prefix)
        written = [one for one in nodes if one.session is not None]
        for node in written:
            file = file_of(node)
            await self._rename_file(node, (new.bucket, new.prefix + file.key[len(old.prefix) :]))
        for key in keys:
            found = await self._views.file(old.bucket, key)
            if found is not None:
                place = new.bucket, new.prefix + key[len(old.prefix) :]
                is_marker = key.endswith("/") and not found.size
                etag = await (self._mark_as(found, place) if is_marker else self._copy(found, place))
                await self._delete((old.bucket, key), found.etag, after=(*place, etag))
        for node in nodes:
            if node not in written:
                self._tree.rename(node, moved(node.what, old, new))
        kept = self._views.kept_below(old.bucket, old.prefix)
        self._views.forget(old.bucket, old.prefix)
        for prefix in [old.prefix, *kept]:
            self._views.keep(new.bucket, new.prefix + prefix[len(old.prefix) :])


def moved(what: Entry, old: Directory, new: Directory) -> Entry:
    """What is in a directory, after that was given another name."""
    if isinstance(what, Directory):
        return Directory(new.bucket, new.prefix + what.prefix[len(old.prefix) :])
    return File(
        new.bucket, new.prefix + what.key[len(old.prefix) :], what.etag, what.size, what.modified_ns, what.executable
    )


def refuse(number: int) -> NoReturn:
    """Raise the OSError of an errno."""
    raise OSError(number, os.strerror(number))
