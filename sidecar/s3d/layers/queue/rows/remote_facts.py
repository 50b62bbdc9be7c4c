"""What is remembered of the remote: its buckets (SEMANTICS R-6), what it honours (Q-18), which names it takes
(Q-15c), and which write profiles it has judged (Q-14).

The tables `bucket`, `bucket_right` and `write_profile`, and rows of the table `meta`. Only the queue's package
`remote_facts` reads and writes them: a fact is written when the remote has shown it, never before.
"""

from collections.abc import Callable, Iterable

import apsw

from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("remote_facts")


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
        db.execute(SQL["forget_bucket"], (name, name))

    return write


def is_bucket_shown(db: Database, name: str, identity: str) -> bool:
    """Whether the remote has shown a bucket to an identity (A-8)."""
    return bool(db.read(SQL["is_bucket_shown"], (name, identity)))


def shown_to(db: Database, name: str, limit: int) -> list[str]:
    """Some identities to which the remote has shown a bucket."""
    return [str(identity) for (identity,) in db.read(SQL["shown_to"], (name, limit))]


def show_bucket(name: str, identity: str, now: float) -> Callable[[apsw.Connection], None]:
    """A write that remembers that the remote has shown a bucket to an identity."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["show_bucket"], (name, identity, now))

    return write


def hide_bucket(name: str, identity: str) -> Callable[[apsw.Connection], None]:
    """A write that forgets that."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["hide_bucket"], (name, identity))

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


Profile = tuple[str, str, str, str]
"""Bucket, identity, operation and members of a write profile."""


def verdict(db: Database, profile: Profile) -> str:
    """What the remote said of a write profile; "" where nothing is remembered."""
    rows = db.read(SQL["verdict"], profile)
    return str(rows[0][0]) if rows else ""


def remember_verdict(profile: Profile, verdict: str, now: float) -> Callable[[apsw.Connection], None]:
    """A write that remembers it, as of a moment (Unix time)."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["remember_verdict"], (*profile, verdict, now))

    return write


def forget_profiles(bucket: str) -> Callable[[apsw.Connection], None]:
    """A write that forgets the write profiles of a bucket ("": of every bucket)."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["forget_profiles"], (bucket,))

    return write
