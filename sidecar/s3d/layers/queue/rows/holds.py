"""Which changes a tag holds back (SEMANTICS Q-11): `s3d.upload=false` on the object, else on its bucket.

What a bucket's tags said of it last is kept in the table `hold`, all of them in `bucket_tag`, and that the former says
something else since in `unjudged`, until all that waits was judged by it: all SQL on the three is in here. The rule is
judged inside the transaction that queues or re-tags a change, so that none slips between a new tag and its judgement.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import apsw

from s3d import documents
from s3d.layers.queue.rows import queries, soundness
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

TAG = "s3d.upload"
SQL = queries.load("holds")
HELD_OPS = frozenset(["put", "delete", "complete"])
"""Changes that a rule may hold. A change of tags follows its put."""


def rule_of(db: apsw.Connection, bucket: str, op: str, members: Mapping[str, str]) -> str:
    """The rule that holds a change, in words; "" where none does."""
    return _rule(lambda sql, bindings: db.execute(sql, bindings).fetchall(), bucket, op, members)


def rule_now(db: Database, bucket: str, op: str, members: Mapping[str, str]) -> str:
    """The rule that would hold a change if it was queued now."""
    return _rule(db.read, bucket, op, members)


def _rule(
    read: Callable[[str, tuple[str]], list[tuple[Any, ...]]], bucket: str, op: str, members: Mapping[str, str]
) -> str:
    if op not in HELD_OPS:
        return ""
    own = own_of(members.get(TAGGING, ""))
    if own is not None:
        return f"the tag {TAG}=false of the object" if own == "false" else ""
    rows = read(SQL["holds"], (bucket,))
    return f"the tag {TAG}=false of the bucket" if rows else ""


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
        before = db.execute(SQL["held_before"], (bucket,)).fetchall()
        upload = _keep(db, bucket, result)
        db.execute(SQL["remember"], (bucket, upload, now))
        if bool(before and before[0][0]) != (upload == "false"):
            db.execute(SQL["doubt"], (bucket,))
        return bool(db.execute(SQL["doubted"], (bucket,)).fetchall())

    return write


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
