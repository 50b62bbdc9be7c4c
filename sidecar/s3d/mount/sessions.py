"""Files that are being written: what was written since the object was read or made, until it is an object again.

All who have the file open share its session. It becomes the object by one PutObject when a descriptor is closed, and
what is synced is made so by the next start at the latest (SEMANTICS M-1). Whoever writes waits while that is going on.
A session that cannot become the object stays, and is tried again: its bytes are in nobody's hands but ours.
"""

import asyncio
import contextlib
import errno
import logging
import mimetypes
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from s3d.api import NO_TERMS, BytesBody, Terms
from s3d.client import Answer, Client
from s3d.errors import S3DError, S3Error, Unavailable
from s3d.mount import views
from s3d.mount.stage import Record, Stage, Staged
from s3d.mount.views import File
from s3d.store.file_body import FileBody, Intact

log = logging.getLogger(__name__)

MAX_OBJECT = 5 << 30
"""Bytes of the largest PutObject."""
NO_STAMP = (0, 0)
"""The stamp of a file that nobody verifies: it has no digest."""
KEPT = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "StorageClass",
    "WebsiteRedirectLocation",
)
"""What an object keeps when its file is written anew, beside metadata and tags."""


class Place(NamedTuple):
    """Which object a session becomes, and on what it was begun."""

    bucket: str
    key: str
    base: str = ""
    etag: str = ""
    dirty: bool = True
    recovered: bool = False


class Session:
    """One of them."""

    def __init__(self, bucket: str, key: str, base: str, members: Mapping[str, Any], staged: Staged) -> None:
        """Begin on an empty file; `members` are those of its PutObject beside body, time and mode."""
        self.bucket = bucket
        self.key = key
        self.base = base
        self.etag = base
        """Of what it is at the S3; "" where it is not there."""
        self.members = dict(members)
        self.staged = staged
        self.size = 0
        self.modified_ns = time.time_ns()
        self.executable = False
        self.dirty = True
        self.nameless = False
        """Whether it never becomes an object: its name is gone."""
        self.synced_at: float | None = None
        """When what it holds was synced first and had not become an object (monotonic)."""
        self.error = ""
        """Why it could not become an object, when that was tried last."""
        self.recovered = False
        """Whether it is of an earlier run, or of a close() that has failed: another object that has come since keeps
        its place."""
        self.lock = asyncio.Lock()

    @property
    def name(self) -> tuple[str, str]:
        """Bucket and key."""
        return self.bucket, self.key

    @property
    def file(self) -> File:
        """What is shown of it."""
        return File(self.bucket, self.key, self.etag, self.size, self.modified_ns, self.executable)

    @property
    def record(self) -> Record:
        """What the next start goes by."""
        return Record(self.bucket, self.key, self.base, self.members, self.modified_ns, self.executable)


class Sessions:
    """All of them."""

    def __init__(self, client: Client, stage: Stage, most: int, room: Callable[[], int]) -> None:
        """Put by a client what is staged; `most` bounds the bytes of all, `room` says what the queue still takes."""
        self._client = client
        self._stage = stage
        self._most = most
        self._room = room
        self._intact = Intact()
        self.named: dict[tuple[str, str], Session] = {}
        """Those that are found by bucket and key."""
        self._all: dict[Session, None] = {}
        self.bytes = 0
        """Of all."""

    async def begin(self, file: File, *, load: bool, exists: bool = True) -> Session:
        """Begin to write an object, with its bytes or from nothing. Raises S3DError and OSError."""
        members = await self.members(file) if exists else members_of_new(file.key)
        session = Session(file.bucket, file.key, file.etag, members, await self._stage.new())
        session.executable = file.executable
        self._all[session] = None
        try:
            if load:
                session.dirty = False
                session.modified_ns = file.modified_ns
                await self._load(session, file)
        except BaseException:
            self.drop(session)
            raise
        return session

    async def members(self, file: File) -> dict[str, Any]:
        """What an object keeps, its tags too: they may be what keeps it from leaving. While the remote is away, an
        object whose head counts no tags has none. Raises S3DError."""
        found = file if file.members else await self._asked(file)
        members = {name: found.members[name] for name in KEPT if name in found.members}
        metadata = found.members.get("Metadata", {})
        members["Metadata"] = {name: said for name, said in metadata.items() if name not in (views.MTIME, views.MODE)}
        try:
            tags = await self._client.ask("GetObjectTagging", {"Bucket": file.bucket, "Key": file.key})
        except Unavailable:
            if found.members.get("TagCount"):
                raise
            return members
        if pairs := tags.result.get("TagSet"):
            members["Tags"] = {one["Key"]: one["Value"] for one in pairs}
        return members

    async def _asked(self, file: File) -> File:
        answer = await self._client.head_object(file.bucket, file.key, IfMatch=f'"{file.etag}"')
        return views.file_of(file.bucket, file.key, answer)

    async def _load(self, session: Session, file: File) -> None:
        answer = await self._client.get_object(file.bucket, file.key, IfMatch=f'"{file.etag}"')
        if answer.body is None:
            return
        try:
            async for block in answer.body.chunks():
                await self._write(session, session.size, block)
        finally:
            await answer.body.aclose()

    async def read(self, session: Session, at: int, length: int) -> bytes:
        """A stretch. Raises StoreFailed."""
        return await session.staged.read(at, min(length, max(0, session.size - at)))

    async def write(self, session: Session, at: int, data: bytes) -> None:
        """Write a stretch. Raises StoreFailed, and OSError where there is no room."""
        async with session.lock:
            if self._room() <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            await self._write(session, at, data)
            self._touch(session)

    async def _write(self, session: Session, at: int, data: bytes) -> None:
        more = self._grow(session, at + len(data))
        try:
            await session.staged.write(at, data)
        except BaseException:
            self.bytes -= more
            # A part of it may be there, and what is beyond the end reads as zeros.
            with contextlib.suppress(S3DError):
                await session.staged.truncate(session.size)
            raise
        session.size = max(session.size, at + len(data))

    def _touch(self, session: Session) -> None:
        """Something was written."""
        session.dirty = True
        session.modified_ns = time.time_ns()
        self.name(session)

    def name(self, session: Session) -> None:
        """Let a session be found, unless another of its name is no object yet."""
        there = self.named.get(session.name)
        if not session.nameless and (there is None or not there.dirty):
            self.named[session.name] = session

    def _grow(self, session: Session, size: int) -> int:
        """Take room for a size; how much more than there was."""
        if size > MAX_OBJECT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        more = max(0, size - session.size)
        if self.bytes + more > self._most:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.bytes += more
        return more

    async def truncate(self, session: Session, size: int) -> None:
        """Give it a size. Raises StoreFailed, and OSError where there is no room."""
        async with session.lock:
            more = self._grow(session, size)
            try:
                await session.staged.truncate(size)
            except BaseException:
                self.bytes -= more
                raise
            self.bytes -= max(0, session.size - size)
            session.size = size
            self._touch(session)

    async def stamp(self, session: Session, modified_ns: int, *, executable: bool) -> None:
        """Give it a time, and a mode."""
        async with session.lock:
            self._touch(session)
            session.modified_ns, session.executable = modified_ns, executable

    async def sync(self, session: Session) -> None:
        """Make what was written survive a crash. Raises StoreFailed."""
        async with session.lock:
            await self._sync(session)

    async def _sync(self, session: Session) -> None:
        if not session.dirty or session.nameless:
            return
        await session.staged.sync()
        if not session.staged.has_record:
            await session.staged.remember(session.record)
        if session.synced_at is None:
            session.synced_at = time.monotonic()

    async def publish(self, session: Session) -> None:
        """Make it the object (D-1). Raises S3DError; then it is as it was."""
        async with session.lock:
            if not session.dirty or session.nameless:
                return
            try:
                await self._put(session)
            except S3DError as error:
                session.error = str(error)
                raise
            await self._became(session)

    async def _became(self, session: Session) -> None:
        """It is the object now."""
        session.dirty, session.synced_at, session.error, session.recovered = False, None, "", False
        session.base = session.etag
        await session.staged.forget()

    async def settle(self, session: Session) -> bool:
        """Take a session of an earlier run for the object that has its name, where that has its bytes already; whether
        it has. A kill between the answer to a put and the end of its record leaves both. Raises S3DError.
        """
        async with session.lock:
            try:
                answer = await self._client.get_object(session.bucket, session.key)
            except S3Error as error:
                if error.status == 404:
                    return False
                raise
            if not await self._has_bytes_of(session, answer):
                return False
            session.etag = answer.etag
            await self._became(session)
            return True

    async def _has_bytes_of(self, session: Session, answer: Answer) -> bool:
        at, body = 0, answer.body or BytesBody(b"")
        try:
            if body.length not in (None, session.size):
                return False
            async for block in body.chunks():
                if await session.staged.read(at, len(block)) != block:
                    return False
                at += len(block)
        finally:
            await body.aclose()
        return at == session.size

    async def _put(self, session: Session) -> None:
        staged = session.staged
        terms = Terms(expects=session.base, conflict="Park") if session.recovered else NO_TERMS
        body = FileBody(staged.again(), staged.id, session.size, None, NO_STAMP, self._intact)
        session.etag = (await self._client.ask("PutObject", put_of(session), body, terms=terms)).etag

    async def secure(self, session: Session) -> None:
        """Make one that could not become an object survive a crash, as well as that goes."""
        try:
            await self.sync(session)
        except S3DError as error:
            log.error("what was written to a file of the mount is not on stable storage: %s", error)

    async def move(self, session: Session, place: Place) -> Place:
        """Let it become another object, from now on; which it would have become. Raises StoreFailed; then it is as it
        was."""
        async with session.lock:
            was = Place(*session.name, session.base, session.etag, session.dirty, session.recovered)
            self._put_at(session, place)
            try:
                if session.staged.has_record:
                    await session.staged.remember(session.record)
            except BaseException:
                self._put_at(session, was)
                raise
            return was

    def _put_at(self, session: Session, place: Place) -> None:
        self._unname(session)
        session.bucket, session.key, session.base, session.etag, session.dirty, session.recovered = place
        self.named[session.name] = session

    def _unname(self, session: Session) -> None:
        if self.named.get(session.name) is session:
            del self.named[session.name]

    @contextlib.asynccontextmanager
    async def displacing(self, place: tuple[str, str], sessions: Sequence[Session]) -> AsyncIterator[None]:
        """Have the sessions of a name wait while it is taken from them: where that succeeds they become no object any
        more, and else they are as they were. Raises StoreFailed."""
        async with contextlib.AsyncExitStack() as locks:
            for session in sessions:
                await locks.enter_async_context(session.lock)
            there = self.named.get(place)
            try:
                yield
            except BaseException:
                if self.named.get(place) in (None, there):
                    if there is not None:
                        self.named[place] = there
                else:
                    # What failed came after another had become the object.
                    await self._displace(sessions)
                raise
            await self._displace(sessions)

    async def _displace(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            self._unname(session)
            session.nameless = True
        for session in sessions:
            await session.staged.forget()

    def adopt(self, session: Session) -> None:
        """Take up one of an earlier run."""
        session.recovered = True
        self._all[session] = None
        self.bytes += session.size
        self.named[session.name] = session

    def drop(self, session: Session) -> None:
        """Let go of one that is an object, or never becomes one."""
        self._unname(session)
        self._all.pop(session, None)
        self.bytes -= session.size
        session.staged.close()

    def of(self, bucket: str, key: str) -> list[Session]:
        """Those that become an object."""
        return [session for session in self._all if session.name == (bucket, key) and not session.nameless]

    def unpublished(self) -> list[Session]:
        """Those of which something is not an object yet."""
        return [session for session in self._all if session.dirty and not session.nameless]


def members_of_new(key: str) -> dict[str, Any]:
    """The members of an object that was not there: its type by its name, as the CLI's put has it."""
    guessed, _ = mimetypes.guess_type(key)
    return {"ContentType": guessed or "application/octet-stream"}


def put_of(session: Session) -> dict[str, Any]:
    """The members of a session's PutObject."""
    members = dict(session.members)
    metadata = members.pop("Metadata", {})
    if tags := members.pop("Tags", None):
        members["Tagging"] = urlencode(tags)
    of_file = views.metadata_of(session.modified_ns, executable=session.executable)
    return {"Bucket": session.bucket, "Key": session.key, **members, "Metadata": {**metadata, **of_file}}


def is_conflict(error: S3DError) -> bool:
    """Whether what was expected is not there."""
    return isinstance(error, S3Error) and error.status in (409, 412)
