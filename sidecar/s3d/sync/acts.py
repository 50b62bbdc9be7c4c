"""What is done in the folder: a pull and a drop, each said on disk before it is done (SEMANTICS S-3).

What loses its name is never deleted. It is looked at where it is then: the base goes to the trash, and anything else is
somebody's work that nobody has seen, which becomes a conflict copy or goes back. A process that ends in between finds
what it was about in the table, and the file in the stage tells how far it had come.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from secrets import token_hex

from s3d.client import Answer
from s3d.clock import Clock
from s3d.errors import S3DError
from s3d.store.db import Database
from s3d.store.threads import OpenFile
from s3d.sync import memory
from s3d.sync.files import content_of
from s3d.sync.memory import Act, Trashed
from s3d.sync.plan import Action
from s3d.sync.root import DRAFT, Blocked, Root
from s3d.sync.trees import Content

Hasher = Callable[[bytes], None]
UNKNOWN = "?"
"""The path of what lay in the stage and belonged to nothing."""


class Torn(S3DError):
    """A download is not what the remote said that it is."""


@dataclass(frozen=True, slots=True)
class Acts:
    """A folder's own side."""

    root: Root
    db: Database
    clock: Clock
    """By which the trash is kept: nobody sets it."""
    on_conflict: Callable[[str], None]
    """Told of each conflict copy, by the path that it is of."""

    async def pull(self, action: Action, answer: Answer) -> None:
        """Give a path what was downloaded. Raises Torn, Blocked, OSError and what the body raises; the path is as it
        was then, and nothing is left in the stage."""
        mode = await self.root.run(self.root.mode_of, action.path)
        name, content = await self._download(answer, mode)
        is_delivered = answer.source == "remote"
        try:
            now = await self.root.run(self._content_at, action.path)
        except OSError:
            await self.root.run(self.root.drop_staged, name)
            raise
        if now and now.is_same(content):
            # Both sides have it already: nothing is written over the same bytes.
            await self.root.run(self.root.drop_staged, name)
            await self.db.write(memory.know(action.path, action.expects, content, is_delivered=is_delivered))
            return
        act = Act(name, action.path, action.expects, content, action.content.sha256 if action.content else None)
        await self.db.write(memory.begin(act))
        try:
            is_displaced = await self.root.run(self.root.swap, name, action.path)
        except OSError:
            await self._settle(act)
            raise
        trashed = await self.root.run(self._put_away, act) if is_displaced else None
        await self.db.write(memory.end(act, trashed=trashed, is_delivered=is_delivered))

    async def drop(self, action: Action) -> bool:
        """Move a file to the trash, if it is the base; False where it is not. Raises OSError; the file stays then."""
        assert action.content
        act = Act(token_hex(8), action.path, "", None, action.content.sha256)
        await self.db.write(memory.begin(act))
        try:
            await self.root.run(self.root.take_as, act.id, action.path)
        except OSError as error:
            await self._settle(act)
            if isinstance(error, FileNotFoundError | Blocked):
                return False
            raise
        trashed = await self.root.run(self._put_away, act)
        await self.db.write(memory.end(act, trashed=trashed, base=trashed is not None))
        if trashed:
            await self.root.run(self.root.prune, action.path)
        return trashed is not None

    async def keep(self, path: str, answer: Answer) -> None:
        """Put what was downloaded into the trash, before it is replaced at the remote."""
        name, content = await self._download(answer)
        await self.root.run(self.root.to_trash, name)
        await self.db.write(memory.put_in_trash(Trashed(name, path, content.size, self.clock.now())))

    async def recover(self) -> None:
        """Finish or undo what a process before has begun, while nothing else is done in the folder."""
        for act in memory.acts(self.db):
            await self._settle(act)
        for name in await self.root.run(self.root.staged):
            if name.endswith(DRAFT):
                await self.root.run(self.root.abandon, name.removesuffix(DRAFT))
            else:
                await self.root.run(self.root.to_trash, name)
        known = {one.id for one in memory.trash(self.db)}
        for name in await self.root.run(self.root.trash):
            if name not in known:
                await self.db.write(memory.put_in_trash(Trashed(name, UNKNOWN, 0, self.clock.now())))

    async def _settle(self, act: Act) -> None:
        """Finish or undo one act, by what is in the stage."""
        found = await self.root.run(self.root.staged_content, act.id)
        if found is None:
            # It is done, or a drop was never begun. The base is only what the path is seen to have.
            is_trashed = act.id in await self.root.run(self.root.trash)
            kept = Trashed(act.id, act.path, 0, self.clock.now()) if is_trashed else None
            now = await self.root.run(self._content_at, act.path) if act.new else None
            is_done = bool(now and now.is_same(act.new)) if act.new else is_trashed
            await self.db.write(memory.end(act, trashed=kept, base=is_done))
        elif act.new and found.is_same(act.new):
            await self.root.run(self.root.drop_staged, act.id)
            await self.db.write(memory.end(act, base=False))
        else:
            trashed = await self.root.run(self._put_away, act)
            await self.db.write(memory.end(act, trashed=trashed, base=act.new is not None or trashed is not None))

    async def empty_trash(self, before: float) -> None:
        """Delete what has been in the trash since before a time."""
        for one in memory.trash(self.db):
            if one.at < before:
                await self.root.run(self.root.empty_trash, one.id)
                await self.db.write(memory.untrash(one.id))

    def _content_at(self, path: str) -> Content | None:
        fd = self.root.open_file(path)
        if fd is None:
            return None
        try:
            return content_of(fd)
        finally:
            os.close(fd)

    def _put_away(self, act: Act) -> Trashed | None:
        """Look at what is in the stage, and put it where it belongs. What goes to the trash is returned."""
        found = self.root.staged_content(act.id)
        if found is None:
            return None
        if act.new and found.is_same(act.new):
            self.root.drop_staged(act.id)
            return None
        if found.sha256 == act.old:
            self.root.to_trash(act.id)
            return Trashed(act.id, act.path, found.size, self.clock.now())
        if act.new is None and self.root.give_back(act.id, act.path):
            return None
        self.root.keep_copy(act.id, act.path, found)
        self.on_conflict(act.path)
        return None

    async def _download(self, answer: Answer, mode: int | None = None) -> tuple[str, Content]:
        """Write a body into the stage, whole, verified and synced; say under which id and what it holds. `mode` is that
        of the file which it takes the place of."""
        body = answer.body
        assert body is not None
        name, fd = await self.root.run(self.root.draft)
        file = OpenFile(fd, self.root.threads)
        sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
        is_whole = False
        try:
            async for block in body.chunks():
                await asyncio.shield(file.start(_take, block, (sha256.update, md5.update)))
                size += len(block)
            if body.length not in (None, size):
                raise Torn(f"A download has {size} bytes instead of {body.length}")
            await asyncio.shield(file.start(_dress, answer, mode))
            await asyncio.shield(file.start(partial(_finish, self.root, name)))
            is_whole = True
        finally:
            file.close(None if is_whole else partial(self.root.abandon, name))
            await body.aclose()
        content = Content(sha256.digest(), md5.hexdigest(), size)
        return name, content


def _take(fd: int, block: bytes, hashers: tuple[Hasher, Hasher]) -> None:
    for update in hashers:
        update(block)
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _finish(root: Root, name: str, fd: int) -> None:
    root.finish(name, fd)


def _dress(fd: int, answer: Answer, mode: int | None) -> None:
    """Give a file the time that was uploaded with it, and the mode of the file before, or whether it is a program."""
    with suppress(ValueError, OverflowError, OSError):
        seconds, _, rest = answer.headers.get("x-amz-meta-mtime", "").partition(".")
        at = int(seconds) * 10**9 + int(f"{rest[:9]:0<9}")
        os.utime(fd, ns=(at, at))
    if mode is not None:
        # Not the bits by which a program runs as its owner: what was downloaded is somebody else's.
        os.fchmod(fd, mode & 0o777)
    elif answer.headers.get("x-amz-meta-s3d-mode") == "x":
        now = os.fstat(fd).st_mode
        os.fchmod(fd, now | (now & 0o444) >> 2)
