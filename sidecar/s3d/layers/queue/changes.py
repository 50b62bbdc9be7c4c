"""The queue's SQL: every statement on its tables, and nothing else.

Functions that take a connection first are run by the store's writing thread inside its transaction; the others read.
A change moves only along the states of docs/ARCHITECTURE.md, and only here.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import apsw

from s3d.layers.queue import holds
from s3d.store.db import Database

Table = list[tuple[Any, ...]]
NEVER = 1e12
"""A time that does not come: keeps an attempt under way from being claimed twice."""
TAGGING = holds.TAGGING
"""The member of a put that holds its tags, and the only one of a change of tags."""
NOBODY = "[]"
"""The column `former` where nothing of the key may still arrive."""
ANY = "?"
"""In `former`: a write that was sent through and of which nobody knows the ETag."""
ACTIVE = "('waiting', 'pushing', 'unknown')"
KEPT = "state IN ('held', 'parked', 'superseded', 'quarantined')"
"""What waits for a person."""
DUE = "state = 'waiting' AND op <> 'through'"
LARGE = 8388608
"""Bytes above which a change is slow to push."""
SLOW = f"(size > {LARGE} OR attempts > 0)"
"""What may keep a worker for long: large, or tried before. The same words are in the index `change_due`."""
FIELDS = """seq, bucket, key, op, state, members, size, etag, acked_at, attempts, next_at, attempt_at, code, reason,
    file, identity, refusals, rule, upload"""
PENDING = "state <> 'superseded' AND state <> 'settled'"
"""What reads, barriers and counts are about; the other two are only kept."""
SHOWN = f"op IN ('put', 'delete', 'complete') AND {PENDING}"
"""What reads and listings answer from."""
Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a statement that reads; its rows."""
AHEAD = f"""EXISTS (SELECT 1 FROM change AS ahead WHERE ahead.bucket = change.bucket AND ahead.key = change.key
    AND ahead.seq < change.seq AND ahead.state IN {ACTIVE})"""


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the table, without its inline body unless asked for."""

    seq: int
    bucket: str
    key: str
    op: str
    state: str
    members: Mapping[str, str]
    size: int
    etag: str
    acked_at: float
    attempts: int
    next_at: float
    attempt_at: float | None
    code: str
    reason: str
    file: str | None
    identity: str = ""
    refusals: int = 0
    rule: str = ""
    upload: str | None = None
    """Of a completed upload: whose parts are the body."""
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """What an enqueue did: the new row, and the files of what it superseded, now orphans."""

    seq: int
    files: tuple[str, ...]


def of_row(row: tuple[Any, ...]) -> Change:
    """Make a Change of the columns in FIELDS, and of `inline` where it was selected."""
    values = list(row)
    values[5] = json.loads(values[5])
    return Change(*values)


@dataclass(frozen=True, slots=True)
class New:
    """A change that is to be queued. Times are Unix times.

    Its body is `inline`, in `file`, in the parts of `upload`, or there is none.
    """

    bucket: str
    key: str
    identity: str
    op: str
    now: float
    next_at: float
    members: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    etag: str = ""
    file: str | None = None
    inline: bytes | None = None
    upload: str | None = None
    base: str | None = None
    """The ETag that was last seen for the key; "" where there was no object, None where nobody looked (Q-18)."""
    ordered: bool = False
    """Whether older changes of the key are pushed all the same: the remote keeps each as a version (Q-14)."""


def enqueue(db: apsw.Connection, new: New) -> Queued:
    """Add a put or a delete and supersede what it makes pointless (Q-2, Q-9).

    An older change that has not started is dropped, unless the turn of a request stands between the two: that request
    was promised to see it. A parked one keeps its bytes and answers no read any more.
    """
    dropped: list[tuple[int, str | None]] = []
    # Looking first is cheap, and mostly all: a statement that could delete opens every index.
    older: Table = db.execute(
        f"""SELECT seq, coalesce(since, seq), op, state, file, former, base_etag FROM change
        WHERE bucket = ? AND key = ? AND {PENDING} ORDER BY seq""",
        (new.bucket, new.key),
    ).fetchall()
    turn = max((seq for seq, _, op, *_ in older if op == "through"), default=0)
    late: list[str] = []
    for seq, since, op, state, file, former, base in older:
        if new.base is None and op not in ("through", "tag"):
            new = replace(new, base=base)
        if state in ("waiting", "held") and op != "through" and seq > turn and not (new.ordered and state == "waiting"):
            db.execute("DELETE FROM change WHERE seq = ?", (seq,))
            dropped.append((since, file))
            late.append(former)
        elif state in ("parked", "quarantined"):
            db.execute("UPDATE change SET state = 'superseded' WHERE seq = ?", (seq,))
            late.append(former)
    _insert(db, new, min((since for since, _ in dropped), default=None), merged(late))
    return Queued(db.last_insert_rowid(), tuple(file for _, file in dropped if file is not None))


def _insert(db: apsw.Connection, new: New, since: int | None, former: str = NOBODY) -> None:
    rule = holds.rule_of(db, new.bucket, new.op, new.members)
    db.execute(
        """INSERT INTO change
        (since, bucket, key, identity, op, state, members, size, etag, acked_at, next_at, file, inline, upload, former,
        rule, ordered, base_etag) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            since,
            new.bucket,
            new.key,
            new.identity,
            new.op,
            "held" if rule else "waiting",
            json.dumps(dict(new.members)),
            new.size,
            new.etag,
            new.now,
            new.next_at,
            new.file,
            new.inline,
            new.upload,
            former,
            rule,
            new.ordered,
            new.base,
        ),
    )


def retag(db: apsw.Connection, new: New) -> bool:
    """Queue a change of tags (Q-19): fold it into the put that is to be pushed, or add a row behind one under way.

    False, and nothing done, where no put is pending, or the turn of a request stands behind it. Tags "" are none.
    """
    rows = db.execute(
        f"SELECT seq, op, state FROM change WHERE bucket = ? AND key = ? AND {PENDING} ORDER BY seq DESC",
        (new.bucket, new.key),
    )
    found: list[tuple[Any, ...]] = rows.fetchall()
    for seq, op, state in found:
        if op not in ("put", "tag") or state == "quarantined":
            return False
        if op == "tag" and state in ("waiting", "held"):
            db.execute("UPDATE change SET members = ? WHERE seq = ?", (json.dumps(dict(new.members)), seq))
            return True
        if op == "tag" and state == "parked":
            db.execute("UPDATE change SET state = 'superseded' WHERE seq = ?", (seq,))
        elif op == "put":
            if state in ("pushing", "unknown"):
                _insert(db, new, None)
            else:
                _fold(db, seq, new.members[TAGGING])
                _judge_hold(db, seq, new.next_at)
            return True
    return False


def _absorb(db: apsw.Connection, seq: int) -> None:
    """Make the tags that wait behind a put part of it: it is not under way any more."""
    behind: list[tuple[Any, ...]] = db.execute(
        """DELETE FROM change WHERE op = 'tag' AND state IN ('waiting', 'held') AND seq > ?1 AND (bucket, key) =
        (SELECT bucket, key FROM change WHERE seq = ?1 AND op = 'put') RETURNING members""",
        (seq,),
    ).fetchall()
    for (members,) in behind:
        _fold(db, seq, json.loads(members)[TAGGING])


def _fold(db: apsw.Connection, seq: int, tagging: str) -> None:
    """Give a put other tags."""
    rows: list[tuple[Any, ...]] = db.execute("SELECT members FROM change WHERE seq = ?", (seq,)).fetchall()
    for (text,) in rows:
        members = json.loads(text)
        members.pop(TAGGING, None)
        if tagging:
            members[TAGGING] = tagging
        db.execute("UPDATE change SET members = ? WHERE seq = ?", (json.dumps(members), seq))


def _judge_hold(db: apsw.Connection, seq: int, next_at: float) -> None:
    """Hold a waiting change, or release a held one, by its tags and its bucket's (Q-11)."""
    rows: Table = db.execute(
        "SELECT bucket, op, members, state FROM change WHERE seq = ? AND state IN ('waiting', 'held')", (seq,)
    ).fetchall()
    for bucket, op, members, state in rows:
        rule = holds.rule_of(db, bucket, op, json.loads(members))
        if rule:
            db.execute("UPDATE change SET state = 'held', rule = ? WHERE seq = ?", (rule, seq))
        elif state == "held":
            db.execute("UPDATE change SET state = 'waiting', rule = '', next_at = ? WHERE seq = ?", (next_at, seq))


def judge_holds(db: apsw.Connection, bucket: str, after: int, limit: int, now: float) -> int | None:
    """Judge the next `limit` changes of a bucket behind `after` anew; the seq of the last, None where none are left."""
    # By number, so that all calls together walk the table once.
    rows: Table = db.execute(
        """SELECT seq FROM change NOT INDEXED WHERE bucket = ? AND seq > ? AND state IN ('waiting', 'held')
        AND op <> 'through' ORDER BY seq LIMIT ?""",
        (bucket, after, limit),
    ).fetchall()
    for (seq,) in rows:
        _judge_hold(db, seq, now)
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
    after: tuple[str, str] = ("", ""),
) -> list[Change]:
    """Take up to `limit` due changes whose turn it is, and mark them as pushing before their first byte is sent.

    At most `slow` of them are slow (None: any number). A lane is bucket and identity; those in `closed` are left alone,
    the others take turns, beginning behind the lane `after`. What is unknown goes first, whatever its lane (Q-3).
    """
    unknown = db.execute(
        f"SELECT {FIELDS}, inline FROM change WHERE state = 'unknown' AND next_at <= ? ORDER BY next_at LIMIT ?",
        (now, max(limit, 0)),
    )
    claimed = [of_row(row) for row in unknown]
    slow = limit if slow is None else slow
    for lane in lanes(rows_of(db), after):
        if len(claimed) >= limit:
            break
        if lane in closed:
            continue
        for kind in (0, 1):
            room = min(limit - len(claimed), slow if kind else limit)
            if room > 0:
                rows = db.execute(
                    f"""SELECT {FIELDS}, inline FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND {SLOW} = ?
                    AND next_at <= ? AND NOT {AHEAD} ORDER BY next_at, seq LIMIT ?""",
                    (*lane, kind, now, room),
                ).fetchall()
                slow -= kind * len(rows)
                claimed += [of_row(row) for row in rows]
    mark_claimed(db, claimed, now)
    return claimed


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
        start = (rows[0][0], rows[0][1])
        if wrapped and after != ("", "") and start > after:
            return
        yield start


def waiting_in(db: apsw.Connection, bucket: str, identity: str, *, limit: int) -> Iterator[Change]:
    """Waiting changes of a lane whose turn it is, whatever their time; not quite the oldest first."""
    rows = db.execute(
        f"""SELECT {FIELDS}, inline FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND NOT {AHEAD}
        ORDER BY {SLOW}, next_at, seq LIMIT ?""",
        (bucket, identity, limit),
    ).fetchall()
    return map(of_row, rows)


def first_of_prefixes(db: apsw.Connection, bucket: str, identity: str, *, limit: int) -> Iterator[Change]:
    """A waiting change of a lane for each first part of a key, by a seek each."""
    start = ""
    for _ in range(limit):
        row = db.execute(
            f"""SELECT {FIELDS}, inline FROM change WHERE {DUE} AND bucket = ? AND identity = ? AND key >= ?
            AND NOT {AHEAD} ORDER BY key, seq LIMIT 1""",
            (bucket, identity, start),
        ).fetchone()
        if row is None:
            return
        change = of_row(row)
        yield change
        first, slash, _ = change.key.partition("/")
        # The character behind the slash begins what no key of this part begins with.
        start = first + "0" if slash else change.key + "\0"


def settle(db: apsw.Connection, seq: int, *, now: float = 0.0, window: float = 0.0, shown: str = "") -> tuple[str, ...]:
    """Drop a change that the remote has confirmed, showing this ETag; the ids of files that nothing refers to any more.

    Where an attempt at its key of the last `window` seconds may still arrive, a put or delete is kept as settled, in
    place of the one that was kept before; its `next_at` is then the time of its settling (Q-3).
    """
    rows: Table = db.execute(
        """SELECT new.op, new.file, new.former, old.seq, old.file, old.former, new.bucket, new.key, new.etag
        FROM change AS new
        LEFT JOIN change AS old ON old.bucket = new.bucket AND old.key = new.key AND old.state = 'settled'
        WHERE new.seq = ? AND new.state IN ('pushing', 'unknown')""",
        (seq,),
    ).fetchall()
    if not rows:
        return ()
    op, file, former, *_, bucket, key, etag = rows[0]
    if op == "tag":
        # The put that it is about may be kept, and is then pushed again with these tags.
        tagging: Table = db.execute(
            "DELETE FROM change WHERE seq = ? RETURNING bucket, key, members", (seq,)
        ).fetchall()
        for bucket, key, members in tagging:
            tag_settled(db, bucket, key, json.loads(members)[TAGGING])
        return ()
    _rebase(db, bucket, key, seq, shown or etag)
    before = [(old, file, former) for _, _, _, old, file, former, *_ in rows if old is not None]
    late = merged([former, *(former for _, _, former in before)], now - window)
    db.executemany("DELETE FROM change WHERE seq = ?", [(old,) for old, _, _ in before])
    orphans = [old_file for _, old_file, _ in before]
    if late == NOBODY or op not in ("put", "delete"):
        db.execute("DELETE FROM change WHERE seq = ?", (seq,))
        orphans.append(file)
    else:
        db.execute("UPDATE change SET state = 'settled', former = ?, next_at = ? WHERE seq = ?", (late, now, seq))
    return tuple(orphan for orphan in orphans if orphan is not None)


def _rebase(db: apsw.Connection, bucket: str, key: str, seq: int, etag: str) -> None:
    """Note at the change behind `seq` what it finds at the remote: an ETag of ours."""
    behind: Table = db.execute(
        "SELECT seq FROM change WHERE bucket = ? AND key = ? AND seq > ? ORDER BY seq LIMIT 1", (bucket, key, seq)
    ).fetchall()
    for (later,) in behind:
        db.execute("UPDATE change SET base_etag = ? WHERE seq = ?", (etag, later))


def base_of(db: Database, change: Change) -> tuple[str | None, frozenset[str]]:
    """The base of a change, ANY where it is ours and not known, and the ETags that attempts of ours may have made."""
    rows = db.read(
        "SELECT seq, base_etag, former FROM change WHERE bucket = ? AND key = ? AND (seq = ? OR state = 'settled')",
        (change.bucket, change.key, change.seq),
    )
    ours = {etag for _, _, former in rows for etag, _ in json.loads(former)}
    return next((base for seq, base, _ in rows if seq == change.seq), None), frozenset(ours)


def based_on(seq: int, etag: str) -> Callable[[apsw.Connection], None]:
    """A write that gives a change another base."""

    def write(db: apsw.Connection) -> None:
        db.execute("UPDATE change SET base_etag = ? WHERE seq = ?", (etag, seq))

    return write


def tag_settled(db: apsw.Connection, bucket: str, key: str, tagging: str) -> None:
    """Give the put that is kept of a key the tags that the remote has taken since; "": none."""
    kept: Table = db.execute(
        "SELECT seq FROM change WHERE bucket = ? AND key = ? AND state = 'settled' AND op = 'put'", (bucket, key)
    ).fetchall()
    for (seq,) in kept:
        _fold(db, seq, tagging)


def merged(formers: Iterable[str], since: float = 0.0) -> str:
    """Several values of the column `former` as one: the latest attempt of each ETag, without those before `since`."""
    latest: dict[str, float] = {}
    for former in formers:
        if former != NOBODY:
            for etag, at in json.loads(former):
                latest[etag] = max(at, latest.get(etag, 0.0))
    kept = [[etag, at] for etag, at in latest.items() if at >= since]
    return json.dumps(kept) if kept else NOBODY


def may_arrive(db: apsw.Connection, seq: int, etag: str, at: float) -> None:
    """Note at a row that an attempt which was sent and not answered may still arrive, with this ETag ("": a delete)."""
    rows: Table = db.execute("SELECT former FROM change WHERE seq = ?", (seq,)).fetchall()
    for (former,) in rows:
        db.execute("UPDATE change SET former = ? WHERE seq = ?", (merged([former, json.dumps([[etag, at]])]), seq))


def put_back(
    db: apsw.Connection, change: Change, *, state: str, next_at: float, code: str, reason: str, refusals: int = 0
) -> str | None:
    """Record an attempt that did not settle: `waiting` (refused for now), `unknown` (no answer), `parked` (refused for
    good) or `quarantined` (bad body). `refusals` counts the attempts in a row that met a 4xx which nobody knows.

    A newer put or delete takes the key from what is not under way any more: then a waiting change is dropped, and the
    id of its file returned for deletion; a parked or quarantined one is kept, superseded. Tags that waited for a put
    become part of it.
    """
    if state != "unknown":
        _absorb(db, change.seq)
    overtaken = state != "unknown" and db.execute(
        """SELECT coalesce(sum(op NOT IN ('through', 'tag')) > 0 AND sum(op = 'through' OR ordered) = 0, 0)
        FROM change WHERE bucket = ? AND key = ? AND seq > ?""",
        (change.bucket, change.key, change.seq),
    ).fetchone() == (1,)
    if overtaken and state == "waiting":
        _hand_over(db, change)
        db.execute("DELETE FROM change WHERE seq = ?", (change.seq,))
        return change.file
    if state == "unknown" and change.op != "tag":
        may_arrive(db, change.seq, change.etag, next_at)
    db.execute(
        """UPDATE change SET state = ?2, next_at = ?3, code = ?4, reason = ?5, refusals = ?6
        WHERE seq = ?1 AND state IN ('pushing', 'unknown')""",
        (change.seq, "superseded" if overtaken else state, next_at, code, reason, refusals),
    )
    if state == "waiting":
        _judge_hold(db, change.seq, next_at)
    return None


def _hand_over(db: apsw.Connection, change: Change) -> None:
    """Leave to the next change of the key what an overtaken one knew."""
    rows: Table = db.execute(
        "SELECT seq, former FROM change WHERE bucket = ? AND key = ? AND seq >= ? ORDER BY seq LIMIT 2",
        (change.bucket, change.key, change.seq),
    ).fetchall()
    (_, former), *rest = rows
    for seq, other in rest:
        db.execute("UPDATE change SET former = ? WHERE seq = ?", (merged([former, other]), seq))


def quarantine(db: apsw.Connection, seq: int, reason: str) -> None:
    """Set a change aside whose body is bad, whatever its state (D-4)."""
    _absorb(db, seq)
    db.execute(
        "UPDATE change SET state = 'quarantined', code = 'CorruptBody', reason = ? WHERE seq = ? AND op <> 'through'",
        (reason, seq),
    )


def take_turn(db: apsw.Connection, *, bucket: str, key: str, identity: str, now: float) -> int:
    """Stand in line for a key: a row without a body, which later changes do not overtake."""
    db.execute(
        """INSERT INTO change (bucket, key, identity, op, state, acked_at, next_at)
        VALUES (?, ?, ?, 'through', 'waiting', ?, ?)""",
        (bucket, key, identity, now, NEVER),
    )
    return db.last_insert_rowid()


def start_turn(db: apsw.Connection, seq: int) -> bool:
    """Claim the key for a request whose turn it is; False while something is ahead of it, on its way or kept back."""
    db.execute(
        f"""UPDATE change SET state = 'pushing' WHERE seq = ? AND state = 'waiting' AND NOT {AHEAD} AND NOT EXISTS (
        SELECT 1 FROM change AS stuck WHERE stuck.bucket = change.bucket AND stuck.key = change.key
        AND stuck.seq < change.seq AND stuck.state IN ('held', 'parked', 'quarantined'))""",
        (seq,),
    )
    return db.changes() > 0


def end_turn(db: apsw.Connection, seq: int, *, made: str | None = None) -> None:
    """Leave the line; `made` is the ETag that the request gave the object, None where it left it as it was."""
    rows: Table = db.execute(
        "DELETE FROM change WHERE seq = ? AND op = 'through' RETURNING bucket, key", (seq,)
    ).fetchall()
    for bucket, key in rows if made is not None else ():
        _rebase(db, bucket, key, seq, made or "")


def lose_turn(db: apsw.Connection, seq: int, *, etag: str, now: float) -> None:
    """Leave the line without an answer: what was sent may still arrive, with this ETag (ANY: nobody knows) (Q-3)."""
    may_arrive(db, seq, etag, now)
    db.execute("UPDATE change SET state = 'settled', next_at = ? WHERE seq = ? AND op = 'through'", (now, seq))


def drop_kept(db: apsw.Connection, bucket: str, key: str) -> tuple[str, ...]:
    """Let go of the settled body of a key that something else has replaced; the ids of files. What may arrive stays."""
    rows: Table = db.execute(
        "SELECT seq, file FROM change WHERE bucket = ? AND key = ? AND state = 'settled' AND op <> 'through'",
        (bucket, key),
    ).fetchall()
    db.executemany(
        "UPDATE change SET op = 'through', file = NULL, inline = NULL WHERE seq = ?", [(seq,) for seq, _ in rows]
    )
    return tuple(file for _, file in rows if file is not None)


def kept_since(db: Database) -> float | None:
    """When the oldest change that is kept was settled (Unix time); None where none is kept."""
    moment: float | None = db.read("SELECT min(next_at) FROM change WHERE state = 'settled'")[0][0]
    return moment


def settled(db: Database, until: float, limit: int) -> list[tuple[Change, tuple[str, ...]]]:
    """Changes that were settled at `until` or before, with the ETags of attempts that may have arrived since."""
    rows = db.read(
        f"SELECT former, {FIELDS} FROM change WHERE state = 'settled' AND next_at <= ? ORDER BY next_at LIMIT ?",
        (until, limit),
    )
    return [(of_row(row[1:]), tuple(etag for etag, _ in json.loads(row[0]))) for row in rows]


def release(db: apsw.Connection, seq: int) -> str | None:
    """Drop a settled change; the id of its file."""
    rows: Table = db.execute("DELETE FROM change WHERE seq = ? AND state = 'settled' RETURNING file", (seq,)).fetchall()
    return rows[0][0] if rows else None


def push_again(db: apsw.Connection, change: Change, now: float) -> bool:
    """Push a settled change once more; False where a newer one has taken the key."""
    db.execute(
        """UPDATE change SET state = 'waiting', next_at = ?, attempts = 0 WHERE seq = ? AND state = 'settled'
        AND NOT EXISTS (SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.seq > change.seq)""",
        (now, change.seq),
    )
    return db.changes() > 0


def recover(db: apsw.Connection) -> None:
    """Make the tables true after a crash: attempts under way are unknown (Q-3), clients of turns are gone.

    What a turn had sent may still arrive: its row goes on as that of a lost answer.
    """
    db.execute("DELETE FROM change WHERE state = 'waiting' AND op = 'through'")
    rows: Table = db.execute(
        "SELECT seq, op, etag, coalesce(attempt_at, acked_at) FROM change WHERE state = 'pushing'"
    ).fetchall()
    for seq, op, etag, at in rows:
        if op != "tag":
            may_arrive(db, seq, ANY if op == "through" else etag, at)
    db.execute("UPDATE change SET state = 'settled', next_at = acked_at WHERE state = 'pushing' AND op = 'through'")
    db.execute("UPDATE change SET state = 'unknown', next_at = 0 WHERE state = 'pushing'")
    db.execute("UPDATE change SET next_at = 0 WHERE state = 'unknown'")


def visible(db: Database, bucket: str, key: str) -> Change | None:
    """The change that reads of a key answer from (R-2), with its inline body; None where nothing is pending.

    Its tags are those of a change of tags behind it. A change of tags whose put is settled comes as itself.
    """
    change = _newest(db, bucket, key, "op <> 'through'")
    if change is None or change.op != "tag":
        return change
    tagged = _newest(db, bucket, key, "op NOT IN ('through', 'tag')")
    if tagged is None:
        return change
    return replace(tagged, members={**tagged.members, TAGGING: change.members[TAGGING]})


def _newest(db: Database, bucket: str, key: str, ops: str) -> Change | None:
    rows = db.read(
        f"""SELECT {FIELDS}, inline FROM change WHERE bucket = ? AND key = ? AND {ops}
        AND {PENDING} ORDER BY seq DESC LIMIT 1""",
        (bucket, key),
    )
    return of_row(rows[0]) if rows else None


def of_key(db: Database, bucket: str, key: str) -> list[Change]:
    """The newest hundred changes of a key, oldest first."""
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE bucket = ? AND key = ? AND op <> 'through' AND state <> 'settled'
        ORDER BY seq DESC LIMIT 100""",
        (bucket, key),
    )
    return [of_row(row) for row in reversed(rows)]


def obstacle(db: Database, bucket: str, key: str | None, seq: int, prefix: str = "") -> Change | None:
    """The oldest change that a barrier on a key (None: on all of the bucket's under `prefix`) still waits for.

    It waits for what was acknowledged up to `seq`, and for what took the place of that.
    """
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE {within(key)} AND coalesce(since, seq) <= ?3 AND op <> 'through'
        AND {PENDING} ORDER BY coalesce(since, seq) LIMIT 1""",
        (bucket, prefix if key is None else key, seq),
    )
    return of_row(rows[0]) if rows else None


def listed(db: Database, bucket: str, low: str, below: str | None, limit: int) -> list[Change]:
    """What listings show or hide: the newest put or delete of each key from `low` up to, not including, `below`."""
    until, bindings = ("", (bucket, low, limit)) if below is None else ("AND key < ?4", (bucket, low, limit, below))
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE bucket = ?1 AND key >= ?2 {until} AND {SHOWN} AND NOT EXISTS (
        SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.seq > change.seq AND newer.{SHOWN.replace(" AND ", " AND newer.")}) ORDER BY key LIMIT ?3""",
        bindings,
    )
    return [of_row(row) for row in rows]


def kept_back(db: Database, bucket: str) -> bool:
    """Whether a put in a bucket is held or parked."""
    return any(
        db.read(f"SELECT 1 FROM change WHERE {which} AND bucket = ? AND op IN ('put', 'complete') LIMIT 1", (bucket,))
        for which in ("state = 'held'", f"{KEPT} AND state = 'parked'")
    )


def any_put(db: Database, bucket: str, low: str, below: str | None) -> bool:
    """Whether listings show a pending object from `low` up to, not including, `below`."""
    while True:
        found = listed(db, bucket, low, below, 500)
        if any(change.op != "delete" for change in found):
            return True
        if len(found) < 500:
            return False
        low = found[-1].key + "\0"


def newest(db: Database) -> int:
    """The seq of the newest row ever added."""
    rows = db.read("SELECT seq FROM sqlite_sequence WHERE name = 'change'")
    return int(rows[0][0]) if rows else 0


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
    return min((time for (time,) in times if time is not None and time < NEVER), default=None)


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
    """When the oldest change that is to be pushed was acknowledged (Unix time)."""
    rows = db.read(f"SELECT acked_at FROM change WHERE state IN {ACTIVE} ORDER BY acked_at LIMIT 1")
    return rows[0][0] if rows else None


def kept(db: Database, bucket: str, prefix: str, seq: int | None, after: int, limit: int) -> list[Change]:
    """Changes that wait for a person, in order, behind `after`: of a bucket ("": all), under a prefix, or one alone."""
    rows = db.read(
        f"""SELECT {FIELDS} FROM change WHERE {KEPT} AND op <> 'through' AND seq > ?1
        AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3)) AND (?4 IS NULL OR seq = ?4)
        ORDER BY seq LIMIT ?5""",
        (after, bucket, prefix, seq, limit),
    )
    return [of_row(row) for row in rows]


def with_inline(db: Database, change: Change) -> Change:
    """A change with its inline body."""
    rows = db.read(f"SELECT {FIELDS}, inline FROM change WHERE seq = ?", (change.seq,))
    return of_row(rows[0]) if rows else change


def unpark(db: apsw.Connection, some: list[Change], now: float) -> list[int]:
    """Make those wait for their turn again that are parked; their seqs."""
    moved = []
    for change in some:
        db.execute(
            "UPDATE change SET state = 'waiting', next_at = ?, refusals = 0 WHERE seq = ? AND state = 'parked'",
            (now, change.seq),
        )
        if db.changes():
            moved.append(change.seq)
    return moved


def discard(db: apsw.Connection, some: list[Change]) -> list[Change]:
    """Drop those that still wait for a person; which they were."""
    gone = []
    for change in some:
        db.execute(f"DELETE FROM change WHERE seq = ? AND {KEPT}", (change.seq,))
        if db.changes():
            gone.append(change)
    return gone


def left(db: apsw.Connection, bucket: str, prefix: str, seq: int) -> tuple[int, int]:
    """Changes and bytes on their way to the remote of those that were acknowledged up to `seq`, or took their place."""
    rows: list[tuple[Any, ...]] = db.execute(
        f"""SELECT count(*), coalesce(sum(size), 0) FROM change WHERE state IN {ACTIVE} AND op <> 'through'
        AND coalesce(since, seq) <= ?1 AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3))""",
        (seq, bucket, prefix),
    ).fetchall()
    return rows[0][0], rows[0][1]


def hurry_all(db: apsw.Connection, bucket: str, prefix: str, seq: int, now: float) -> None:
    """Make due what was acknowledged up to `seq`."""
    db.execute(
        f"""UPDATE change SET next_at = ?1 WHERE {DUE} AND next_at > ?1 AND coalesce(since, seq) <= ?2
        AND (?3 = '' OR (bucket = ?3 AND substr(key, 1, length(?4)) = ?4))""",
        (now, seq, bucket, prefix),
    )


def files_known(db: Database, files: list[str]) -> set[str]:
    """Those of the given body files that a row refers to."""
    found: set[str] = set()
    for file in files:
        if db.read("SELECT 1 FROM change WHERE file = ? LIMIT 1", (file,)):
            found.add(file)
    return found


def expedite(db: apsw.Connection, now: float) -> None:
    """Make everything that waits for its time due, for the drain at the end."""
    db.execute(f"UPDATE change SET next_at = ?1 WHERE {DUE} AND next_at > ?1", (now,))


def hurry(db: apsw.Connection, bucket: str, key: str | None, prefix: str, seq: int, now: float) -> None:
    """Make due what a barrier waits for (as in `obstacle`) and nothing but its delay holds back."""
    db.execute(
        f"""UPDATE change SET next_at = ?4 WHERE {within(key)} AND coalesce(since, seq) <= ?3 AND state = 'waiting'
        AND attempts = 0 AND op <> 'through' AND next_at > ?4""",
        (bucket, prefix if key is None else key, seq, now),
    )


def within(key: str | None) -> str:
    """The rows of a bucket (?1) with a key (?2), or with any key under a prefix (?2) where `key` is None."""
    return "bucket = ?1 AND " + ("substr(key, 1, length(?2)) = ?2" if key is None else "key = ?2")


def remembered_bucket(db: Database, name: str) -> tuple[str, str] | None:
    """What is remembered of a bucket: why its writes go through (''; they are queued), and the remote's word for it."""
    rows = db.read("SELECT through, detail FROM bucket WHERE name = ?", (name,))
    return (rows[0][0], rows[0][1]) if rows else None


def remember_bucket(name: str, through: str, detail: str, now: float) -> Callable[[apsw.Connection], None]:
    """A write that remembers a bucket."""

    def write(db: apsw.Connection) -> None:
        db.execute(
            "INSERT OR REPLACE INTO bucket (name, seen_at, through, detail) VALUES (?, ?, ?, ?)",
            (name, now, through, detail),
        )

    return write


def forget_bucket(name: str) -> Callable[[apsw.Connection], None]:
    """A write that forgets a bucket, so that the next put asks the remote again."""

    def write(db: apsw.Connection) -> None:
        db.execute("DELETE FROM bucket WHERE name = ?", (name,))

    return write


def belongs_to(db: Database) -> str | None:
    """The endpoint of the remote that the changes belong to (D-9)."""
    rows = db.read("SELECT value FROM meta WHERE name = 'remote'")
    return rows[0][0] if rows else None


def assign_to(endpoint: str) -> Callable[[apsw.Connection], None]:
    """A write that makes the changes belong to a remote, of which nothing is known yet."""

    def write(db: apsw.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('remote', ?)", (endpoint,))
        db.execute("DELETE FROM meta WHERE name = 'honoured'")

    return write


def honoured(db: Database) -> frozenset[str]:
    """The conditions on a put that the remote is known to honour, as names of headers (Q-18)."""
    rows = db.read("SELECT value FROM meta WHERE name = 'honoured'")
    return frozenset(rows[0][0].split()) if rows else frozenset()


def honour(conditions: Iterable[str]) -> Callable[[apsw.Connection], None]:
    """A write that remembers them."""
    value = " ".join(sorted(conditions))

    def write(db: apsw.Connection) -> None:
        db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('honoured', ?)", (value,))

    return write
