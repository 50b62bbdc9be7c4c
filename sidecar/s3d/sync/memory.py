"""What s3d knows of a sync folder, in a file of its own, and all SQL on it.

The base is precious: it tells a delete from a file that was never there. Trees are walked and planned inside the
writing thread, row by row, so that neither is ever in memory. Functions that are given a connection run in a
transaction of `Database`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import islice

import apsw

from s3d.clock import Clock, Kept, Machine, resume
from s3d.store.db import Database
from s3d.store.opening import Schema
from s3d.sync.files import Stamp
from s3d.sync.names import original
from s3d.sync.trees import Base, Content, Here, Kind, Row, There
from s3d.sync.walk import Walk


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


SCHEMA = Schema(version=2, sql=_text("tables.sql"), migrations={1: _text("from_1.sql")})
NAME = "sync.db"
MAX_FORMER_ETAGS = 8
"""ETags of an object that are remembered."""
NO_STAMP = Stamp(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is about to be done in the folder."""

    id: str
    path: str
    etag: str
    new: Content | None
    """What is pulled; None for a drop."""
    old: bytes | None
    """The sha256 of what may be replaced or dropped."""


@dataclass(frozen=True, slots=True)
class Trashed:
    """A file in the trash."""

    id: str
    path: str
    size: int
    at: float
    """By the clock of the trash."""


# Facts.


def fact(db: Database, name: str) -> str:
    """One fact; "" where there is none."""
    rows = db.read("SELECT value FROM fact WHERE name = ?", (name,))
    return str(rows[0][0]) if rows else ""


def keep_fact(name: str, value: str) -> Callable[[apsw.Connection], None]:
    """Keep a fact; "" forgets it."""

    def apply(db: apsw.Connection) -> None:
        if value:
            db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))
        else:
            db.execute("DELETE FROM fact WHERE name = ?", (name,))

    return apply


def clock(db: Database, machine: Machine) -> Clock:
    """The clock of the trash, where the last process left it."""
    boot, ahead, seen = (fact(db, name) for name in ("boot", "ahead", "seen"))
    kept = Kept(boot, float(ahead), float(seen)) if ahead and seen else None
    return resume(machine, kept, max((one.at for one in trash(db)), default=0.0))


def keep_clock(clock: Clock) -> Callable[[apsw.Connection], None]:
    """Have the next process go on with the clock."""

    def apply(db: apsw.Connection) -> None:
        for name, value in (("boot", clock.boot), ("ahead", repr(clock.ahead)), ("seen", repr(clock.now()))):
            keep_fact(name, value)(db)

    return apply


def forget_base(db: apsw.Connection) -> None:
    """Both sides are as two that never met."""
    db.execute("DELETE FROM base")


# The trees.


def walk(found: Walk) -> Callable[[apsw.Connection], int]:
    """Take over what is in the folder, and return the walk's number. A file with the stamp that it had keeps the
    content that was read of it. What was not seen stays until `vanish`."""

    def apply(db: apsw.Connection) -> int:
        number = db.execute("SELECT ifnull(max(round), 0) + 1 FROM here").get
        for name in found.names():
            stamp = name.stamp or NO_STAMP
            db.execute(SEE, (name.path, name.kind, *_of(stamp), number))
        return int(number)

    return apply


def vanish(number: int) -> Callable[[apsw.Connection], None]:
    """What a walk did not see is gone, when it is known what is new: a file that has moved is read under its new name
    first, so that its old name goes when the new one has it (S-5), and by no plan before."""

    def apply(db: apsw.Connection) -> None:
        db.execute(
            "DELETE FROM here WHERE round <> ?1 AND (inode, size, mtime_ns) NOT IN (SELECT inode, size, mtime_ns "
            "FROM here WHERE kind = 'file' AND sha256 IS NULL AND round = ?1)",
            (number,),
        )

    return apply


SEE = """
INSERT INTO here (path, kind, size, mtime_ns, ctime_ns, inode, mode, round) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path) DO UPDATE SET
    sha256 = CASE WHEN (kind, size, mtime_ns, ctime_ns, inode) = (excluded.kind, excluded.size, excluded.mtime_ns,
        excluded.ctime_ns, excluded.inode) THEN sha256 END,
    kind = excluded.kind, size = excluded.size, mtime_ns = excluded.mtime_ns, ctime_ns = excluded.ctime_ns,
    inode = excluded.inode, mode = excluded.mode, round = excluded.round
"""


def unread(db: Database, number: int, after: str, limit: int) -> list[tuple[str, Stamp]]:
    """Files of a walk that nobody has read since they changed, a page of them behind a path."""
    rows = db.read(
        "SELECT path, size, mtime_ns, ctime_ns, inode, mode FROM here "
        "WHERE kind = 'file' AND sha256 IS NULL AND round = ? AND path > ? ORDER BY path LIMIT ?",
        (number, after, limit),
    )
    return [(path, Stamp(*stamp)) for path, *stamp in rows]


def read_as(contents: Iterable[tuple[str, Stamp, Content]], closed: Iterable[str]) -> Callable[[apsw.Connection], None]:
    """Keep what files with these stamps hold. Nobody knows what those hold that could not be read."""
    rows = [(one.sha256, one.md5, path, stamp.ctime_ns, stamp.inode) for path, stamp, one in contents]

    def apply(db: apsw.Connection) -> None:
        db.executemany("UPDATE here SET sha256 = ?, md5 = ? WHERE path = ? AND ctime_ns = ? AND inode = ?", rows)
        db.executemany("UPDATE here SET kind = 'opaque' WHERE path = ?", [(path,) for path in closed])

    return apply


def begin_listing(db: apsw.Connection) -> None:
    """Nothing is listed yet."""
    db.execute("DELETE FROM listing")
    db.execute("DELETE FROM pending")


def pending(paths: Iterable[str]) -> Callable[[apsw.Connection], None]:
    """Take a page of what is pending before the remote is listed."""
    rows = [(path,) for path in paths]

    def apply(db: apsw.Connection) -> None:
        db.executemany("INSERT OR REPLACE INTO pending VALUES (?)", rows)

    return apply


def listed(objects: Iterable[There]) -> Callable[[apsw.Connection], None]:
    """Take a page of what the remote lists."""
    rows = [(one.path, one.etag, one.size, one.changed) for one in objects]

    def apply(db: apsw.Connection) -> None:
        db.executemany("INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?)", rows)

    return apply


def end_listing(db: apsw.Connection) -> None:
    """The listing is whole: what it does not show is not there. One that breaks off never comes here (S-2). What it
    shows of a path that had nothing pending is what the remote has (S-2b)."""
    db.execute("DELETE FROM there")
    db.execute("INSERT INTO there SELECT * FROM listing")
    db.execute("DELETE FROM listing")
    db.execute(
        "UPDATE base SET delivered = 1 WHERE delivered = 0 AND path NOT IN pending "
        "AND etag = (SELECT etag FROM there WHERE there.path = base.path)"
    )
    # A tag is that of one version.
    db.execute("DELETE FROM tagged_out WHERE etag IS NOT (SELECT etag FROM there WHERE there.path = tagged_out.path)")


def here(db: apsw.Connection) -> Iterator[Here]:
    """The folder, in the order of paths."""
    for row in db.execute("SELECT path, kind, size, sha256, md5, mtime_ns FROM here ORDER BY path"):
        yield _of_here(*row)


def _of_here(path: str, kind: str, size: int, sha256: bytes | None, md5: str, mtime_ns: int) -> Here:
    return Here(path, Kind(kind), Content(sha256, md5, size) if sha256 else None, mtime_ns / 1e9)


def there(db: apsw.Connection) -> Iterator[There]:
    """The remote, in the order of paths."""
    for row in db.execute("SELECT path, etag, size, changed FROM there ORDER BY path"):
        yield There(*row)


def base(db: apsw.Connection) -> Iterator[Base]:
    """What both sides had, in the order of paths."""
    for row in db.execute("SELECT * FROM base ORDER BY path"):
        yield _of_base(*row)


def _of_base(
    path: str, etag: str, sha256: bytes, md5: str, size: int, former: str, delivered: int, spared: int
) -> Base:
    return Base(path, etag, Content(sha256, md5, size), tuple(former.split()), bool(delivered), bool(spared))


# The base.


def know(path: str, etag: str, content: Content, *, is_delivered: bool = False) -> Callable[[apsw.Connection], None]:
    """Both sides have this now, as the gateway shows them; `is_delivered` where the remote itself has said so."""

    def apply(db: apsw.Connection) -> None:
        row = db.execute("SELECT etag, former, delivered FROM base WHERE path = ?", (path,)).fetchone()
        former = row[1].split() if row else []
        if row and row[0] != etag:
            former = [row[0], *former][:MAX_FORMER_ETAGS]
        was_delivered = row[2] if row and row[0] == etag else 0
        db.execute(
            "INSERT OR REPLACE INTO base VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
            (path, etag, content.sha256, content.md5, content.size, " ".join(former), is_delivered or was_delivered),
        )
        # What the remote has not been seen with is as young as can be.
        db.execute(
            "INSERT OR REPLACE INTO there VALUES (?1, ?2, ?3, "
            "ifnull((SELECT changed FROM there WHERE path = ?1 AND etag = ?2), unixepoch('subsec')))",
            (path, etag, content.size),
        )

    return apply


def delivered(etags: Iterable[tuple[str, str]]) -> Callable[[apsw.Connection], None]:
    """The remote itself has of paths what has these ETags."""
    rows = list(etags)

    def apply(db: apsw.Connection) -> None:
        db.executemany("UPDATE base SET delivered = 1 WHERE path = ? AND etag = ?", rows)

    return apply


def deleted(path: str) -> Callable[[apsw.Connection], None]:
    """Neither side has it any more."""

    def apply(db: apsw.Connection) -> None:
        forget(path)(db)
        db.execute("DELETE FROM there WHERE path = ?", (path,))

    return apply


def forget(path: str) -> Callable[[apsw.Connection], None]:
    """Remember nothing that both sides had."""

    def apply(db: apsw.Connection) -> None:
        db.execute("DELETE FROM base WHERE path = ?", (path,))

    return apply


def etag_of(db: Database, path: str) -> str:
    """The ETag that both sides had of a path last; "" for none."""
    rows = db.read("SELECT etag FROM base WHERE path = ?", (path,))
    return str(rows[0][0]) if rows else ""


def has_base(db: Database) -> bool:
    """Whether both sides have ever met."""
    return bool(db.read("SELECT 1 FROM base LIMIT 1"))


# Tags.


def tag_out(path: str, etag: str) -> Callable[[apsw.Connection], None]:
    """The object with this ETag has a tag that leaves it out."""

    def apply(db: apsw.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO tagged_out VALUES (?, ?)", (path, etag))

    return apply


def let_in(path: str) -> Callable[[apsw.Connection], None]:
    """No tag leaves it out any more."""

    def apply(db: apsw.Connection) -> None:
        db.execute("DELETE FROM tagged_out WHERE path = ?", (path,))

    return apply


def tagged_out(db: Database, after: str, limit: int) -> list[str]:
    """A page of the paths that tags leave out, behind one."""
    rows = db.read("SELECT path FROM tagged_out WHERE path > ? ORDER BY path LIMIT ?", (after, limit))
    return [path for (path,) in rows]


# Acts and trash.


def begin(act: Act) -> Callable[[apsw.Connection], None]:
    """Say what is about to be done."""
    new = (act.new.sha256, act.new.md5, act.new.size) if act.new else (None, None, None)

    def apply(db: apsw.Connection) -> None:
        db.execute("INSERT INTO act VALUES (?, ?, ?, ?, ?, ?, ?)", (act.id, act.path, act.etag, *new, act.old))

    return apply


def end(
    act: Act, *, trashed: Trashed | None = None, base: bool = True, is_delivered: bool = False
) -> Callable[[apsw.Connection], None]:
    """It is done: the base says so, and the trash what it has of it. Without `base` it was undone."""

    def apply(db: apsw.Connection) -> None:
        if base and act.new:
            know(act.path, act.etag, act.new, is_delivered=is_delivered)(db)
        elif base:
            forget(act.path)(db)
        if trashed:
            put_in_trash(trashed)(db)
        db.execute("DELETE FROM act WHERE id = ?", (act.id,))

    return apply


def acts(db: Database) -> list[Act]:
    """What was about to be done when the process ended."""
    rows = db.read("SELECT id, path, etag, new, md5, size, old FROM act")
    return [
        Act(one, path, etag, Content(new, md5, size) if new else None, old)
        for one, path, etag, new, md5, size, old in rows
    ]


def trash(db: Database) -> list[Trashed]:
    """What is in the trash, the oldest first."""
    return [Trashed(*row) for row in db.read("SELECT id, path, size, at FROM trash ORDER BY at, id")]


def put_in_trash(one: Trashed) -> Callable[[apsw.Connection], None]:
    """It is in the trash."""

    def apply(db: apsw.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO trash VALUES (?, ?, ?, ?)", (one.id, one.path, one.size, one.at))

    return apply


def untrash(id: str) -> Callable[[apsw.Connection], None]:  # noqa: A002 (it is the column's name)
    """It is not in the trash any more."""

    def apply(db: apsw.Connection) -> None:
        db.execute("DELETE FROM trash WHERE id = ?", (id,))

    return apply


# For who asks.


def row(db: Database, path: str) -> Row:
    """What is known of a path."""
    mine = db.read("SELECT kind, size, sha256, md5, mtime_ns FROM here WHERE path = ?", (path,))
    theirs = db.read("SELECT etag, size, changed FROM there WHERE path = ?", (path,))
    common = db.read("SELECT * FROM base WHERE path = ?", (path,))
    return Row(
        path,
        _of_here(path, *mine[0]) if mine else None,
        There(path, *theirs[0]) if theirs else None,
        _of_base(*common[0]) if common else None,
    )


def stamp(db: Database, path: str) -> Stamp | None:
    """The stamp with which the last walk found a file."""
    rows = db.read("SELECT size, mtime_ns, ctime_ns, inode, mode FROM here WHERE path = ? AND kind = 'file'", (path,))
    return Stamp(*rows[0]) if rows else None


def paths(db: Database, after: str, limit: int) -> list[str]:
    """A page of all paths that any tree has, but for directories, behind one."""
    rows = db.read(
        "SELECT path FROM base WHERE path > ?1 UNION SELECT path FROM there WHERE path > ?1 "
        "UNION SELECT path FROM here WHERE path > ?1 AND kind <> 'directory' ORDER BY path LIMIT ?2",
        (after, limit),
    )
    return [path for (path,) in rows]


def copies(after: str, limit: int) -> Callable[[apsw.Connection], list[str]]:
    """A page of the paths that are those of conflict copies, behind one."""

    def apply(db: apsw.Connection) -> list[str]:
        rows = db.execute(
            "SELECT path FROM here WHERE path > ?1 AND kind = 'file' AND path GLOB '* (conflict *)*' "
            "UNION SELECT path FROM there WHERE path > ?1 AND path GLOB '* (conflict *)*' ORDER BY path",
            (after,),
        )
        return [*islice((path for (path,) in rows if original(path)), limit)]

    return apply


# For status.


def left_alone(db: Database, limit: int) -> list[tuple[str, str]]:
    """What the last plan left alone, and why."""
    return [(path, reason) for path, reason in db.read("SELECT path, reason FROM left_alone LIMIT ?", (limit,))]


def why_left(db: Database, path: str) -> str:
    """Why the last plan left a path alone; "" where it did not."""
    rows = db.read("SELECT reason FROM left_alone WHERE path = ?", (path,))
    return str(rows[0][0]) if rows else ""


def counts(db: Database) -> tuple[int, int, int]:
    """Files that both sides have, files that are left alone, files in the trash."""
    row = db.read("SELECT (SELECT count(*) FROM base), (SELECT count(*) FROM left_alone), (SELECT count(*) FROM trash)")
    files, alone, trashed = row[0]
    return files, alone, trashed


def _of(stamp: Stamp) -> tuple[int, int, int, int, int]:
    return stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode, stamp.mode
