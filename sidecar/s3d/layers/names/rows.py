"""The tables of what is remembered, and all SQL on them.

Statements that change something are made as functions of a connection, to be run in a transaction of `Database`.
"""

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from importlib import resources
from typing import Any

import apsw

from s3d.clock import Clock, Kept, Machine, resume
from s3d.layers.names.asked import View
from s3d.layers.names.pages import Learnt
from s3d.layers.names.spans import Span, cut
from s3d.store.db import Database
from s3d.store.opening import Schema

SCHEMA = Schema(version=1, sql=resources.files(__package__).joinpath("tables.sql").read_text(encoding="utf-8"))
MAX_CURSORS = 10_000
"""Tokens of the remote's whose place is known."""
Write = Callable[[apsw.Connection], Any]


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page that is kept."""

    span: Span
    seen: float
    seq: int
    data: bytes


# Look-ups.


def view_of(db: Database, view: View) -> int | None:
    """The number of a view; None for one that nobody has seen."""
    rows = db.read(
        "SELECT id FROM view WHERE bucket = ? AND identity = ? AND delimiter = ? AND folder = ? AND members = ?",
        (view.bucket, view.identity, view.delimiter, view.folder, view.members),
    )
    return rows[0][0] if rows else None


def page_at(db: Database, view: int, name: str) -> KeptPage | None:
    """The page of a view in which a name lies, or would lie."""
    rows = db.read(
        "SELECT low, high, seen, seq, data FROM page WHERE view = ? AND low <= ? ORDER BY low DESC LIMIT 1",
        (view, name),
    )
    for low, high, seen, seq, data in rows:
        if Span(low, high).holds(name):
            return KeptPage(Span(low, high), seen, seq, data)
    return None


def low_of(db: Database, bucket: str, cursor: bytes) -> str | None:
    """The least name behind a token of the remote's; None where nobody knows."""
    rows = db.read("SELECT low FROM cursor WHERE bucket = ? AND cursor = ?", (bucket, cursor))
    return rows[0][0] if rows else None


def changes(db: Database, bucket: str, span: Span, seq: int, most: int) -> list[tuple[str, str | None]]:
    """Up to so many names of a span that changed after `seq`, in order, with what is there since."""
    return [
        (key, found)
        for key, found in db.read(
            "SELECT key, object FROM outcome WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) AND seq > ?"
            " ORDER BY key LIMIT ?",
            (bucket, span.low, span.high, span.high, seq, most),
        )
    ]


def doubts(db: Database, bucket: str, span: Span, most: int) -> list[str]:
    """Up to so many names of a span that may have changed, in order."""
    rows = db.read(
        "SELECT key FROM doubt WHERE bucket = ? AND key >= ? AND (? IS NULL OR key < ?) ORDER BY key LIMIT ?",
        (bucket, span.low, span.high, span.high, most),
    )
    return [key for (key,) in rows]


def in_doubt(db: Database, after: tuple[str, str], most: int) -> list[tuple[str, str, str, int]]:
    """Up to so many names in doubt, behind a bucket and a key: bucket, key, identity and number."""
    return [
        (bucket, key, identity, seq)
        for bucket, key, identity, seq in db.read(
            "SELECT bucket, key, identity, seq FROM doubt WHERE (bucket, key) > (?, ?) ORDER BY bucket, key LIMIT ?",
            (*after, most),
        )
    ]


def is_doubted(db: Database, bucket: str, key: str) -> bool:
    """Whether a name is in doubt."""
    return bool(db.read("SELECT 1 FROM doubt WHERE bucket = ? AND key = ?", (bucket, key)))


def covers(db: Database, bucket: str, key: str) -> bool:
    """Whether a page says of a name that it is there, or that it is not."""
    return bool(
        db.read(
            "SELECT 1 FROM view WHERE bucket = ? AND substr(?, 1, length(folder)) = folder AND EXISTS"
            " (SELECT 1 FROM page WHERE page.view = view.id AND low <= ? AND (high IS NULL OR high > ?)) LIMIT 1",
            (bucket, key, key, key),
        )
    )


def has_head(db: Database, bucket: str, key: str) -> bool:
    """Whether a HEAD of an object is kept."""
    return bool(db.read("SELECT 1 FROM head WHERE bucket = ? AND key = ? LIMIT 1", (bucket, key)))


def head(db: Database, bucket: str, key: str, identity: str, members: str) -> tuple[str, float] | None:
    """A HEAD that is kept, and when the remote gave it."""
    rows = db.read(
        "SELECT headers, seen FROM head WHERE bucket = ? AND key = ? AND identity = ? AND members = ?",
        (bucket, key, identity, members),
    )
    return (rows[0][0], rows[0][1]) if rows else None


def last_seq(db: Database) -> int:
    """The greatest number in the tables."""
    rows = db.read("SELECT seq FROM page UNION ALL SELECT seq FROM outcome UNION ALL SELECT seq FROM doubt")
    return max((seq for (seq,) in rows), default=0)


def counted(db: Database) -> tuple[int, int]:
    """How many names are kept, changes among them, and how many HEADs."""
    return int(db.read(NAMES)[0][0]), int(db.read("SELECT count(*) FROM head")[0][0])


NAMES = "SELECT (SELECT coalesce(sum(names), 0) FROM page) + (SELECT count(*) FROM outcome)"


# What is written.


def doubt(bucket: str, keys: Iterable[str], identity: str, seq: int) -> Write:
    """Note that names may change from now on; what HEADs showed of them is forgotten."""
    rows = [(bucket, key, identity, seq) for key in keys]

    def write(db: apsw.Connection) -> None:
        db.executemany("INSERT OR REPLACE INTO doubt (bucket, key, identity, seq) VALUES (?, ?, ?, ?)", rows)
        db.executemany("DELETE FROM head WHERE bucket = ? AND key = ?", [row[:2] for row in rows])

    return write


def settle(bucket: str, found: Iterable[tuple[str, str | None, int]]) -> Write:
    """Note what has become of names: the object that is there, or None, and the number of the change."""
    rows = [(bucket, *one) for one in found]

    def write(db: apsw.Connection) -> None:
        db.executemany(
            "INSERT OR REPLACE INTO outcome (bucket, key, object, seq) VALUES (?, ?, ?, ?)",
            rows,
        )
        db.executemany("DELETE FROM doubt WHERE bucket = ? AND key = ?", [row[:2] for row in rows])

    return write


def resolve(bucket: str, key: str, seq: int, found: tuple[str | None, int] | None) -> Write:
    """Note what was found out about a name, unless it has been in doubt anew since; None: it does not matter."""

    def write(db: apsw.Connection) -> None:
        db.execute("DELETE FROM doubt WHERE bucket = ? AND key = ? AND seq = ?", (bucket, key, seq))
        if db.changes() and found is not None:
            settle(bucket, [(key, *found)])(db)

    return write


def trust(bucket: str, keys: Iterable[str]) -> Write:
    """Note that names are as they were before a call."""
    rows = [(bucket, key) for key in keys]

    def write(db: apsw.Connection) -> None:
        db.executemany("DELETE FROM doubt WHERE bucket = ? AND key = ?", rows)

    return write


def forget(bucket: str, identity: str | None, floor: int) -> Write:
    """Forget what was shown of a bucket, to all or to one identity. Changes after `floor` may yet be asked for."""

    def write(db: apsw.Connection) -> None:
        views = [
            row[0]
            for row in db.execute(
                "SELECT id FROM view WHERE bucket = ? AND (? IS NULL OR identity = ?)", (bucket, identity, identity)
            )
        ]
        drop(db, views)
        db.execute("DELETE FROM head WHERE bucket = ? AND (? IS NULL OR identity = ?)", (bucket, identity, identity))
        if identity is None:
            for table in ("cursor", "doubt"):
                db.execute(f"DELETE FROM {table} WHERE bucket = ?", (bucket,))  # noqa: S608 (a word of ours)
        purge(db, bucket, floor)

    return write


def forget_head(bucket: str, keys: Iterable[str], identity: str | None = None) -> Write:
    """Forget the HEADs of objects, of all identities or of one."""
    rows = [(bucket, key, identity, identity) for key in keys]

    def write(db: apsw.Connection) -> None:
        db.executemany("DELETE FROM head WHERE bucket = ? AND key = ? AND (? IS NULL OR identity = ?)", rows)

    return write


def forget_all(endpoint: str) -> Write:
    """Forget everything, and begin anew with another remote."""

    def write(db: apsw.Connection) -> None:
        for table in ("page", "view", "cursor", "outcome", "doubt", "head"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 (a word of ours)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('endpoint', ?)", (endpoint,))

    return write


def keep_head(bucket: str, key: str, identity: str, members: str, headers: str, seen: float, most: int) -> Write:
    """Keep a HEAD; where there are more than `most`, the oldest go."""

    def write(db: apsw.Connection) -> None:
        db.execute(
            "INSERT OR REPLACE INTO head (bucket, key, identity, members, headers, seen) VALUES (?, ?, ?, ?, ?, ?)",
            (bucket, key, identity, members, headers, seen),
        )
        over = db.execute("SELECT count(*) FROM head").get - most
        if over > 0:
            # Some more at once, so that not every HEAD makes another go.
            db.execute(
                "DELETE FROM head WHERE (bucket, key, identity, members) IN"
                " (SELECT bucket, key, identity, members FROM head ORDER BY seen LIMIT ?)",
                (over + most // 20,),
            )

    return write


def keep(view: View, learnt: Learnt, seen: float, seq: int, flying: Iterable[str], floor: int, most: int) -> Write:
    """Keep a page that was asked for after the change `seq`; `flying` are names that calls may be changing, and of
    changes after `floor` other pages may not know yet.

    Where more than `most` names are kept, the views that were used least recently go.
    """
    doubted = [(view.bucket, key, view.identity, seq) for key in flying]

    def write(db: apsw.Connection) -> None:
        number = opened(db, view, seen)
        make_room(db, number, learnt.span)
        db.execute(
            "INSERT INTO page (view, low, high, seen, seq, names, data) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (number, learnt.span.low, learnt.span.high, seen, seq, len(learnt.entries), learnt.data),
        )
        if learnt.cursor and learnt.span.high is not None:
            db.execute(
                "INSERT OR REPLACE INTO cursor VALUES (?, ?, ?, ?)",
                (view.bucket, learnt.cursor, learnt.span.high, seen),
            )
            db.execute(
                "DELETE FROM cursor WHERE (bucket, cursor) IN"
                " (SELECT bucket, cursor FROM cursor ORDER BY seen DESC LIMIT -1 OFFSET ?)",
                (MAX_CURSORS,),
            )
        db.executemany("INSERT OR IGNORE INTO doubt (bucket, key, identity, seq) VALUES (?, ?, ?, ?)", doubted)
        purge(db, view.bucket, floor)
        trim(db, floor, most)

    return write


def opened(db: apsw.Connection, view: View, now: float) -> int:
    """The number of a view, which is used now."""
    return int(
        db.execute(
            "INSERT INTO view (identity, bucket, delimiter, folder, members, used) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET used = excluded.used RETURNING id",
            (*astuple(view), now),
        ).get
    )


def use(view: int, now: float) -> Write:
    """Note that a view was used."""

    def write(db: apsw.Connection) -> None:
        db.execute("UPDATE view SET used = ? WHERE id = ?", (now, view))

    return write


def make_room(db: apsw.Connection, view: int, new: Span) -> None:
    """Take out of the pages of a view what a new one says anew."""
    olds: list[Any] = db.execute(
        "SELECT id, low, high FROM page WHERE view = ? AND (high IS NULL OR high > ?) AND (? IS NULL OR low < ?)",
        (view, new.low, new.high, new.high),
    ).fetchall()
    for page, low, high in olds:
        for left in cut(Span(low, high), new):
            db.execute(
                "INSERT INTO page (view, low, high, seen, seq, names, data)"
                " SELECT view, ?, ?, seen, seq, names, data FROM page WHERE id = ?",
                (left.low, left.high, page),
            )
        db.execute("DELETE FROM page WHERE id = ?", (page,))


def trim(db: apsw.Connection, floor: int, most: int) -> None:
    """Forget the views that were used least recently, where too many names are kept."""
    while db.execute(NAMES).get > most:
        oldest: list[Any] = db.execute("SELECT id, bucket FROM view ORDER BY used, id LIMIT 1").fetchall()
        if not oldest:
            return
        for view, bucket in oldest:
            drop(db, [view])
            purge(db, bucket, floor)


def drop(db: apsw.Connection, views: Iterable[int]) -> None:
    """Drop views and their pages."""
    numbers = [(view,) for view in views]
    db.executemany("DELETE FROM page WHERE view = ?", numbers)
    db.executemany("DELETE FROM view WHERE id = ?", numbers)


def purge(db: apsw.Connection, bucket: str, floor: int) -> None:
    """Forget the changes of a bucket that all pages know, those too that were asked for and are not here yet."""
    oldest = db.execute(
        "SELECT min(seq) FROM page JOIN view ON page.view = view.id WHERE view.bucket = ?", (bucket,)
    ).get
    db.execute(
        "DELETE FROM outcome WHERE bucket = ? AND seq <= ?", (bucket, floor if oldest is None else min(floor, oldest))
    )


# The clock and the owner.


def endpoint_of(db: Database) -> str | None:
    """Whose names these are."""
    rows = db.read("SELECT value FROM meta WHERE name = 'endpoint'")
    return rows[0][0] if rows else None


def clock_of(db: Database, machine: Machine) -> Clock:
    """The clock that goes on where the last process left it."""
    said = dict(db.read("SELECT name, value FROM meta"))
    kept = Kept(said["boot"], float(said["ahead"]), float(said["seen"])) if "ahead" in said else None
    newest = db.read("SELECT max(coalesce((SELECT max(seen) FROM page), 0), coalesce((SELECT max(seen) FROM head), 0))")
    return resume(machine, kept, float(newest[0][0]))


def keep_clock(clock: Clock) -> Write:
    """Keep the clock for the next process."""
    rows = [("boot", clock.boot), ("ahead", repr(clock.ahead)), ("seen", repr(clock.now()))]

    def write(db: apsw.Connection) -> None:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)

    return write
