"""What is due: which changes a push takes next, by lane, and when there will be some (SEMANTICS Q-2, Q-10).

Of each key the oldest goes first; lanes take turns; what is slow leaves workers to what is not. Nothing in here decides
what an attempt came to: that is `transitions`.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import apsw

from s3d.layers.queue.rows import changes, damage, queries, soundness
from s3d.layers.queue.rows.changes import FIELDS, NEVER, WITH_INLINE, Change, Table
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

LARGE_BYTES = 8388608
"""Bytes above which a change is slow to push; the fragment `slow` and the index `change_due` have the same number."""
SQL = queries.load("claims", change=FIELDS, change_with_body=WITH_INLINE)
Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a statement that reads; its rows."""


def buckets_with_waiting(db: Database, limit: int) -> list[str]:
    """Buckets in which something waits or is held, up to `limit`."""
    names = dict.fromkeys(bucket for bucket, _ in itertools.islice(lanes(db.read), limit))
    last = ""
    for _ in range(limit):
        rows = db.read(SQL["next_bucket_held"], (last,))
        if not rows:
            break
        last = rows[0][0]
        names[last] = None
    return list(names)[:limit]


def identities_waiting(db: Database, bucket: str, limit: int) -> list[str]:
    """Some identities of which something waits in a bucket, by a seek each."""
    found: list[str] = []
    least = ""
    while len(found) < limit and (rows := db.read(SQL["lane_from"], (bucket, least))):
        found.append(str(rows[0][0]))
        least = found[-1] + "\0"
    return found


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
    the others take turns, beginning behind the lane `after`. What is in doubt goes first, whatever its lane (Q-3), and
    is slow, since it was tried before. Of a lane in `slowed` one change is taken where that says so, else none.
    """
    slow = limit if slow is None else slow
    claimed: list[Change] = []
    for lane in (lane for lane, may in slowed.items() if may and len(claimed) < limit):
        one = damage.sound(db, _one_of(db, lane, now, slow=slow > 0, waiting=lane not in closed))
        slow -= sum(map(is_slow, one))
        claimed += one
    closed |= slowed.keys()
    room = max(min(limit - len(claimed), slow), 0)
    rows = db.execute(SQL["in_doubt"], (now, json.dumps([*slowed]), room))
    in_doubt = damage.sound(db, map(changes.of_row, rows))
    claimed += in_doubt
    slow -= len(in_doubt)
    for lane in lanes(rows_of(db), after):
        if len(claimed) >= limit:
            break
        if lane in closed:
            continue
        for kind in (0, 1):
            room = min(limit - len(claimed), slow if kind else limit)
            if room > 0:
                due = db.execute(SQL["due_in_lane"], (*lane, kind, now, room)).fetchall()
                slow -= kind * len(due)
                claimed += damage.sound(db, map(changes.of_row, due))
    mark_claimed(db, claimed, now)
    return claimed


def _one_of(db: apsw.Connection, lane: tuple[str, str], now: float, *, slow: bool, waiting: bool) -> Iterator[Change]:
    """The change by which a lane is tried that is slowed down: one that was not tried before, since what fails for
    itself shall not keep the others waiting; else the one that is due for the longest time."""
    for is_tried in (False, True):
        rows: Table = []
        if waiting and (slow or not is_tried):
            rows += db.execute(SQL["due_in_lane"], (*lane, int(is_tried), now, 1))
        if slow and is_tried:
            rows += db.execute(SQL["in_doubt_in_lane"], (*lane, now))
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
    return change.size > LARGE_BYTES or change.attempts > 0


def mark_claimed(db: apsw.Connection, claimed: list[Change], now: float) -> None:
    """Mark changes as being pushed."""
    db.executemany(SQL["mark"], [(now, NEVER, change.seq) for change in claimed])


def rows_of(db: apsw.Connection) -> Rows:
    """Reads through the writing connection."""
    return lambda sql, bindings: db.execute(sql, bindings).fetchall()


def lanes(read: Rows, after: tuple[str, str] = ("", "")) -> Iterator[tuple[str, str]]:
    """Every lane in which something waits, by a seek each: first those behind `after`, then the others."""
    start, wrapped = after, after == ("", "")
    while True:
        # Two seeks, since for a row value SQLite walks all that is equal in the first column.
        rows = read(SQL["lane_behind"], start) or read(
            SQL["lane_of_next_bucket"],
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
    rows = read(SQL["waiting_in_lane"], (bucket, identity, limit))
    return (change for change in map(changes.of_row, rows) if not change.damage)


def first_of_prefixes(read: Rows, bucket: str, identity: str, *, limit: int) -> Iterator[Change]:
    """A waiting change of a lane for each first part of a key, by a seek each."""
    start = ""
    for _ in range(limit):
        rows = read(SQL["first_from_key"], (bucket, identity, start))
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
    rows = db.read(SQL["in_doubt_and_tried"], (least, limit))
    for lane in itertools.islice(lanes(db.read), limit):
        rows += db.read(SQL["tried_in_lane"], (*lane, least, limit))
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
    times = read(SQL["next_in_doubt"], (past,))
    for number, lane in enumerate(lanes(read)):
        if most is not None and number >= most:
            return 0.0
        for kind in () if lane in closed else (0, 1) if slow else (0,):
            times += read(SQL["next_in_lane"], (*lane, kind, past))
    # Where nothing else is due, the first may be one that is no time: that one is set aside when it is looked at.
    known = [soundness.moment_leniently(time) for (time,) in times]
    return min((time for time in known if time is not None and time < NEVER), default=None)


def hurry_all(db: apsw.Connection, bucket: str, prefix: str, seq: int, now: float) -> None:
    """Make due what was acknowledged up to `seq`."""
    db.execute(SQL["hurry_all"], (now, seq, bucket, prefix))
    db.execute(SQL["hurry_unjudged"], (now, seq, bucket, prefix))


def expedite(db: apsw.Connection, now: float) -> None:
    """Make everything that waits for its time due, for the drain at the end."""
    db.execute(SQL["expedite"], (now,))
    db.execute(SQL["hurry_unjudged"], (now, soundness.MAX_INTEGER, "", ""))


def hurry(db: apsw.Connection, bucket: str, key: str | None, prefix: str, seq: int, now: float) -> None:
    """Make due what a barrier waits for (as in `obstacle`) and nothing but its delay holds back."""
    if key is None:
        db.execute(SQL["hurry_prefix"], (bucket, prefix, seq, now))
    else:
        db.execute(SQL["hurry_key"], (bucket, key, seq, now))
