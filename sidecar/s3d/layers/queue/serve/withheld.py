"""Writes that a rule keeps back and that cannot be queued: they are refused, no byte of them is sent (SEMANTICS Q-11a).

The rule is the one that holds a queued change (rows/holds.py). It is asked of what carries an object's content or takes
it away; changes of tags, of an ACL or of a retention are no such writes, whatever the rule says. A bucket whose tags
nobody has asked for yet is asked before, since what was sent cannot be taken back.
"""

from collections.abc import Mapping

from s3d.api import Call
from s3d.errors import S3Error
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.push import releases
from s3d.layers.queue.rows import holds, views
from s3d.layers.queue.rules.tags import TAGGING

REMOVING = frozenset(["DeleteObject", "DeleteObjects"])
"""What has no tags of its own: the bucket's count."""
CARRYING = REMOVING | frozenset(
    "PutObject CopyObject RenameObject PutObjectAnnotation CreateMultipartUpload UploadPart UploadPartCopy "
    "CompleteMultipartUpload".split()
)
UNKNOWN = ""
"""An operation that nobody knows may carry content too."""


def tags_of(parts: Parts, call: Call, source: tuple[str, str] | None = None) -> Mapping[str, str]:
    """The tags that an object would have by a write, as members; of a copy those of its `source` (bucket and key)
    where that is pending here. What only the remote could say is not asked: then the bucket's tag counts."""
    if call.operation in REMOVING:
        return {}
    if call.operation == "CopyObject" and call.params.get("TaggingDirective") != "REPLACE":
        pending = views.visible(parts.db, *source) if source is not None else None
        return {} if pending is None else pending.members
    return {TAGGING: "&".join(call.wire.headers.getall(TAGGING, ()))}


async def check(parts: Parts, call: Call, reason: str, members: Mapping[str, str] | None = None) -> None:
    """Refuse a write that goes through for `reason` and that a rule keeps back.

    `members` hold the object's tags where the call itself does not. Raises S3Error AccessDenied (403), and Unavailable
    where the bucket was never asked and does not answer.
    """
    if call.operation not in CARRYING and call.operation != UNKNOWN:
        return
    if members is None:
        if parts.staging.is_let_go(call.params.get("UploadId", "")):
            return
        members = tags_of(parts, call)
    await ask_once(parts, call.bucket)
    refuse(parts, call.bucket, reason, members)


def refuse(parts: Parts, bucket: str, reason: str, members: Mapping[str, str]) -> None:
    """The same by what is known of the bucket."""
    if rule := holds.rule_now(parts.db, bucket, "put", members):
        raise S3Error(
            "AccessDenied",
            f"Nothing was sent: {rule} keeps this write back, and it cannot be queued ({reason})",
            status=403,
            hint="`s3d set --tag s3d.upload=true` on the bucket, or that tag on the object itself, lets it leave",
        )


async def ask_once(parts: Parts, bucket: str) -> None:
    """Ask a bucket for its tags where nobody has. One that is not there, or tells them to nobody, has none."""
    if bucket and not holds.asked_at(parts.db, bucket):
        try:
            await releases.ask(parts, bucket)
        except S3Error as error:
            if error.status >= 500:
                raise
