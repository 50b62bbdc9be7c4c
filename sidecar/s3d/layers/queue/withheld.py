"""What a rule may hold of a write, and the stop for a write that it keeps back and that cannot be queued (Q-11a).

The rule is the one that holds a queued change (rows/holds.py). It holds what carries an object's content or takes it
away; changes of tags, of an ACL or of a retention are no such writes, whatever the rule says.
"""

from collections.abc import Mapping

from s3d.api import Call
from s3d.layers.queue.rows import holds, lookups
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rules import decide
from s3d.layers.queue.staging import Staging
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

REMOVING = frozenset(["DeleteObject", "DeleteObjects"])
"""What has no tags of its own: the bucket's count."""
CARRYING = REMOVING | frozenset(
    "PutObject CopyObject RenameObject PutObjectAnnotation CreateMultipartUpload UploadPart UploadPartCopy "
    "CompleteMultipartUpload".split()
)
UNKNOWN = ""
"""An operation that nobody knows may carry content too."""


def carries(staging: Staging, call: Call) -> bool:
    """Whether a write is one that a rule may hold. An upload of the remote whose own tags let it leave is none."""
    return (call.operation in CARRYING or call.operation == UNKNOWN) and not staging.is_let_go(
        call.params.get("UploadId", "")
    )


def tags_of(db: Database, call: Call, source: tuple[str, str] | None = None) -> Mapping[str, str]:
    """The tags that an object would have by a write, as members; of a copy those of its `source` (bucket and key)
    where that is pending here by the same identity. What only the remote could say is not asked: then the bucket's tag
    counts."""
    if call.operation in REMOVING:
        return {}
    if call.operation == "CopyObject" and call.params.get("TaggingDirective") != "REPLACE":
        pending = lookups.visible(db, *source) if source is not None else None
        return pending.members if pending is not None and pending.identity == call.identity else {}
    return {TAGGING: "&".join(call.wire.headers.getall(TAGGING, ()))}


def stop(db: Database, bucket: str, why: str, members: Mapping[str, str]) -> None:
    """Refuse a write that is about to leave for the reason `why`, where a rule holds it by now.

    `members` hold the object's tags. Raises S3Error AccessDenied (403).
    """
    if rule := holds.rule_now(db, bucket, Op.PUT, members):
        raise decide.held(rule, why)
