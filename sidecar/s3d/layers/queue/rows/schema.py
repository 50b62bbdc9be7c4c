"""The versions of the queue's tables, and the way from one to the next (SEMANTICS D-9).

A file of tables belongs to one module, which bears its name. Tables that are new in a version stand once, in a file
that both a new database and the migration run; what a migration changes in older tables stands in `from_N.sql`.
"""

import functools
import logging
from importlib import resources

import apsw

from s3d.store.db import Schema

log = logging.getLogger(__name__)


def text(name: str) -> str:
    """The statements of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


# Tables that a version brought.
NEW_IN_2: tuple[str, ...] = ("lanes.sql", "uploads.sql", "holds.sql")
NEW_IN_3: tuple[str, ...] = ("shapes.sql",)
NEW_IN_4: tuple[str, ...] = ("times.sql", "truth.sql", "unjudged.sql", "damaged.sql")
NEW_IN_5: tuple[str, ...] = ("account.sql",)
SCHEMA = Schema(
    version=5,
    sql="".join(map(text, ("changes.sql", *NEW_IN_2, *NEW_IN_3, *NEW_IN_4, *NEW_IN_5))),
    migrations={
        1: "".join(map(text, ("from_1.sql", *NEW_IN_2))),
        2: "".join(map(text, ("from_2.sql", *NEW_IN_3))),
        3: "".join(map(text, ("from_3.sql", *NEW_IN_4, "truth_of_3.sql"))),
        4: "".join(map(text, (*NEW_IN_5, "account_of_4.sql"))),
    },
)
"""The tables of this version."""


@functools.cache
def rules() -> tuple[tuple[str, str], ...]:
    """Names and statements of what holds no data: indexes, views and triggers."""
    db = apsw.Connection(":memory:")
    try:
        db.execute(SCHEMA.sql)
        found = db.execute("SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL").fetchall()
    finally:
        db.close()
    return tuple((str(name), str(sql)) for name, sql in found)


def mend(db: apsw.Connection) -> bool:
    """Make anew what somebody has dropped of the rules: the tables themselves hold the order of changes, which of them
    is the truth, and the counts (SEMANTICS D-14). Whether anything was missing.

    An index that cannot be made, because rows contradict it by now, stays away; the next look tries again.
    """
    there = {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}
    missing = [(name, sql) for name, sql in rules() if name not in there]
    for name, sql in missing:
        try:
            db.execute(sql)
        except apsw.ConstraintError as error:
            log.error("%s was dropped from the tables of the queue, and cannot be made anew: %s", name, error)
        else:
            log.error("%s was dropped from the tables of the queue, and is made anew", name)
    if missing:
        db.execute(text("truth_of_3.sql"))
        db.execute(text("account_of_4.sql"))
    return bool(missing)
