"""Odd values in every header and query member of what is answered from here: an answer or a refusal, never a bug.

The remote refuses everything, so what is passed on to it is answered too; what is no S3Error fails the test.
"""

import base64
from pathlib import Path
from typing import Any

import pytest

from s3d.api import Call, Reply
from s3d.errors import S3Error, Unavailable
from s3d.layers.queue import Queue
from s3d.protocol.model import OPERATIONS
from tests.callers import Answer, ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, opened

NUMBERS = ["9" * 5000, "-" + "9" * 5000, "1" + "0" * 30, str(1 << 63), str(-(1 << 63)), "-1", "0", "", "1e3", "\u0663"]
DATES = [
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "Fri, 31 Dec 9999 23:59:59 -2359",
    "Mon, 01 Jan 0001 00:00:00 +2359",
    "Fri, 02 Jan 2026 03:04:05 +0500",
    "2026-01-02T03:04:05+05:00",
    "Fri, 02 Jan 2026 03:04:05 GMT+99999",
    "20260102T030405Z",
    "0000-00-00",
    "Fri, 99 Jan 2026 99:99:99 GMT",
    "9" * 5000,
]
RANGES = [
    f"bytes=0-{'9' * 5000}",
    f"bytes={'9' * 5000}-",
    f"bytes=-{'9' * 5000}",
    f"bytes={'0' * 5000}-0",
    "bytes=\u0660-",
]
NESTED = ["[" * 5000, *("s3d." + base64.urlsafe_b64encode(text).decode() for text in (b"[" * 5000, b"\x02b" * 20, b""))]
SOURCES = [
    "/",
    "//",
    "b",
    f"{BUCKET}",
    f"{BUCKET}/",
    f"{BUCKET}%2F",
    f"{BUCKET}%2Fk",
    "%",
    "%ff/k",
    "?versionId=1",
    "\x00/k",
]
STRINGS = [*NUMBERS, *DATES, *RANGES, *NESTED, *SOURCES]
ODD = {"integer": NUMBERS, "long": NUMBERS, "timestamp": DATES, "boolean": ["", "maybe"], "string": STRINGS}
NAMED = {"Bucket": BUCKET, "Key": "k"}
PART = {**NAMED, "PartNumber": 1}
CALLS: dict[str, dict[str, Any]] = {
    "GetObject": NAMED,
    "HeadObject": NAMED,
    "GetObjectAttributes": {**NAMED, "ObjectAttributes": ["ETag"]},
    "GetObjectTagging": NAMED,
    "PutObject": NAMED,
    "DeleteObject": NAMED,
    "CopyObject": {**NAMED, "CopySource": f"{BUCKET}/k"},
    "CreateMultipartUpload": NAMED,
    "UploadPart": PART,
    "UploadPartCopy": {**PART, "CopySource": f"{BUCKET}/k"},
    "ListParts": NAMED,
    "AbortMultipartUpload": NAMED,
    "ListMultipartUploads": {"Bucket": BUCKET},
    "ListObjects": {"Bucket": BUCKET},
    "ListObjectsV2": {"Bucket": BUCKET},
    "ListObjectVersions": {"Bucket": BUCKET},
}


class Away:
    """A remote that was there, and refuses everything since."""

    def __init__(self) -> None:
        self.fake = Fake()
        self.refuses = False

    async def __call__(self, call: Call) -> Reply:
        if self.refuses:
            raise S3Error("NoSuchKey", "as the test has it", status=404)
        return await self.fake(call)


async def told(queue: Queue, operation: str, params: dict[str, Any], **headers: str) -> Answer | S3Error:
    data = b"x" if OPERATIONS[operation].streaming_input else None
    try:
        return await ask(queue, operation, params, data, headers=headers)
    except S3Error as error:
        return error


@pytest.mark.semantics("R-4a")
@pytest.mark.parametrize("operation", CALLS)
async def test_no_value_of_a_member_is_a_bug(tmp_path: Path, operation: str) -> None:
    remote = Away()
    await ask(remote.fake, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    async with opened(tmp_path, remote) as queue:
        await told(queue, "PutObject", {**NAMED, "Key": "first"})
        await told(queue, "CreateMultipartUpload", {**NAMED, "Key": "first"})
        await told(queue, "PutObject", NAMED)
        begun = await told(queue, "CreateMultipartUpload", NAMED)
        assert isinstance(begun, Answer)
        remote.refuses = True
        queue._context.turns._timeout = 0.0
        members = OPERATIONS[operation].members
        upload = {"UploadId": begun.result["UploadId"]} if "UploadId" in members else {}
        for name, member in members.items():
            for odd in ODD.get(member.shape.kind, ()) if member.location in ("header", "querystring") else ():
                if member.required and not odd:
                    continue
                answer = await told(queue, operation, {**CALLS[operation], **upload, name: odd})
                bug = isinstance(answer, S3Error) and answer.code == "InternalError"
                assert not bug or isinstance(answer, Unavailable), (name, odd[:80], answer)


@pytest.mark.semantics("R-4a")
@pytest.mark.parametrize("length", ["9" * 5000, "-1", "\u0663", "1e3", ""])
async def test_no_length_of_a_chunked_body_is_a_bug(tmp_path: Path, length: str) -> None:
    remote = Away()
    await ask(remote.fake, "CreateBucket", {"Bucket": BUCKET}, typed=True)
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": length,
        "Content-Encoding": "aws-chunked",
    }
    async with opened(tmp_path, remote) as queue:
        answer = await told(queue, "PutObject", NAMED, **headers)
        assert isinstance(answer, S3Error)
        assert answer.status in (400, 411)
