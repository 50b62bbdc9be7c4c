"""A request that goes through and gets an odd answer: its client is told of no success that the store did not give."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from s3d.api import read_all
from s3d.errors import S3Error
from tests.callers import Answer, door_call
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway
from tests.sidecar.layers.queue.push.odd_answers import ANSWERS, CONFIRMS, CUT, NO_DOCUMENT, NO_SUCCESS, S3_ERRORS, some
from tests.stores import Store

pytestmark = pytest.mark.usefixtures("quick")

ITSELF = "itself"
"""An object that is at the store."""
THROUGH: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "PutObject": ({"Key": "k", "IfNoneMatch": "*"}, b"1"),
    "DeleteObject": ({"Key": ITSELF}, None),
    "DeleteObjects": ({"Delete": {"Objects": [{"Key": ITSELF}, {"Key": "k"}]}}, None),
    "CopyObject": ({"Key": "k", "CopySource": "{bucket}/" + ITSELF}, None),
    "CreateMultipartUpload": ({"Key": "k"}, None),
    "UploadPart": ({"Key": "k", "UploadId": "", "PartNumber": 2}, b"2"),
    "UploadPartCopy": ({"Key": "k", "UploadId": "", "PartNumber": 2, "CopySource": "{bucket}/" + ITSELF}, None),
    "CompleteMultipartUpload": ({"Key": "k", "UploadId": "", "MultipartUpload": {}}, None),
    "AbortMultipartUpload": ({"Key": "k", "UploadId": ""}, None),
    "PutObjectTagging": ({"Key": ITSELF, "Tagging": {"TagSet": [{"Key": "t", "Value": "1"}]}}, None),
    "DeleteObjectTagging": ({"Key": ITSELF}, None),
    "GetObject": ({"Key": ITSELF}, None),
    "HeadObject": ({"Key": ITSELF}, None),
    "ListObjectsV2": ({}, None),
    "ListObjects": ({}, None),
    "GetObjectTagging": ({"Key": ITSELF}, None),
    "ListParts": ({"Key": "k", "UploadId": ""}, None),
}
"""In a versioned bucket, where every write goes through; the upload is one that is open at the store."""
HAS_NO_DOCUMENT = frozenset(["HeadObject"])
"""Its errors are statuses alone: an S3 error is not told from another."""


@pytest.mark.semantics("Q-3a", "Q-22", "R-4", "R-5", "R-7")
@pytest.mark.parametrize("operation", THROUGH)
async def test_a_client_is_told_of_no_success_that_the_store_did_not_give(operation: str, tmp_path: Path) -> None:
    names = some(ANSWERS, [*THROUGH].index(operation))
    buckets = {name: f"bucket-{number}" for number, name in enumerate(names)}
    async with Store() as store, gateway(tmp_path, store) as here:
        for bucket in buckets.values():
            store.fake.buckets[bucket] = Bucket(bucket, 0.0, versioning="Enabled")

        async def told(name: str) -> str:
            """What is wrong in what the client is told; "" where nothing is."""
            params, data = await asked(here, buckets[name], operation)
            hook = store.hook(ANSWERS[name], operation, bucket=buckets[name])
            answer = await here.ask(operation, params, data)
            return misled(operation, name, answer) if hook.hits else "the store was not asked"

        at_once = asyncio.Semaphore(16)

        async def tell(name: str) -> str:
            async with at_once:
                try:
                    return await told(name)
                except Exception as error:  # noqa: BLE001 (whatever it is, the seam says that it is not raised)
                    return f"raises {error!r}"

        found = dict(zip(names, await asyncio.gather(*map(tell, names)), strict=True))
    wrong = {name: what for name, what in found.items() if what}
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())


async def asked(here: Gateway, bucket: str, operation: str) -> tuple[dict[str, Any], bytes | None]:
    """The members of a request that goes through, after what it needs was made."""
    params, data = THROUGH[operation]
    named = {"Bucket": bucket, **params}
    await success(here, "PutObject", {"Bucket": bucket, "Key": ITSELF}, b"itself")
    if "UploadId" in params:
        to = {"Bucket": bucket, "Key": "k"}
        to["UploadId"] = (await success(here, "CreateMultipartUpload", to)).result["UploadId"]
        part = await success(here, "UploadPart", {**to, "PartNumber": 1}, b"1")
        named |= to
        if "MultipartUpload" in params:
            named["MultipartUpload"] = {"Parts": [{"PartNumber": 1, "ETag": f'"{part.etag}"'}]}
    if "CopySource" in params:
        named["CopySource"] = params["CopySource"].replace("{bucket}", bucket)
    return named, data


async def success(here: Gateway, operation: str, params: dict[str, Any], data: bytes | None = None) -> Answer:
    """Ask for something that succeeds."""
    answer = await here.ask(operation, params, data)
    assert isinstance(answer, Answer), answer
    return answer


def misled(operation: str, name: str, answer: Answer | S3Error) -> str:
    """What is wrong in an answer to a client; "" where nothing is."""
    if name in CONFIRMS.get(operation, ()):
        return ""
    if isinstance(answer, Answer):
        done = {one["Key"] for one in answer.result.get("Deleted", ())}
        failed = {one["Key"] for one in answer.result.get("Errors", ())}
        if operation == "DeleteObjects" and not done and failed == {ITSELF, "k"}:
            return ""  # of each key it is said
        return f"a success, {answer.status} {answer.result}"
    told = f"{answer.status} {answer.code}"
    if operation == "DeleteObjects" and name in S3_ERRORS:
        return ""
    if name in S3_ERRORS and operation not in HAS_NO_DOCUMENT and told != name:
        return f"the store's error is told as {told}"
    if name in NO_SUCCESS and "<Error>" not in name and answer.status != 503:
        return f"told as {told}"
    if name in NO_DOCUMENT and operation in ("GetObject", "HeadObject") and answer.status == 404 and name != "404":
        return "the object is told to be gone"
    if name in CUT and answer.status != 503:
        return f"told as {told}"
    return "" if answer.status >= 300 else f"told as {told}"


@pytest.mark.semantics("R-7")
@pytest.mark.parametrize("operation", ["PutObject", "GetObject", "CopyObject", "ListObjectsV2"])
async def test_an_s3_error_passes_byte_for_byte(operation: str, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0, versioning="Enabled")
        params, data = await asked(here, "b", operation)
        for odd in S3_ERRORS.values():
            store.clear()
            store.hook(odd, operation)
            reply = await here.queue(door_call(operation, params, data, {}))
            told = reply.status, reply.headers["x-amz-request-id"], await read_all(reply.body, 1 << 20)
            assert told == (odd.status, odd.headers["x-amz-request-id"], odd.body.encode())
