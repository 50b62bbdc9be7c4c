"""What a copy of a pending put takes from its source, and what from its request."""

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest

from s3d.errors import S3Error
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.serve import copies

ETAG = "0" * 32
ACKED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE, AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)
SOURCE = {
    "content-type": "text/x",
    "x-amz-meta-a": "1",
    "x-amz-tagging": "a=1",
    "x-amz-checksum-crc32": "AAAAAA==",
    "x-amz-content-sha256": "f" * 64,
    "x-amz-acl": "public-read",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-server-side-encryption": "AES256",
    "x-amz-website-redirect-location": "/there",
    "x-amz-expected-bucket-owner": "1",
}
BYTES = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-content-sha256": "f" * 64}
ASKED = {"content-type": "x/y", "x-amz-meta-b": "2", "x-amz-tagging": "b=2", "x-amz-acl": "private"}
COPIES: list[tuple[dict[str, str], bool, bool, dict[str, str]]] = [
    ({}, False, False, {"content-type": "text/x", "x-amz-meta-a": "1", "x-amz-tagging": "a=1"}),
    (
        ASKED,
        False,
        False,
        {"content-type": "text/x", "x-amz-meta-a": "1", "x-amz-tagging": "a=1", "x-amz-acl": "private"},
    ),
    (ASKED, True, True, ASKED),
    (ASKED, True, False, {**ASKED, "x-amz-tagging": "a=1"}),
    ({}, True, True, {}),
]


@pytest.mark.semantics("Q-19", "Q-6")
@pytest.mark.parametrize("asked, metadata, tagging, headers", COPIES)
def test_a_copy_takes_what_s3_copies(
    asked: dict[str, str], metadata: bool, tagging: bool, headers: dict[str, str]
) -> None:
    assert dict(copies.members(SOURCE, asked, metadata=metadata, tagging=tagging)) == {**BYTES, **headers}


CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"CopySourceIfMatch": f'"{ETAG}"'}, True),
    ({"CopySourceIfMatch": '"x"'}, False),
    ({"CopySourceIfNoneMatch": '"x"'}, True),
    ({"CopySourceIfNoneMatch": f'"{ETAG}"'}, False),
    ({"CopySourceIfModifiedSince": BEFORE}, True),
    ({"CopySourceIfModifiedSince": AFTER}, False),
    ({"CopySourceIfUnmodifiedSince": AFTER}, True),
    ({"CopySourceIfUnmodifiedSince": BEFORE}, False),
    ({"CopySourceIfMatch": f'"{ETAG}"', "CopySourceIfUnmodifiedSince": BEFORE}, True),
    ({"CopySourceIfNoneMatch": f'"{ETAG}"', "CopySourceIfModifiedSince": BEFORE}, False),
]


@pytest.mark.semantics("Q-19")
@pytest.mark.parametrize("params, holds", CONDITIONS)
def test_conditions_are_judged_on_the_pending_source(params: dict[str, Any], holds: bool) -> None:
    change = Change(
        seq=1, bucket="b", key="k", op=Op.PUT, state=State.WAITING, members={}, size=1, etag=ETAG,
        acked_at=ACKED.timestamp(), attempts=0, next_at=0, attempt_at=None, code="", reason="", file=None,
    )  # fmt: skip
    with contextlib.nullcontext() if holds else pytest.raises(S3Error, match="PreconditionFailed"):
        copies.judge(params, change)
