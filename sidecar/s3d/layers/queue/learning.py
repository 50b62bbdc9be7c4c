"""What the answers of the remote teach about a kind of write and its bucket (SEMANTICS Q-14, Q-4).

A write that was sent through teaches, and so does a push; both take back what they contradict. They teach whether such
a write is allowed, whether the bucket keeps versions or encrypts, and whether an ETag is the MD5.
"""

import logging
from collections.abc import Mapping
from typing import Any

from s3d.api import AnyHeaders, Outcome, Reply
from s3d.client import Answer
from s3d.errors import S3Error
from s3d.layers.queue.buckets import Bucket
from s3d.layers.queue.parts import Parts
from s3d.layers.queue.rows import shapes
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.shapes import DOUBTED, PROVEN, Shape
from s3d.protocol import answers
from s3d.store.db import StoreFailed

log = logging.getLogger(__name__)

CONTRARY = frozenset(
    "AccessDenied AllAccessDisabled AccountProblem AccessControlListNotSupported InvalidStorageClass "
    "NotImplemented".split()
)
"""Errors that say of a shape that it is not allowed or not known after all."""
KMS = "aws:kms"


def is_proven(parts: Parts, shape: Shape) -> bool:
    """Whether the queue may take a shape: the remote has judged it, or the settings vouch for plain writes (R-6)."""
    verdict = parts.shapes.verdict(shape)
    return verdict == PROVEN or (not verdict and not shape.members and parts.buckets.named(shape.bucket))


async def delivered(parts: Parts, change: Change, answer: Answer) -> None:
    """Learn from a push that succeeded."""
    headers = answer.headers
    await learn(parts, shapes.of_change(change), headers, change.etag if change.op in ("put", "complete") else "")


async def refused(parts: Parts, change: Change, error: S3Error) -> None:
    """Learn from a push that was refused."""
    try:
        if error.code in CONTRARY:
            await parts.shapes.learn(shapes.of_change(change), DOUBTED)
        elif error.code == "NoSuchBucket":
            await parts.shapes.forget(change.bucket)
    except StoreFailed as failure:
        log.error("what the remote showed of bucket %s cannot be kept: %s", change.bucket, failure)


async def judged(parts: Parts, shape: Shape, reply: Reply, etag: str) -> None:
    """Learn from the answer to a write that was sent through; of one that was refused, that the bucket may be gone."""
    if reply.status < 300:
        await learn(parts, shape, reply.headers, etag)
    elif reply.outcome is Outcome.REFUSED and reply.status == 404:
        await parts.buckets.forget(shape.bucket)


async def of_bulk(parts: Parts, shape: Shape, result: Mapping[str, Any]) -> None:
    """Learn from the answer to a bulk delete."""
    deleted = result.get("Deleted") or ()
    versions = [o.get("DeleteMarkerVersionId") or o.get("VersionId") for o in deleted if o.get("Key")]
    if versions:
        headers = Reply().headers
        headers["x-amz-version-id"] = next((version for version in versions if version), "null")
        await learn(parts, shape, headers, "")


async def learn(parts: Parts, shape: Shape, headers: AnyHeaders, etag: str) -> None:
    """Learn from a success; `etag` is what it has to show, "" where it shows none."""
    version, shown = headers.get("x-amz-version-id", "null"), answers.etag_of(headers.get("ETag", ""))
    encryption = headers.get("x-amz-server-side-encryption", "")
    found = Bucket(shape.bucket)
    if version != "null":
        found = Bucket(shape.bucket, "versioned", f"x-amz-version-id {version}")
    if etag and shown not in ("", etag):
        parts.metrics.etag_mismatch.inc()
        log.warning("bucket %s: where the ETag must be %s, the remote shows %s", shape.bucket, etag, shown)
        found = Bucket(shape.bucket, "etag", f"{shown} where it must be {etag}")
    if encryption.startswith(KMS):
        found = Bucket(shape.bucket, "encrypted", encryption)
    try:
        await parts.buckets.passed(shape.bucket)
        if found.through:
            await parts.buckets.learn(found)
        await parts.shapes.learn(shape, DOUBTED if parts.buckets.through(found) else PROVEN)
    except StoreFailed as error:
        log.error("what the remote showed of bucket %s cannot be kept: %s", shape.bucket, error)
