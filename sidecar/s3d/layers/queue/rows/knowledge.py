"""What is remembered of the remote: its buckets (SEMANTICS R-6), whose changes these are (D-9), what it honours (Q-18).

All SQL on the tables `bucket` and `meta`. A fact is written when the remote has shown it, never before.
"""

from collections.abc import Callable, Iterable

import apsw

from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("knowledge")


def remembered_bucket(db: Database, name: str) -> tuple[str, str] | None:
    """What is remembered of a bucket: why its writes go through (''; they are queued), and the remote's word for it."""
    rows = db.read(SQL["bucket"], (name,))
    return (rows[0][0], rows[0][1]) if rows else None


def remember_bucket(name: str, through: str, detail: str, now: float) -> Callable[[apsw.Connection], None]:
    """A write that remembers a bucket."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["remember_bucket"], (name, now, through, detail))

    return write


def forget_bucket(name: str) -> Callable[[apsw.Connection], None]:
    """A write that forgets a bucket, so that the next put asks the remote again."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["forget_bucket"], (name,))

    return write


def label(db: Database) -> str:
    """The label of the bodies that these tables belong to; "" where they have none yet."""
    rows = db.read(SQL["label"])
    return rows[0][0] if rows else ""


def set_label(value: str) -> Callable[[apsw.Connection], None]:
    """A write that gives the tables a label."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["set_label"], (value,))

    return write


def runs(db: Database) -> list[str]:
    """The runs of s3d whose bodies these tables may know, the latest last; none before the first was noted."""
    rows = db.read(SQL["runs"])
    return rows[0][0].split() if rows else []


def set_runs(some: Iterable[str]) -> Callable[[apsw.Connection], None]:
    """A write that says which runs these tables may know bodies of."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["set_runs"], (" ".join(some),))

    return write


def belongs_to(db: Database) -> str | None:
    """The endpoint of the remote that the changes belong to (D-9)."""
    rows = db.read(SQL["belongs_to"])
    return rows[0][0] if rows else None


def assign_to(endpoint: str) -> Callable[[apsw.Connection], None]:
    """A write that makes the changes belong to a remote, and forgets all that is known of another one.

    Nothing is pending then: what is left of changes and uploads was delivered to the other, or is to be aborted there.
    """

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["assign"], (endpoint,))
        db.execute(SQL["forget_remote"])

    return write


def honoured(db: Database) -> frozenset[str]:
    """The conditions on a put that the remote is known to honour, as names of headers (Q-18)."""
    rows = db.read(SQL["honoured"])
    return frozenset(rows[0][0].split()) if rows else frozenset()


def kind_of_names(db: Database) -> str:
    """The kind of store that the remote is, as to the names that it takes; "" where it was not seen to refuse any."""
    rows = db.read(SQL["kind_of_names"])
    return str(rows[0][0]) if rows else ""


def remember_names(kind: str) -> Callable[[apsw.Connection], None]:
    """A write that remembers it."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["remember_names"], (kind,))

    return write


def honour(conditions: Iterable[str]) -> Callable[[apsw.Connection], None]:
    """A write that remembers them."""
    value = " ".join(sorted(conditions))

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["honour"], (value,))

    return write
