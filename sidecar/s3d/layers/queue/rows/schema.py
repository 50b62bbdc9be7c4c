"""The versions of the queue's tables, and the way from one to the next (SEMANTICS D-9).

Tables stand in `tables/`. Those that are new in a version stand once, in a file that both a new database and the
migration run; what a migration changes in older tables stands in `from_N.sql`. Version 6
renamed what `uploads_of_1.sql` and `shapes_of_2.sql` bring, so the migrations to 2 and 3 make these as they were.
Indexes, views and triggers hold no data: a migration drops what speaks of a table that it changes, and the last one
makes anew what is missing.
"""

import functools
import logging
import re
from importlib import resources

import apsw

from s3d.store.opening import Schema

log = logging.getLogger(__name__)


def text(name: str) -> str:
    """The statements of a file of `tables/`."""
    return resources.files(__package__).joinpath("tables", name).read_text(encoding="utf-8")


def joined(*names: str) -> str:
    """The statements of some files, in their order."""
    return "".join(map(text, names))


# Tables that a version brought.
NEW_IN_2: tuple[str, ...] = ("lanes.sql", "uploads.sql", "holds.sql")
NEW_IN_3: tuple[str, ...] = ("write_profiles.sql",)
NEW_IN_4: tuple[str, ...] = ("times.sql", "truth.sql", "unjudged.sql", "damaged.sql")
NEW_IN_5: tuple[str, ...] = ("garbage.sql", "account.sql")
NEW_IN_6: tuple[str, ...] = ("bucket_rights.sql", "cors.sql", "bucket_tags.sql", "order.sql")
TABLES = joined("changes.sql", *NEW_IN_2, *NEW_IN_3, *NEW_IN_4, *NEW_IN_5, *NEW_IN_6)
CREATE = re.compile(r"CREATE( UNIQUE)? (INDEX|TRIGGER|VIEW) ")


@functools.cache
def rules() -> tuple[tuple[str, str], ...]:
    """Names and statements of what holds no data: indexes, views and triggers."""
    db = apsw.Connection(":memory:")
    try:
        db.execute(TABLES)
        found = db.execute("SELECT name, sql FROM sqlite_schema WHERE type <> 'table' AND sql IS NOT NULL").fetchall()
    finally:
        db.close()
    return tuple((str(name), str(sql)) for name, sql in found)


def missing_rules() -> str:
    """Statements that make those of the rules which are not there."""
    return "".join(CREATE.sub(r"CREATE\1 \2 IF NOT EXISTS ", sql, count=1) + ";\n" for _, sql in rules())


SCHEMA = Schema(
    version=6,
    sql=TABLES,
    migrations={
        1: joined("from_1.sql", "lanes.sql", "uploads_of_1.sql", "holds.sql"),
        2: joined("from_2.sql", "shapes_of_2.sql"),
        3: joined("from_3.sql", *NEW_IN_4),
        4: joined("from_4.sql", *NEW_IN_5, "garbage_of_4.sql"),
        5: joined("from_5.sql", *NEW_IN_6, "bucket_rights_of_5.sql", "bucket_tags_of_5.sql")
        + missing_rules()
        + joined("truth_again.sql", "account_again.sql"),
    },
)
"""The tables of this version."""


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
        db.execute(text("truth_again.sql"))
        db.execute(text("account_again.sql"))
    return bool(missing)
