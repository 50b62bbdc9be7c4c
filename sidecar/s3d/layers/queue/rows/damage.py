"""Sets aside rows that cannot be read (SEMANTICS D-4, D-14), so that every other statement meets sound rows alone.

A change that is damaged becomes a quarantined one in its own row, with what can be read of it; the row as it was found
is kept in the table `damaged`. What is only knowledge (what may still arrive of a delivered change, the turn of a
request, lanes, profiles, buckets) is forgotten: the remote can be asked again. An upload of which a row is damaged is
quarantined with its parts, and expires as any other that nobody goes on with.

A look at the tables goes over them in steps, since a column that holds nonsense may be in no index.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from s3d.layers.queue.rows import account, changes, order, queries, schema, soundness, uploads
from s3d.layers.queue.rows.changes import Change, Table
from s3d.layers.queue.rows.states import COUNTED, State, UploadState
from s3d.store.db import Database

log = logging.getLogger(__name__)

SQL = queries.load("damage", change=changes.FIELDS, upload=uploads.UPLOAD, part=uploads.PART)
MIN_ROWID = -(1 << 63)
MAX_BATCH = 500
"""Rows that are looked at in one transaction."""
LANE: soundness.Columns = (
    ("bucket", soundness.bucket_name, ""),
    ("identity", soundness.text, ""),
    ("state", soundness.one_of("trying", "paused"), ""),
    ("since", soundness.moment, 0.0),
    ("code", soundness.text, ""),
    ("reason", soundness.text, ""),
    ("attempts", soundness.count, 0),
    ("probe_at", soundness.moment, 0.0),
    ("probe", soundness.count_or_none, None),
    ("kinds", soundness.texts_of, []),
)
KNOWLEDGE: tuple[tuple[str, int, soundness.Columns], ...] = (
    (
        "lane",
        2,
        LANE,
    ),
    (
        "hold",
        1,
        (
            ("bucket", soundness.bucket_name, ""),
            ("upload", soundness.text, ""),
            ("asked_at", soundness.moment, 0.0),
        ),
    ),
    (
        "write_profile",
        4,
        (
            ("bucket", soundness.text, ""),
            ("identity", soundness.text, ""),
            ("operation", soundness.text, ""),
            ("members", soundness.text, ""),
            ("verdict", soundness.one_of("proven", "doubted"), ""),
            ("learned_at", soundness.moment, 0.0),
        ),
    ),
    (
        "bucket",
        1,
        (
            ("name", soundness.bucket_name, ""),
            ("seen_at", soundness.moment, 0.0),
            ("through", soundness.text, ""),
            ("detail", soundness.text, ""),
        ),
    ),
    (
        "bucket_right",
        2,
        (
            ("bucket", soundness.bucket_name, ""),
            ("identity", soundness.text, ""),
            ("seen_at", soundness.moment, 0.0),
        ),
    ),
    (
        "cors",
        1,
        (
            ("bucket", soundness.bucket_name, ""),
            ("rules", soundness.document, {}),
            ("asked_at", soundness.moment, 0.0),
        ),
    ),
    ("bucket_tag", 1, (("bucket", soundness.bucket_name, ""), ("tags", soundness.document, {}))),
    ("meta", 1, (("name", soundness.text, ""), ("value", soundness.text, ""))),
    ("garbage", 1, (("file", soundness.text, ""), ("upload", soundness.text, ""))),
    (
        "orphan_upload",
        2,
        (
            ("bucket", soundness.bucket_name, ""),
            ("remote", soundness.text, ""),
            ("key", soundness.name, ""),
            ("identity", soundness.text, ""),
        ),
    ),
)
"""Tables of what the remote can be asked again, or the sweep finds: how many columns name a row, and all of them."""
COLUMNS = tuple(name for name, *_ in soundness.CHANGE)


@dataclass(frozen=True, slots=True)
class Damaged:
    """A change whose row could not be read."""

    seq: int
    reason: str


def look(db: apsw.Connection, after: int, limit: int) -> int | None:
    """Look at the next `limit` changes behind `after`; the seq of the last one, None where none are left."""
    rows: Table = db.execute(SQL["behind"], (after, limit)).fetchall()
    set_aside(db, [row[0] for row in rows if soundness.read(row)[1]])
    if rows:
        order.park_lost(db, after, rows[-1][0])
    return rows[-1][0] if len(rows) == limit else None


def look_at_attempts(db: apsw.Connection) -> None:
    """Look at the changes that were under way when the process before this one ended."""
    rows: Table = db.execute(SQL["attempts"]).fetchall()
    set_aside(db, [row[0] for row in rows if soundness.read(row)[1]])


def sound(db: apsw.Connection, found: Iterable[Change]) -> list[Change]:
    """Those of some changes that can be read; the others are set aside."""
    some = list(found)
    if damaged := [change.seq for change in some if change.damage]:
        set_aside(db, damaged)
        return [change for change in some if not change.damage]
    return some


def set_aside(db: apsw.Connection, seqs: Sequence[int], because: str = "") -> None:
    """Quarantine changes by their number, and forget the settled ones and turns among them.

    `because` says what is wrong beside the row itself.
    """
    done = False
    for seq in seqs:
        rows: Table = db.execute(SQL["one"], (seq,)).fetchall()
        for row in rows:
            if because and row[soundness.CODE] == soundness.CORRUPT.encode():
                continue
            done = True
            if row[soundness.STATE] == b"settled" or row[soundness.OP] == b"through":
                _forget_arrivals(db, seq, row)
            else:
                _quarantine(db, seq, row, because)
    if done:
        recount(db)


def _forget_arrivals(db: apsw.Connection, seq: int, row: tuple[Any, ...]) -> None:
    log.error("change %d was delivered, and is forgotten: %s", seq, soundness.read(row)[1])
    db.execute(SQL["forget"], (seq,))


def _quarantine(db: apsw.Connection, seq: int, row: tuple[Any, ...], because: str) -> None:
    values, why = soundness.read(row)
    if not why:
        why = because
        values[soundness.STATE], values[soundness.CODE], values[soundness.REASON] = (
            State.QUARANTINED,
            soundness.CORRUPT,
            why,
        )
    remains = b"".join(_literals(db, seq))
    known = dict(zip(COLUMNS, values, strict=True))
    state = known.pop("state")
    if _is_overtaken(db, known):
        state = State.SUPERSEDED
    known["members"] = changes.written(known["members"])
    known["removes"] = changes.written_removed(known["removes"])
    known["late_writes"] = changes.NO_LATE_WRITES
    del known["seq"]
    assignments = ", ".join(f"{name} = ?" for name in known)
    db.execute(f"UPDATE change SET {assignments} WHERE seq = ?", (*known.values(), seq))
    # Now that its size is a number again: triggers count by it.
    db.execute(SQL["set_state"], (state, seq))
    db.execute(SQL["mend_inline"], (seq,))
    db.execute(SQL["note"], (seq, why, remains))


def look_at_uploads(db: apsw.Connection, after: str, limit: int) -> str | None:
    """Look at the next `limit` uploads behind `after` and at their parts; the id of the last one, None at the end."""
    rows: Table = db.execute(SQL["uploads_behind"], (after, limit)).fetchall()
    last = after
    for *row, is_text in rows:
        values, complaints = soundness.values_of(uploads.UPLOAD_COLUMNS, tuple(row))
        if not is_text or (complaints and complaints[0].startswith("id ")):
            _rename_upload(db, row[0])
            continue
        last = row[0].decode()
        parts: Table = db.execute(SQL["parts"], (last,)).fetchall()
        for part in parts:
            complaints += [f"part {part[0]}: {wrong}" for wrong in soundness.values_of(uploads.PART_COLUMNS, part)[1]]
        if complaints:
            _quarantine_upload(db, last, values, "; ".join(complaints[:10]))
    return last if len(rows) == limit and last != after else None


def look_at_knowledge(db: apsw.Connection) -> None:
    """Forget what cannot be read of what is only known, count anew what is only counted, and make anew what was dropped
    of the rules by which the tables are kept."""
    if schema.mend(db):
        recount(db)
    look_at_counts(db)
    for table, named_by, columns in KNOWLEDGE:
        names = [name for name, *_ in columns]
        shape = " AND ".join(f"typeof({name}) = 'text'" for name in names[:named_by])
        rows: Table = db.execute(f"SELECT {soundness.fields(columns)}, {shape} FROM {table}").fetchall()
        for *row, named in rows:
            complaints = soundness.values_of(columns, tuple(row))[1]
            if complaints or not named:
                log.error("a row of the table %s cannot be read, and is forgotten: %s", table, "; ".join(complaints))
                where = " AND ".join(f"CAST({name} AS BLOB) IS ?" for name in names[:named_by])
                db.execute(f"DELETE FROM {table} WHERE {where}", row[:named_by])


def look_at_counts(db: apsw.Connection) -> None:
    """Count anew where a count of what is pending is none, or is missing: every write asks for it."""
    rows: Table = db.execute(SQL["sound_counts"]).fetchall()
    if {state for (state,) in rows} != {state.encode() for state in COUNTED}:
        log.error("the counts of what is pending cannot be read, and are made anew")
        db.execute(SQL["drop_counts"])
        db.executemany(SQL["add_count"], [(state,) for state in COUNTED])
        recount(db)
    elif not account.is_sound(db):
        log.error("the count of what the queue takes of the disk cannot be read, and is made anew")
        account.recount(db)


def look_at_all(db: apsw.Connection) -> None:
    """Look at every row there is, in one transaction: for whoever met one that is in the way."""
    look_at_knowledge(db)
    after: int | None = MIN_ROWID
    while after is not None:
        after = look(db, after, MAX_BATCH)
    upload: str | None = ""
    while upload is not None:
        upload = look_at_uploads(db, upload, MAX_BATCH)


def _rename_upload(db: apsw.Connection, found: bytes) -> None:
    """Give an upload whose id cannot be read one that nobody has: so its row can be named, and expires."""
    log.error("an upload whose id cannot be read is quarantined: %r", found[:100])
    db.execute(SQL["rename_upload"], (found,))


def _quarantine_upload(db: apsw.Connection, upload_id: str, values: list[Any], why: str) -> None:
    """Set an upload aside, or where a change is made of it, the change."""
    log.error("the rows of upload %s cannot be read, and it is quarantined: %s", upload_id, why)
    made: Table = db.execute(SQL["change_of_upload"], (upload_id,)).fetchall()
    db.execute(SQL["mend_parts"], (upload_id,))
    known = dict(zip((name for name, *_ in uploads.UPLOAD_COLUMNS), values, strict=True))
    known |= {"members": changes.written(known["members"]), "answer": ""}
    del known["touched_at"]
    # The end of its change is what ends a completed one.
    known["state"] = UploadState.COMPLETE if made else UploadState.QUARANTINED
    known["parts"], known["bytes"] = db.execute(SQL["count_parts"], (upload_id,)).fetchall()[0]
    assignments = ", ".join(f"{name} = ?" for name in known)
    db.execute(
        f"UPDATE upload SET {assignments}, touched_at = unixepoch('now', 'subsec') WHERE id = ?",
        (*known.values(), upload_id),
    )
    set_aside(db, [seq for (seq,) in made], f"its upload cannot be read: {why}")


def _literals(db: apsw.Connection, seq: int) -> Iterable[bytes]:
    """Each column of a row as it stands there, but for the body, which stays where it is."""
    for name in COLUMNS:
        rows: Table = db.execute(f"SELECT CAST(quote({name}) AS BLOB) FROM change WHERE seq = ?", (seq,)).fetchall()
        yield name.encode() + b"=" + rows[0][0] + b"\n"


def _is_overtaken(db: apsw.Connection, known: dict[str, Any]) -> bool:
    """Whether a newer put or delete of its identity has taken the key (Q-9)."""
    values = (known["bucket"], known["key"], known["seq"], known["identity"])
    return bool(db.execute(SQL["overtaken"], values).fetchall())


def recount(db: apsw.Connection) -> None:
    """Count anew what is pending: a row that was damaged was counted as what it was before."""
    found: Table = db.execute(SQL["count"]).fetchall()
    db.execute(SQL["clear_counts"])
    db.executemany(
        SQL["set_count"], [(count, int(size), (state or b"").decode(errors="replace")) for state, count, size in found]
    )
    account.recount(db)


def untold(db: Database) -> list[Damaged]:
    """Changes that were set aside and are not reported yet."""
    rows = db.read(SQL["untold"])
    return [Damaged(*row) for row in rows]


def told(db: apsw.Connection, some: Sequence[Damaged]) -> None:
    """Note that they are in the log and in the metric."""
    db.executemany(SQL["told"], [(one.seq,) for one in some])
