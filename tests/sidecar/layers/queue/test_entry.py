"""Every operation that writes has its fate decided in one order, and nothing is asked that the decision needs not."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from s3d.errors import S3Error
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway, quick
from tests.stores import Store

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

LONG = "k" * 1025
TAGS = {"Tagging": {"TagSet": [{"Key": f"k{n}", "Value": ""} for n in range(11)]}}


class Kind(NamedTuple):
    """An operation that writes, and a request of it that S3 refuses whatever it finds."""

    operation: str
    invalid: Mapping[str, Any]
    code: str
    data: bytes | None = None


KINDS = [
    Kind("PutObject", {"Key": LONG}, "KeyTooLongError", b"x"),
    Kind("DeleteObject", {"Key": LONG}, "KeyTooLongError"),
    Kind("CreateMultipartUpload", {"Key": LONG}, "KeyTooLongError"),
    Kind("CreateMultipartUpload", {"Key": "k", "ChecksumType": "COMPOSITE"}, "InvalidRequest"),
    Kind("DeleteObjects", {"Delete": {"Objects": []}}, "MalformedXML"),
]
"""The ones that are judged before anything is known of their key."""


def code_of(answer: Answer | S3Error) -> str:
    return answer.code if isinstance(answer, S3Error) else ""


@pytest.mark.semantics("Q-15")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.operation} {kind.code}")
async def test_what_s3_would_refuse_is_refused_before_the_bucket_is_looked_up(kind: Kind, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store) as here:
        answer = await here.ask(kind.operation, {"Bucket": "nobody-knows", **kind.invalid}, kind.data)
        assert code_of(answer) == kind.code
        assert store.seen == []


@pytest.mark.semantics("R-6")
@pytest.mark.parametrize(
    "operation, params, data",
    [
        ("PutObject", {"Key": "k"}, b"x"),
        ("DeleteObject", {"Key": "k"}, None),
        ("CreateMultipartUpload", {"Key": "k"}, None),
        ("DeleteObjects", {"Delete": {"Objects": [{"Key": "k"}]}}, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_write_to_a_bucket_that_is_not_there_is_refused_and_not_sent(
    operation: str, params: dict[str, Any], data: bytes | None, tmp_path: Path
) -> None:
    async with Store() as store, gateway(tmp_path, store) as here:
        assert code_of(await here.ask(operation, {"Bucket": "nowhere", **params}, data)) == "NoSuchBucket"
        assert store.count(operation) == 0


@pytest.mark.semantics("Q-15", "Q-19")
async def test_tags_beyond_the_limits_are_refused_where_they_are_queued_and_else_the_remotes(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, ("b",), delay=60.0) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        await here.ask("PutObject", {"Bucket": "b", "Key": "k"}, b"x")
        assert code_of(await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "k", **TAGS})) == "InvalidTag"
        assert store.count("PutObjectTagging") == 0
        await here.ask("PutObjectTagging", {"Bucket": "b", "Key": "there", **TAGS})
        assert store.count("PutObjectTagging") == 1


@pytest.mark.semantics("Q-7", "Q-16a")
async def test_a_part_that_is_copied_from_more_than_the_queue_holds_goes_through(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, ("b",), max_size=8192, wait=0.0) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        await here.ask("PutObject", {"Bucket": "b", "Key": "large"}, b"x" * 8193)
        assert store.data("b", "large") == b"x" * 8193
        upload = await begun(here)
        answer = await here.ask("UploadPartCopy", {**upload, "PartNumber": 1, "CopySource": "b/large"})
        assert code_of(answer) == ""
        assert store.count("UploadPartCopy") == 1


@pytest.mark.semantics("D-6a", "Q-14", "Q-14b")
async def test_a_write_through_says_why_it_was_not_queued(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, max_size=8192) as here:
        for bucket in ("b", "versions"):
            store.fake.buckets[bucket] = Bucket(bucket, 0.0)
        store.fake.buckets["versions"].versioning = "Enabled"
        reasons: list[str] = []
        for bucket, data, headers in (
            ("b", b"x", {}),
            ("b", b"x", {}),
            ("b", b"x", {"if_match": '"another"'}),
            ("b", b"x", {"if_none_match": "*"}),
            ("b", b"x", {"x_amz_unheard": "of"}),
            ("b", b"x" * 8193, {}),
            ("versions", b"x", {}),
        ):
            key = f"k{len(reasons)}"
            answer = await here.ask("PutObject", {"Bucket": bucket, "Key": key}, data, **headers)
            reasons.append(answer.headers.get("x-s3d-reason", ""))
    assert reasons == [
        *("first of its kind", "", "", "if-none-match"),
        *("unsupported", "larger than the queue", "versioned"),
    ]


async def begun(here: Gateway) -> dict[str, str]:
    """An upload that is staged here."""
    named = {"Bucket": "b", "Key": "k"}
    answer = await here.ask("CreateMultipartUpload", {**named})
    assert isinstance(answer, Answer)
    return {**named, "UploadId": answer.result["UploadId"]}
