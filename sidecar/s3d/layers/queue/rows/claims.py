"""What is due: which changes a push takes next, by lane, and when there will be some (SEMANTICS Q-2, Q-10).

Of each key the oldest goes first; lanes take turns; what is slow leaves workers to what is not. Nothing in here decides
what an attempt came to: that is `outcomes`.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import apsw

from s3d.layers.queue.rows import changes, damage, soundness, views
from s3d.layers.queue.rows.changes import AHEAD, DUE, FIELDS, NEVER, WITH_INLINE, Change, Table
from s3d.store.db import Database, StoreFailed

LARGE = 8388608
"""Bytes above which a change is slow to push."""
SLOW = f"(size > {LARGE} OR attempts > 0)"
"""What may keep a worker for long: large, or tried before. The same words are in the index `change_due`."""
MOST_SLOWED = 10_000
"""Lanes that are slowed down and left out of a statement."""
Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a statement that reads; its rows."""


def judge_holds(db: apsw.Connection, bucket: str, after: int, limit: int, now: float) -> int | None:
    """Judge the next `limit` changes of a bucket behind `after` anew; the seq of the last, None where none are left."""
    # By number, so that all calls together walk the table once.
    rows: Table = db.execute(
        """SELECT seq FROM change NOT INDEXED WHERE bucket = ? AND seq > ? AND state IN ('waiting', 'held')
        AND op <> 'through' ORDER BY seq LIMIT ?""",
        (bucket, after, limit),
    ).fetchall()
    for (seq,) in rows:
        changes.judge_hold(db, seq, now)
    return rows[-1][0] if len(rows) == limit else None


def buckets_with_waiting(db: Database, limit: int) -> list[str]:
    """Buckets in which something waits or is held, up to `limit`."""
    names = dict.fromkeys(bucket for bucket, _ in itertools.islice(lanes(db.read), limit))
    last = ""
    for _ in range(limit):
        rows = db.read("SELECT bucket FROM change WHERE state = 'held' AND bucket > ? ORDER BY bucket LIMIT 1", (last,))
        if not rows:
            break
        last = rows[0][0]
        names[last] = None
    return list(names)[:limit]


def claim(
    db: apsw.Connection,
    *,
    now: float,
    limit: int,
    slow: int | None = None,
    closed: frozenset[tuple[str, str]] = frozenset(),
    slowed: Mapping[tuple[str, str], bool] = MappingProxyType({}),
    after: tuple[str, str] = ("", ""),
) -> list[Change]:
    """Take up to `limit` due changes whose turn it is, and mark them as pushing before their first byte is sent.

    At most `slow` of them are slow (None: any number). A lane is bucket and identity; those in `closed` are left alone,
    the others take turns, beginning behind the lane `after`. What is unknown goes first, whatever its lane (Q-3), and
    is slow, since it was tried before. Of a lane in `slowed` one change is taken where that says so, else none.
    """
    slow = limit if slow is None else slow
    claimed: list[Change] = []
    for lane in (lane for lane, may in slowed.items() if may and len(claimed) < limit):
        one = damage.sound(db, _one_of(db, lane, now, slow=slow > 0, waiting=lane not in closed))
        slow -= sum(map(is_slow, one))
        claimed += one
    closed |= slowed.keys()
    elsewhere, names = "", tuple(itertools.chain.from_iterable(itertools.islice(slowed, MOST_SLOWED)))
    if names:
        pairs = ", ".join(["(?, ?)"] * (len(names) // 2))
        elsewhere = f"AND NOT EXISTS (SELECT 1 FROM (VALUES {pairs}) WHERE column1 = bucket AND column2 = identity)"
    unknown = db.execute(
        f"""SELECT {WITH_INLINE} FROM change WHERE state = 'unknown' AND next_at <= ? {elsewhere}
        ORDER BY next_at LIMIT ?""",
        (now, *names, max(min(limit - len(claimed), slow), 0)),
    )
    doubted = damage.sound(db, map(changes.of_row, unknown))
    claimed += doubted
    slow -= len(doubted)
    for lane in lanes(rows_of(db), after):
        if len(claimed) >= limit:
            break
        if lane in closed:
            continue
        for kind in (0, 1):
            room = min(limit - len(claimed), slow if kind else limit)
            if room > 0:
                rows = db.execute(
                    f"""SELECT {WITH_INLINE} FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND {SLOW} = ?
                    AND next_at <= ? AND NOT {AHEAD} ORDER BY next_at, seq LIMIT ?""",
                    (*lane, kind, now, room),
                ).fetchall()
                slow -= kind * len(rows)
                claimed += damage.sound(db, map(changes.of_row, rows))
    mark_claimed(db, claimed, now)
    return claimed


def _one_of(db: apsw.Connection, lane: tuple[str, str], now: float, *, slow: bool, waiting: bool) -> Iterator[Change]:
    """The change by which a lane is tried that is slowed down: one that was not tried before, since what fails for
    itself shall not keep the others waiting; else the one that is due for the longest time."""
    quick, tried = f"{DUE} AND NOT {AHEAD} AND {SLOW} = 0", f"{DUE} AND NOT {AHEAD} AND {SLOW} = 1"
    for kinds in ([quick] if waiting else [], [*([tried] if waiting else []), "state = 'unknown'"] if slow else []):
        rows: Table = []
        for kind in kinds:
            rows += db.execute(
                f"""SELECT {WITH_INLINE} FROM change WHERE {kind} AND bucket = ? AND identity = ? AND next_at <= ?
                ORDER BY next_at, seq LIMIT 1""",
                (*lane, now),
            ).fetchall()
        found = [changes.of_row(row) for row in rows]
        if damaged := [change for change in found if change.damage]:
            # Whoever claims them sets them aside.
            yield from damaged
            return
        if found:
            yield min(found, key=lambda change: (change.next_at, change.seq))
            return


def is_slow(change: Change) -> bool:
    """Whether a change may keep its worker for long: it is large, or was tried before."""
    return change.size > LARGE or change.attempts > 0


def mark_claimed(db: apsw.Connection, claimed: list[Change], now: float) -> None:
    """Mark changes as being pushed."""
    db.executemany(
        """UPDATE change SET state = iif(state = 'waiting', 'pushing', state), attempts = attempts + 1, attempt_at = ?1,
        next_at = ?2 WHERE seq = ?3""",
        [(now, NEVER, change.seq) for change in claimed],
    )


def rows_of(db: apsw.Connection) -> Rows:
    """Reads through the writing connection."""
    return lambda sql, bindings: db.execute(sql, bindings).fetchall()


def lanes(read: Rows, after: tuple[str, str] = ("", "")) -> Iterator[tuple[str, str]]:
    """Every lane in which something waits, by a seek each: first those behind `after`, then the others."""
    start, wrapped = after, after == ("", "")
    while True:
        # Two seeks, since for a row value SQLite walks all that is equal in the first column.
        rows = read(
            f"SELECT bucket, identity FROM change WHERE {DUE} AND bucket = ? AND identity > ? "
            "ORDER BY identity LIMIT 1",
            start,
        ) or read(
            f"SELECT bucket, identity FROM change WHERE {DUE} AND bucket > ? ORDER BY bucket, identity LIMIT 1",
            start[:1],
        )
        if not rows:
            if wrapped:
                return
            start, wrapped = ("", ""), True
            continue
        if not all(isinstance(value, str) for value in rows[0]):
            raise StoreFailed("the bucket of a change, or who wrote it, is no text")
        start = (rows[0][0], rows[0][1])
        if wrapped and after != ("", "") and start > after:
            return
        yield start


def waiting_in(read: Rows, bucket: str, identity: str, *, limit: int) -> Iterator[Change]:
    """Waiting changes of a lane whose turn it is, whatever their time; not quite the oldest first."""
    rows = read(
        f"""SELECT {WITH_INLINE} FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND NOT {AHEAD}
        ORDER BY {SLOW}, next_at, seq LIMIT ?""",
        (bucket, identity, limit),
    )
    return (change for change in map(changes.of_row, rows) if not change.damage)


def first_of_prefixes(read: Rows, bucket: str, identity: str, *, limit: int) -> Iterator[Change]:
    """A waiting change of a lane for each first part of a key, by a seek each."""
    start = ""
    for _ in range(limit):
        rows = read(
            f"""SELECT {WITH_INLINE} FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND key >= ?
            AND NOT {AHEAD} ORDER BY key, seq LIMIT 1""",
            (bucket, identity, start),
        )
        if not rows:
            return
        change = changes.of_row(rows[0])
        if change.damage:
            # Whoever claims it sets it aside.
            return
        yield change
        first, slash, _ = change.key.partition("/")
        # The character behind the slash begins what no key of this part begins with.
        start = first + "0" if slash else change.key + "\0"


def tried(db: Database, least: int, limit: int) -> list[Change]:
    """Up to `limit` changes that were tried at least so often and are not delivered, those first that are due first."""
    rows = db.read(
        f"SELECT {FIELDS} FROM change WHERE state = 'unknown' AND attempts >= ? ORDER BY next_at LIMIT ?",
        (least, limit),
    )
    for lane in itertools.islice(lanes(db.read), limit):
        rows += db.read(
            f"""SELECT {FIELDS} FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND {SLOW} = 1
            AND attempts >= ? ORDER BY next_at LIMIT ?""",
            (*lane, least, limit),
        )
    return [change for change in map(changes.of_row, rows) if not change.damage][:limit]


def next_due(
    read: Rows,
    *,
    past: float = -1.0,
    slow: bool = True,
    closed: frozenset[tuple[str, str]] = frozenset(),
    most: int | None = None,
) -> float | None:
    """When the next change becomes due, of those that become due after `past` (Unix times); None where none does.

    Slow changes count where `slow` says so, lanes in `closed` do not. Of more than `most` lanes the others are taken
    to be due at once.
    """
    times = read("SELECT min(next_at) FROM change WHERE state = 'unknown' AND next_at > ?", (past,))
    for number, lane in enumerate(lanes(read)):
        if most is not None and number >= most:
            return 0.0
        for kind in () if lane in closed else (0, 1) if slow else (0,):
            times += read(
                f"""SELECT min(next_at) FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND {SLOW} = ?
                AND next_at > ?""",
                (*lane, kind, past),
            )
    # Where nothing else is due, the first may be one that is no time: that one is set aside when it is looked at.
    known = [soundness.moment_leniently(time) for (time,) in times]
    return min((time for time in known if time is not None and time < NEVER), default=None)


def hurry_all(db: apsw.Connection, bucket: str, prefix: str, seq: int, now: float) -> None:
    """Make due what was acknowledged up to `seq`."""
    db.execute(
        f"""UPDATE change SET next_at = ?1 WHERE {DUE} AND next_at > ?1 AND coalesce(since, seq) <= ?2
        AND (?3 = '' OR (bucket = ?3 AND substr(key, 1, length(?4)) = ?4))""",
        (now, seq, bucket, prefix),
    )


def expedite(db: apsw.Connection, now: float) -> None:
    """Make everything that waits for its time due, for the drain at the end."""
    db.execute(f"UPDATE change SET next_at = ?1 WHERE {DUE} AND next_at > ?1", (now,))


def hurry(db: apsw.Connection, bucket: str, key: str | None, prefix: str, seq: int, now: float) -> None:
    """Make due what a barrier waits for (as in `obstacle`) and nothing but its delay holds back."""
    db.execute(
        f"""UPDATE change SET next_at = ?4 WHERE {views.within(key)} AND coalesce(since, seq) <= ?3
        AND state = 'waiting' AND attempts = 0 AND op <> 'through' AND next_at > ?4""",
        (bucket, prefix if key is None else key, seq, now),
    )
