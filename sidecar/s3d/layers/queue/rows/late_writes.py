"""Settled changes that are kept for a while, because an older attempt at their key may still arrive (SEMANTICS Q-3).

They answer no read and count nowhere. Their `next_at` is the time of their settling, their column `late_writes` names
the ETags of what may arrive.
"""

import apsw

from s3d.layers.queue.rows import changes, soundness, uploads
from s3d.layers.queue.rows.changes import FIELDS, Change, Table
from s3d.store.db import Database


def tag_settled(db: apsw.Connection, bucket: str, key: str, tagging: str) -> None:
    """Give the put that is kept of a key the tags that the remote has taken since; "": none."""
    kept: Table = db.execute(
        "SELECT seq FROM change WHERE bucket = ? AND key = ? AND state = 'settled' AND op = 'put'", (bucket, key)
    ).fetchall()
    for (seq,) in kept:
        changes.fold(db, seq, tagging)


def drop_kept(db: apsw.Connection, turn: int) -> None:
    """Let go of the settled body of the key of a turn, whose request has replaced it. What may arrive stays."""
    rows: Table = db.execute(
        """SELECT kept.seq, kept.upload FROM change AS kept, change AS turn WHERE turn.seq = ?
        AND kept.bucket = turn.bucket AND kept.key = turn.key AND kept.seq < turn.seq AND kept.state = 'settled'
        AND kept.op <> 'through'""",
        (turn,),
    ).fetchall()
    for seq, upload in rows:
        db.execute("UPDATE change SET op = 'through', file = NULL, inline = NULL, upload = NULL WHERE seq = ?", (seq,))
        if upload is not None:
            uploads.let_go(db, upload)


def kept_since(db: Database) -> float | None:
    """When the oldest change that is kept was settled (Unix time); None where none is kept."""
    return soundness.moment_leniently(db.read("SELECT min(next_at) FROM change WHERE state = 'settled'")[0][0])


def settled(db: Database, until: float, limit: int) -> list[tuple[Change, tuple[str, ...]]]:
    """Changes that were settled at `until` or before, with the ETags of attempts that may have arrived since."""
    rows = db.read(
        f"""SELECT {soundness.LATE_WRITES}, {FIELDS} FROM change WHERE state = 'settled' AND next_at <= ?
        ORDER BY next_at LIMIT ?""",
        (until, limit),
    )
    found = [(changes.of_row(row[1:]), soundness.late_writes_leniently(row[0])) for row in rows]
    return [(change, tuple(etag for etag, _ in late)) for change, late in found if not change.damage]


def release(db: apsw.Connection, seq: int) -> None:
    """Drop a settled change."""
    db.execute("DELETE FROM change WHERE seq = ? AND state = 'settled'", (seq,))


def push_again(db: apsw.Connection, change: Change, now: float) -> bool:
    """Push a settled change once more; False where a newer one has taken the key. What was sent through since and was
    not answered has not: its client was told that nobody knows."""
    db.execute(
        """UPDATE change SET state = 'waiting', next_at = ?, attempts = 0 WHERE seq = ? AND state = 'settled'
        AND NOT EXISTS (SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.seq > change.seq AND newer.state <> 'settled')""",
        (now, change.seq),
    )
    return db.changes() > 0
