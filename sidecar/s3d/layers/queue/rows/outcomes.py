"""What an attempt to push came to, and what a person decides of what is kept (SEMANTICS Q-3, Q-8, Q-9).

A change moves only along the states of docs/ARCHITECTURE.md. Functions that take a connection run inside a transaction
of the store's writer, so that a row and what refers to it never disagree.
"""

from collections.abc import Callable

import apsw

from s3d.layers.queue.rows import aftermath, changes, soundness
from s3d.layers.queue.rows.changes import ANY, KEPT, NOBODY, Change, Table
from s3d.layers.queue.rules.tags import TAGGING
from s3d.store.db import Database


def settle(db: apsw.Connection, seq: int, *, now: float = 0.0, window: float = 0.0, shown: str = "") -> tuple[str, ...]:
    """Drop a change that the remote has confirmed, showing this ETag; the ids of files that nothing refers to any more.

    Where an attempt at its key of the last `window` seconds may still arrive, a put or delete is kept as settled, in
    place of the one that was kept before; its `next_at` is then the time of its settling (Q-3).
    """
    rows: Table = db.execute(
        """SELECT new.op, new.file, CAST(new.former AS BLOB), old.seq, old.file, CAST(old.former AS BLOB), new.bucket,
        new.key, new.etag
        FROM change AS new
        LEFT JOIN change AS old ON old.bucket = new.bucket AND old.key = new.key AND old.state = 'settled'
        WHERE new.seq = ? AND new.state IN ('pushing', 'unknown')""",
        (seq,),
    ).fetchall()
    if not rows:
        return ()
    op, file, former, *_, bucket, key, etag = rows[0]
    if op == "tag":
        # The put that it is about may be kept, and is then pushed again with these tags.
        tagging: Table = db.execute(
            "DELETE FROM change WHERE seq = ? RETURNING bucket, key, CAST(members AS BLOB)", (seq,)
        ).fetchall()
        for bucket, key, members in tagging:
            aftermath.tag_settled(db, bucket, key, soundness.members_leniently(members).get(TAGGING, ""))
        return ()
    changes.rebase(db, bucket, key, seq, shown or etag)
    before = [(old, file, former) for _, _, _, old, file, former, *_ in rows if old is not None]
    late = changes.merged([former, *(former for _, _, former in before)], now - window)
    db.executemany("DELETE FROM change WHERE seq = ?", [(old,) for old, _, _ in before])
    orphans = [old_file for _, old_file, _ in before]
    if late == NOBODY:
        db.execute("DELETE FROM change WHERE seq = ?", (seq,))
        orphans.append(file)
    else:
        db.execute("UPDATE change SET state = 'settled', former = ?, next_at = ? WHERE seq = ?", (late, now, seq))
    return tuple(orphan for orphan in orphans if orphan is not None)


def made_by_us(db: Database, change: Change) -> frozenset[str]:
    """The ETags that attempts of ours at a change's key may have made."""
    rows = db.read(
        "SELECT CAST(former AS BLOB) FROM change WHERE bucket = ? AND key = ? AND (seq = ? OR state = 'settled')",
        (change.bucket, change.key, change.seq),
    )
    return frozenset(etag for (former,) in rows for etag, _ in soundness.former_leniently(former))


def based_on(seq: int, etag: str) -> Callable[[apsw.Connection], None]:
    """A write that gives a change another base."""

    def write(db: apsw.Connection) -> None:
        db.execute("UPDATE change SET base_etag = ? WHERE seq = ?", (etag, seq))

    return write


def put_back(
    db: apsw.Connection, change: Change, *, state: str, next_at: float, code: str, reason: str, refusals: int = 0
) -> None:
    """Record an attempt that did not settle: `waiting` (refused for now), `unknown` (no answer), `parked` (refused for
    good) or `quarantined` (bad body). `refusals` counts the attempts in a row that met a 4xx which nobody knows.

    A newer put or delete takes the key from what is not under way any more: then a waiting change is dropped, and what
    is kept back is superseded by the table itself (truth.sql). Tags that waited for a put become part of it.
    """
    if state != "unknown":
        changes.absorb(db, change.seq)
    if state == "waiting" and _overtaken(db, change):
        db.execute("UPDATE change SET state = 'superseded' WHERE seq = ?", (change.seq,))
        db.execute("DELETE FROM change WHERE seq = ?", (change.seq,))
        return
    if state == "unknown" and change.op != "tag":
        changes.may_arrive(db, change.seq, change.etag, next_at)
    db.execute(
        """UPDATE change SET state = ?2, next_at = ?3, code = ?4, reason = ?5, refusals = ?6
        WHERE seq = ?1 AND state IN ('pushing', 'unknown')""",
        (change.seq, state, next_at, code, reason, refusals),
    )
    if state == "waiting":
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
    superseded change stays so, since it answers no read.
    """
    changes.absorb(db, seq)
    under_way: Table = db.execute(
        """SELECT etag, coalesce(attempt_at, acked_at) FROM change WHERE seq = ? AND op <> 'tag'
        AND state IN ('pushing', 'unknown')""",
        (seq,),
    ).fetchall()
    for etag, at in under_way:
        changes.may_arrive(db, seq, etag, at)
    db.execute(
        """UPDATE change SET state = iif(state = 'superseded', state, 'quarantined'), code = 'CorruptBody', reason = ?
        WHERE seq = ? AND op <> 'through'""",
        (reason, seq),
    )


def recover(db: apsw.Connection) -> None:
    """Make the tables true after a crash: attempts under way are unknown (Q-3), clients of turns are gone.

    What a turn had sent may still arrive: its row goes on as that of a lost answer.
    """
    db.execute("DELETE FROM change WHERE state = 'waiting' AND op = 'through'")
    rows: Table = db.execute(
        "SELECT seq, op, etag, coalesce(attempt_at, queued_at, acked_at) FROM change WHERE state = 'pushing'"
    ).fetchall()
    for seq, op, etag, at in rows:
        if op != "tag":
            changes.may_arrive(db, seq, ANY if op == "through" else etag, at)
    db.execute(
        """UPDATE change SET state = 'settled', next_at = coalesce(queued_at, acked_at)
        WHERE state = 'pushing' AND op = 'through'"""
    )
    db.execute("UPDATE change SET state = 'unknown', next_at = 0 WHERE state = 'pushing'")
    db.execute("UPDATE change SET next_at = 0 WHERE state = 'unknown'")


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
