"""A remote that is held to the contract, and the two ways in which it is asked."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from s3d.api import S3
from s3d.errors import S3Error
from s3d.protocol.model import OPERATIONS
from tests import callers
from tests.callers import Answer


@dataclass(frozen=True, slots=True)
class Far:
    """An S3 and the way in which it is asked: by the typed client, or by requests as the door makes them."""

    s3: S3
    typed: bool


async def ask(far: Far, operation: str, params: dict[str, Any], data: bytes | None = None) -> Answer:
    """Ask in the one way; what only reads is asked in the other way too, and the answers are equal. Raises S3Error."""
    if OPERATIONS[operation].method not in ("GET", "HEAD"):
        return await callers.ask(far.s3, operation, params, data, typed=far.typed)
    answer, other = [await answer_to(far.s3, operation, params, typed=typed) for typed in (far.typed, not far.typed)]
    if seen(operation, answer) != seen(operation, other):
        # A change that was delivered between the two shows from the second one on.
        answer = await answer_to(far.s3, operation, params, typed=far.typed)
    assert seen(operation, answer) == seen(operation, other)
    if isinstance(answer, S3Error):
        raise answer
    return answer


async def answer_to(s3: S3, operation: str, params: dict[str, Any], *, typed: bool) -> Answer | S3Error:
    """An answer, whatever it is."""
    try:
        return await callers.ask(s3, operation, params, typed=typed)
    except S3Error as error:
        return error


def seen(operation: str, answer: Answer | S3Error) -> tuple[Any, ...]:
    """What must be equal in two answers to one question; a store may write each token and marker anew."""
    if isinstance(answer, S3Error):
        return answer.code, answer.status
    said = {name: value for name, value in answer.result.items() if name not in ("NextContinuationToken", "NextMarker")}
    if "TagSet" in said:
        # In no order: versitygw gives them in another one each time.
        said["TagSet"] = by_key(said["TagSet"])
    return answer.status, said, answer.source, answer.data if operation == "GetObject" else b""


KEYS = ("a", "a b+c", "b/1", "b/2", "b/c/3", "c", "d/\u00e9")
TAGS = [{"Key": "k", "Value": "v 1"}, {"Key": "l", "Value": ""}]


def md5(data: bytes) -> str:
    """The ETag of a single put."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def fill(s3: Far, bucket: str, keys: Iterable[str] = KEYS) -> None:
    """Put an object of each key, its content the key."""
    for key in keys:
        await ask(s3, "PutObject", {"Bucket": bucket, "Key": key}, key.encode())


async def refused(s3: Far, operation: str, params: dict[str, Any], data: bytes | None = None) -> S3Error:
    """The error of a call that must not succeed."""
    with pytest.raises(S3Error) as error:
        await ask(s3, operation, params, data)
    return error.value


async def keys_of(s3: Far, bucket: str, **params: Any) -> list[str]:
    """Keys and common prefixes of one page."""
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, **params})).result
    names = [one["Key"] for one in found.get("Contents", ())] + [
        one["Prefix"] for one in found.get("CommonPrefixes", ())
    ]
    return sorted(names, key=str.encode)


def by_key(tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Tags by name."""
    return sorted(tags, key=lambda tag: tag["Key"])
