"""What an attempt to push came to, and what a person decides of what is kept (SEMANTICS Q-3, Q-8, Q-9).

A change makes only the moves of `states`. Functions that take a connection run inside a transaction
of the store's writer, so that a row and what refers to it never disagree.
"""

from collections.abc import Callable

import apsw

from s3d.layers.queue.rows import changes, holds, late_writes, queries, soundness
from s3d.layers.queue.rows.changes import ANY, NO_LATE_WRITES, Change, Table
from s3d.layers.queue.rows.states import Op, State
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

SQL = queries.load("transitions")


def settle(db: apsw.Connection, seq: int, *, now: float = 0.0, window: float = 0.0, shown: str = "") -> None:
    """Drop a change that the remote has confirmed, showing this ETag.

    Where an attempt at its key of the last `window` seconds may still arrive, a put or delete is kept as settled, in
    place of the one that was kept before; its `next_at` is then the time of its settling (Q-3). What it has passed is
    another identity's, and is superseded now and not before: this change might have been refused (Q-2a).
    """
    passed: Table = db.execute(SQL["passed"], (seq,)).fetchall()
    for old, state in passed:
        db.execute(SQL["supersede"], (old,))
        if state == State.WAITING:
            db.execute(SQL["drop"], (old,))
    if passed:
        db.execute(SQL["drop_spent"], (seq,))
    rows: Table = db.execute(SQL["confirmed"], (seq,)).fetchall()
    if not rows:
        return
    op, own, _, _, bucket, key, etag = rows[0]
    if op == Op.TAG:
        # The put that it is about may be kept, and is then pushed again with these tags.
        tagging: Table = db.execute(SQL["drop_tags"], (seq,)).fetchall()
        for bucket, key, members in tagging:
            late_writes.tag_settled(db, bucket, key, soundness.members_leniently(members).get(TAGGING, ""))
        return
    changes.rebase(db, bucket, key, seq, shown or etag)
    before = [(old, theirs) for _, _, old, theirs, *_ in rows if old is not None]
    late = changes.merged([own, *(theirs for _, theirs in before)], now - window)
    db.executemany(SQL["drop"], [(old,) for old, _ in before])
    if late == NO_LATE_WRITES:
        db.execute(SQL["drop"], (seq,))
    else:
        db.execute(SQL["settle"], (late, now, seq))


def made_by_us(db: Database, change: Change) -> frozenset[str]:
    """The ETags that attempts of ours at a change's key may have made."""
    rows = db.read(SQL["made_by_us"], (change.bucket, change.key, change.seq))
    return frozenset(etag for (late,) in rows for etag, _ in soundness.late_writes_leniently(late))


def based_on(seq: int, etag: str) -> Callable[[apsw.Connection], None]:
    """A write that gives a change another base."""

    def write(db: apsw.Connection) -> None:
        db.execute(SQL["set_base"], (etag, seq))

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
        db.execute(SQL["supersede"], (change.seq,))
        db.execute(SQL["drop"], (change.seq,))
        return
    if state == State.IN_DOUBT and change.op != Op.TAG:
        changes.may_arrive(db, change.seq, change.etag, next_at)
    db.execute(SQL["put_back"], (change.seq, state, next_at, code, reason, refusals))
    if state == State.WAITING:
        changes.judge_hold(db, change.seq, next_at)


def _overtaken(db: apsw.Connection, change: Change) -> bool:
    """Whether a newer change of its identity takes the place of one that would wait again, and nobody between the two
    is to see it: no request, and no other identity's change."""
    rows: Table = db.execute(SQL["overtaken"], (change.bucket, change.key, change.seq, change.identity)).fetchall()
    return bool(rows[0][0])


def quarantine(db: apsw.Connection, seq: int, reason: str) -> None:
    """Set a change aside whose body is bad, whatever its state (D-4). An attempt that is under way may still arrive; a
    superseded or settled change stays so, since it answers no read.
    """
    changes.absorb(db, seq)
    under_way: Table = db.execute(SQL["under_way"], (seq,)).fetchall()
    for etag, at in under_way:
        changes.may_arrive(db, seq, etag, at)
    db.execute(SQL["quarantine"], (reason, seq))


def recover(db: apsw.Connection) -> None:
    """Make the tables true after a crash: attempts under way are in doubt (Q-3), clients of turns are gone.

    What a turn had sent may still arrive: its row goes on as that of a lost answer.
    """
    db.execute(SQL["drop_waiting_turns"])
    rows: Table = db.execute(SQL["was_pushing"]).fetchall()
    for seq, op, etag, at in rows:
        if op != Op.TAG:
            changes.may_arrive(db, seq, ANY if op == Op.THROUGH else etag, at)
    db.execute(SQL["settle_turns"])
    db.execute(SQL["doubt"])
    db.execute(SQL["doubt_now"])


def unpark(db: apsw.Connection, some: list[Change], now: float) -> dict[int, str]:
    """Make those wait for their turn again that are parked; their seqs, with the rule that holds them instead, "" for
    none: rules may have changed since they were parked."""
    moved = {}
    for change in some:
        db.execute(SQL["unpark"], (now, change.seq))
        if db.changes():
            changes.judge_hold(db, change.seq, now)
            moved[change.seq] = holds.rule_by(db, change.seq)
    return moved


def discard(db: apsw.Connection, some: list[Change]) -> list[Change]:
    """Drop those that still wait for a person; which they were."""
    gone = []
    for change in some:
        db.execute(SQL["discard"], (change.seq,))
        if db.changes():
            gone.append(change)
    return gone
