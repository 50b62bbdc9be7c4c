"""What an attempt to push came to, and what a person decides of what is kept (SEMANTICS Q-3, Q-8, Q-9).

A change makes only the moves of `states`. Functions that take a connection run inside a transaction
of the store's writer, so that a row and what refers to it never disagree.
"""

from collections.abc import Callable

import apsw

from s3d.layers.queue.rows import changes, late_writes, soundness
from s3d.layers.queue.rows.changes import ANY, KEPT, NO_LATE_WRITES, Change, Table
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.rules.tags import TAGGING
from s3d.store.db import Database


def settle(db: apsw.Connection, seq: int, *, now: float = 0.0, window: float = 0.0, shown: str = "") -> None:
    """Drop a change that the remote has confirmed, showing this ETag.

    Where an attempt at its key of the last `window` seconds may still arrive, a put or delete is kept as settled, in
    place of the one that was kept before; its `next_at` is then the time of its settling (Q-3).
    """
    rows: Table = db.execute(
        """SELECT new.op, CAST(new.late_writes AS BLOB), old.seq, CAST(old.late_writes AS BLOB), new.bucket, new.key,
        new.etag
        FROM change AS new
        LEFT JOIN change AS old ON old.bucket = new.bucket AND old.key = new.key AND old.state = 'settled'
        WHERE new.seq = ? AND new.state IN ('pushing', 'in_doubt')""",
        (seq,),
    ).fetchall()
    if not rows:
        return
    op, own, _, _, bucket, key, etag = rows[0]
    if op == Op.TAG:
        # The put that it is about may be kept, and is then pushed again with these tags.
        tagging: Table = db.execute(
            "DELETE FROM change WHERE seq = ? RETURNING bucket, key, CAST(members AS BLOB)", (seq,)
        ).fetchall()
        for bucket, key, members in tagging:
            late_writes.tag_settled(db, bucket, key, soundness.members_leniently(members).get(TAGGING, ""))
        return
    changes.rebase(db, bucket, key, seq, shown or etag)
    before = [(old, theirs) for _, _, old, theirs, *_ in rows if old is not None]
    late = changes.merged([own, *(theirs for _, theirs in before)], now - window)
    db.executemany("DELETE FROM change WHERE seq = ?", [(old,) for old, _ in before])
    if late == NO_LATE_WRITES:
        db.execute("DELETE FROM change WHERE seq = ?", (seq,))
    else:
        db.execute("UPDATE change SET state = 'settled', late_writes = ?, next_at = ? WHERE seq = ?", (late, now, seq))


def made_by_us(db: Database, change: Change) -> frozenset[str]:
    """The ETags that attempts of ours at a change's key may have made."""
    rows = db.read(
        "SELECT CAST(late_writes AS BLOB) FROM change WHERE bucket = ? AND key = ? AND (seq = ? OR state = 'settled')",
        (change.bucket, change.key, change.seq),
    )
    return frozenset(etag for (late,) in rows for etag, _ in soundness.late_writes_leniently(late))


def based_on(seq: int, etag: str) -> Callable[[apsw.Connection], None]:
    """A write that gives a change another base."""

    def write(db: apsw.Connection) -> None:
        db.execute("UPDATE change SET base_etag = ? WHERE seq = ?", (etag, seq))

    return write


def put_back(
    db: apsw.Connection, change: Change, *, state: State, next_at: float, code: str, reason: str, refusals: int = 0
) -> None:
    """Record an attempt that did not settle: `waiting` (refused for now), `in_doubt` (no answer), `parked` (refused for
    good) or `quarantined` (bad body). `refusals` counts the attempts in a row that met a 4xx which nobody knows.

    A newer put or delete takes the key from what is not under way any more: then a waiting change is dropped, and what
    is kept back is superseded by the table itself (truth.sql). Tags that waited for a put become part of it.
    """
    if state != State.IN_DOUBT:
        changes.absorb(db, change.seq)
    if state == State.WAITING and _overtaken(db, change):
        db.execute("UPDATE change SET state = 'superseded' WHERE seq = ?", (change.seq,))
        db.execute("DELETE FROM change WHERE seq = ?", (change.seq,))
        return
    if state == State.IN_DOUBT and change.op != Op.TAG:
        changes.may_arrive(db, change.seq, change.etag, next_at)
    db.execute(
        """UPDATE change SET state = ?2, next_at = ?3, code = ?4, reason = ?5, refusals = ?6
        WHERE seq = ?1 AND state IN ('pushing', 'in_doubt')""",
        (change.seq, state, next_at, code, reason, refusals),
    )
    if state == State.WAITING:
        changes.judge_hold(db, change.seq, next_at)


def _overtaken(db: apsw.Connection, change: Change) -> bool:
    """Whether a newer change takes the place of one that would wait again, and no request was promised to see it."""
    rows: Table = db.execute(
        """SELECT coalesce(sum(op NOT IN ('through', 'tag')) > 0 AND sum(op = 'through' OR ordered) = 0, 0)
        FROM change WHERE bucket = ? AND key = ? AND seq > ?""",
        (change.bucket, change.key, change.seq),
    ).fetchall()
    return bool(rows[0][0])


def quarantine(db: apsw.Connection, seq: int, reason: str) -> None:
    """Set a change aside whose body is bad, whatever its state (D-4). An attempt that is under way may still arrive; a
    superseded or settled change stays so, since it answers no read.
    """
    changes.absorb(db, seq)
    under_way: Table = db.execute(
        """SELECT etag, coalesce(attempt_at, acked_at) FROM change WHERE seq = ? AND op <> 'tag'
        AND state IN ('pushing', 'in_doubt')""",
        (seq,),
    ).fetchall()
    for etag, at in under_way:
        changes.may_arrive(db, seq, etag, at)
    db.execute(
        """UPDATE change SET state = iif(state IN ('superseded', 'settled'), state, 'quarantined'),
        code = 'CorruptBody', reason = ? WHERE seq = ? AND op <> 'through'""",
        (reason, seq),
    )


def recover(db: apsw.Connection) -> None:
    """Make the tables true after a crash: attempts under way are in doubt (Q-3), clients of turns are gone.

    What a turn had sent may still arrive: its row goes on as that of a lost answer.
    """
    db.execute("DELETE FROM change WHERE state = 'waiting' AND op = 'through'")
    rows: Table = db.execute(
        "SELECT seq, op, etag, coalesce(attempt_at, queued_at, acked_at) FROM change WHERE state = 'pushing'"
    ).fetchall()
    for seq, op, etag, at in rows:
        if op != Op.TAG:
            changes.may_arrive(db, seq, ANY if op == Op.THROUGH else etag, at)
    db.execute(
        """UPDATE change SET state = 'settled', next_at = coalesce(queued_at, acked_at)
        WHERE state = 'pushing' AND op = 'through'"""
    )
    db.execute("UPDATE change SET state = 'in_doubt', next_at = 0 WHERE state = 'pushing'")
    db.execute("UPDATE change SET next_at = 0 WHERE state = 'in_doubt'")


def unpark(db: apsw.Connection, some: list[Change], now: float) -> list[int]:
    """Make those wait for their turn again that are parked; their seqs."""
    moved = []
    for change in some:
        db.execute(
            "UPDATE change SET state = 'waiting', next_at = ?, refusals = 0 WHERE seq = ? AND state = 'parked'",
            (now, change.seq),
        )
        if db.changes():
            moved.append(change.seq)
    return moved


def discard(db: apsw.Connection, some: list[Change]) -> list[Change]:
    """Drop those that still wait for a person; which they were."""
    gone = []
    for change in some:
        db.execute(f"DELETE FROM change WHERE seq = ? AND {KEPT}", (change.seq,))
        if db.changes():
            gone.append(change)
    return gone
