"""Writes with terms, and stores that honour conditions, ignore them or take none."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from s3d.api import S3, BytesBody, Call, Reply, Terms
from s3d.client import Client
from s3d.errors import S3Error
from s3d.layers.queue import Queue
from s3d.protocol import answers, encode
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.model import md5
from tests.queues import BUCKET, until

A, B, C = (md5(data) for data in (b"a", b"b", b"c"))
ALWAYS = Terms(always=True, conflict="Park")


@dataclass
class Ignoring:
    """A store that ignores a condition of an operation: it deletes whatever an If-Match says."""

    inner: S3
    condition: tuple[str, str] = ("DeleteObject", "If-Match")

    async def __call__(self, call: Call) -> Reply:
        operation, header = self.condition
        if call.operation == operation:
            headers = call.wire.headers.copy()
            headers.popall(header, None)
            call = replace(call, wire=replace(call.wire, headers=headers))
        return await self.inner(call)


@dataclass
class Unable:
    """A store that takes no put with a condition."""

    inner: S3
    code: str

    async def __call__(self, call: Call) -> Reply:
        said = call.wire.headers
        if call.operation == "PutObject" and ("If-Match" in said or "If-None-Match" in said):
            return encode.refusal(call, S3Error(self.code, "A header is not known", status=501))
        return await self.inner(call)


@dataclass
class Watched:
    """A store that says what was asked of it, and lets somebody write just before a call."""

    inner: S3
    fake: Fake
    seen: list[tuple[str, str, str]]
    """Operation, key and the condition that came with it."""
    before: dict[str, Callable[[], Any]]

    async def __call__(self, call: Call) -> Reply:
        said = call.wire.headers
        if call.key:
            self.seen.append((call.operation, call.key, said.get("If-Match") or said.get("If-None-Match") or ""))
        if call.operation in self.before:
            await self.before.pop(call.operation)()
        return await self.inner(call)

    def of(self, key: str) -> list[str]:
        """The operations on a key."""
        return [operation for operation, asked, _ in self.seen if asked == key]


async def watched(kind: str) -> Watched:
    """A store with a bucket, which honours conditions, or ignores If-Match on deletes."""
    fake = Fake()
    await ask(fake, "CreateBucket", {"Bucket": BUCKET})
    return Watched(fake if kind == "honours" else Ignoring(fake), fake, [], {})


async def put(s3: S3, key: str, data: bytes, terms: Terms | None = None) -> str:
    """Put as the sync does where there are terms, else as a client; the ETag."""
    params = {"Bucket": BUCKET, "Key": key}
    if terms is None:
        return (await ask(s3, "PutObject", params, data)).etag
    return (await Client(s3, "sync").ask("PutObject", params, BytesBody(data), terms=terms)).etag


async def delete(s3: S3, key: str, terms: Terms) -> None:
    await Client(s3, "sync").ask("DeleteObject", {"Bucket": BUCKET, "Key": key}, terms=terms)


async def copy(s3: S3, key: str) -> str:
    """Have what is at `k` copied under a new name, as the sync does; the ETag."""
    params = {"Bucket": BUCKET, "Key": key, "CopySource": f"{BUCKET}/k"}
    answer = await Client(s3, "sync").ask("CopyObject", params, terms=Terms(expects="", always=True))
    return answers.etag_of(answer.result["CopyObjectResult"]["ETag"])


async def content(s3: S3, key: str) -> bytes | None:
    with contextlib.suppress(S3Error):
        return (await ask(s3, "GetObject", {"Bucket": BUCKET, "Key": key})).data
    return None


async def deliver_and_refuse(queue: Queue) -> None:
    """Deliver an object, and have the store refuse two puts: from then on it is known to honour conditions."""
    await put(queue, "k", b"a")
    await until(delivered(queue, "k"))
    for condition in ({"IfMatch": '"x"'}, {"IfNoneMatch": "*"}):
        with pytest.raises(S3Error):
            await ask(queue, "PutObject", {"Bucket": BUCKET, "Key": "k", **condition}, b"x")


def delivered(queue: Queue, key: str) -> Callable[[], bool]:
    return lambda: bool(queue.object_status(BUCKET, key)["state"] == "delivered")


def parked(queue: Queue, key: str) -> Callable[[], bool]:
    return lambda: bool(queue.object_status(BUCKET, key)["state"] == "parked")
