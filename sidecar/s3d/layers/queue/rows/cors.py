"""The CORS rules of buckets as the remote showed them last (SEMANTICS R-12b). All SQL on the table `cors`.

Only the queue's package `remote_facts` reads and writes it. It holds rules of a bounded number of buckets.
"""

from collections.abc import Callable

import apsw

from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("cors")
MAX_KEPT = 1_000
"""Buckets of which rules are kept."""


def remembered_rules(db: Database, bucket: str) -> str | bytes | None:
    """The document of a bucket's rules; None where none are known. It may be damaged."""
    rows = db.read(SQL["rules"], (bucket,))
    return rows[0][0] if rows else None


def remember_rules(bucket: str, document: str, now: float) -> Callable[[apsw.Connection], None]:
    """A write that remembers the rules of a bucket, and forgets the oldest where they are too many."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["remember"], (bucket, document, now))
        db.execute(SQL["trim"], (MAX_KEPT,))

    return write


def forget_rules(bucket: str) -> Callable[[apsw.Connection], None]:
    """A write that forgets those of a bucket."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["forget"], (bucket,))

    return write
