"""A push that gets an odd answer: what was acknowledged arrives, whatever its pushes are answered."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3d.errors import S3Error
from s3d.layers.queue.rules import retry
from tests.callers import Answer
from tests.fakes.contents import Bucket, Version, md5
from tests.gateways import Gateway, gateway
from tests.sidecar.layers.queue.push.odd_answers import (
    ANSWERS,
    CONFIRMS,
    HTML,
    IN_TIME,
    S3_ERRORS,
    all_of,
    s3_error,
    some,
)
from tests.stores import Odd, Store, until

pytestmark = pytest.mark.usefixtures("quick")

PARKS = frozenset(["400 EntityTooLarge", "405 MethodNotAllowed", "501 NotImplemented"])
"""S3 errors that are about the object: its change is parked, and delivered when a person says so."""
SILENT = frozenset(["DeleteObject", "DeleteObjectTagging", "PutObjectTagging", "AbortMultipartUpload"])
WORKERS = 400
"""Changes that are pushed at once: some wait for an answer until the test has asked for the next."""
OFTEN = 3
"""How often an answer is given before the store answers again; three refusals would park a change."""
AT_MOST = 0.5
"""Seconds that it is given at most: what pauses need not come so often."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer to one kind of push."""

    name: str
    bucket: str
    gateway: Gateway
    store: Store

    @property
    def there(self) -> Version | None:
        """The object at the store."""
        return self.store.fake.buckets[self.bucket].current("k")

    async def ask(self, operation: str, data: bytes | None = None, **params: Any) -> Answer:
        """Ask for something that is acknowledged. Raises S3Error."""
        answer = await self.gateway.ask(operation, {"Bucket": self.bucket, "Key": "k", **params}, data)
        if isinstance(answer, S3Error):
            raise answer
        return answer

    async def upload(self) -> str:
        """Upload one part and complete it: the ETag that was acknowledged."""
        id = (await self.ask("CreateMultipartUpload", Metadata={"n": "1"})).result["UploadId"]  # noqa: A001
        part = await self.ask("UploadPart", b"part", UploadId=id, PartNumber=1)
        parts = {"Parts": [{"PartNumber": 1, "ETag": f'"{part.etag}"'}]}
        return (await self.ask("CompleteMultipartUpload", UploadId=id, MultipartUpload=parts)).etag

    async def held_put(self) -> None:
        """Put an object whose push has begun and is not answered."""
        self.store.hook(Odd(held=True), "PutObject", bucket=self.bucket, times=1)
        await self.ask("PutObject", b"1")
        await until(lambda: bool(self.store.count("PutObject", self.bucket)))


async def put(cell: Cell) -> None:
    await cell.ask("PutObject", b"one", Metadata={"n": "1"}, ContentType="text/x-a")


def is_put(cell: Cell) -> bool:
    said = {"Content-Type": "text/x-a", "x-amz-meta-n": "1"}
    return cell.there is not None and (cell.there.data, dict(cell.there.headers)) == (b"one", said)


async def put_in_a_file(cell: Cell) -> None:
    await cell.ask("PutObject", b"a file " * 20_000)


def is_put_in_a_file(cell: Cell) -> bool:
    return cell.there is not None and cell.there.data == b"a file " * 20_000


async def delete(cell: Cell) -> None:
    cell.store.fake.buckets[cell.bucket].add(Version("k", "null", b"old", md5(b"old")))
    await cell.ask("DeleteObject")


def is_deleted(cell: Cell) -> bool:
    return cell.there is None


async def tag(cell: Cell) -> None:
    await cell.held_put()
    await cell.ask("PutObjectTagging", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})


def is_tagged(cell: Cell) -> bool:
    return cell.there is not None and (cell.there.data, cell.there.tags) == (b"1", (("t", "1"),))


async def untag(cell: Cell) -> None:
    await cell.held_put()
    await cell.ask("DeleteObjectTagging")


def is_untagged(cell: Cell) -> bool:
    return cell.there is not None and (cell.there.data, cell.there.tags) == (b"1", ())


async def upload(cell: Cell) -> None:
    await cell.upload()


def is_uploaded(cell: Cell) -> bool:
    etag = f"{md5(bytes.fromhex(md5(b'part')))}-1"
    one = cell.there
    return one is not None and (one.data, one.etag, one.headers.get("x-amz-meta-n")) == (b"part", etag, "1")


async def abort(cell: Cell) -> None:
    """What the store holds of an upload that a newer put replaced is aborted there."""
    cell.store.hook(s3_error(409, "OperationAborted"), "CompleteMultipartUpload", bucket=cell.bucket)
    await cell.upload()
    await until(lambda: bool(cell.store.count("CompleteMultipartUpload", cell.bucket)))
    await cell.ask("PutObject", b"newer")


def is_aborted(cell: Cell) -> bool:
    return cell.there is not None and cell.there.data == b"newer" and not cell.store.fake.buckets[cell.bucket].uploads


PUSHES: dict[str, tuple[str, Callable[[Cell], Awaitable[None]], Callable[[Cell], bool]]] = {
    "put": ("PutObject", put, is_put),
    "put of a file": ("PutObject", put_in_a_file, is_put_in_a_file),
    "delete": ("DeleteObject", delete, is_deleted),
    "tags": ("PutObjectTagging", tag, is_tagged),
    "no tags": ("DeleteObjectTagging", untag, is_untagged),
    "beginning of an upload": ("CreateMultipartUpload", upload, is_uploaded),
    "part": ("UploadPart", upload, is_uploaded),
    "end of an upload": ("CompleteMultipartUpload", upload, is_uploaded),
    "abort": ("AbortMultipartUpload", abort, is_aborted),
}
"""The request that is answered oddly, what a client does, and what is there in the end."""


@pytest.mark.semantics("D-1", "Q-3a", "Q-8", "Q-8a", "Q-22", "Q-22a")
@pytest.mark.parametrize("kind", PUSHES)
async def test_a_change_arrives_whatever_its_pushes_are_answered(kind: str, tmp_path: Path) -> None:
    operation, change, arrived = PUSHES[kind]
    names = some(ANSWERS, [*PUSHES].index(kind))
    names = [name for name in names if operation not in SILENT or name not in CONFIRMS[operation]]
    parks = set() if kind == "abort" else PARKS & {*names}
    buckets = {name: f"bucket-{number}" for number, name in enumerate(names)}
    async with Store() as store, gateway(tmp_path, store, tuple(buckets.values()), workers=WORKERS) as here:
        for bucket in buckets.values():
            store.fake.buckets[bucket] = Bucket(bucket, 0.0)
        cells = [Cell(name, bucket, here, store) for name, bucket in buckets.items()]
        hooks = {name: store.hook(ANSWERS[name], operation, bucket=bucket) for name, bucket in buckets.items()}
        await asyncio.gather(*(change(cell) for cell in cells))
        store.release()
        await all_of(*(lambda hook=hook: hook.hits > 0 for hook in hooks.values()), seconds=IN_TIME)
        await all_of(*(lambda hook=hook: hook.hits >= OFTEN for hook in hooks.values()), seconds=AT_MOST)
        await all_of(*(lambda name=name: here.state(buckets[name], "k") == "parked" for name in parks), seconds=IN_TIME)
        parked = {cell.name for cell in cells if here.state(cell.bucket, "k") == "parked"}
        store.clear()
        for name in parked & PARKS:
            await here.queue.retry(buckets[name], "", None)
        await all_of(*(lambda cell=cell: arrived(cell) for cell in cells), seconds=IN_TIME)
        found = {
            "never asked": {name for name, hook in hooks.items() if not hook.hits},
            "lost": {cell.name for cell in cells if not arrived(cell)},
            "parked": parked,
            "believed": {cell.name for cell in cells if not await vouched(cell)},
        }
    assert found == {"never asked": set(), "lost": set(), "parked": parks, "believed": set()}, report(found)


@pytest.mark.semantics("Q-8a", "Q-22")
async def test_parts_that_another_answered_never_park_their_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "MIN_INTERVAL", 0.0)
    async with Store() as store, gateway(tmp_path, store, ("b",)) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        hook = store.hook(ANSWERS["200 ETag of another object"], "UploadPart", bucket="b")
        cell = Cell("", "b", here, store)
        await cell.upload()
        await until(lambda: hook.hits > retry.MAX_ATTEMPTS + 1)
        assert here.state("b", "k") != "parked"
        store.clear()
        await until(lambda: is_uploaded(cell))


@pytest.mark.semantics("Q-16", "Q-22")
async def test_a_part_that_another_answered_is_kept_until_the_store_lists_it(tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, ("b",), max_size=8192) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        hook = store.hook(ANSWERS["200 ETag of another object"], "UploadPart", bucket="b", times=1)
        cell = Cell("", "b", here, store)
        data = b"it has to spill" * 300
        upload_id = (await cell.ask("CreateMultipartUpload")).result["UploadId"]
        part = await cell.ask("UploadPart", data, UploadId=upload_id, PartNumber=1)
        await until(lambda: hook.hits == 1)
        await until(lambda: any(one.parts for one in store.fake.buckets["b"].uploads.values()))
        parts = {"Parts": [{"PartNumber": 1, "ETag": f'"{part.etag}"'}]}
        await cell.ask("CompleteMultipartUpload", UploadId=upload_id, MultipartUpload=parts)
        assert cell.there is not None
        assert cell.there.data == data


@pytest.mark.semantics("Q-10", "Q-22")
@pytest.mark.parametrize("status", [200, 400, 403, 503])
async def test_an_answer_that_never_ends_keeps_no_worker(status: int, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, ("b",), workers=4, request_timeout=0.3) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        poison = [store.hook(Odd(status, HTML, endless=True), "PutObject", key=f"poison{n}") for n in range(8)]
        for n in range(8):
            await here.ask("PutObject", {"Bucket": "b", "Key": f"poison{n}"}, b"1")
        await until(lambda: sum(hook.hits for hook in poison) >= 4)
        await here.ask("PutObject", {"Bucket": "b", "Key": "good"}, b"1")
        await until(lambda: store.data("b", "good") == b"1", IN_TIME)


ETAGS: dict[str, Callable[[str], str]] = {
    "weak": "W/{}".format,
    "in capitals": str.upper,
    "weak and in capitals": lambda etag: f"W/{etag.upper()}",
    "without quotes": lambda etag: etag.strip('"'),
}
"""How proxies and stores write ETags that are those of S3."""


@pytest.mark.semantics("Q-3", "Q-22", "Q-22a")
@pytest.mark.parametrize("spelling", ETAGS)
async def test_an_etag_that_is_written_otherwise_confirms(spelling: str, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store) as here:
        store.etags = ETAGS[spelling]
        cell = Cell("", "b", here, store)
        store.fake.buckets["b"] = Bucket("b", 0.0)
        for data in (b"first of its profile", b"pushed", b"pushed again"):
            await cell.ask("PutObject", data)
            await until(lambda data=data: store.data("b", "k") == data)  # type: ignore[misc]
            await until(lambda: here.state("b", "k") == "delivered", 5)
        store.hook(Odd(held=True), "PutObject")
        # Nothing that the store has shown makes writes go through.
        await cell.ask("PutObject", b"while the store says nothing")
        store.clear()
        await until(lambda: store.data("b", "k") == b"while the store says nothing")


@pytest.mark.semantics("Q-22")
@pytest.mark.parametrize("spelling", ["weak", "without quotes"])
async def test_parts_whose_etags_are_written_otherwise_are_completed(spelling: str, tmp_path: Path) -> None:
    async with Store() as store, gateway(tmp_path, store, ("b",)) as here:
        store.etags = ETAGS[spelling]
        store.fake.buckets["b"] = Bucket("b", 0.0)
        await Cell("", "b", here, store).upload()
        await until(lambda: store.data("b", "k") == b"part", 5)


@pytest.mark.semantics("Q-22")
async def test_an_answer_of_a_huge_page_is_not_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3d.layers.judge.DOCUMENT_LIMIT", 1000)
    monkeypatch.setattr("s3d.layers.remote.DOCUMENT_LIMIT", 1000)
    async with Store() as store, gateway(tmp_path, store) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        store.hook(Odd(400, HTML, endless=True), "GetObject")
        answer = await here.ask("GetObject", {"Bucket": "b", "Key": "k"})
        assert isinstance(answer, S3Error)
        assert answer.status == 503


def report(found: dict[str, set[str]]) -> str:
    """What went wrong, in lines."""
    return "\n".join(f"{what}: {', '.join(sorted(names))}" for what, names in found.items())


async def vouched(cell: Cell) -> bool:
    """Whether plain puts of a bucket are queued as before: nothing was learned of it, unless an S3 error said it."""
    answer = await cell.ask("PutObject", b"next")
    return cell.name in S3_ERRORS or answer.headers.get("x-s3d-durability") == "local"
