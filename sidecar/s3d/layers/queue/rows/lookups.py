"""What the table of changes shows: to reads and listings, to barriers, to status and to a person (SEMANTICS R-1, R-2).

Nothing in here writes. What is superseded or settled is shown to nobody but where a function says so.
"""

from collections.abc import Iterable
from typing import Any

import apsw

from s3d.layers.queue.rows import changes, order, queries, soundness
from s3d.layers.queue.rows.changes import FIELDS, WITH_INLINE, Change
from s3d.layers.queue.rows.states import Op, State
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

SQL = queries.load("lookups", change=FIELDS, change_with_body=WITH_INLINE)


def visible(db: Database, bucket: str, key: str) -> Change | None:
    """The change that reads of a key answer from (R-2), with its inline body; None where nothing is pending.

    Its tags are those of a change of tags behind it. A change of tags whose put is settled comes as itself.
    """
    change = _newest(db, bucket, key)
    if change is None or change.op != Op.TAG:
        return change
    if change.state == State.QUARANTINED:
        # Its tags are not known, and so is not what the object is.
        behind = _newest_content(db, bucket, key) or change._replace(op=Op.PUT)
        return behind._replace(state=change.state, code=change.code, reason=change.reason)
    tagged = _newest_content(db, bucket, key)
    if tagged is None:
        return change
    return tagged._replace(members={**tagged.members, TAGGING: change.members[TAGGING]})


def _newest(db: Database, bucket: str, key: str) -> Change | None:
    rows = db.read(SQL["newest_change"], (bucket, key))
    return changes.of_row(rows[0]) if rows else None


def _newest_content(db: Database, bucket: str, key: str) -> Change | None:
    rows = db.read(SQL["newest_content"], (bucket, key))
    return changes.of_row(rows[0]) if rows else None


def of_key(db: Database, bucket: str, key: str) -> list[Change]:
    """The newest hundred changes of a key, oldest first."""
    rows = db.read(SQL["of_key"], (bucket, key))
    return [changes.of_row(row) for row in reversed(rows)]


def obstacle(db: Database, bucket: str, key: str | None, seq: int, prefix: str = "") -> Change | None:
    """The oldest change that a barrier on a key (None: on all of the bucket's under `prefix`) still waits for.

    It waits for what was acknowledged up to `seq`, and for what took the place of that.
    """
    if key is None:
        rows = db.read(SQL["obstacle_under_prefix"], (bucket, prefix, seq))
    else:
        rows = db.read(SQL["obstacle_of_key"], (bucket, key, seq))
    return changes.of_row(rows[0]) if rows else None


def listed(db: Database, bucket: str, low: str, below: str | None, limit: int) -> list[Change]:
    """What listings show or hide: the newest put or delete of each key from `low` up to, not including, `below`."""
    if below is None:
        rows = db.read(SQL["listed_from"], (bucket, low, limit))
    else:
        rows = db.read(SQL["listed_between"], (bucket, low, limit, below))
    return [changes.of_row(row) for row in rows]


def kept_back(db: Database, bucket: str) -> bool:
    """Whether a put in a bucket is held or parked."""
    return bool(db.read(SQL["any_held"], (bucket,)) or db.read(SQL["any_parked"], (bucket,)))


def newest(db: Database) -> int:
    """The seq of the newest row ever added."""
    rows = db.read(SQL["newest"])
    return int(rows[0][0]) if rows else 0


def tally(db: Database) -> dict[str, tuple[int, int]]:
    """Changes and bytes by state. A count that is none is 0 until it is made anew (damage.py)."""
    counted = soundness.count_leniently
    return {state: (counted(changes), counted(size)) for state, changes, size in db.read(SQL["tally"])}


def bucket_tally(db: Database, bucket: str) -> tuple[int, int]:
    """Changes and bytes that are pending in one bucket."""
    rows = db.read(SQL["bucket_tally"], (bucket,))
    return rows[0][0], rows[0][1]


def oldest(db: Database) -> float | None:
    """When the oldest change that is to be pushed was acknowledged, by the steady clock."""
    rows = db.read(SQL["oldest"])
    return soundness.moment_leniently(rows[0][0]) if rows else None


def under_way(db: Database, limit: int) -> list[Change]:
    """The oldest changes that are to be pushed and wait for no other one."""
    return [changes.of_row(row) for row in db.read(SQL["under_way"], (limit,))]


def kept(db: Database, bucket: str, prefix: str, seq: int | None, after: int, limit: int) -> list[Change]:
    """Changes that wait for a person, in order, behind `after`: of a bucket ("": all), under a prefix, or one alone."""
    rows = db.read(SQL["kept"], (after, bucket, prefix, seq, limit))
    return [changes.of_row(row) for row in rows]


def pending(db: Database, seq: int) -> Change | None:
    """A change that is not delivered yet; None where there is none of this number."""
    rows = db.read(SQL["pending_one"], (seq,))
    return changes.of_row(rows[0]) if rows else None


def with_inline(db: Database, change: Change) -> Change:
    """A change with its inline body."""
    rows = db.read(SQL["one"], (change.seq,))
    return changes.of_row(rows[0]) if rows else change


def waited_for(db: Database, change: Change) -> Change | None:
    """The change that must be delivered before another one; None where nothing must, or it is delivered by now."""
    rows = db.read(SQL["by_number"], (change.after,)) if change.after is not None else []
    return changes.of_row(rows[0]) if rows else None


def held_up_by(db: Database, change: Change) -> Change | None:
    """What a change waits for at the end of all waiting; None where it waits for no other one."""
    last: Change | None = None
    for _ in range(order.MAX_CHAIN):
        if (following := waited_for(db, last or change)) is None:
            break
        last = following
    return last


def left(db: apsw.Connection, bucket: str, prefix: str, seq: int) -> tuple[int, int]:
    """Changes and bytes on their way to the remote of those that were acknowledged up to `seq`, or took their place."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["left"], (seq, bucket, prefix)).fetchall()
    return rows[0][0], rows[0][1]


def files_known(db: Database, files: Iterable[str]) -> set[str]:
    """Those of the given body files that a row refers to."""
    found: set[str] = set()
    for file in files:
        if db.read(SQL["knows_file"], (file,)):
            found.add(file)
    return found
