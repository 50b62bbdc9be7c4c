"""A plan by the trees that are known, made inside the writing thread row by row, and what it leaves alone."""

from collections.abc import Callable
from dataclasses import replace

import apsw

from s3d.sync import memory
from s3d.sync.deletes import Deletes, spared
from s3d.sync.moves import paired
from s3d.sync.plan import Action, Rules, plan
from s3d.sync.quota import limited

TAGGED_OUT = "the tag s3d.sync=false of the object leaves it out"


def planned(rules: Rules, deletes: Deletes) -> Callable[[apsw.Connection], tuple[list[Action], int]]:
    """Plan by the trees: what is to be done, with the moves named, and how many files both sides have had. Where the
    rules say that the remote is not known in whole, nothing of it is."""

    def apply(db: apsw.Connection) -> tuple[list[Action], int]:
        files = int(db.execute("SELECT count(*) FROM base").get)
        obeyed = replace(rules, leaves_out=_with_tags(db, rules.leaves_out))
        there = memory.there(db) if rules.there_is_whole else ()
        actions = spared(paired([*plan(memory.here(db), there, memory.base(db), obeyed)]), deletes)
        actions = limited(actions, files, rules.most)
        db.execute("DELETE FROM left_alone")
        left = [(action.path, action.reason) for action in actions if action.reason]
        db.executemany("INSERT INTO left_alone VALUES (?, ?)", left)
        if rules.here_is_whole and rules.there_is_whole:
            # What both sides have again may be deleted as any other.
            db.execute("UPDATE base SET spared = 0 WHERE spared = 1")
        db.executemany("UPDATE base SET spared = 1 WHERE path = ?", [(one.path,) for one in actions if one.spares])
        return actions, files

    return apply


def _with_tags(db: apsw.Connection, leaves_out: Callable[[str, int], str]) -> Callable[[str, int], str]:
    """The same scope, without what tags leave out."""
    if not db.execute("SELECT EXISTS (SELECT 1 FROM tagged_out)").get:
        return leaves_out

    def also(path: str, size: int) -> str:
        reason = leaves_out(path, size)
        if not reason and db.execute("SELECT 1 FROM tagged_out WHERE path = ?", (path,)).fetchone():
            reason = TAGGED_OUT
        return reason

    return also
