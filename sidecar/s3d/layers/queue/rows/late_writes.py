"""Settled changes that are kept for a while, because an older attempt at their key may still arrive (SEMANTICS Q-3).

They answer no read and count nowhere. Their `next_at` is the time of their settling, their column `late_writes` names
the ETags of what may arrive.
"""

import apsw

from s3d.layers.queue.rows import changes, queries, soundness, uploads
from s3d.layers.queue.rows.changes import FIELDS, Change, Table
from s3d.store.db import Database

SQL = queries.load("late_writes", change=FIELDS, late_writes=soundness.LATE_WRITES)


def tag_settled(db: apsw.Connection, bucket: str, key: str, tagging: str) -> None:
    """Give the put that is kept of a key the tags that the remote has taken since; "": none."""
    kept: Table = db.execute(SQL["kept_put"], (bucket, key)).fetchall()
    for (seq,) in kept:
        changes.fold(db, seq, tagging)


def drop_kept(db: apsw.Connection, turn: int) -> None:
    """Let go of the settled body of the key of a turn, whose request has replaced it. What may arrive stays."""
    rows: Table = db.execute(SQL["replaced"], (turn,)).fetchall()
    for seq, upload in rows:
        db.execute(SQL["drop_body"], (seq,))
        if upload is not None:
            uploads.let_go(db, upload)


def kept_since(db: Database) -> float | None:
    """When the oldest change that is kept was settled (Unix time); None where none is kept."""
    return soundness.moment_leniently(db.read(SQL["kept_since"])[0][0])


def settled(db: Database, until: float, limit: int) -> list[tuple[Change, tuple[str, ...]]]:
    """Changes that were settled at `until` or before, with the ETags of attempts that may have arrived since."""
    rows = db.read(SQL["settled"], (until, limit))
    found = [(changes.of_row(row[1:]), soundness.late_writes_leniently(row[0])) for row in rows]
    return [(change, tuple(etag for etag, _ in late)) for change, late in found if not change.damage]


def release(db: apsw.Connection, seq: int) -> None:
    """Drop a settled change."""
    db.execute(SQL["release"], (seq,))


def push_again(db: apsw.Connection, change: Change, now: float) -> bool:
    """Push a settled change once more; False where a newer one has taken the key. What was sent through since and was
    not answered has not: its client was told that nobody knows."""
    db.execute(SQL["push_again"], (now, change.seq))
    return db.changes() > 0
