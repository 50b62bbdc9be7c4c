"""The SQL of multipart uploads: every statement on `upload`, `part` and `orphan_upload`, and nothing else.

Functions that take a connection first are run by the store's writing thread inside its transaction; the others read.
A file that a row lets go of becomes garbage in the same transaction. The states are those of `states`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apsw

from s3d.errors import CorruptBody
from s3d.layers.queue.rows import queries, soundness
from s3d.layers.queue.rows.states import OPEN, UploadState
from s3d.store.db import Database

UPLOAD_COLUMNS: soundness.Columns = (
    ("id", soundness.text, ""),
    ("bucket", soundness.bucket_name, ""),
    ("key", soundness.name, ""),
    ("identity", soundness.text, ""),
    ("state", soundness.word_of(UploadState), ""),
    ("members", soundness.members_of, {}),
    ("algorithm", soundness.text, ""),
    ("kind", soundness.text, ""),
    ("began_at", soundness.moment, 0.0),
    ("touched_at", soundness.moment, 0.0),
    ("parts", soundness.count, 0),
    ("bytes", soundness.count, 0),
    ("remote", soundness.text_or_none, None),
    ("asked_at", soundness.moment_or_none, None),
    ("answer", soundness.answer_of, {}),
)
PART_COLUMNS: soundness.Columns = (
    ("number", soundness.count, 0),
    ("size", soundness.count, 0),
    ("etag", soundness.text, ""),
    ("sums", soundness.members_of, {}),
    ("at", soundness.moment, 0.0),
    ("file", soundness.text_or_none, None),
    ("remote_etag", soundness.text_or_none, None),
)
UPLOAD = soundness.fields(UPLOAD_COLUMNS)
PART = soundness.fields(PART_COLUMNS)
SQL = queries.load("uploads", upload=UPLOAD, part=PART, inline=soundness.INLINE)


class NotOpenError(Exception):
    """The upload is not open, or not any more: nothing was done."""


class PartReplacedError(Exception):
    """A part that was chosen is not there any more: nothing was done. Its number and the ETag that it had."""

    def __init__(self, number: int, etag: str) -> None:
        super().__init__(number, etag)
        self.number = number
        self.etag = etag


@dataclass(frozen=True, slots=True)
class Upload:
    """One row of `upload`. Times are Unix times."""

    id: str
    bucket: str
    key: str
    identity: str
    state: UploadState
    members: Mapping[str, str]
    algorithm: str
    kind: str
    began_at: float
    touched_at: float
    parts: int = 0
    bytes: int = 0
    remote: str | None = None
    asked_at: float | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """One row of `part`, its inline body only where it was asked for."""

    number: int
    size: int
    etag: str
    sums: Mapping[str, str]
    at: float
    file: str | None = None
    remote_etag: str | None = None
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class OrphanUpload:
    """An upload at the remote that nobody goes on with."""

    bucket: str
    remote: str
    key: str
    identity: str


def begin(db: apsw.Connection, upload: Upload) -> None:
    """Add an upload."""
    db.execute(
        SQL["add"],
        (
            upload.id,
            upload.bucket,
            upload.key,
            upload.identity,
            upload.state,
            json.dumps(dict(upload.members)),
            upload.algorithm,
            upload.kind,
            upload.began_at,
            upload.touched_at,
        ),
    )


def find(db: Database, upload_id: str) -> Upload | None:
    """An upload by its id; None for one that is not ours."""
    rows = db.read(SQL["find"], (upload_id,))
    return _upload(rows[0]) if rows else None


def is_remotes(db: Database, bucket: str, remote: str) -> bool:
    """Whether an upload at the remote is one of ours."""
    return bool(db.read(SQL["is_remotes"], (bucket, remote)))


def parts_of(db: Database, upload_id: str, *, after: int = 0, limit: int = 10_000) -> list[Part]:
    """Parts of an upload by number, without their inline bodies."""
    rows = db.read(SQL["parts_behind"], (upload_id, after, limit))
    return [_part(row) for row in rows]


def remains_of(db: Database, upload_id: str) -> list[Part]:
    """The parts of an upload that can be read, by number."""
    rows = db.read(SQL["all_parts"], (upload_id,))
    return [_part(row) for row in rows if not soundness.values_of(PART_COLUMNS, row)[1]]


def part_of(db: Database, upload_id: str, number: int) -> Part | None:
    """One part, with its inline body."""
    rows = db.read(SQL["part"], (upload_id, number))
    return _part(rows[0]) if rows else None


def store_part(db: apsw.Connection, upload_id: str, part: Part, now: float) -> UploadState:
    """Add a part, in the place of an older one of its number; the state of the upload. Raises NotOpenError.

    A part whose bytes came here while the upload spilled is spilled after the others.
    """
    found = db.execute(SQL["open_state"], (upload_id,)).fetchone()
    if found is None:
        raise NotOpenError(upload_id)
    state = UploadState(found[0])
    db.execute(SQL["drop_part"], (upload_id, part.number))
    db.execute(
        SQL["add_part"],
        (
            upload_id,
            part.number,
            part.size,
            part.etag,
            json.dumps(dict(part.sums)),
            part.at,
            part.file,
            part.inline,
            part.remote_etag,
        ),
    )
    if state == UploadState.SPILLED and part.remote_etag is None:
        state = UploadState.SPILLING
    db.execute(SQL["touch"], (now, state, upload_id))
    return state


def close(
    db: apsw.Connection,
    upload_id: str,
    chosen: Iterable[Part],
    answer: Mapping[str, Any],
    now: float,
    state: UploadState,
) -> None:
    """Close an open upload over the parts that Complete names; the others go (Q-16).

    `state` is `complete` where a change is queued in the same transaction, `finished` where the remote has made the
    object. Raises NotOpenError, and PartReplacedError where a part was replaced meanwhile.
    """
    wanted = {part.number: part.etag for part in chosen}
    allowed = (UploadState.OPEN,) if state == UploadState.COMPLETE else OPEN
    found = db.execute(SQL["open_state"], (upload_id,)).fetchone()
    if found is None or found[0] not in allowed:
        raise NotOpenError(upload_id)
    if state == UploadState.COMPLETE:
        there: dict[int, str] = dict(db.execute(SQL["etags"], (upload_id,)))
        for number, etag in wanted.items():
            if there.get(number) != etag:
                raise PartReplacedError(number, etag)
        surplus = [(upload_id, number) for number in there if number not in wanted]
        db.executemany(SQL["drop_part"], surplus)
    else:
        db.execute(SQL["drop_parts"], (upload_id,))
    db.execute(SQL["close"], (state, json.dumps(answer), now, upload_id))


def abort(db: apsw.Connection, upload_id: str, now: float) -> None:
    """Drop an upload and its parts. Where the remote may hold parts of it, its state is `aborting` until they are gone.

    Raises NotOpenError.
    """
    found = db.execute(SQL["remote_of_open"], (upload_id,)).fetchone()
    if found is None:
        raise NotOpenError(upload_id)
    db.execute(SQL["drop_parts"], (upload_id,))
    state = UploadState.FINISHED if found == (None, None) else UploadState.ABORTING
    db.execute(SQL["end"], (state, now, upload_id))


def abort_all(db: apsw.Connection, bucket: str, now: float) -> None:
    """Drop all open uploads of a bucket that is gone."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["open_in_bucket"], (bucket,)).fetchall()
    for (upload_id,) in rows:
        abort(db, upload_id, now)


def spill(db: apsw.Connection, upload_id: str) -> None:
    """Let an open upload go to the remote, and stay there."""
    db.execute(SQL["spill"], (upload_id,))


def spilled(db: apsw.Connection, upload_id: str) -> bool:
    """Note that the remote has all parts, where it is so."""
    db.execute(SQL["spilled"], (upload_id,))
    return db.changes() > 0


def ask(db: apsw.Connection, upload_id: str, now: float) -> None:
    """Note, before the remote is asked for an upload of its own, that it may have begun one."""
    db.execute(SQL["ask"], (now, upload_id))


def unasked(db: apsw.Connection, upload_id: str) -> None:
    """Note that the remote began none."""
    db.execute(SQL["unasked"], (upload_id,))


def begun(db: apsw.Connection, upload_id: str, remote: str) -> None:
    """Keep the id of the remote's upload, before the first byte goes there."""
    db.execute(SQL["begun"], (remote, upload_id))


def lost(db: apsw.Connection, upload_id: str, *, whole: bool) -> None:
    """Note that the remote does not have the parts any more, or (`whole`) not even the upload: they are sent anew."""
    db.execute(SQL["unland"], (upload_id,))
    if whole:
        db.execute(SQL["lost"], (upload_id,))


def part_delivered(db: apsw.Connection, upload_id: str, part: Part, etag: str, *, drop: bool) -> None:
    """Note that the remote has a part, by its ETag there; with `drop`, its bytes go from here.

    A part that was replaced meanwhile stays to be sent.
    """
    noted = SQL["part_delivered_and_dropped"] if drop else SQL["part_delivered"]
    db.execute(noted, (etag, upload_id, part.number, part.etag, part.file))


def delivered(db: apsw.Connection, upload_id: str) -> None:
    """Note that the remote has confirmed the object of a completed upload."""
    db.execute(SQL["delivered"], (upload_id,))


def let_go(db: apsw.Connection, upload_id: str) -> None:
    """Drop the parts of an upload whose object something else has replaced at the remote."""
    db.execute(SQL["drop_parts"], (upload_id,))
    db.execute(SQL["finish"], (upload_id,))


def rid(db: apsw.Connection, upload_id: str) -> None:
    """Note that the remote holds nothing of an upload that is being aborted any more."""
    db.execute(SQL["rid"], (upload_id,))


def forget_finished(db: apsw.Connection, before: float, now: float) -> None:
    """Forget finished uploads that nobody will ask about again, a few at a time; what has just ended gets its time."""
    db.execute(SQL["note_end"], (now,))
    db.execute(SQL["forget_finished"], (before,))


def expired(db: Database, before: float) -> list[str]:
    """Ids of some open uploads that nobody has touched since."""
    found: list[str] = []
    for state in (*OPEN, UploadState.QUARANTINED):
        rows = db.read(SQL["expired"], (state, before))
        found += [row[0] for row in rows]
    return found


def any_finished(db: Database, before: float) -> bool:
    """Whether there are finished uploads to forget."""
    return bool(db.read(SQL["any_finished"], (before,)))


def in_state(db: Database, state: UploadState) -> list[Upload]:
    """Some uploads in a state, the longest untouched first."""
    rows = db.read(SQL["in_state"], (state,))
    return [upload for upload in map(_upload, rows) if upload.state == state]


def orphans(db: Database) -> list[OrphanUpload]:
    """Some uploads at the remote that are to be aborted."""
    return [OrphanUpload(*row) for row in db.read(SQL["orphans"])]


def orphan_aborted(db: apsw.Connection, orphan: OrphanUpload) -> None:
    """Note that the remote has dropped an upload."""
    db.execute(SQL["orphan_aborted"], (orphan.bucket, orphan.remote))


def largest_open(db: Database) -> list[Upload]:
    """Some open uploads that hold bytes here, the largest first."""
    rows = db.read(SQL["largest_open"])
    return [one for one in map(_upload, rows) if one.state == UploadState.OPEN]


def staged(db: Database) -> tuple[int, int]:
    """Parts and bytes of the open uploads that are here."""
    rows = db.read(SQL["staged"])
    return rows[0][0], rows[0][1]


def open_ones(db: Database) -> int:
    """How many uploads a client may still go on with, damaged ones among them."""
    rows = db.read(SQL["count_open"])
    return int(rows[0][0])


def staying(db: Database) -> int:
    """Bytes of the open uploads that are not on their way to the remote."""
    return int(db.read(SQL["staying"])[0][0])


def open_in(
    db: Database,
    bucket: str,
    identity: str,
    *,
    prefix: str = "",
    after: tuple[str, str] = ("", ""),
    limit: int = 1000,
) -> list[Upload]:
    """Open uploads of an identity in a bucket by key, then by id; after a key and an id."""
    rows = db.read(SQL["open_in"], (bucket, *after, prefix, limit, identity))
    return [upload for upload in map(_upload, rows) if upload.state in OPEN]


def concern(db: Database, bucket: str) -> bool:
    """Whether a list of a bucket's uploads is another one here than at the remote."""
    return bool(db.read(SQL["concern"], (bucket,)))


def files_known(db: Database, files: Iterable[str]) -> set[str]:
    """Those of the given body files that a part refers to."""
    return {file for file in files if db.read(SQL["knows_file"], (file,))}


def _upload(row: tuple[Any, ...]) -> Upload:
    """An upload; one whose row cannot be read is quarantined."""
    values, complaints = soundness.values_of(UPLOAD_COLUMNS, row)
    if complaints:
        values[4] = UploadState.QUARANTINED
    return Upload(*values)


def _part(row: tuple[Any, ...]) -> Part:
    """A part, with its inline body where that was selected. Raises CorruptBody where its row cannot be read."""
    values, complaints = soundness.values_of(PART_COLUMNS, row)
    if complaints:
        raise CorruptBody(f"the row of part {values[0]} cannot be read: {'; '.join(complaints)}")
    return Part(*values, *row[len(PART_COLUMNS) :])
