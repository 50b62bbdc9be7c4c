"""The versions of the queue's tables, and the way from one to the next (SEMANTICS D-9).

A file of tables belongs to one module, which bears its name. Tables that are new in a version stand once, in a file
that both a new database and the migration run; what a migration changes in older tables stands in `from_N.sql`.
"""

from importlib import resources

from s3d.store.db import Schema


def text(name: str) -> str:
    """The statements of a file beside this one."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


# Tables that a version brought.
NEW_IN_2: tuple[str, ...] = ("lanes.sql", "uploads.sql", "holds.sql")
NEW_IN_3: tuple[str, ...] = ("shapes.sql",)
NEW_IN_4: tuple[str, ...] = ("times.sql", "truth.sql", "unjudged.sql", "damaged.sql")
SCHEMA = Schema(
    version=4,
    sql="".join(map(text, ("changes.sql", *NEW_IN_2, *NEW_IN_3, *NEW_IN_4))),
    migrations={
        1: "".join(map(text, ("from_1.sql", *NEW_IN_2))),
        2: "".join(map(text, ("from_2.sql", *NEW_IN_3))),
        3: "".join(map(text, ("from_3.sql", *NEW_IN_4, "truth_of_3.sql"))),
    },
)
"""The tables of this version."""
