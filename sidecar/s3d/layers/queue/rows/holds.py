"""Which changes a rule holds back (SEMANTICS Q-11, F-4a): `s3d.upload` on the object, on its bucket, else a filter.

The filter of the push is a row of the table `meta`, so that each transaction judges by the one that is in force.

What a bucket's tags said of it last is kept in the table `hold`, all of them in `bucket_tag`, and that the former says
something else since in `unjudged`, until all that waits was judged by it: all SQL on the three is in here. The rule is
judged inside the transaction that queues or re-tags a change, so that none slips between a new tag and its judgement.
"""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import apsw

from s3d import documents
from s3d.filters import match
from s3d.filters.explain import explain
from s3d.filters.grammar import FilterError, parse
from s3d.filters.match import Subject, Truth
from s3d.filters.rule import Rule
from s3d.layers.queue.rows import queries, soundness, subjects
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import UNKNOWN, Content
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

TAG = "s3d.upload"
SQL = queries.load("holds")
MAX_SHOWN = 200
"""Characters of a rule that are kept with a change."""
Read = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a statement that reads; its rows."""
HELD_OPS = frozenset(["put", "delete", "complete"])
"""Changes that a rule may hold. A change of tags follows its put."""


class Held(NamedTuple):
    """What a rule may hold: a change, or a write that would be one."""

    bucket: str
    key: str
    identity: str
    op: str
    content: Content
    """Of a delete what the last put of its key said (F-5b)."""


def reading(db: apsw.Connection) -> Read:
    """Reads inside a transaction."""
    return lambda sql, bindings: db.execute(sql, bindings).fetchall()


def remembering(db: apsw.Connection) -> Read:
    """Reads inside a transaction that writes nothing of what it reads: the same is read once."""
    return functools.cache(reading(db))


def rule_now(db: Database, held: Held) -> str:
    """The rule that would hold a change if it was queued now."""
    return rule_of(db.read, held)


def rule_of(read: Read, held: Held) -> str:
    """The rule that holds a change, in words; "" where none does. The tag of the object counts, else the bucket's, else
    the filter of the push."""
    if held.op not in HELD_OPS:
        return ""
    own = own_tag(held)
    if own is not None:
        return f"the tag {TAG}=false of the object" if own == "false" else ""
    [(of_bucket, text)] = read(SQL["rules"], (held.bucket,))
    if of_bucket:
        return f"the tag {TAG}=false of the bucket" if of_bucket == "false" else ""
    return filtered(read, held, str(text)) if text else ""


def filtered(read: Read, held: Held, text: str) -> str:
    """The rule of the push filter that holds a change, also where it is not known whether it does (F-5)."""
    try:
        rules = parsed(text)
    except FilterError:
        return "the push filter, which cannot be read"
    verdict = match.decide(rules, _subject(read, held))
    if verdict.answer is Truth.YES:
        return ""
    if verdict.decider is None:
        return "the push filter, none of whose rules takes it in,"
    return _told(rules.rules[verdict.decider], is_known=verdict.answer is not Truth.UNKNOWN)


@functools.lru_cache(maxsize=64)
def _told(decider: Rule, *, is_known: bool) -> str:
    """A rule of the push filter that holds changes, in words."""
    rule = str(decider)
    shown = rule if len(rule) <= MAX_SHOWN else rule[:MAX_SHOWN] + "..."
    unknown = "" if is_known else ", of which is not known whether it matches,"
    return f"the rule {shown} of the push filter{unknown}"


def of_row(bucket: str, key: str, identity: str, op: str, members: bytes, size: int, removes: bytes) -> Held:
    """What a rule gets to know of a change, by columns of its row."""
    content = Content(soundness.members_leniently(members), size)
    return Held(bucket, key, identity, op, soundness.removed_leniently(removes) if op == Op.DELETE else content)


def last_put(read: Read, bucket: str, key: str) -> Content:
    """What the last put of a key says of its object, with the tags that wait behind it; a delete before which it is
    gone has kept it."""
    tagging: str | None = None
    for op, members, size, removes in read(SQL["last_put"], (bucket, key)):
        if op == Op.DELETE:
            return soundness.removed_leniently(removes)
        said = soundness.members_leniently(members)
        if op != Op.TAG:
            return Content(said if tagging is None else {**said, TAGGING: tagging}, size)
        tagging = said.get(TAGGING, "") if tagging is None else tagging
    return UNKNOWN


def own_tag(held: Held) -> str | None:
    """The value of the tag in an object's own tags. A delete has none: its bucket's counts."""
    return None if held.op == Op.DELETE else own_of(held.content.members.get(TAGGING, ""))


def _subject(read: Read, held: Held) -> Subject:
    """What the filter gets to know of a change."""
    tags = _tags(read(SQL["tags"], (held.bucket,)))
    return subjects.of(held.bucket, held.key, held.identity, held.content, tags)


def explained(db: Database, held: Held) -> tuple[str, list[tuple[str, str, str]]]:
    """The rule that holds a change as all is now, "" for none; and of each that was asked before one decided its text,
    whether it matches, and what it did."""
    if held.op not in HELD_OPS:
        return "", [("", "", "no rule holds a change of tags: it follows its put")]
    rule = rule_now(db, held)
    lines: list[tuple[str, str, str]] = []
    upload = db.read(SQL["upload"], (held.bucket,))
    of_bucket = str(upload[0][0]) if upload and upload[0][0] else None
    for value, whose in (own_tag(held), "object"), (of_bucket, "bucket"):
        if value is not None:
            effect = "holds it, and decides" if value == "false" else "lets it leave, and decides"
            return rule, [*lines, (f"the tag {TAG}={value} of the {whose}", Truth.YES, effect)]
        lines.append((f"the tag {TAG} of the {whose}", Truth.NO, ""))
    text = filter_text(db)
    if not text:
        return rule, [*lines, ("", "", "there is no push filter: it may leave")]
    try:
        rules = parsed(text)
    except FilterError as error:
        return rule, [*lines, ("", "", f"the push filter cannot be read, and holds it: {error}")]
    return rule, lines + explain(rules, _subject(db.read, held))[1]


parsed = functools.lru_cache(maxsize=4)(parse)
"""The rules of a text; each transaction asks for those that are in force."""


def filter_text(db: Database) -> str | None:
    """The filter of the push that is in force, "" for all; None where there was none yet."""
    rows = db.read(SQL["filter"])
    return str(rows[0][0]) if rows else None


def filter_at_start(db: Database) -> str | None:
    """What the start-up values said of it at the latest start that could read all its settings."""
    rows = db.read(SQL["filter_at_start"])
    return str(rows[0][0]) if rows else None


def adopt(filter_text: str, at_start: str | None = None) -> Callable[[apsw.Connection], None]:
    """A write that puts a filter of the push in force: what is queued from then on is judged by it at once, and all
    that waits or is held is to be judged anew, where it is another than before. At a start it notes what the start-up
    values say."""

    def write(db: apsw.Connection) -> None:
        before = db.execute(SQL["filter"]).fetchall()
        if not before or str(before[0][0]) != filter_text:
            db.execute(SQL["set_filter"], (filter_text,))
        if (str(before[0][0]) if before else "") != filter_text:
            db.execute(SQL["doubt_all"])
        if at_start is not None:
            db.execute(SQL["set_filter_at_start"], (at_start,))

    return write


def rule_by(db: apsw.Connection, seq: int) -> str:
    """The rule by which a change is held, "" where it is not."""
    rows = db.execute(SQL["rule_by"], (seq,)).fetchall()
    return str(rows[0][0]) if rows else ""


def kept_back(db: apsw.Connection) -> tuple[int, int]:
    """How many changes are held or parked, and their bytes."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["kept_back"]).fetchall()
    files, size = rows[0]
    return files, size


def waiting(db: apsw.Connection) -> tuple[int, int]:
    """How many changes wait, and their bytes."""
    rows: list[tuple[Any, ...]] = db.execute(SQL["waiting"]).fetchall()
    files, size = rows[0]
    return files, size


def unjudged(db: Database) -> list[str]:
    """Buckets in which something is to be judged anew."""
    return [name for (name,) in db.read(SQL["unjudged"])]


def own_of(header: str) -> str | None:
    """The value of the tag in an object's own tags, as the header has them; None where it is not among them."""
    # Each sign of its name may be percent-encoded: looking for a part of it spares most of the work.
    if "upload" not in header and "%" not in header:
        return None
    return dict(parse_qsl(header, keep_blank_values=True)).get(TAG)


def remember(bucket: str, result: Mapping[str, Any] | None, now: float) -> Callable[[apsw.Connection], bool]:
    """A write that remembers a result of GetBucketTagging, None where nobody may know it; it returns whether what waits
    must be judged anew."""

    def write(db: apsw.Connection) -> bool:
        before = _said(db, bucket)
        upload = _keep(db, bucket, result)
        db.execute(SQL["remember"], (bucket, upload, now))
        if _said(db, bucket) != before:
            db.execute(SQL["doubt"], (bucket,))
        return bool(db.execute(SQL["doubted"], (bucket,)).fetchall())

    return write


def _said(db: apsw.Connection, bucket: str) -> tuple[Any, ...]:
    """What of a bucket's tags may hold a change: its own one, and all of them where there is a filter."""
    upload = db.execute(SQL["upload"], (bucket,)).fetchall()
    said = upload[0][0] if upload else ""
    filters = db.execute(SQL["filter"]).fetchall()
    if not filters or not filters[0][0]:
        return (said == "false",)
    return said, _tags(db.execute(SQL["tags"], (bucket,)).fetchall())


def judged(db: apsw.Connection, bucket: str) -> None:
    """Note that all that waits in a bucket was judged by its tags."""
    db.execute(SQL["judged"], (bucket,))


def remember_first(bucket: str, result: Mapping[str, Any], now: float) -> Callable[[apsw.Connection], None]:
    """The same for a bucket in which nothing waits yet; what is remembered of it already stays."""

    def write(db: apsw.Connection) -> None:
        if not db.execute(SQL["asked_at"], (bucket,)).fetchall():
            db.execute(SQL["remember"], (bucket, _keep(db, bucket, result), now))

    return write


def _keep(db: apsw.Connection, bucket: str, result: Mapping[str, Any] | None) -> str:
    """Keep all tags in a result of GetBucketTagging; the value of the one that speaks of the delivery, "" for none."""
    if result is None:
        db.execute(SQL["forget_tags"], (bucket,))
        return ""
    tags: dict[str, str] = {tag.get("Key", ""): tag.get("Value", "") for tag in result.get("TagSet") or ()}
    db.execute(SQL["remember_tags"], (bucket, json.dumps(tags)))
    return tags.get(TAG, "")


def tags_of_bucket(db: Database, bucket: str) -> dict[str, str] | None:
    """All tags of a bucket; None where they are not known."""
    return _tags(db.read(SQL["tags"], (bucket,)))


def _tags(rows: list[tuple[Any, ...]]) -> dict[str, str] | None:
    try:
        found = documents.parse(rows[0][0]) if rows else None
    except ValueError:
        return None
    return {name: str(value) for name, value in found.items()} if isinstance(found, dict) else None


def asked_at(db: Database, bucket: str) -> float:
    """When a bucket's tags were asked for last (Unix time); 0 for never."""
    rows = db.read(SQL["asked_at"], (bucket,))
    return soundness.moment_leniently(rows[0][0]) or 0.0 if rows else 0.0


def long_ago(db: Database, before: float, limit: int) -> list[str]:
    """Buckets whose tags were last asked for before a moment (Unix time), up to `limit`."""
    return [name for (name,) in db.read(SQL["long_ago"], (before, limit))]
