"""What the queue takes of the disk. The tables count it (tables/account.sql); what is not in them yet is estimated.

An estimate is never less than what the row will count, so that what is reserved for a write is enough for it.
"""

from collections.abc import Mapping

import apsw

from s3d.layers.queue.rows import changes, queries, schema
from s3d.store.db import Database

SQL = queries.load("account")
ROW_BYTES = 1024
"""Bytes of a row beside what the client decides of it: columns of fixed width, indexes, digests."""


def used(db: Database) -> int:
    """Bytes of all rows and bodies."""
    return int(db.read(SQL["used"])[0][0])


def of_row(bucket: str, key: str, members: Mapping[str, str]) -> int:
    """Bytes that a row with these members may take, without its body."""
    names = len(bucket.encode()) + len(key.encode(errors="surrogateescape"))
    return ROW_BYTES + 2 * names + len(changes.written(members))


def recount(db: apsw.Connection) -> None:
    """Count anew by walking all rows."""
    db.execute(schema.text("account_again.sql"))


def is_sound(db: apsw.Connection) -> bool:
    """Whether the count is one."""
    found = db.execute(SQL["used"]).fetchall()
    return len(found) == 1 and isinstance(found[0][0], int) and found[0][0] >= 0
