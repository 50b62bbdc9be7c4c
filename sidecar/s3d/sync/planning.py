"""A plan by the trees that are known, made inside the writing thread row by row, and what it leaves alone."""

from collections.abc import Callable
from dataclasses import replace

import apsw

from s3d.sync import memory
from s3d.sync.deletes import Deletes, spared
from s3d.sync.moves import paired
from s3d.sync.plan import DROPS, Action, Do, Rules, plan
from s3d.sync.quota import limited

TAGGED_OUT = "the tag s3d.sync=false of the object leaves it out"


def planned(rules: Rules, deletes: Deletes) -> Callable[[apsw.Connection], tuple[list[Action], int]]:
    """Plan by the trees: what is to be done, with the moves named, and how many files both sides have had. Where the
    rules say that the remote is not known in whole, nothing of it is."""

    def apply(db: apsw.Connection) -> tuple[list[Action], int]:
        files = int(db.execute("SELECT count(*) FROM base").get)
        obeyed = replace(rules, leaves_out=_with_tags(db, rules.leaves_out))
        there = memory.there(db) if rules.there_is_whole else ()
        actions = _resumed(db, paired([*plan(memory.here(db), there, memory.base(db), obeyed)]))
        actions = limited(spared(actions, deletes), files, rules.most)
        if rules.there_is_whole:
            actions = [_copied(db, one) if one.do is Do.PUSH and not one.expects else one for one in actions]
        db.execute("DELETE FROM left_alone")
        left = [(action.path, action.reason) for action in actions if action.reason]
        db.executemany("INSERT INTO left_alone VALUES (?, ?)", left)
        if rules.here_is_whole and rules.there_is_whole:
            # What both sides have again may be deleted as any other.
            db.execute("UPDATE base SET spared = 0 WHERE spared = 1")
        db.executemany("UPDATE base SET spared = 1 WHERE path = ?", [(one.path,) for one in actions if one.spares])
        return actions, files

    return apply


def _resumed(db: apsw.Connection, actions: list[Action]) -> list[Action]:
    """A plan in which the old names of moves whose new names earlier rounds have made are named as such, and no
    deletes. All moves of it are kept for the next."""
    made = dict(db.execute(MADE))
    gone = {one.path for one in actions if one.do in DROPS}
    resumed = [
        replace(one, goes_to=to, has_moved=True)
        if one.do in DROPS and not one.goes_to and (to := made.get(one.path)) and to not in gone
        else one
        for one in actions
    ]
    db.execute("DELETE FROM moved")
    moves = [(one.path, one.goes_to) for one in resumed if one.goes_to]
    db.executemany("INSERT INTO moved VALUES (?, ?)", moves)
    return resumed


MADE = """
SELECT moved.path, moved.goes_to FROM moved JOIN base AS old ON old.path = moved.path
JOIN base AS new ON new.path = moved.goes_to WHERE new.sha256 = old.sha256
"""


def _copied(db: apsw.Connection, push: Action) -> Action:
    """An upload, with where the remote itself has the same content; a pending one is only in the write queue."""
    assert push.content
    row = db.execute(STANDS, (push.content.sha256,)).fetchone() if push.content.size else None
    return replace(push, copied_from=row) if row else push


STANDS = """
SELECT base.path, base.etag FROM base JOIN there ON there.path = base.path AND there.etag = base.etag
WHERE base.sha256 = ? AND base.delivered = 1 LIMIT 1
"""


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
