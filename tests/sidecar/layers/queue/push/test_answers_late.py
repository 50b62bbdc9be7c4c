"""Answers that say nothing, and requests that arrive after all: the newest acknowledged change is put right (Q-3).

A proxy answers 504 and its backend does what it was asked seconds later. What came after it had been acknowledged, and
delivered, before that: it must be there in the end, whatever was late and whatever was newer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from tests.callers import Answer
from tests.fakes.contents import Bucket, Version, md5
from tests.gateways import Gateway, gateway
from tests.sidecar.layers.queue.push.odd_answers import (
    ANSWERS,
    CONFIRMS,
    FOREIGN,
    HTML,
    PAGE,
    S3_ERRORS,
    XML,
    all_of,
    s3_error,
)
from tests.stores import Odd, Store, until

WINDOW = 6.0
"""Seconds for which what is delivered is kept."""
IN_TIME = 30.0

pytestmark = pytest.mark.usefixtures("quick")

UNANSWERED = {
    "504": Odd(504, HTML, PAGE, late=True),
    "502": Odd(502, late=True),
    "500": Odd(500, XML, s3_error(500, "InternalError").body, late=True),
    "503": Odd(503, XML, s3_error(503, "SlowDown").body, late=True),
    "520": Odd(520, HTML, PAGE, late=True),
    "200 html": Odd(200, HTML, PAGE, late=True),
    "cut": Odd(cut="read", late=True),
    "reset": Odd(cut="read", reset=True, late=True),
    "cut in the head": Odd(200, {"ETag": FOREIGN}, cut="head", late=True),
}
"""What an older request is answered that arrives late."""
CUT_DOCUMENT = Odd(200, XML, "<{root}>", cut="body", late=True)


@dataclass(frozen=True, slots=True)
class Key:
    """The key `k` of a bucket of its own."""

    bucket: str
    gateway: Gateway
    store: Store

    async def ask(self, operation: str, data: bytes | None = None, **params: Any) -> Answer | S3Error:
        """Ask for something."""
        return await self.gateway.ask(operation, {"Bucket": self.bucket, "Key": "k", **params}, data)

    async def acknowledged(self, operation: str, data: bytes | None = None, **params: Any) -> Answer:
        """Ask for something that is acknowledged."""
        answer = await self.ask(operation, data, **params)
        assert isinstance(answer, Answer), answer
        return answer

    async def delivered(self) -> None:
        """Wait until nothing of it is pending."""
        await until(lambda: self.gateway.state(self.bucket, "k") == "delivered", what="a delivery")

    async def upload(self, **condition: Any) -> Answer | S3Error:
        """Upload in one part."""
        id = (await self.acknowledged("CreateMultipartUpload")).result["UploadId"]  # noqa: A001
        part = await self.acknowledged("UploadPart", b"part", UploadId=id, PartNumber=1)
        parts = {"Parts": [{"PartNumber": 1, "ETag": f'"{part.etag}"'}]}
        return await self.ask("CompleteMultipartUpload", UploadId=id, MultipartUpload=parts, **condition)


async def late_put(key: Key) -> None:
    await key.acknowledged("PutObject", b"old")
    await key.delivered()


async def late_delete(key: Key) -> None:
    await key.acknowledged("DeleteObject")
    await key.delivered()


async def late_upload(key: Key) -> None:
    assert isinstance(await key.upload(), Answer)
    await key.delivered()


async def late_put_on_condition(key: Key) -> None:
    assert isinstance(await key.ask("PutObject", b"old", IfNoneMatch="*"), S3Error)


async def late_upload_on_condition(key: Key) -> None:
    assert isinstance(await key.upload(IfNoneMatch="*"), S3Error)


async def late_copy(key: Key) -> None:
    assert isinstance(await key.ask("CopyObject", CopySource=f"{key.bucket}/itself"), S3Error)


async def late_bulk_delete(key: Key) -> None:
    answer = await key.gateway.ask("DeleteObjects", {"Bucket": key.bucket, "Delete": {"Objects": [{"Key": "k"}]}})
    assert isinstance(answer, S3Error) or not answer.result.get("Deleted")


LATE: dict[str, tuple[str, Callable[[Key], Awaitable[None]], Odd]] = {
    **{f"put, {name}": ("PutObject", late_put, odd) for name, odd in UNANSWERED.items()},
    **{f"delete, {name}": ("DeleteObject", late_delete, odd) for name, odd in UNANSWERED.items()},
    "upload, 504": ("CompleteMultipartUpload", late_upload, UNANSWERED["504"]),
    "upload, document cut off": ("CompleteMultipartUpload", late_upload, CUT_DOCUMENT),
    "put on condition, 504": ("PutObject", late_put_on_condition, UNANSWERED["504"]),
    "put on condition, cut": ("PutObject", late_put_on_condition, UNANSWERED["cut"]),
    "put on condition, 200 html": ("PutObject", late_put_on_condition, UNANSWERED["200 html"]),
    "upload on condition, 504": ("CompleteMultipartUpload", late_upload_on_condition, UNANSWERED["504"]),
    "upload on condition, document cut off": ("CompleteMultipartUpload", late_upload_on_condition, CUT_DOCUMENT),
    "copy, 504": ("CopyObject", late_copy, UNANSWERED["504"]),
    "copy, document cut off": ("CopyObject", late_copy, CUT_DOCUMENT),
    "copy, cut": ("CopyObject", late_copy, UNANSWERED["cut"]),
    "bulk delete, 504": ("DeleteObjects", late_bulk_delete, UNANSWERED["504"]),
    "bulk delete, document cut off": ("DeleteObjects", late_bulk_delete, CUT_DOCUMENT),
    "bulk delete, cut": ("DeleteObjects", late_bulk_delete, UNANSWERED["cut"]),
}
"""What comes late: the request, how a client asks for it, and how it is answered the first time."""


async def newer_put(key: Key) -> bytes | None:
    await key.acknowledged("PutObject", b"newest")
    return b"newest"


async def newer_delete(key: Key) -> bytes | None:
    await key.acknowledged("DeleteObject")
    return None


async def newer_upload(key: Key) -> bytes | None:
    assert isinstance(await key.upload(), Answer)
    return b"part"


@pytest.mark.semantics("Q-3", "Q-3a", "Q-3d")
@pytest.mark.parametrize("newer", [newer_put, newer_delete, newer_upload], ids=lambda newer: newer.__name__)
async def test_what_was_acknowledged_last_is_there_in_the_end(
    newer: Callable[[Key], Awaitable[bytes | None]], tmp_path: Path
) -> None:
    # Whether the same object was put or another cannot be seen, nor whether it was deleted once or twice.
    same: dict[Callable[[Key], Awaitable[bytes | None]], tuple[str, ...]]
    same = {newer_delete: ("delete", "bulk delete"), newer_upload: ("upload",), newer_put: ()}
    names = [name for name in LATE if name.partition(",")[0] not in same[newer]]
    buckets = {name: f"bucket-{number}" for number, name in enumerate(names)}
    async with Store() as store, gateway(tmp_path, store, late_write_window=WINDOW) as here:

        async def end(name: str) -> str:
            """What is wrong in the end; "" where nothing is."""
            operation, late, odd = LATE[name]
            key = await a_key(Key(buckets[name], here, store), deletes=not name.startswith("bulk"))
            store.hook(odd, operation, bucket=key.bucket, times=1)
            before = store.late
            await late(key)
            if store.late == before:
                return "the request that is to be late did not come"
            wanted = await newer(key)
            await key.delivered()
            if store.data(key.bucket, "k") != wanted:
                return f"{store.data(key.bucket, 'k')!r} was delivered, not {wanted!r}"
            store.arrive(key.bucket)
            if store.data(key.bucket, "k") == wanted:
                return "" if "upload" in name else "what is late made no difference"
            await all_of(lambda: store.data(key.bucket, "k") == wanted, seconds=IN_TIME)
            there = store.data(key.bucket, "k")
            return "" if there == wanted else f"{there!r} is there, not {wanted!r}"

        wrong = await judged(names, end)
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())


async def a_key(key: Key, *, deletes: bool) -> Key:
    """A key of a bucket in which plain writes are proven, with an object beside it.

    A bulk delete goes through while deletes are not proven; there the object is there.
    """
    key.store.fake.buckets[key.bucket] = there = Bucket(key.bucket, 0.0)
    await key.acknowledged("PutObject", b"first")
    assert isinstance(await key.upload(), Answer)
    await key.delivered()
    if deletes:
        await key.acknowledged("DeleteObject")
        await key.delivered()
    there.add(Version("itself", "null", b"itself", md5(b"itself")))
    return key


async def judged(names: list[str], judge: Callable[[str], Awaitable[str]]) -> dict[str, str]:
    """What is wrong, by name, where anything is."""

    async def one(name: str) -> str:
        try:
            return await judge(name)
        except Exception as error:  # noqa: BLE001 (it is said what came of each)
            return f"raises {error!r}"

    found = zip(names, await asyncio.gather(*map(one, names)), strict=True)
    return {name: what for name, what in found if what}


TOLD = frozenset(name for name, odd in S3_ERRORS.items() if int(odd.status or 0) < 500 or odd.status == 501)
"""To a HEAD, the store's own word: it refuses to say what is there, or nothing is."""
LOOKS = [name for name in ANSWERS if name not in {*CONFIRMS["HeadObject"], *TOLD, "404"}]
"""Odd answers to a HEAD. One that has neither document nor type may be S3's own where it says 404."""
NOT_NOW = ["400 RequestTimeout", "400 ExpiredToken", "401 Unauthorized", "408 RequestTimeout", "409 OperationAborted"]
"""What the store says of this moment, not of the object: the look is made again."""


@pytest.mark.semantics("Q-3", "Q-3d", "Q-22")
@pytest.mark.parametrize("looks", [LOOKS, NOT_NOW], ids=["of others than the store", "of the store, for now"])
async def test_a_look_for_what_is_late_takes_no_odd_answer_for_what_is_there(looks: list[str], tmp_path: Path) -> None:
    buckets = {name: f"bucket-{number}" for number, name in enumerate(looks)}
    async with Store() as store, gateway(tmp_path, store, tuple(buckets.values()), late_write_window=WINDOW) as here:

        async def end(name: str) -> str:
            key = Key(buckets[name], here, store)
            store.fake.buckets[key.bucket] = Bucket(key.bucket, 0.0)
            store.hook(UNANSWERED["504"], "PutObject", bucket=key.bucket, times=1)
            await late_put(key)
            await newer_put(key)
            await key.delivered()
            hook = store.hook(ANSWERS[name], "HeadObject", bucket=key.bucket)
            store.arrive(key.bucket)
            await until(lambda: hook.hits >= 1 or store.data(key.bucket, "k") == b"newest", what="a look")
            hook.times = 0
            await all_of(lambda: store.data(key.bucket, "k") == b"newest", seconds=IN_TIME)
            return "" if store.data(key.bucket, "k") == b"newest" else f"{store.data(key.bucket, 'k')!r} stays"

        wrong = await judged(looks, end)
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())


@pytest.mark.semantics("Q-18", "Q-22")
async def test_a_look_for_a_conflict_takes_no_odd_answer_for_the_stores(tmp_path: Path) -> None:
    buckets = {name: f"bucket-{number}" for number, name in enumerate(LOOKS)}
    settings: dict[str, Any] = {"conflict": "Park", "conflict_check_after": 0.0}
    async with Store() as store, gateway(tmp_path, store, tuple(buckets.values()), **settings) as here:

        async def end(name: str) -> str:
            key = Key(buckets[name], here, store)
            store.fake.buckets[key.bucket] = Bucket(key.bucket, 0.0)
            await key.acknowledged("PutObject", b"base")
            await key.delivered()
            looks = store.hook(ANSWERS[name], "HeadObject", bucket=key.bucket)
            store.fake.buckets[key.bucket].add(Version("k", "null", b"foreign", md5(b"foreign"), 2e9))
            await key.acknowledged("PutObject", b"newest")
            await until(
                lambda: looks.hits >= 1 or here.state(key.bucket, "k") in ("parked", "delivered"), what="a look"
            )
            looks.times = 0
            await all_of(lambda: here.state(key.bucket, "k") in ("parked", "delivered"), seconds=IN_TIME)
            there, state = store.data(key.bucket, "k"), here.state(key.bucket, "k")
            return "" if (there, state) == (b"foreign", "parked") else f"{there!r} is there, the change is {state}"

        wrong = await judged(LOOKS, end)
    assert wrong == {}, "\n".join(f"{name}: {what}" for name, what in wrong.items())
