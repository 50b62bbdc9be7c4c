"""The steady clock of the tables, and times in them that cannot be (SEMANTICS D-10).

All SQL on the table `clock` is in here. Times are the steady clock's: no row of ours bears a time that is still to
come, but for what it waits for, and nothing waits for longer than the longest pause. What a row says beyond that is
damage, or comes from elsewhere: it must neither keep a change waiting nor hide its age.
"""

import apsw

from s3d.clock import LATEST, Clock, Kept, Machine, resume, sound
from s3d.layers.queue.rows import claims
from s3d.layers.queue.rows.changes import ACTIVE, DUE, NEVER, Table
from s3d.layers.queue.rows.claims import SLOW
from s3d.layers.queue.rows.uploads import EVERY
from s3d.store.db import Database, StoreFull

AGE = "coalesce(queued_at, acked_at)"


async def start(db: Database, machine: Machine, longest: float) -> Clock:
    """The clock of the tables, going on from where the last process left it; `longest` is the longest pause.

    What cannot be is mended before anybody else looks.
    """

    def write(connection: apsw.Connection) -> Clock:
        rows: Table = connection.execute("SELECT boot, ahead, seen FROM clock").fetchall()
        kept = next((Kept(*row) for row in rows if sound(row[2]) and isinstance(row[1], float)), None)
        newest: Table = connection.execute(
            f"SELECT {AGE} FROM change WHERE state IN {ACTIVE} AND {AGE} <= ? ORDER BY {AGE} DESC LIMIT 1", (LATEST,)
        ).fetchall()
        clock = resume(machine, kept, newest[0][0] if newest else 0.0)
        if writes:
            note(connection, clock)
            mend(connection, clock.now(), longest)
        return clock

    writes = True
    try:
        return await db.write(write)
    except StoreFull:
        # A full disk is drained all the same; the time is noted as soon as there is room.
        writes = False
        return await db.write(write)


def note(db: apsw.Connection, clock: Clock) -> None:
    """Note what the clock shows, so that no later start falls behind it."""
    db.execute(
        "INSERT OR REPLACE INTO clock (one, boot, ahead, seen) VALUES (1, ?, ?, ?)",
        (clock.boot, clock.ahead, clock.now()),
    )


def mend(db: apsw.Connection, now: float, longest: float) -> int:
    """Make due what is due further ahead than the longest pause, and let what is older than it can be begin now.

    Each is found by a seek. How many rows that were.
    """
    before = db.total_changes()
    far = now + longest
    for lane in claims.lanes(claims.rows_of(db)):
        for kind in (0, 1):
            db.execute(
                f"""UPDATE change SET next_at = ? WHERE {DUE} AND bucket = ? AND identity = ? AND {SLOW} = ?
                AND next_at > ?""",
                (now, *lane, kind, far),
            )
    # What is under way has NEVER.
    db.execute(
        "UPDATE change SET next_at = ?1 WHERE state = 'in_doubt' AND next_at > ?2 AND next_at <> ?3", (now, far, NEVER)
    )
    db.execute("UPDATE change SET next_at = ?1 WHERE state = 'settled' AND next_at > ?1", (now,))
    db.execute(f"UPDATE change SET queued_at = ?1 WHERE state IN {ACTIVE} AND {AGE} > ?1", (now,))
    db.execute("UPDATE lane SET probe_at = ?1 WHERE probe IS NULL AND probe_at > ?2", (now, far))
    db.execute("UPDATE lane SET since = ?1 WHERE since > ?1", (now,))
    db.execute(f"UPDATE upload SET touched_at = ?1 WHERE state IN {EVERY} AND touched_at > ?1", (now,))
    db.execute("UPDATE hold SET asked_at = ?1 WHERE asked_at > ?1", (now,))
    return db.total_changes() - before
