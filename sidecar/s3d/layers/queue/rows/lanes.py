"""Lanes: identity and bucket together, and what happens while a remote refuses one (SEMANTICS Q-8).

A paused lane keeps its changes as they are and sends one of them at a time, as a probe with back-off; the first that
passes opens the lane. Any refusal may mean the object alone: before the lane pauses others are tried, of AccessDenied
such of another kind. Where one passes, the lane goes on, and what is refused waits by itself or is parked.

All SQL on the table `lane` is in here. Its rows are the truth (Q-13); nothing in here sends anything.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import apsw

from s3d.layers.queue.rows import claims, damage, queries, soundness
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.claims import Rows
from s3d.protocol import checksums
from s3d.protocol.headers import METADATA
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

MAX_TRIED = 8
"""Kinds of change that are refused before AccessDenied is held to mean the whole lane."""
MAX_REFUSED = 3
"""Changes that are refused for another reason before that is held to mean the whole lane."""
MAX_LOOKED_AT = 64
"""Waiting changes, and first parts of keys, that are looked at for one of another kind."""
COLUMNS = damage.LANE
SQL = queries.load("lanes", lane=soundness.fields(COLUMNS), columns=", ".join(name for name, *_ in COLUMNS))


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane that is refused: the columns of its row."""

    bucket: str
    identity: str
    state: str
    since: float
    code: str
    reason: str
    attempts: int
    probe_at: float
    probe: int | None
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim took, and when the next change is due where it took nothing (Unix time; None: no time is known)."""

    changes: list[Change]
    due: float | None


def of_row(row: tuple[Any, ...]) -> Lane:
    """Make a Lane of the columns in the query `all`. Raises StoreFailed; what cannot be read is soon forgotten."""
    values, complaints = soundness.values_of(COLUMNS, row)
    if complaints:
        raise StoreFailed(f"a lane cannot be read: {'; '.join(complaints)}")
    return Lane(*[*values[:-1], tuple(values[-1])])


def shut(db: Database) -> list[Lane]:
    """The lanes that are refused, the longest first."""
    return [of_row(row) for row in db.read(SQL["shut"])]


def paused(db: Database) -> int:
    """How many lanes are paused."""
    return int(db.read(SQL["paused"])[0][0])


def claim(
    db: apsw.Connection,
    *,
    now: float,
    limit: int,
    slow: int,
    slowed: Mapping[tuple[str, str], bool] = MappingProxyType({}),
    after: tuple[str, str] = ("", ""),
) -> Claimed:
    """Claim up to `limit` due changes, `slow` slow ones among them, and one probe of each refused lane that is due.

    Lanes take turns, beginning behind the lane `after`. Of one in `slowed`, one change is tried where that says so.
    """
    refused = [of_row(row) for row in db.execute(SQL["all"])]
    claimed: list[Change] = []
    read = claims.rows_of(db)
    for lane in refused:
        if lane.probe is None and len(claimed) < limit and (lane.probe_at <= now or _is_due(read, lane)):
            probe = _choose(read, lane)
            if probe is None:
                # Nothing waits in it any more: the next change finds out by itself.
                open_lane(db, lane.bucket, lane.identity)
                continue
            claims.mark_claimed(db, [probe], now)
            db.execute(SQL["set_probe"], (probe.seq, *key_of(lane)))
            claimed.append(probe)
    closed = frozenset(key_of(lane) for lane in refused)
    room = limit - len(claimed)
    claimed += claims.claim(db, now=now, limit=room, slow=slow, closed=closed, slowed=slowed, after=after)
    if claimed:
        return Claimed(claimed, None)
    times = [lane.probe_at for lane in refused if lane.probe is None and lane.probe_at > now]
    due = claims.next_due(claims.rows_of(db), past=now, slow=slow > 0, closed=closed | slowed.keys())
    return Claimed([], min([*times, *([] if due is None else [due])], default=None))


def next_due(db: Database, *, slow: bool, refused: bool) -> float | None:
    """When there may be something to claim, a probe too (Unix time); None where nothing waits.

    It looks at few rows: `slow` tells whether slow changes count, `refused` whether any lane may have a row.
    """
    rows = shut(db) if refused else []
    times = [0.0 if _is_due(db.read, lane) else lane.probe_at for lane in rows if lane.probe is None]
    due = claims.next_due(db.read, slow=slow, closed=frozenset(map(key_of, rows)), most=MAX_LOOKED_AT)
    return min([*times, *([] if due is None else [due])], default=None)


def key_of(lane: Lane | Change) -> tuple[str, str]:
    """What names a lane."""
    return lane.bucket, lane.identity


def refuse(
    db: apsw.Connection, change: Change, *, code: str, reason: str, now: float, pause: Callable[[int], float]
) -> bool:
    """Note that a change was refused for its lane's sake. True where that pauses the lane.

    `pause` gives the seconds until the next probe by the number of probes that were refused.
    """
    rows = db.execute(SQL["one"], key_of(change)).fetchall()
    lane = of_row(rows[0]) if rows else Lane(change.bucket, change.identity, "trying", now, "", "", 0, now, None, ())
    probed = lane.probe == change.seq
    named = name_of(change, code)
    kinds = lane.kinds if named in lane.kinds else (*lane.kinds, named)[-MAX_TRIED:]
    lane = replace(lane, code=code, reason=reason, kinds=kinds, probe=None if probed else lane.probe)
    pauses = lane.state == "trying" and lane.probe is None and not _worth_trying(claims.rows_of(db), lane)
    if pauses:
        lane = replace(lane, state="paused", attempts=1, probe_at=now + pause(1))
    elif lane.state == "trying":
        lane = replace(lane, probe_at=now)
    elif probed:
        lane = replace(lane, attempts=lane.attempts + 1, probe_at=now + pause(lane.attempts + 1))
    values = (*key_of(lane), lane.state, lane.since, lane.code, lane.reason, lane.attempts, lane.probe_at, lane.probe)
    db.execute(SQL["put"], (*values, json.dumps(kinds)))
    return pauses


def open_lane(db: apsw.Connection, bucket: str, identity: str) -> bool:
    """Let a lane go on; False where it was open."""
    db.execute(SQL["open"], (bucket, identity))
    return db.changes() > 0


def end_probe(db: apsw.Connection, seq: int, probe_at: float) -> None:
    """Note that a probe said nothing about its lane; the next one is due at `probe_at`."""
    db.execute(SQL["end_probe"], (probe_at, seq))


def hasten(db: apsw.Connection, now: float, bucket: str = "") -> None:
    """Make the next probes due, of one bucket or of all."""
    db.execute(SQL["hasten"], (now, bucket))


def recover(db: apsw.Connection) -> None:
    """Forget the probes that a crash ended: what was under way is in doubt now, and pushed as such."""
    db.execute(SQL["recover"])


def name_of(change: Change, code: str) -> str:
    """By what a refused change is remembered: AccessDenied goes by kinds, anything else by the change itself."""
    return kind(change) if code == "AccessDenied" else f"#{change.seq}"


def kind(change: Change) -> str:
    """What a remote may judge alike: operation, members that need a right of their own, the first part of the key."""
    members = sorted(
        name
        for name in change.members
        if name.startswith("x-amz-")
        and not name.startswith((METADATA, "x-amz-content", "x-amz-sdk"))
        and name not in checksums.HEADERS
    )
    return " ".join([change.op, *members, change.key.partition("/")[0] if "/" in change.key else ""])


def _worth_trying(read: Rows, lane: Lane) -> bool:
    """Whether another change could tell the object from the lane."""
    most = MAX_TRIED if lane.code == "AccessDenied" else MAX_REFUSED
    return len(lane.kinds) < most and _untried(read, lane) is not None


def _is_due(read: Rows, lane: Lane) -> bool:
    """Whether a change that has just come may be tried at once, though the lane is paused: too few were refused."""
    return lane.code != "AccessDenied" and _worth_trying(read, lane)


def _choose(read: Rows, lane: Lane) -> Change | None:
    """The probe of a lane: the oldest, but where the object alone may be refused one that was not."""
    if (lane.code == "AccessDenied" or len(lane.kinds) < MAX_REFUSED) and (other := _untried(read, lane)) is not None:
        return other
    return next(claims.waiting_in(read, *key_of(lane), limit=1), None)


def _untried(read: Rows, lane: Lane) -> Change | None:
    for change in _candidates(read, lane):
        if name_of(change, lane.code) not in lane.kinds:
            return change
    return None


def _candidates(read: Rows, lane: Lane) -> Iterator[Change]:
    if lane.code != "AccessDenied":
        yield from claims.waiting_in(read, *key_of(lane), limit=len(lane.kinds) + 1)
        return
    yield from claims.waiting_in(read, *key_of(lane), limit=MAX_LOOKED_AT)
    yield from claims.first_of_prefixes(read, *key_of(lane), limit=MAX_LOOKED_AT)
