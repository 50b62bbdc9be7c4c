"""What an answer means: of every kind of answer, to every kind of request, what the gateway makes of it.

ANSWERS are what stands between a gateway and its store, or the store itself in trouble, may say. The tables below it
are the exceptions; the rule is short. *A push* that gets such an answer is not lost: when the store answers again, the
change arrives, by itself (Q-3a, Q-8a, Q-22). *A request that goes through* is never told of a success that the store
did not give; an S3 error passes as it came, and a success that is none is a 503.

Each kind of request has one gateway, in which each answer has a bucket of its own, so that all go side by side.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from s3d.api import read_all
from s3d.errors import S3Error
from s3d.layers.queue.rules import retry
from tests.callers import Answer, door_call
from tests.fakes.contents import Bucket, Version, md5
from tests.gateways import Gateway, gateway
from tests.stores import Odd, Store, until

HTML = {"Content-Type": "text/html; charset=utf-8"}
TEXT = {"Content-Type": "text/plain; charset=utf-8"}
JSON = {"Content-Type": "application/json"}
PLAIN = {"Content-Type": "application/xml"}
XML = {**PLAIN, "x-amz-request-id": "4442587FB7D0A2F9"}
"""As S3 sends it: with a header of its own."""
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>"
BACKEND = "default backend - 404"
FOREIGN = '"0123456789abcdef0123456789abcdef"'


def s3_error(status: int, code: str) -> Odd:
    """An error as S3 says it."""
    said = f"<Error><Code>{code}</Code><Message>as the test has it</Message><RequestId>4442</RequestId></Error>"
    return Odd(status, XML, f'<?xml version="1.0" encoding="UTF-8"?>\n{said}')


NO_SUCCESS = {
    "200 html": Odd(200, HTML, PAGE),
    "200 html of a proxy that sets ETags": Odd(200, {**HTML, "ETag": FOREIGN}, PAGE),
    "200 text": Odd(200, TEXT, "ok"),
    "200 json": Odd(200, JSON, '{"status": "ok"}'),
    "200 empty": Odd(200),
    "200 empty ETag": Odd(200, {"ETag": ""}),
    "200 quoted empty ETag": Odd(200, {"ETag": '""'}),
    "200 ETag of another object": Odd(200, {"ETag": FOREIGN}),
    "200 <Error>": Odd(200, XML, s3_error(200, "InternalError").body),
    "200 <Error> with an ETag": Odd(200, {**XML, "ETag": FOREIGN}, s3_error(200, "SlowDown").body),
    "200 root without members": Odd(200, PLAIN, "<{root}></{root}>"),
    "200 another root": Odd(200, PLAIN, "<Maintenance><ETag>&quot;1&quot;</ETag><UploadId>1</UploadId></Maintenance>"),
    "200 document that breaks off": Odd(200, PLAIN, '<?xml version="1.0" encoding="UTF-8"?>\n<{root}><ETag>&quot;'),
    "200 blanks": Odd(200, PLAIN, '<?xml version="1.0" encoding="UTF-8"?>\n   \n  '),
    "201": Odd(201),
    "201 html": Odd(201, HTML, PAGE),
    "202": Odd(202),
    "203 html": Odd(203, HTML, PAGE),
    "204": Odd(204),
    "206": Odd(206),
    "206 html": Odd(206, HTML, PAGE),
    "299": Odd(299, TEXT, "ok"),
    "200 html, a header that is no text": Odd(200, {"Content-Type": "text/html; charset=\xff"}, PAGE),
    "200 ETag that is no text": Odd(200, {"ETag": '"\xff"'}),
}
"""Statuses of success that are none."""

NO_DOCUMENT = {
    **{f"{status} html": Odd(status, {**HTML, "Location": "http://portal.test/"}, PAGE) for status in (302, 307, 308)},
    "303": Odd(303, {"Location": "http://portal.test/"}),
    **{f"{status} text": Odd(status, TEXT, BACKEND) for status in (400, 404, 407, 408, 410, 413, 421, 425, 429, 499)},
    **{f"{status} html": Odd(status, HTML, PAGE) for status in (401, 403, 404, 405, 409, 411, 413, 418, 426, 431, 451)},
    **{f"{status} json": Odd(status, JSON, '{"error": "upstream"}') for status in (403, 404, 412, 423, 429)},
    **{f"{status}": Odd(status) for status in (400, 403, 404, 408, 409, 412, 413, 421)},
    **{f"{status} html": Odd(status, HTML, PAGE) for status in (500, 502, 503, 504, 507, 520)},
    **{f"{status}": Odd(status) for status in (500, 501, 502, 503, 504, 507, 520, 599)},
    "404 html, a header that is no text": Odd(404, {"Content-Type": "text/html; charset=\xff"}, PAGE),
    "101": Odd(101, cut="body"),
    "103 alone": Odd(103, cut="body"),
    "199": Odd(199, TEXT, "?", cut="body"),
    "status 000": Odd("000", TEXT, "?"),
    "no HTTP": Odd("2OO"),
}
"""Refusals without S3's document: nothing is known of the object."""

S3_ERRORS = {
    f"{status} {code}": s3_error(status, code)
    for status, code in (
        (301, "PermanentRedirect"),
        (307, "TemporaryRedirect"),
        (400, "InvalidRequest"),
        (400, "RequestTimeout"),
        (400, "ExpiredToken"),
        (400, "BadDigest"),
        (400, "EntityTooLarge"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (403, "SignatureDoesNotMatch"),
        (403, "QuotaExceeded"),
        (404, "NoSuchBucket"),
        (404, "NoSuchKey"),
        (404, "NoSuchUpload"),
        (405, "MethodNotAllowed"),
        (408, "RequestTimeout"),
        (409, "OperationAborted"),
        (411, "MissingContentLength"),
        (412, "PreconditionFailed"),
        (423, "ObjectLocked"),
        (429, "TooManyRequests"),
        (500, "EntityTooLarge"),
        (500, "InternalError"),
        (501, "NotImplemented"),
        (503, "SlowDown"),
        (503, "InvalidTag"),
        (503, "ServiceUnavailable"),
        (507, "InsufficientStorage"),
    )
}
"""Refusals that the store itself says."""

CUT = {
    "cut before the body is read": Odd(cut="unread"),
    "cut after the request": Odd(cut="read"),
    "reset after the request": Odd(cut="read", reset=True),
    "cut in the head": Odd(200, {"ETag": FOREIGN}, cut="head"),
    "cut in the body": Odd(200, XML, "<{root}><ETag>", cut="body"),
}
APPLIED = {
    "500, applied": Odd(500, HTML, PAGE, applied=True),
    "503, applied": Odd(503, XML, s3_error(503, "SlowDown").body, applied=True),
    "504, applied": Odd(504, HTML, PAGE, applied=True),
    "200 html, applied": Odd(200, HTML, PAGE, applied=True),
    "404 text, applied": Odd(404, TEXT, BACKEND, applied=True),
    "cut after it was applied": Odd(cut="applied"),
    "reset after it was applied": Odd(cut="applied", reset=True),
    "cut in the head, applied": Odd(200, {"ETag": FOREIGN}, applied=True, cut="head"),
}
"""What was done all the same."""

ANSWERS = {**NO_SUCCESS, **NO_DOCUMENT, **S3_ERRORS, **CUT, **APPLIED}

PARKS = frozenset(["400 EntityTooLarge", "405 MethodNotAllowed", "501 NotImplemented"])
"""S3 errors that are about the object: its change is parked, and delivered when a person says so."""

CONFIRMS = {
    "DeleteObject": {"204", "404 NoSuchKey"},
    "DeleteObjectTagging": {"204", "404 NoSuchKey"},
    "PutObjectTagging": {
        *("200 empty", "200 empty ETag", "200 quoted empty ETag", "200 ETag of another object", "404 NoSuchKey"),
        "200 ETag that is no text",
    },
    "AbortMultipartUpload": {"204", "404 NoSuchUpload"},
    "GetObject": {
        *("200 ETag of another object", "200 html of a proxy that sets ETags", "200 <Error> with an ETag"),
        *("200 empty", "206"),
    },
    "HeadObject": {"200 ETag of another object", "200 html of a proxy that sets ETags", "200 <Error> with an ETag"},
    "ListObjectsV2": {"200 root without members"},
    "ListObjects": {"200 root without members"},
    "UploadPart": {"200 ETag of another object"},
    "PutObject": {"200 ETag of another object"},
}
"""What is S3's own answer to an operation, so that nobody can tell. To a push, only what says nothing is (`SILENT`)."""
SILENT = frozenset(["DeleteObject", "DeleteObjectTagging", "PutObjectTagging", "AbortMultipartUpload"])

WORKERS = 400
"""Changes that are pushed at once: some wait for an answer until the test has asked for the next."""
OFTEN = 3
"""How often an answer is given before the store answers again; three refusals would park a change."""
AT_MOST = 2.0
"""Seconds that it is given at most: what pauses need not come so often."""
IN_TIME = 60.0
"""Seconds in which what the store answers again arrives, of all kinds together."""

pytestmark = pytest.mark.usefixtures("quick")


# Pushes: acknowledged here, answered oddly there.


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
    names = [name for name in ANSWERS if operation not in SILENT or name not in CONFIRMS[operation]]
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
    parks = set() if kind == "abort" else set(PARKS)
    assert found == {"never asked": set(), "lost": set(), "parked": parks, "believed": set()}, report(found)


@pytest.mark.semantics("Q-8a", "Q-22")
async def test_parts_that_another_answered_never_park_their_upload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "SPACING", 0.0)
    async with Store() as store, gateway(tmp_path, store, ("b",)) as here:
        store.fake.buckets["b"] = Bucket("b", 0.0)
        hook = store.hook(ANSWERS["200 ETag of another object"], "UploadPart", bucket="b")
        cell = Cell("", "b", here, store)
        await cell.upload()
        await until(lambda: hook.hits > retry.ATTEMPTS + 1)
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


async def all_of(*hold: Callable[[], bool], seconds: float) -> None:
    """Wait until all of these hold, and not for longer; what does not is looked at afterwards."""
    with contextlib.suppress(AssertionError):
        await until(lambda: all(one() for one in hold), seconds)


async def vouched(cell: Cell) -> bool:
    """Whether plain puts of a bucket are queued as before: nothing was learned of it, unless an S3 error said it."""
    answer = await cell.ask("PutObject", b"next")
    return cell.name in S3_ERRORS or answer.headers.get("x-s3d-durability") == "local"


# Requests that go through: the client waits for the store.

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
    buckets = {name: f"bucket-{number}" for number, name in enumerate(ANSWERS)}
    async with Store() as store, gateway(tmp_path, store) as here:
        for bucket in buckets.values():
            store.fake.buckets[bucket] = Bucket(bucket, 0.0, versioning="Enabled")

        async def told(name: str) -> str:
            """What is wrong in what the client is told; "" where nothing is."""
            params, data = await asked(here, buckets[name], operation)
            hook = store.hook(ANSWERS[name], operation, bucket=buckets[name])
            answer = await here.ask(operation, params, data)
            return misled(operation, name, answer) if hook.hits else "the store was not asked"

        some = asyncio.Semaphore(16)

        async def tell(name: str) -> str:
            async with some:
                try:
                    return await told(name)
                except Exception as error:  # noqa: BLE001 (whatever it is, the seam says that it is not raised)
                    return f"raises {error!r}"

        found = dict(zip(ANSWERS, await asyncio.gather(*map(tell, ANSWERS)), strict=True))
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


# Look-ups of a bucket that was never seen.

LOOK_UPS = {
    "HeadBucket": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketVersioning": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketEncryption": Bucket(
        "",
        0.0,
        encryption={"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}]},
    ),
    "GetObjectLockConfiguration": Bucket("", 0.0, versioning="Enabled"),
    "GetBucketTagging": Bucket("", 0.0, tags=(("s3d.upload", "false"),)),
}
"""What is asked, and a bucket to whose writes the true answer matters."""
NOT_CONFIGURED = frozenset(
    ["200 root without members", *(name for name in S3_ERRORS if name.startswith(("400", "403", "404", "405", "501")))]
)
SAYS_NOTHING = {operation: NOT_CONFIGURED for operation in LOOK_UPS if operation != "HeadBucket"} | {
    "HeadBucket": frozenset(["200 empty", *(name for name in ANSWERS if name.startswith(("403", "404")))])
}
"""What the store itself says where nothing is configured, or where it has no such notion."""


@pytest.mark.semantics("R-6", "Q-14", "Q-22")
@pytest.mark.parametrize("operation", LOOK_UPS)
async def test_a_look_up_learns_nothing_from_an_odd_answer(operation: str, tmp_path: Path) -> None:
    names = [name for name in ANSWERS if name not in SAYS_NOTHING[operation]]
    buckets = {name: f"bucket-{number}" for number, name in enumerate(names)}
    like = LOOK_UPS[operation]
    async with Store() as store, gateway(tmp_path, store) as here:
        for bucket in buckets.values():
            store.fake.buckets[bucket] = replace(like, name=bucket, keys={}, uploads={})

        async def wrong(name: str) -> str:
            """What is wrong in what became of two puts, one while the answer is odd and one afterwards."""
            bucket = buckets[name]
            hook = store.hook(ANSWERS[name], operation, bucket=bucket)
            answers = [await here.ask("PutObject", {"Bucket": bucket, "Key": "k"}, b"1")]
            if not hook.hits:
                return "it was not asked"
            hook.times = 0
            answers.append(await here.ask("PutObject", {"Bucket": bucket, "Key": "l"}, b"2"))
            if isinstance(answers[1], S3Error) and operation != "GetBucketTagging":
                return f"it is not asked again: {answers[1]}"
            told = {answer.headers.get("x-s3d-durability") for answer in answers if isinstance(answer, Answer)}
            wanted = "local" if operation == "GetBucketTagging" else "remote"
            return "" if told <= {wanted} else f"told {told}, not {wanted}"

        some = asyncio.Semaphore(16)

        async def judged(name: str) -> str:
            async with some:
                try:
                    return await wrong(name)
                except Exception as error:  # noqa: BLE001 (whatever it is, the seam says that it is not raised)
                    return f"raises {error!r}"

        found = dict(zip(names, await asyncio.gather(*map(judged, names)), strict=True))
        if operation == "GetBucketTagging":
            here.queue.pusher.wake()
            keys = [(name, bucket, key) for name, bucket in buckets.items() for key in ("k", "l")]
            await all_of(
                *(lambda one=one: here.state(*one[1:]) in ("held", "delivered") for one in keys), seconds=IN_TIME
            )
            sent = {name for name, bucket, key in keys if store.data(bucket, key) is not None}
            found |= dict.fromkeys(sent, "sent, though the bucket's tags hold it")
    wrong_ones = {name: what for name, what in found.items() if what}
    assert wrong_ones == {}, "\n".join(f"{name}: {what}" for name, what in wrong_ones.items())
