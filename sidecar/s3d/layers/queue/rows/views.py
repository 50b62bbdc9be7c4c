"""What the table of changes shows: to reads and listings, to barriers, to status and to a person (SEMANTICS R-1, R-2).

Nothing in here writes. What is superseded or settled is shown to nobody but where a function says so.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import apsw

from s3d.layers.queue.rows import changes, soundness
from s3d.layers.queue.rows.changes import ACTIVE, FIELDS, KEPT, PENDING, WITH_INLINE, Change
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.rules.tags import TAGGING
from s3d.store.db import Database

SHOWN = f"op IN ('put', 'delete', 'complete') AND {PENDING}"
"""What reads and listings answer from."""


def visible(db: Database, bucket: str, key: str) -> Change | None:
    """The change that reads of a key answer from (R-2), with its inline body; None where nothing is pending.

    Its tags are those of a change of tags behind it. A change of tags whose put is settled comes as itself.
    """
    change = _newest(db, bucket, key, "op <> 'through'")
    if change is None or change.op != Op.TAG:
        return change
    if change.state == State.QUARANTINED:
        # Its tags are not known, and so is not what the object is.
        behind = _newest(db, bucket, key, "op NOT IN ('through', 'tag')") or replace(change, op=Op.PUT)
        return replace(behind, state=change.state, code=change.code, reason=change.reason)
    tagged = _newest(db, bucket, key, "op NOT IN ('through', 'tag')")
    if tagged is None:
        return change
    return replace(tagged, members={**tagged.members, TAGGING: change.members[TAGGING]})


def _newest(db: Database, bucket: str, key: str, ops: str) -> Change | None:
    rows = db.read(
        f"""SELECT {WITH_INLINE} FROM change WHERE bucket = ? AND key = ? AND {ops}
        AND {PENDING} ORDER BY seq DESC LIMIT 1""",
        (bucket, key),
    )
    return changes.of_row(rows[0]) if rows else None


def of_key(db: Database, bucket: str, key: str) -> list[Change]:
    """The newest hundred changes of a key, oldest first."""
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE bucket = ? AND key = ? AND op <> 'through' AND state <> 'settled'
        ORDER BY seq DESC LIMIT 100""",
        (bucket, key),
    )
    return [changes.of_row(row) for row in reversed(rows)]


def obstacle(db: Database, bucket: str, key: str | None, seq: int, prefix: str = "") -> Change | None:
    """The oldest change that a barrier on a key (None: on all of the bucket's under `prefix`) still waits for.

    It waits for what was acknowledged up to `seq`, and for what took the place of that.
    """
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE {within(key)} AND coalesce(since, seq) <= ?3 AND op <> 'through'
        AND {PENDING} ORDER BY coalesce(since, seq) LIMIT 1""",
        (bucket, prefix if key is None else key, seq),
    )
    return changes.of_row(rows[0]) if rows else None


def listed(db: Database, bucket: str, low: str, below: str | None, limit: int) -> list[Change]:
    """What listings show or hide: the newest put or delete of each key from `low` up to, not including, `below`."""
    until, bindings = ("", (bucket, low, limit)) if below is None else ("AND key < ?4", (bucket, low, limit, below))
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE bucket = ?1 AND key >= ?2 {until} AND {SHOWN} AND NOT EXISTS (
        SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.seq > change.seq AND newer.{SHOWN.replace(" AND ", " AND newer.")}) ORDER BY key LIMIT ?3""",
        bindings,
    )
    return [changes.of_row(row) for row in rows]


def kept_back(db: Database, bucket: str) -> bool:
    """Whether a put in a bucket is held or parked."""
    return any(
        db.read(f"SELECT 1 FROM change WHERE {which} AND bucket = ? AND op IN ('put', 'complete') LIMIT 1", (bucket,))
        for which in ("state = 'held'", f"{KEPT} AND state = 'parked'")
    )


def newest(db: Database) -> int:
    """The seq of the newest row ever added."""
    rows = db.read("SELECT seq FROM sqlite_sequence WHERE name = 'change'")
    return int(rows[0][0]) if rows else 0


def tally(db: Database) -> dict[str, tuple[int, int]]:
    """Changes and bytes by state."""
    return {state: (changes, size) for state, changes, size in db.read("SELECT state, changes, bytes FROM tally")}


def bucket_tally(db: Database, bucket: str) -> tuple[int, int]:
    """Changes and bytes that are pending in one bucket."""
    rows = db.read(
        """SELECT count(*), coalesce(sum(size), 0) FROM change WHERE bucket = ? AND op <> 'through'
        AND state <> 'settled'""",
        (bucket,),
    )
    return rows[0][0], rows[0][1]


def oldest(db: Database) -> float | None:
    """When the oldest change that is to be pushed was acknowledged, by the steady clock."""
    age = "coalesce(queued_at, acked_at)"
    rows = db.read(f"SELECT {age} FROM change WHERE state IN {ACTIVE} ORDER BY {age} LIMIT 1")
    return soundness.moment_leniently(rows[0][0]) if rows else None


def kept(db: Database, bucket: str, prefix: str, seq: int | None, after: int, limit: int) -> list[Change]:
    """Changes that wait for a person, in order, behind `after`: of a bucket ("": all), under a prefix, or one alone."""
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE {KEPT} AND op <> 'through' AND seq > ?1
        AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3)) AND (?4 IS NULL OR seq = ?4)
        ORDER BY seq LIMIT ?5""",
        (after, bucket, prefix, seq, limit),
    )
    return [changes.of_row(row) for row in rows]


def with_inline(db: Database, change: Change) -> Change:
    """A change with its inline body."""
    rows = db.read(f"SELECT {WITH_INLINE} FROM change WHERE seq = ?", (change.seq,))
    return changes.of_row(rows[0]) if rows else change


def left(db: apsw.Connection, bucket: str, prefix: str, seq: int) -> tuple[int, int]:
    """Changes and bytes on their way to the remote of those that were acknowledged up to `seq`, or took their place."""
    rows: list[tuple[Any, ...]] = db.execute(
        f"""SELECT count(*), coalesce(sum(size), 0) FROM change WHERE state IN {ACTIVE} AND op <> 'through'
        AND coalesce(since, seq) <= ?1 AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3))""",
        (seq, bucket, prefix),
    ).fetchall()
    return rows[0][0], rows[0][1]


def files_known(db: Database, files: Iterable[str]) -> set[str]:
    """Those of the given body files that a row refers to."""
    found: set[str] = set()
    for file in files:
        if db.read("SELECT 1 FROM change WHERE file = ? LIMIT 1", (file,)):
            found.add(file)
    return found


def within(key: str | None) -> str:
    """The rows of a bucket (?1) with a key (?2), or with any key under a prefix (?2) where `key` is None."""
    return "bucket = ?1 AND " + ("substr(key, 1, length(?2)) = ?2" if key is None else "key = ?2")
