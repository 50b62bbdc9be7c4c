"""Body files that nothing refers to any more: all SQL on the table `garbage`, but for the triggers that fill it.

A row is written in the transaction that lets go of a file, whatever that was: a delivery, a newer write, a person. It
goes when the file is deleted. A crash between the two leaves the row, and the next look deletes the file.
"""

from collections.abc import Iterable

import apsw

from s3d.layers.queue.rows import queries
from s3d.store.db import Database

SQL = queries.load("garbage")
MAX_BATCH = 1000
"""Files that are deleted before that is noted."""


def found(db: Database) -> list[tuple[str, str]]:
    """Some files to delete, each with the upload that it was of. One that a row still names is left alone."""
    rows = db.read(SQL["found"], (MAX_BATCH,))
    return [(file, upload) for file, upload in rows]


def gone(db: apsw.Connection, files: Iterable[str]) -> None:
    """Note that files are deleted."""
    db.executemany(SQL["gone"], [(file,) for file in files])


def files_known(db: Database, files: Iterable[str]) -> set[str]:
    """Those of the given body files that are deleted from here, and not by the sweep of the directory."""
    return {file for file in files if db.read(SQL["one"], (file,))}
