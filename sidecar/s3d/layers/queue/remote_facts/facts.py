"""What is known of the remote, in one place, and what its answers teach (SEMANTICS Q-14, Q-4, Q-18).

A write that was sent through teaches, and so does a push; both take back what they contradict. They teach whether such
a write is allowed, whether the bucket keeps versions or encrypts, whether an ETag is the MD5, and which object is
there.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s3d.api import AnyHeaders, Call, Outcome, Reply
from s3d.client import Answer
from s3d.errors import S3Error
from s3d.layers.queue.remote_facts import write_profiles
from s3d.layers.queue.remote_facts.bucket_tags import BucketTags
from s3d.layers.queue.remote_facts.buckets import Bucket, Buckets
from s3d.layers.queue.remote_facts.seen_etags import SeenEtags
from s3d.layers.queue.remote_facts.store_traits import StoreTraits
from s3d.layers.queue.remote_facts.write_profiles import SUSPECT, VERIFIED, WriteProfile, WriteProfiles
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.states import Op
from s3d.metrics import Metrics
from s3d.protocol import answers
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

CONTRARY = frozenset(
    "AccessDenied AllAccessDisabled AccountProblem AccessControlListNotSupported InvalidStorageClass "
    "NotImplemented".split()
)
"""Errors that say of a profile that it is not allowed or not known after all."""
KMS = "aws:kms"
FORBIDDEN = 403


@dataclass(frozen=True, slots=True)
class RemoteFacts:
    """The facts of each kind, and what answers teach of several of them at once."""

    buckets: Buckets
    bucket_tags: BucketTags
    seen_etags: SeenEtags
    traits: StoreTraits
    profiles: WriteProfiles
    metrics: Metrics

    def is_verified(self, profile: WriteProfile) -> bool:
        """Whether the queue may take a profile: the remote has judged it, or the settings vouch for it (R-6)."""
        verdict = self.profiles.verdict(profile)
        return verdict == VERIFIED or (
            not verdict and not profile.members and self.buckets.named(profile.bucket, profile.identity)
        )

    async def delivered(self, change: Change, answer: Answer) -> None:
        """Learn from a push that succeeded, before its row goes: what is queued after that is made upon its object."""
        expected = change.etag if change.op in (Op.PUT, Op.COMPLETE) else ""
        await self.succeeded(write_profiles.of_change(change), answer.headers, expected)
        if change.op != Op.TAG:
            self.seen_etags.saw(change.bucket, change.key, answer.etag or change.etag)

    async def refused(self, change: Change, error: S3Error) -> None:
        """Learn from a push that was refused."""
        try:
            if error.code in CONTRARY:
                await self.profiles.learn(write_profiles.of_change(change), SUSPECT)
            elif error.code == "NoSuchBucket":
                await self.profiles.forget(change.bucket)
            await self.traits.refused_name(error.code)
        except StoreFailed as failure:
            log.error("what the remote showed of bucket %s cannot be kept: %s", change.bucket, failure)

    async def bucket_refused(self, bucket: str, code: str) -> None:
        """Learn from a push that pauses its lane that the bucket is not there."""
        try:
            await self.buckets.refute(bucket, code)
        except StoreFailed as failure:
            log.error("that bucket %s is gone cannot be kept: %s", bucket, failure)

    async def bucket_changed(self, bucket: str) -> None:
        """Note that writes to a bucket mean something else now, or may: the next one asks again. Raises StoreFailed."""
        await self.buckets.forget(bucket)
        await self.profiles.forget(bucket)

    async def looked(self, call: Call, reply: Reply) -> None:
        """Learn from the answer to a HEAD of a bucket whether its identity may look at it."""
        try:
            if reply.outcome is Outcome.DONE:
                await self.buckets.show(call.bucket, call.identity)
            elif reply.status == FORBIDDEN and reply.outcome is Outcome.REFUSED:
                await self.buckets.hide(call.bucket, call.identity)
        except StoreFailed as error:
            log.error("what the remote showed of bucket %s cannot be kept: %s", call.bucket, error)

    async def sent_through(self, call: Call, reply: Reply, etag: str | None, *, changed: bool) -> None:
        """Learn from the answer to a write that was sent through: what the remote honours (Q-18), and which object is
        there. `etag` is the object's, None where nobody knows; `changed` says that it is another now."""
        if reply.outcome is Outcome.REFUSED and reply.status == 412 and call.operation == "PutObject":
            await self.traits.refused_put(call.wire.headers)
        if reply.outcome is Outcome.REFUSED and reply.status == 412 and call.operation == "DeleteObject":
            await self.traits.refused_delete()
        if changed and etag is not None:
            self.seen_etags.saw(call.bucket, call.key, etag)
        elif changed or reply.outcome is Outcome.UNKNOWN:
            self.seen_etags.forget(call.bucket, call.key)

    async def probed(self, profile: WriteProfile, reply: Reply, etag: str) -> None:
        """Learn from the answer to the first write of a profile. A refusal may say that the bucket is gone."""
        if reply.status < 300:
            await self.succeeded(profile, reply.headers, etag)
        elif reply.outcome is Outcome.REFUSED and reply.status == 404:
            await self.buckets.forget(profile.bucket)

    async def probed_deletes(self, profile: WriteProfile, result: Mapping[str, Any]) -> None:
        """Learn from the answer to a bulk delete."""
        deleted = result.get("Deleted") or ()
        versions = [o.get("DeleteMarkerVersionId") or o.get("VersionId") for o in deleted if o.get("Key")]
        if versions:
            headers = Reply().headers
            headers["x-amz-version-id"] = next((version for version in versions if version), "null")
            await self.succeeded(profile, headers, "")

    async def succeeded(self, profile: WriteProfile, headers: AnyHeaders, etag: str) -> None:
        """Learn from a success; `etag` is what it has to show, "" where it shows none."""
        version, shown = headers.get("x-amz-version-id", "null"), answers.etag_of(headers.get("ETag", ""))
        encryption = headers.get("x-amz-server-side-encryption", "")
        found = Bucket(profile.bucket)
        if version != "null":
            found = Bucket(profile.bucket, "versioned", f"x-amz-version-id {version}")
        if etag and shown not in ("", etag):
            self.metrics.etag_mismatch.inc()
            log.warning("bucket %s: where the ETag must be %s, the remote shows %s", profile.bucket, etag, shown)
            found = Bucket(profile.bucket, "etag", f"{shown} where it must be {etag}")
        if encryption.startswith(KMS):
            found = Bucket(profile.bucket, "encrypted", encryption)
        try:
            await self.buckets.passed(profile.bucket, profile.identity)
            if found.through:
                await self.buckets.learn(found, profile.identity)
            await self.profiles.learn(profile, SUSPECT if self.buckets.through(found) else VERIFIED)
        except StoreFailed as error:
            log.error("what the remote showed of bucket %s cannot be kept: %s", profile.bucket, error)
