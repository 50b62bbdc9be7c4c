"""A change, the row that it is, and how rows come to be: puts, deletes, tags, and the turns of requests.

Functions that take a connection run inside a transaction of the store's writer. The SQL on the table `change` stands
in the files of this module, of `claims` (what is pushed next), `transitions` (what became of it), `late_writes` (what
may still arrive) and `lookups` (what is shown). A change makes only the moves of `states`.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import apsw

from s3d.layers.queue.rows import holds, order, queries, soundness, verdicts
from s3d.layers.queue.rows.holds import Held
from s3d.layers.queue.rows.states import CLAIMED, Op, State
from s3d.layers.queue.rows.subjects import UNKNOWN, Content
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

Table = list[tuple[Any, ...]]
NEVER = 1e12
"""A time that does not come: keeps an attempt under way from being claimed twice."""
NO_LATE_WRITES = "[]"
"""The column `late_writes` where nothing of the key may still arrive."""
MAX_TRACES = 4
"""Requests that the column `trace` names at most: the newest."""
ANY = "?"
"""In `late_writes`: a write that was sent through and of which nobody knows the ETag."""
FIELDS = soundness.FIELDS
WITH_INLINE = f"{soundness.FIELDS}, {soundness.INLINE}"
SQL = queries.load("changes")


class Change(NamedTuple):
    """One row of the table, without its inline body unless asked for. A tuple, since listings and reads make many."""

    seq: int
    bucket: str
    key: str
    op: Op
    state: State
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
    base: str | None = None
    """The ETag that was last seen for the key, as in `New`; ANY where it is ours and not known."""
    queued_at: float = 0.0
    """When it was acknowledged, by the steady clock: its age goes by it. `acked_at` is for what is shown."""
    after: int | None = None
    """The change that must be delivered before it and is not yet (Q-21)."""
    conflict: str = ""
    """Park or Overwrite: what becomes of it where somebody else wrote the key; "": as the settings say."""
    always: bool = False
    """Whether it is pushed on condition however short it waited."""
    origin: str = ""
    """Which part of s3d made it; "": a client."""
    removes: Content = UNKNOWN
    """Of a delete: what the last put of its key said."""
    trace: str = ""
    """The recorded requests that queued it, each as a traceparent, with blanks between."""
    inline: bytes | None = None
    damage: str = ""
    """Why the row cannot be read; then the change is a quarantined one, and what is missing of it is empty."""


def of_row(row: tuple[Any, ...]) -> Change:
    """Make a Change of the columns in FIELDS, or in WITH_INLINE. It never fails: one that is damaged says so."""
    values, damage = soundness.read(row)
    if values[soundness.QUEUED_AT] is None:
        # A row of an older version has but one time.
        values[soundness.QUEUED_AT] = values[soundness.ACKED_AT]
    inline = row[soundness.WIDTH] if len(row) > soundness.WIDTH else None
    return Change(*[*values[: soundness.CHANGE_COLUMNS], inline, damage])


def written(members: Mapping[str, str]) -> str:
    """The column `members` of a row."""
    return _written(tuple(members.items()))


@lru_cache(maxsize=64)
def _written(members: tuple[tuple[str, str], ...]) -> str:
    """Headers as JSON. A put asks twice, for the room that it takes and for its row; many puts say the same."""
    return json.dumps(dict(members))


def written_removed(content: Content) -> str:
    """The column `removes` of a row."""
    return json.dumps({"members": dict(content.members), "size": content.size}) if content.knows_tags else ""


@dataclass(slots=True)
class New:
    """A change that is to be queued. Times are the steady clock's.

    Its body is `inline`, in `file`, in the parts of `upload`, or there is none.
    """

    bucket: str
    key: str
    identity: str
    op: Op
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
    """Whether older changes of the key are pushed nevertheless: the remote keeps each as a version (Q-14)."""
    acked_at: float | None = None
    """The time of day that is shown as that of the acknowledgement; None: as `now`."""
    expects: str | None = None
    """The ETag that its maker saw of the key, "" for no object: nothing is queued where it is another (Q-2b)."""
    after: order.Named | None = None
    """What must be delivered before it (Q-21)."""
    conflict: str = ""
    always: bool = False
    origin: str = ""
    consent: verdicts.Consent | None = None
    """The policy that has let it leave already (F-3j)."""
    trace: str = ""
    """The request that queues it, as a traceparent, where it is recorded."""
    rule: str = ""
    """Once it is queued: the rule that holds it, "" where none does."""
    is_unasked: bool = False
    """Once it is queued: whether the policy is still to be asked about it."""


def enqueue(db: apsw.Connection, new: New) -> int:
    """Add a put or a delete and supersede what it makes pointless (Q-2, Q-9); its seq.

    An older change that waits is dropped, unless it is another identity's (Q-2a), or something stands between the two
    that is to see it: the turn of a request, or another identity's change. What is held, parked or quarantined the
    table supersedes by itself (truth.sql). One that is held, and for which none waits, is dropped here, which costs
    less: all that a policy holds while it hangs may be written again and again. Raises order.Changed where its maker
    saw something else; then nothing is done.
    """
    # Before what it takes the place of is gone: a delete is judged by the last put of its key, and keeps what it said.
    removes = holds.last_put(holds.reading(db), new.bucket, new.key) if new.op == Op.DELETE else UNKNOWN
    held = held_of(new, removes)
    rule = holds.rule_of(holds.reading(db), held)
    judged = verdicts.GIVEN if rule else verdicts.first(db, new.op)
    if judged == verdicts.UNASKED and new.consent is not None and verdicts.is_consent(db, new.consent, held):
        judged = verdicts.GIVEN
    new.rule, new.is_unasked = rule, judged == verdicts.UNASKED
    # Looking first is cheap, and mostly all: a statement that could delete opens every index.
    older: Table = db.execute(SQL["older"], (new.bucket, new.key)).fetchall()
    seen, queued_at, after = new.base, new.now, order.find(db, new.after, new.bucket, new.key)
    if not older and new.expects is None:
        traces = new.trace.split()
        _insert(db, new, rule, judged, None, queued_at, base=seen, after=after, traces=traces, removes=removes)
        return db.last_insert_rowid()
    between = max(
        (seq for seq, _, op, *_, identity, _, _ in older if op == Op.THROUGH or identity != new.identity), default=0
    )
    dropped: list[int] = []
    late: list[str | bytes] = []
    if new.expects is not None:
        pending = [(op, state, etag, code) for _, _, op, state, _, _, etag, _, _, code, _ in older]
        # Its maker saw what is pending, and nothing that was seen at the remote since that was made; and where nothing
        # is pending, nobody knows better what is there. It is compared there.
        seen = None if order.check(new.expects, new.base, pending) else new.expects
    gone: list[int] = []
    traces = []
    for seq, since, op, state, late_writes, base, _, trace, _, _, its_age in older:
        if seen is None and op not in (Op.THROUGH, Op.TAG):
            seen = base
            if base is None and new.expects is not None:
                # What is younger than that one, nobody had seen who made it.
                queued_at = min(queued_at, its_age)
        if op != Op.THROUGH and seq > between and not new.ordered and _is_dropped(db, seq, state):
            db.execute(SQL["drop"], (seq,))
            gone.append(seq)
            dropped.append(since)
            late.append(late_writes)
            traces += traces_of(trace)
    traces += traces_of(new.trace.encode())
    since = min(dropped, default=None)
    _insert(db, new, rule, judged, since, queued_at, merged(late), seen, after, traces, removes)
    seq = db.last_insert_rowid()
    if gone:
        order.move(db, gone, seq)
    return seq


def _is_dropped(db: apsw.Connection, seq: int, state: str) -> bool:
    """Whether a newer change of its key and identity takes the place of one by deleting it."""
    return state == State.WAITING or (state == State.HELD and not order.has_followers(db, seq))


def _insert(
    db: apsw.Connection,
    new: New,
    rule: str,
    judged: int,
    since: int | None,
    queued_at: float,
    late_writes: str = NO_LATE_WRITES,
    base: str | None = None,
    after: int | None = None,
    traces: Sequence[str] = (),
    removes: Content = UNKNOWN,
) -> None:
    db.execute(
        SQL["add"],
        (
            since,
            new.bucket,
            new.key,
            new.identity,
            new.op,
            State.HELD if rule else State.WAITING,
            written(new.members),
            new.size,
            new.etag,
            new.now if new.acked_at is None else new.acked_at,
            new.next_at,
            new.file,
            new.inline,
            new.upload,
            late_writes,
            rule,
            new.ordered,
            base,
            queued_at,
            after,
            new.conflict,
            new.always,
            new.origin,
            " ".join(traces[-MAX_TRACES:]),
            judged,
            written_removed(removes),
        ),
    )


def traces_of(column: bytes) -> list[str]:
    """The requests in the column `trace`. Where it cannot be read, the row says so itself when it is claimed."""
    return column.decode("ascii", "replace").split()


def held_now(db: Database, new: New) -> Held:
    """What a rule would get to know of a change that is not queued yet."""
    return held_of(new, holds.last_put(db.read, new.bucket, new.key) if new.op == Op.DELETE else UNKNOWN)


def held_of(new: New, removes: Content) -> Held:
    """What a rule gets to know of it; `removes` is what the last put of its key said, where it is a delete."""
    content = removes if new.op == Op.DELETE else Content(new.members, new.size)
    return Held(new.bucket, new.key, new.identity, new.op, content)


def retag(db: apsw.Connection, new: New) -> bool:
    """Queue a change of tags (Q-19): fold it into the put that is to be pushed, or add a row behind one under way.

    False, and nothing done, where no put is pending, it is another identity's, or the turn of a request stands behind
    it. Tags "" are none.
    """
    rows = db.execute(SQL["newest_first"], (new.bucket, new.key))
    found: list[tuple[Any, ...]] = rows.fetchall()
    for seq, op, state, identity in found:
        if op not in (Op.PUT, Op.TAG) or state == State.QUARANTINED or identity != new.identity:
            return False
        if op == Op.TAG and state in (State.WAITING, State.PARKED):
            # In its place, with a new start: what was refused is wanted by nobody any more.
            db.execute(SQL["tag_again"], (written(new.members), new.next_at, seq))
            return True
        if op == Op.PUT:
            if state in CLAIMED:
                traces = traces_of(new.trace.encode())
                _insert(db, new, "", verdicts.GIVEN, None, new.now, base=new.base, traces=traces)
            else:
                fold(db, seq, new.members[TAGGING])
                judge_hold(db, seq, new.next_at)
            return True
    return False


def absorb(db: apsw.Connection, seq: int) -> None:
    """Make the tags that wait behind a put part of it: it is not under way any more."""
    behind: list[tuple[Any, ...]] = db.execute(SQL["absorb"], (seq,)).fetchall()
    for (members,) in behind:
        fold(db, seq, soundness.members_leniently(members).get(TAGGING, ""))


def fold(db: apsw.Connection, seq: int, tagging: str) -> None:
    """Give a put other tags."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["members"], (seq,)).fetchall()
    for (text,) in rows:
        members = dict(soundness.members_leniently(text))
        members.pop(TAGGING, None)
        if tagging:
            members[TAGGING] = tagging
        db.execute(SQL["set_members"], (written(members), seq))


def judge_hold(db: apsw.Connection, seq: int, next_at: float) -> None:
    """Hold a waiting change, or release a held one, by its tags, its bucket's and the push filter (Q-11, F-4a). What
    none of them holds the policy is asked about anew, where there is one."""
    _judge_holds(db, db.execute(SQL["held_or_waiting"], (seq,)).fetchall(), next_at)


def judge_holds(db: apsw.Connection, bucket: str, after: int, limit: int, now: float) -> int | None:
    """Judge the next `limit` changes of a bucket behind `after` anew; the seq of the last, None where none are left."""
    # By number, so that all calls together walk the table once.
    rows: Table = db.execute(SQL["to_judge"], (bucket, after, limit)).fetchall()
    _judge_holds(db, rows, now)
    return rows[-1][0] if len(rows) == limit else None


def _judge_holds(db: apsw.Connection, rows: Table, next_at: float) -> None:
    """Judge changes, and write all that becomes of them by a few statements: each lets go of the interpreter."""
    read, written_by = holds.remembering(db), defaultdict[str, list[tuple[Any, ...]]](list)
    for seq, bucket, key, identity, op, members, size, removes, state, judged in rows:
        rule = holds.rule_of(read, holds.of_row(bucket, key, identity, op, members, size, removes))
        if rule:
            stays = state == State.HELD and judged == verdicts.GIVEN
            written_by[SQL["hold_by_other"] if stays else SQL["hold"]].append((rule, seq))
            continue
        first = verdicts.first(db, op)
        if state == State.WAITING:
            written_by[SQL["ask_anew"]].append((first, seq))
        elif judged in verdicts.SAID_NO and first == verdicts.UNASKED:
            # What was denied leaves by another decision, and never for want of one.
            written_by[SQL["ask_anew"]].append((verdicts.DENIED_ANEW, seq))
        else:
            written_by[SQL["let_go"]].append((next_at, first, seq))
    for statement, bindings in written_by.items():
        db.executemany(statement, bindings)


def rebase(db: apsw.Connection, bucket: str, key: str, seq: int, etag: str) -> None:
    """Note at the change behind `seq` what it finds at the remote: an ETag of ours."""
    behind: Table = db.execute(SQL["behind"], (bucket, key, seq)).fetchall()
    for (later,) in behind:
        db.execute(SQL["set_base"], (etag, later))


def merged(columns: Iterable[str | bytes], since: float = 0.0) -> str:
    """Several values of the column as one: the latest attempt of each ETag, without those before `since`."""
    latest: dict[str, float] = {}
    for late_writes in columns:
        if late_writes != NO_LATE_WRITES:
            for etag, at in soundness.late_writes_leniently(late_writes):
                latest[etag] = max(at, latest.get(etag, 0.0))
    kept = [[etag, at] for etag, at in latest.items() if at >= since]
    return json.dumps(kept) if kept else NO_LATE_WRITES


def may_arrive(db: apsw.Connection, seq: int, etag: str, at: float) -> None:
    """Note at a row that an attempt which was sent and not answered may still arrive, with this ETag ("": a delete)."""
    rows: Table = db.execute(SQL["late_writes"], (seq,)).fetchall()
    for (late_writes,) in rows:
        db.execute(SQL["set_late_writes"], (merged([late_writes, json.dumps([[etag, at]])]), seq))


def take_turn(db: apsw.Connection, *, bucket: str, key: str, identity: str, now: float) -> int:
    """Stand in line for a key: a row without a body, which later changes do not overtake."""
    db.execute(SQL["take_turn"], (bucket, key, identity, now, NEVER))
    return db.last_insert_rowid()


def start_turn(db: apsw.Connection, seq: int) -> bool:
    """Claim the key for a request whose turn it is; False while something is ahead of it, on its way or kept back."""
    db.execute(SQL["start_turn"], (seq,))
    return db.changes() > 0


def end_turn(db: apsw.Connection, seq: int, *, made: str | None = None) -> None:
    """Leave the line; `made` is the ETag that the request gave the object, None where it left it as it was."""
    rows: Table = db.execute(SQL["end_turn"], (seq,)).fetchall()
    for bucket, key in rows if made is not None else ():
        rebase(db, bucket, key, seq, made or "")


def lose_turn(db: apsw.Connection, seq: int, *, etag: str, now: float) -> None:
    """Leave the line without an answer: what was sent may still arrive, with this ETag (ANY: nobody knows) (Q-3)."""
    may_arrive(db, seq, etag, now)
    db.execute(SQL["lose_turn"], (now, seq))
