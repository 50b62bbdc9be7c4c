"""What a change says of others (SEMANTICS Q-21, Q-2b): which one must be delivered before it, and what its maker saw.

The tables themselves let a change wait no longer than it must (tables/order.sql). Here it is found out which one is
meant, and refused where that cannot be: no two changes ever wait for each other.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import apsw

from s3d.layers.queue.rows import queries
from s3d.layers.queue.rows.states import CONTENT, Op, State
from s3d.store.db import Database

SQL = queries.load("order")
Table = list[tuple[Any, ...]]
CONFLICT = "Conflict"
"""The code of a change that is kept beside what somebody else wrote."""
MAX_CHAIN = 64
"""Changes behind each other that are looked at before a further one is refused."""


class Changed(Exception):
    """A key is not as the maker of a change saw it, so that nothing is queued."""


@dataclass(frozen=True, slots=True)
class Named:
    """A change that must be delivered first: by its key, and the ETag that it gives it ("": it deletes it)."""

    bucket: str
    key: str
    etag: str
    seen: str | None = None
    """The ETag that this gateway last saw for the key, None where it never looked."""


def check(expected: str, seen: str | None, pending: Iterable[tuple[str, str, str, str]]) -> bool:
    """See that a key is as somebody saw it; whether something is pending there. Raises Changed.

    `pending` are op, state, ETag and code of what is pending of it, oldest first. What was never looked at is no
    contradiction: whoever pushes compares. What is kept beside the version of somebody else is one: who has seen it
    has not seen the other, which a newer write would replace.
    """
    shown: str | None = None
    for op, state, etag, code in pending:
        if op == Op.THROUGH:
            raise Changed("another write to it is on its way")
        if op in CONTENT:
            if state == State.QUARANTINED:
                raise Changed("what is pending of it is damaged")
            if state == State.PARKED and code == CONFLICT:
                raise Changed("what is pending of it is kept back: somebody else wrote it")
            shown = shown_by(op, etag)
    if (shown if shown is not None else seen) not in (None, expected):
        raise Changed(f"it shows {_words(seen if shown is None else shown)} instead of {_words(expected)}")
    return shown is not None


def shown_by(op: str, etag: str) -> str:
    """The ETag that a put or delete gives its key."""
    return "" if op == Op.DELETE else etag


def _words(etag: str | None) -> str:
    return etag or "no object"


def find(db: apsw.Connection, named: Named | None, bucket: str, key: str) -> int | None:
    """The seq of the change that one of this bucket and key must wait for; None where that one is delivered.

    Raises Changed where it is neither pending nor was seen at the remote, or waits for this key itself.
    """
    if named is None:
        return None
    rows: Table = db.execute(SQL["newest_content"], (named.bucket, named.key)).fetchall()
    for seq, op, etag in rows:
        if shown_by(op, etag) == named.etag:
            _refuse_circle(db, seq, bucket, key)
            return int(seq)
    if rows or named.seen != named.etag:
        raise Changed(f"{named.bucket}/{named.key}, which must be delivered first, is not the object that is meant")
    return None


def _refuse_circle(db: apsw.Connection, seq: int, bucket: str, key: str) -> None:
    """Raise Changed where a change waits for one of this key: what takes the place of that would wait for itself."""
    ahead, looked_at = [seq], set[int]()
    while ahead:
        one = ahead.pop()
        if one in looked_at:
            continue
        looked_at.add(one)
        rows: Table = db.execute(SQL["what_waits_before"], (one,)).fetchall()
        for its_bucket, its_key, before in rows:
            if (its_bucket, its_key) == (bucket, key) or len(looked_at) > MAX_CHAIN:
                raise Changed("what must be delivered first waits for this key itself")
            ahead += json.loads(before)


def move(db: apsw.Connection, dropped: Iterable[int], heir: int) -> None:
    """Let what waited for changes that are dropped wait for the one that takes their place."""
    db.executemany(SQL["move"], [(heir, seq) for seq in dropped])


def park_lost(db: apsw.Connection, low: int, high: int) -> None:
    """Park, of the changes behind `low` up to `high`, those that wait for what is not there."""
    db.execute(SQL["park_lost"], (low, high))


def followers(db: Database, seq: int) -> int:
    """How many changes wait for one."""
    return int(db.read(SQL["followers"], (seq,))[0][0])


def has_followers(db: apsw.Connection, seq: int) -> bool:
    """Whether any change waits for one."""
    return bool(db.execute(SQL["followers"], (seq,)).get)


def stalled(db: Database) -> int:
    """How many changes wait, directly or not, for one that is kept back: a drain cannot deliver them."""
    return int(db.read(SQL["stalled"])[0][0])


def hurry(db: apsw.Connection, seq: int, now: float) -> None:
    """Make due all that a change waits for."""
    db.execute(SQL["hurry"], (seq, now))
