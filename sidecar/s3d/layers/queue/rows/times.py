"""The steady clock of the tables, and times in them that cannot be (SEMANTICS D-10).

All SQL on the table `clock` is in here. Times are the steady clock's: no row of ours bears a time that is still to
come, but for what it waits for, and nothing waits for longer than the longest pause. What a row says beyond that is
damage, or comes from elsewhere: it must neither keep a change waiting nor hide its age.
"""

import apsw

from s3d.clock import MAX_TIME, Clock, Kept, Machine, resume, sound
from s3d.layers.queue.rows import claims, queries
from s3d.layers.queue.rows.changes import NEVER, Table
from s3d.layers.queue.rows.states import UploadState, literals
from s3d.store.db import Database
from s3d.store.failures import StoreFull

SQL = queries.load("times", sound=literals(state for state in UploadState if state is not UploadState.QUARANTINED))


async def start(db: Database, machine: Machine, longest: float) -> Clock:
    """The clock of the tables, going on from where the last process left it; `longest` is the longest pause.

    What cannot be is mended before anybody else looks.
    """

    def write(connection: apsw.Connection) -> Clock:
        rows: Table = connection.execute(SQL["clock"]).fetchall()
        kept = next((Kept(*row) for row in rows if sound(row[2]) and isinstance(row[1], float)), None)
        newest: Table = connection.execute(SQL["newest_on_the_way"], (MAX_TIME,)).fetchall()
        clock = resume(machine, kept, newest[0][0] if newest else 0.0)
        if writes:
            note(connection, clock)
            mend(connection, clock.now(), longest)
        return clock

    writes = True
    try:
        return await db.write(write)
    except StoreFull:
        # A full disk is still drained; the time is noted as soon as there is room.
        writes = False
        return await db.write(write)


def note(db: apsw.Connection, clock: Clock) -> None:
    """Note what the clock shows, so that no later start falls behind it."""
    db.execute(SQL["note"], (clock.boot, clock.ahead, clock.now()))


def mend(db: apsw.Connection, now: float, longest: float) -> int:
    """Make due what is due further ahead than the longest pause, and let what is older than it can be begin now.

    Each is found by a seek. How many rows that were.
    """
    before = db.total_changes()
    far = now + longest
    for lane in claims.lanes(claims.rows_of(db)):
        for kind in (0, 1):
            db.execute(SQL["mend_due"], (now, *lane, kind, far))
    # What is under way has NEVER.
    db.execute(SQL["mend_in_doubt"], (now, far, NEVER))
    db.execute(SQL["mend_settled"], (now,))
    db.execute(SQL["mend_age"], (now,))
    db.execute(SQL["mend_probe"], (now, far))
    db.execute(SQL["mend_lane"], (now,))
    db.execute(SQL["mend_upload"], (now,))
    db.execute(SQL["mend_hold"], (now,))
    return db.total_changes() - before
