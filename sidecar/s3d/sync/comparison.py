"""What both sides have, for a person who asks: of one path, of the copies of conflicts, and of all files, read anew. No
file and no object is changed.
"""

from dataclasses import dataclass, field
from typing import Any

from s3d.errors import S3Error
from s3d.store.db import Database
from s3d.sync import memory
from s3d.sync.folder import Folder
from s3d.sync.names import original
from s3d.sync.plan import BEING_WRITTEN
from s3d.sync.trees import Content, Kind, Row

MAX_PAGE = 2048
"""Files that are compared in one go."""
MUCH = 256 << 20
"""Bytes from which on no further file is read in the same go."""
LOST = "neither side has it any more"
ONLY_HERE = "it is only here"
ONLY_THERE = "it is only at the remote"
DAMAGED = "its bytes are others than were read, and its time is not: the disk or its memory may be damaged"
BUSY = "it was changed since the folder was looked at"


@dataclass(slots=True)
class Page:
    """What a comparison of some files has found."""

    after: str = ""
    """The last path that was compared."""
    is_last: bool = False
    files: int = 0
    bytes: int = 0
    left_alone: int = 0
    differences: list[dict[str, str]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The page as the daemon says it."""
        return {
            "after": self.after,
            "done": self.is_last,
            "files": self.files,
            "bytes": self.bytes,
            "left_alone": self.left_alone,
            "differences": self.differences,
        }


async def differences(folder: Folder) -> list[dict[str, Any]]:
    """What a round would do now. Raises S3Error where nobody can tell."""
    async with folder.looked_at() as seen:
        return [
            {"path": one.path, "do": one.do, "conflict": one.is_conflict, "moved_from": one.source}
            for one in seen.actions
        ]


async def compared(folder: Folder, after: str) -> Page:
    """Compare a page of paths behind one: the file's bytes, read anew, with the ETag that was listed, or with what both
    sides had under that ETag. Both sides are looked at for the first page, and for what has come since for any other.
    Raises S3Error where nobody can tell."""
    page = Page(after)
    async with folder.looked_at(lists=not after) as seen:
        if seen.why:
            raise S3Error("RemoteUnknown", f"The remote is not known: {seen.why}", status=503)
        root = folder.place.root
        assert root
        paths = memory.paths(folder.db, after, MAX_PAGE)
        page.is_last = len(paths) < MAX_PAGE
        for path in paths:
            if page.bytes >= MUCH:
                page.is_last = False
                break
            page.after = path
            row, stamp = memory.row(folder.db, path), memory.stamp(folder.db, path)
            if memory.why_left(folder.db, path) not in ("", BEING_WRITTEN):
                page.left_alone += 1
                continue
            try:
                now = await root.run(root.hash, path, stamp) if stamp else None
            except OSError as error:
                reason = f"it cannot be read: {error.strerror}"
            else:
                reason = BUSY if stamp and now is None else difference(row, now)
                page.bytes += now.size if now else 0
            page.files += 1
            if reason:
                page.differences.append({"path": path, "reason": reason})
    return page


def difference(row: Row, now: Content | None) -> str:
    """How the two sides and the base of a path differ, where the file holds `now`; "" where they do not."""
    there, base = row.there, row.base
    if now is None or there is None:
        return ONLY_HERE if now else ONLY_THERE if there else LOST
    if base and now.is_same(base.content) and there.etag == base.etag:
        return ""
    if there.is_surely(now):
        return "both sides are equal, and nobody has noted it yet"
    if base and there.etag == base.etag:
        is_as_read = bool(row.here and row.here.content and row.here.content.is_same(base.content))
        return DAMAGED if is_as_read else "it was changed here"
    if base and now.is_same(base.content):
        return "it was changed at the remote"
    return "both sides differ" if there.has_md5 else "both sides may differ: the remote's ETag does not tell"


async def conflicts(folder: Folder, after: str) -> list[dict[str, Any]]:
    """A page of the conflict copies that wait, behind a path: of what, since when, and what each side has of it."""
    db, found = folder.db, []
    for path in await db.write(memory.copies(after, MAX_PAGE)):
        of, stamp = original(path), memory.stamp(db, path)
        # The ctime nobody can set: a copy got its name then.
        at = stamp.ctime_ns / 1e9 if stamp else None
        copy = sides(db, path, memory.row(db, path))
        found.append({"path": path, "of": of, "at": at, **copy, "original": sides(db, of, memory.row(db, of))})
    return found


async def why(folder: Folder, path: str) -> dict[str, Any]:
    """What each side has of a path, what a round would do with it, and why. Raises S3Error where nobody can tell."""
    top = f"{folder.options.path}/"
    path = path.removeprefix(top)
    async with folder.looked_at() as seen:
        row = memory.row(folder.db, path)
        action = next((one for one in [*seen.actions, *seen.left] if one.path == path), None)
        key = folder.objects.prefix + path
        waits = [one for one in folder.changes.kept(folder.objects.bucket, key, None, 0) if one["key"] == key]
        return {
            "path": path,
            "here_is": state_here(row),
            "remote_is": state_there(row),
            **sides(folder.db, path, row),
            "do": action.do if action else "",
            "conflict": bool(action and action.is_conflict),
            "reason": (action.reason if action else "") or seen.why,
            "failed": folder.failed.get(path, ""),
            "delivered": row.base.is_delivered if row.base else None,
            "queue": [{name: one[name] for name in ("seq", "op", "state", "code", "reason")} for one in waits],
        }


def sides(db: Database, path: str, row: Row) -> dict[str, Any]:
    """What each side has of a path; None for nothing."""
    stamp = memory.stamp(db, path)
    return {
        "here": {"size": stamp.size, "modified": stamp.mtime_ns / 1e9} if stamp else None,
        "remote": {"etag": row.there.etag, "size": row.there.size} if row.there else None,
    }


def state_here(row: Row) -> str:
    """What has become of a path in the folder since both sides were equal."""
    if row.here is None or row.here.kind is Kind.DIRECTORY:
        return "deleted" if row.base else "nothing"
    if row.here.kind is Kind.OPAQUE:
        return "no regular file, or one that cannot be read"
    if row.here.content is None:
        return "being written"
    if row.base is None:
        return "new"
    return "as it was" if row.here.content.is_same(row.base.content) else "changed"


def state_there(row: Row) -> str:
    """The same at the remote."""
    if row.there is None:
        return "deleted" if row.base else "nothing"
    if row.base is None:
        return "new"
    return "as it was" if row.there.etag == row.base.etag else "changed"
