"""Which row of the table `change` can be read (SEMANTICS D-4, D-14): what each of its columns may hold.

A local dir is a file on a disk: a column may hold what nobody ever wrote there. Rows are read here and nowhere else, a
column at a time, and reading never fails: what cannot be read gets a value that does no harm, and the row says why it
is not to be pushed. `damage` sets such rows aside in the table.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

from s3d import documents
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.rows.subjects import UNKNOWN, Content
from s3d.protocol.headers import TAGGING

CORRUPT = "CorruptRow"
"""The code of a change whose row cannot be read."""
MAX_NAME_LENGTH = 1024
"""Of a key, in bytes of UTF-8. No bucket's name is longer either."""
MAX_INTEGER = 1 << 53
MAX_TIME = 1e13
"""Unix time; later than any that is written, NEVER included."""
MAX_SHOWN = 60
"""Bytes of a bucket or key that is no name, as they are shown to a person."""
Read = Callable[[Any], Any]
MAX_REMEMBERED = 256
"""Values of columns of few values whose reading is remembered."""


class Unsound(ValueError):
    """A column holds what it cannot hold."""


def few(reads: Read) -> Read:
    """The same, for a column in which few values come again and again. Nobody changes what it gives."""
    return functools.lru_cache(MAX_REMEMBERED, typed=True)(reads)


def text(value: Any) -> str:
    """A text, which comes as the bytes that are stored."""
    if not isinstance(value, bytes):
        raise Unsound("is missing")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unsound("is not UTF-8") from None


def text_or_none(value: Any) -> str | None:
    """A text that may be missing."""
    return None if value is None else text(value)


def name(value: Any) -> str:
    """A bucket or a key."""
    found = text(value)
    if not found or len(value) > MAX_NAME_LENGTH:
        raise Unsound("is no name")
    return found


def bucket_name(value: Any) -> str:
    """A bucket: one part of a path."""
    found = name(value)
    if "/" in found or not found.isprintable() or " " in found:
        raise Unsound("is no name of a bucket")
    return found


def one_of(*words: str) -> Read:
    """One of some words."""

    def read(value: Any) -> str:
        found = text(value)
        if found not in words:
            raise Unsound("is none that s3d knows")
        return found

    return read


def word_of(words: type[StrEnum]) -> Read:
    """One of the words of an enumeration."""

    def read(value: Any) -> StrEnum:
        found = text(value)
        try:
            return words(found)
        except ValueError:
            raise Unsound("is none that s3d knows") from None

    return read


def count(value: Any) -> int:
    """A number of things or of bytes."""
    if not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise Unsound("is no count")
    return value


def truth(value: Any) -> bool:
    """Whether something holds."""
    return bool(count(value))


def count_or_none(value: Any) -> int | None:
    """A number that may be missing."""
    return None if value is None else count(value)


def count_leniently(value: Any) -> int:
    """A number; 0 where what is there is none."""
    try:
        return count(value)
    except Unsound:
        return 0


def moment(value: Any) -> float:
    """A Unix time. One that is too far ahead is a time, which `times` mends (D-10)."""
    if isinstance(value, float) and 0.0 <= value <= MAX_TIME:
        return value
    if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise Unsound("is no time")
    return min(float(value), MAX_TIME)


def moment_or_none(value: Any) -> float | None:
    """A Unix time that may be missing."""
    return None if value is None else moment(value)


def moment_leniently(value: Any) -> float | None:
    """A Unix time; None where there is none, or what is there is no time."""
    try:
        return moment_or_none(value)
    except Unsound:
        return None


def document(value: Any) -> Any:
    """A document of JSON."""
    try:
        return documents.parse(text(value))
    except Unsound:
        raise
    except ValueError:
        raise Unsound("is no JSON") from None


def members_of(value: Any) -> dict[str, str]:
    """The request headers that travel with a change, as they can stand in a request."""
    if value == b"{}":
        return {}
    found = document(value)
    if not isinstance(found, dict) or not all(map(_is_header, found.items())):
        raise Unsound("is no object of headers")
    return found


def _is_header(header: tuple[str, Any]) -> bool:
    key, value = header
    if not (key and key.isascii() and key.isprintable() and isinstance(value, str)):
        return False
    return "\n" not in value and "\r" not in value and "\0" not in value


def texts_of(value: Any) -> list[str]:
    """A list of texts."""
    found = document(value)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Unsound("is no list of texts")
    return found


def answer_of(value: Any) -> dict[str, Any]:
    """What a Complete answered; "" where it was not answered yet."""
    found = document(value) if value != b"" else {}
    if not isinstance(found, dict):
        raise Unsound("is no object")
    return found


def late_writes_of(value: Any) -> list[list[Any]]:
    """What of a key may still arrive: pairs of an ETag and a Unix time (Q-3)."""
    if value == b"[]":
        return []
    found = document(value)
    if not isinstance(found, list):
        raise Unsound("is no list")
    for pair in found:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
            raise Unsound("is no list of attempts")
        moment(pair[1])
    return found


def verdict(value: Any) -> int:
    """What the policy has said, as a number."""
    if value not in (0, 1, 2, 3):
        raise Unsound("is no verdict")
    return int(value)


def removed_of(value: Any) -> Content:
    """What the last put of a key said, as a delete keeps it."""
    if value == b"":
        return UNKNOWN
    found = document(value)
    if not isinstance(found, dict) or not isinstance(found.get("members"), dict):
        raise Unsound("is no object")
    return Content(found["members"], count(found.get("size")))


Columns = tuple[tuple[str, Read, Any], ...]
"""The columns of a table, each with what reads it, and what stands for it where it cannot be read."""
CHANGE: Columns = (
    ("seq", int, 0),
    ("bucket", bucket_name, ""),
    ("key", name, ""),
    ("op", word_of(Op), ""),
    ("state", word_of(State), ""),
    ("members", few(members_of), {}),
    ("size", count, 0),
    ("etag", text, ""),
    ("acked_at", moment, 0.0),
    ("attempts", count, 0),
    ("next_at", moment, 0.0),
    ("attempt_at", moment_or_none, None),
    ("code", text, ""),
    ("reason", text, ""),
    ("file", text_or_none, None),
    ("identity", text, ""),
    ("refusals", count, 0),
    ("rule", text, ""),
    ("upload", text_or_none, None),
    ("base_etag", text_or_none, None),
    ("queued_at", moment_or_none, None),
    ("after", count_or_none, None),
    ("conflict", one_of("", "Park", "Overwrite"), ""),
    ("always", truth, False),
    ("origin", text, ""),
    ("removes", removed_of, UNKNOWN),
    ("trace", text, ""),
    ("since", count_or_none, None),
    ("ordered", count, 0),
    ("late_writes", late_writes_of, []),
    ("judged", verdict, 0),
)
CHANGE_COLUMNS = 27
"""So many of them are a Change; the others are of the table's own."""
BUCKET, KEY, OP, STATE, MEMBERS, SIZE, ACKED_AT, CODE, REASON = 1, 2, 3, 4, 5, 6, 8, 12, 13
FILE, UPLOAD, QUEUED_AT = 14, 18, 20
OWN = frozenset(["seq", "key", "members", "size", "etag", "acked_at", "next_at", "file", "base_etag", "queued_at"])
"""Columns that differ from row to row. The others are mostly the same in all rows of a bucket that wait, and are read
together, once for all that are alike."""
OWN_PLACES = tuple((place, reads) for place, (column, reads, _) in enumerate(CHANGE) if column in OWN)
ALIKE_PLACES = tuple(place for place, (column, *_) in enumerate(CHANGE) if column not in OWN)
alike_in = operator.itemgetter(*ALIKE_PLACES)
"""What a row has in the columns that are alike."""
COMPARED = ("bucket", "key", "identity", "op", "state")
"""What statements look changes up by: bytes in the place of a text would be found by none."""
TEXTS = frozenset(
    "bucket key op state members etag code reason file identity rule upload base_etag late_writes id algorithm kind "
    "remote answer sums remote_etag kinds name through detail value verdict operation rules conflict origin tags "
    "removes trace".split()
)
"""Columns of a text, of whatever table."""


def stored(column: str) -> str:
    """The expression that reads a column whatever it holds: a text that is not UTF-8 would end the whole statement."""
    if column in TEXTS:
        return f"CAST({column} AS BLOB)"
    return column if column == "seq" else f"iif(typeof({column}) IN ('text', 'blob'), 'text', {column})"


def fields(columns: Columns) -> str:
    """What a statement selects so that `values_of` can read it."""
    return ", ".join(stored(column) for column, *_ in columns)


def values_of(columns: Columns, row: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    """The values of a row of `fields`, and what is wrong with it, a column each."""
    try:
        return [reads(value) for (_, reads, _), value in zip(columns, row, strict=False)], []
    except Unsound:
        # As few rows are: each of its columns says what is wrong with it.
        return _by_column(columns, row)


@functools.lru_cache(MAX_REMEMBERED, typed=True)
def _alike(*stored: Any) -> list[Any]:
    """The values of a change in the columns that are alike, each in its place; the others are None. Raises Unsound."""
    values: list[Any] = [None] * len(CHANGE)
    for place, value in zip(ALIKE_PLACES, stored, strict=True):
        values[place] = CHANGE[place][1](value)
    return values


def _values_of_change(row: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    """The same as `values_of` of CHANGE."""
    try:
        values = _alike(*alike_in(row)).copy()
        for place, reads in OWN_PLACES:
            values[place] = reads(row[place])
    except Unsound:
        return _by_column(CHANGE, row)
    return values, []


def _by_column(columns: Columns, row: tuple[Any, ...]) -> tuple[list[Any], list[str]]:
    values: list[Any] = []
    complaints: list[str] = []
    for (column, reads, instead), value in zip(columns, row, strict=False):
        try:
            values.append(reads(value))
        except Unsound as error:
            values.append(instead)
            complaints.append(f"{column} {error}")
    return values, complaints


FIELDS = ", ".join([fields(CHANGE), *(f"typeof({column}) = 'text'" for column in COMPARED)])
"""What a statement selects so that `read` can read it; INLINE may follow."""
LATE_WRITES = stored("late_writes")
INLINE = "CAST(inline AS BLOB)"
WIDTH = len(CHANGE) + len(COMPARED)


def read(row: tuple[Any, ...]) -> tuple[list[Any], str]:
    """The values of CHANGE in a row of FIELDS, and why it cannot be pushed ("": it can).

    A row with a column that cannot be read comes as a quarantined one of op put, or complete, or delete where there is
    no body. One whose bucket or key cannot be read is of no key: its bucket is "", and its key shows what is there.
    """
    values, complaints = _values_of_change(row)
    wrong = {complaint.split(" ", 1)[0] for complaint in complaints} if complaints else set[str]()
    are_texts = row[len(CHANGE) : WIDTH]
    if not all(are_texts):
        for column, is_text in zip(COMPARED, are_texts, strict=True):
            if not is_text and column not in wrong:
                wrong.add(column)
                complaints.append(f"{column} is no text")
    if values[OP] == Op.TAG and TAGGING not in values[MEMBERS]:
        values[MEMBERS] = {**values[MEMBERS], TAGGING: ""}
        complaints.append("members has no tags")
    if values[OP] == Op.COMPLETE and values[UPLOAD] is None:
        complaints.append("upload is missing")
    if not complaints:
        return values, ""
    if wrong & {"bucket", "key"}:
        values[BUCKET], values[KEY] = "", f"{_shown(row[BUCKET])}/{_shown(row[KEY])}"
    if not values[OP]:
        values[OP] = Op.COMPLETE if values[UPLOAD] else Op.PUT if values[FILE] or values[SIZE] else Op.DELETE
    why = "the row cannot be read: " + "; ".join(complaints)
    values[STATE] = State.SUPERSEDED if values[STATE] == State.SUPERSEDED else State.QUARANTINED
    values[CODE], values[REASON] = CORRUPT, why
    return values, why


def _shown(value: Any) -> str:
    """What is there of a name that is none, for a person."""
    if not isinstance(value, bytes):
        return "?"
    return value[:MAX_SHOWN].decode(errors="backslashreplace") + ("..." if len(value) > MAX_SHOWN else "")


def late_writes_leniently(value: Any) -> list[list[Any]]:
    """The same as `late_writes_of`; of a column that cannot be read, nothing is known."""
    try:
        return late_writes_of(value.encode() if isinstance(value, str) else value)
    except Unsound:
        return []


def members_leniently(value: Any) -> Mapping[str, str]:
    """The same as `members_of`; none of a column that cannot be read."""
    try:
        return members_of(value.encode() if isinstance(value, str) else value)
    except Unsound:
        return {}


def removed_leniently(value: Any) -> Content:
    """The same as `removed_of`; nothing is known of a column that cannot be read."""
    try:
        return removed_of(value.encode() if isinstance(value, str) else value)
    except Unsound:
        return UNKNOWN
