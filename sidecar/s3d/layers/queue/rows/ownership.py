"""Whose tables these are: the bodies that they belong to (SEMANTICS D-12), and the remote (D-9).

Rows of the table `meta`. What is known of the remote itself is in `remote_facts`.
"""

from collections.abc import Callable, Iterable

import apsw

from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("ownership")


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
