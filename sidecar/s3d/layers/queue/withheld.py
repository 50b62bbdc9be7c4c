"""What a rule may hold of a write, and the stop for a write that it keeps back and that cannot be queued (Q-11a).

The rule is the one that holds a queued change (rows/holds.py). It holds what carries an object's content or takes it
away; changes of tags, of an ACL or of a retention are no such writes, whatever the rule says.
"""

from s3d.api import Call
from s3d.layers.queue.rows import holds, lookups
from s3d.layers.queue.rows.holds import Held
from s3d.layers.queue.rows.states import Op
from s3d.layers.queue.rows.subjects import UNKNOWN, Content
from s3d.layers.queue.rows.uploads import Upload
from s3d.layers.queue.rules import allowlist, decide
from s3d.layers.queue.staging import Staging
from s3d.protocol.headers import TAGGING
from s3d.store.db import Database

REMOVING = frozenset(["DeleteObject", "DeleteObjects"])
"""What has no tags of its own: the bucket's count, and for the filter those of the last put."""
CARRYING = REMOVING | frozenset(
    "PutObject CopyObject RenameObject PutObjectAnnotation CreateMultipartUpload UploadPart UploadPartCopy "
    "CompleteMultipartUpload".split()
)
OF_AN_UPLOAD = frozenset(["UploadPart", "UploadPartCopy", "CompleteMultipartUpload"])
UNNAMED = ""
"""An operation that nobody knows may carry content too."""


def carries(call: Call) -> bool:
    """Whether a write is one that a rule may hold."""
    return call.operation in CARRYING or call.operation == UNNAMED


def content_of(db: Database, staging: Staging, call: Call, source: tuple[str, str] | None = None) -> Content:
    """What is known of the object that a write makes; of a copy what its `source` (bucket and key) has, where that is
    pending here by the same identity. What only the remote could say is not asked."""
    params = call.params
    if call.operation in REMOVING or call.operation == "RenameObject":
        return UNKNOWN
    if call.operation in OF_AN_UPLOAD:
        return staging.content_of(str(params.get("UploadId", "")))
    said = Content(said_by(call), call.body.length if call.operation == "PutObject" and call.body else None)
    if call.operation != "CopyObject":
        return said
    pending = lookups.visible(db, *source) if source is not None else None
    if pending is not None and pending.identity != call.identity:
        pending = None
    size = pending.size if pending is not None else None
    if params.get("TaggingDirective") == "REPLACE":
        return Content(said.members, size, knows_headers=params.get("MetadataDirective") == "REPLACE")
    if pending is None:
        return UNKNOWN
    return Content(pending.members, size, knows_headers=params.get("MetadataDirective") != "REPLACE")


def said_by(call: Call) -> dict[str, str]:
    """The headers that a call gives its object, with its tags."""
    members = allowlist.kept(call.wire)
    if tags := call.wire.headers.getall(TAGGING, ()):
        members[TAGGING] = "&".join(tags)
    return members


def rule(db: Database, call: Call, content: Content, key: str) -> str:
    """The rule that holds a write to a key now, in words; "" where none does."""
    return holds.rule_now(db, held_of(db, call, content, key))


def held_of(db: Database, call: Call, content: Content, key: str) -> Held:
    """What rules and the policy get to know of a write to a key; of one that removes it, what its last put said."""
    if call.operation in REMOVING:
        return Held(call.bucket, key, call.identity, Op.DELETE, holds.last_put(db.read, call.bucket, key))
    return Held(call.bucket, key, call.identity, Op.PUT, content)


def stop(db: Database, call: Call, content: Content, why: str) -> None:
    """Refuse a write that is about to leave for the reason `why`, where a rule holds it by now.

    Raises S3Error AccessDenied (403).
    """
    if found := rule(db, call, content, call.key):
        raise decide.held(found, why)


def stop_upload(db: Database, upload: Upload) -> None:
    """The same for an open upload that is about to go to the remote."""
    if found := rule_of_upload(db, upload):
        raise decide.held(found, "it spills")


def rule_of_upload(db: Database, upload: Upload) -> str:
    """The rule that holds the object of an open upload, whose size nobody knows yet."""
    return holds.rule_now(db, Held(upload.bucket, upload.key, upload.identity, Op.COMPLETE, Content(upload.members)))
