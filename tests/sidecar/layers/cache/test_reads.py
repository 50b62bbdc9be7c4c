"""Reads through the cache: what it answers, and by which headers. S3D_E2E_SOAK_HOURS makes its rounds many more."""

import asyncio
import base64
import os
import random
import zlib
from collections import Counter
from pathlib import Path

import pytest
from multidict import CIMultiDict

from s3d.api import Call, Wire
from s3d.errors import S3Error
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import BUCKET, CHUNK, Far, cached, how
from tests.callers import Answer, ask, door_call
from tests.contracts.bodies import pattern

ROUNDS = 10_000 if float(os.environ.get("S3D_E2E_SOAK_HOURS", "0")) else 100
LARGE = pattern(3 * BLOCK_BYTES + 5)
CRC = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()


@pytest.mark.semantics("C-2")
@pytest.mark.parametrize("size", [0, 1, 100, BLOCK_BYTES, 3 * BLOCK_BYTES + 5])
async def test_the_second_read_asks_and_fetches_nothing(tmp_path: Path, size: int) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", pattern(size))
        first = await there.get("k")
        await there.quiet()
        given = far.given
        second = await there.get("k")
        assert (first.data, second.data) == (pattern(size), pattern(size))
        assert (how(first), how(second)) == ("MISS", "REVALIDATED")
        assert (far.given, far.count("HeadObject"), far.count("GetObject")) == (given, 1, 1)
        assert second.headers["Age"] == "0"


@pytest.mark.semantics("C-2", "R-7c")
async def test_new_metadata_of_the_same_bytes_is_shown_and_no_byte_is_fetched(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE, Metadata={"a": "old"}, ContentType="text/old")
        await there.get("k")
        await there.quiet()
        given = far.given
        await far.put("k", LARGE, Metadata={"a": "new"}, ContentType="text/new")
        answer = await there.get("k")
        assert (answer.result["Metadata"], answer.result["ContentType"]) == ({"a": "new"}, "text/new")
        assert (answer.data, far.given) == (LARGE, given)


@pytest.mark.semantics("C-2")
async def test_what_somebody_else_wrote_is_read(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for data in (LARGE, b"x" * len(LARGE), b"shorter"):
            await far.put("k", data)
            assert (await there.get("k")).data == data
            await there.quiet()
            assert (await there.get("k")).data == data


@pytest.mark.semantics("C-2")
@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        (f"bytes={BLOCK_BYTES - 1}-{BLOCK_BYTES}", BLOCK_BYTES - 1, BLOCK_BYTES + 1),
        ("bytes=-7", len(LARGE) - 7, len(LARGE)),
        (f"bytes={2 * BLOCK_BYTES}-", 2 * BLOCK_BYTES, len(LARGE)),
    ],
)
async def test_a_range_of_what_is_cached_is_answered_as_the_remote_would(
    tmp_path: Path, header: str, start: int, end: int, heeds: bool
) -> None:
    far = Far(heeds_range_of_head=heeds)
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE, ChecksumCRC32=CRC)
        await there.get("k")
        await there.quiet()
        given = far.given
        answer = await there.get("k", Range=header, ChecksumMode="ENABLED")
        own = await ask(far.fake, "GetObject", {"Bucket": BUCKET, "Key": "k", "Range": header})
        assert (answer.status, answer.data, far.given) == (206, LARGE[start:end], given)
        assert answer.result["ContentRange"] == own.result["ContentRange"]
        assert not [name for name in answer.headers if name.lower().startswith("x-amz-checksum-")]


async def test_headers_that_a_request_asks_for_are_there(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"data", ContentType="text/plain")
        for _ in range(2):
            answer = await there.get("k", ResponseContentType="text/x", ResponseContentDisposition="inline")
            await there.quiet()
            assert (answer.result["ContentType"], answer.result["ContentDisposition"]) == ("text/x", "inline")
        assert how(answer) == "REVALIDATED"


async def test_conditions_are_the_remotes_to_judge(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        etag = await far.put("k", b"data")
        await there.get("k")
        await there.quiet()
        not_modified = await there.ask("GetObject", "k", IfNoneMatch=f'"{etag}"')
        failed = await there.ask("GetObject", "k", IfMatch='"other"')
        assert isinstance(not_modified, S3Error)
        assert isinstance(failed, S3Error)
        assert (not_modified.status, failed.status, failed.code) == (304, 412, "PreconditionFailed")
        assert (await there.get("k", IfMatch=f'"{etag}"')).data == b"data"


@pytest.mark.semantics("C-4")
async def test_what_is_gone_is_gone(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"data")
        await there.get("k")
        await there.quiet()
        await ask(far.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "k"})
        gone = await there.ask("GetObject", "k")
        assert isinstance(gone, S3Error)
        assert (gone.status, gone.code) == (404, "NoSuchKey")
        far.away = True
        away = await there.ask("GetObject", "k")
        assert isinstance(away, S3Error)
        assert away.status == 503
        far.away = False
        await far.put("k", b"again")
        assert (await there.get("k")).data == b"again"


@pytest.mark.semantics("C-9")
@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-server-side-encryption": "aws:kms"},
        {"x-amz-server-side-encryption": "aws:kms:dsse"},
        {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
        {"ETag": 'W/"weak"'},
    ],
)
async def test_what_must_not_lie_on_the_disk_is_not_cached(tmp_path: Path, headers: dict[str, str]) -> None:
    far = Far(headers=headers)
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        for asked in ({}, {}, {"Range": "bytes=0-9"}):
            await there.get("k", **asked)
            await there.quiet()
        assert there.cache.status()["entries"] == 0
        assert not [path for path in (tmp_path / "cache" / "blocks").rglob("*") if path.is_file()]


@pytest.mark.semantics("C-9")
async def test_a_read_with_a_clients_own_key_is_the_remotes(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"data")
        await there.ask("GetObject", "k", x_amz_server_side_encryption_customer_algorithm="AES256")
        assert (there.cache.status()["entries"], far.count("HeadObject")) == (0, 0)


@pytest.mark.semantics("C-12")
async def test_a_fresh_read_is_the_remotes(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, fresh_for=60.0) as there:
        await far.put("k", b"old")
        await there.get("k")
        await there.quiet()
        await far.put("k", b"new")
        call = door_call("GetObject", {"Bucket": BUCKET, "Key": "k"}, None, {})
        call.fresh = True
        reply = await there.cache(call)
        assert reply.body is not None
        assert (await reply.body.whole(), reply.source) == (b"new", "remote")
        await reply.body.aclose()


@pytest.mark.semantics("C-2", "R-2a")
async def test_within_fresh_for_nobody_is_asked(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, fresh_for=60.0) as there:
        etag = await far.put("k", LARGE, ContentType="text/x")
        await there.get("k")
        await there.quiet()
        asked = len(far.asked)
        answer = await there.get("k")
        part = await there.get("k", Range="bytes=3-4", ResponseContentType="text/y")
        same = await there.ask("GetObject", "k", IfNoneMatch=f'"{etag}"')
        beyond = await there.ask("GetObject", "k", Range="bytes=99999999-")
        assert isinstance(same, S3Error)
        assert isinstance(beyond, S3Error)
        assert (how(answer), answer.data, answer.result["ContentType"]) == ("HIT", LARGE, "text/x")
        assert (part.status, part.data, part.result["ContentType"]) == (206, LARGE[3:5], "text/y")
        assert (same.status, beyond.status, beyond.code, len(far.asked)) == (304, 416, "InvalidRange", asked)


async def test_a_header_that_nobody_knows_makes_it_the_remotes_to_answer(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, fresh_for=60.0) as there:
        await far.put("k", b"data")
        await there.get("k")
        await there.quiet()
        answer = await there.get("k", x_amz_new_feature="on")
        assert how(answer) == "REVALIDATED"
        far.away = True
        assert isinstance(await there.ask("GetObject", "k", x_amz_new_feature="on"), S3Error)


@pytest.mark.semantics("C-5")
async def test_many_who_read_at_once_cost_one_fetch_and_the_first_may_leave(tmp_path: Path) -> None:
    far = Far(lets=BLOCK_BYTES)
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        first = await there.cache(door_call("GetObject", {"Bucket": BUCKET, "Key": "k"}, None, {}))
        assert first.body is not None
        others = [asyncio.ensure_future(there.get("k")) for _ in range(100)]
        blocks = first.body.chunks()
        assert await anext(blocks) == LARGE[:BLOCK_BYTES]
        await first.body.aclose()
        far.let(None)
        for other in others:
            assert (await other).data == LARGE
        assert (far.count("GetObject"), far.given) == (1, len(LARGE))
        assert far.count("HeadObject") <= 3


@pytest.mark.semantics("C-2")
async def test_no_answer_of_the_remote_is_older_than_the_request_that_it_serves(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, validate_timeout=60.0) as there:
        await far.put("k", b"old")
        await there.get("k")
        await there.quiet()
        # Its HEAD has been done at the remote, and its answer is on its way.
        first = asyncio.ensure_future(there.get("k"))
        answers = asyncio.Event()
        done = asyncio.Event()
        inner = far.fake

        async def slow(call: object) -> object:
            reply = await inner(call)  # type: ignore[arg-type]
            done.set()
            await answers.wait()
            return reply

        far.fake = slow  # type: ignore[assignment]
        await done.wait()
        far.fake = inner
        await far.put("k", b"new")
        asked = far.count("HeadObject")
        later = [asyncio.ensure_future(there.get("k")) for _ in range(200)]
        await asyncio.sleep(0)
        answers.set()
        assert (await first).data in (b"old", b"new")
        assert {(await one).data for one in later} == {b"new"}
        assert far.count("HeadObject") - asked <= 3


@pytest.mark.semantics("C-6")
async def test_one_byte_of_a_large_object_costs_one_block(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        answer = await there.get("k", Range=f"bytes={BLOCK_BYTES + 3}-{BLOCK_BYTES + 3}")
        await there.quiet()
        assert (answer.data, answer.status, far.given) == (LARGE[BLOCK_BYTES + 3 : BLOCK_BYTES + 4], 206, BLOCK_BYTES)
        again = await there.get("k", Range=f"bytes={BLOCK_BYTES}-{BLOCK_BYTES + 99}")
        assert (how(again), again.data, far.given) == (
            "REVALIDATED",
            LARGE[BLOCK_BYTES : BLOCK_BYTES + 100],
            BLOCK_BYTES,
        )
        last = await there.get("k", Range="bytes=-3")
        await there.quiet()
        assert (last.data, far.given) == (LARGE[-3:], BLOCK_BYTES + 5)
        whole = await there.get("k")
        await there.quiet()
        assert (whole.data, far.given) == (LARGE, len(LARGE))
        assert how(await there.get("k")) == "REVALIDATED"


@pytest.mark.semantics("C-1")
async def test_an_object_that_changes_between_two_blocks_is_never_mixed(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        for number in range(30):
            old, new = (bytes([number, kind]) * (BLOCK_BYTES + 700) for kind in (1, 2))
            await far.put("k", old)
            await there.get("k", Range="bytes=0-9")
            await there.quiet()
            await far.put("k", new)
            answer = await there.ask("GetObject", "k")
            await there.quiet()
            assert isinstance(answer, Answer)
            assert answer.data == new


@pytest.mark.semantics("C-1")
async def test_a_reader_of_an_old_version_ends_rather_than_mixes(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        old, new = (kind * (2 * BLOCK_BYTES) for kind in (b"o", b"n"))
        await far.put("k", old)
        await there.get("k", Range="bytes=0-9")
        await there.quiet()
        # The HEAD sees the old version, the blocks that are missing are of the new one.
        far.before = lambda call: None if call.operation == "HeadObject" else _write(far, new)
        answer = await there.ask("GetObject", "k")
        far.before = None
        assert isinstance(answer, Answer | S3Error)
        assert isinstance(answer, S3Error) or answer.data in (old, new)
        assert (await there.get("k")).data == new


@pytest.mark.timeout(60 + ROUNDS)
@pytest.mark.semantics("C-1")
async def test_whenever_somebody_else_overwrites_an_object_an_answer_has_one_version_of_it(tmp_path: Path) -> None:
    far = Far()
    seed = os.environ.get("S3D_E2E_SEED") or "s3d"
    print(f"S3D_E2E_SEED={seed}")
    chance = random.Random(seed)
    seen: Counter[str] = Counter()
    async with cached(tmp_path, far) as there:
        for number in range(1, ROUNDS + 1):
            old, new = stamped(2 * number), stamped(2 * number + 1)
            await far.put("k", old)
            for _ in range(chance.randrange(3)):
                await there.get("k", Range=f"bytes={chance.randrange(len(old))}-")
            await there.quiet()
            # Before one of the next calls that the remote gets, whichever that is.
            left = chance.randrange(4)

            def overwrite(_: Call, new: bytes = new) -> None:
                nonlocal left
                left -= 1
                if left == -1:
                    _write(far, new)

            far.before = overwrite
            start = chance.choice([0, chance.randrange(len(old))])
            answer = await there.ask("GetObject", "k", **({"Range": f"bytes={start}-"} if start else {}))
            await there.quiet()
            far.before = None
            if isinstance(answer, S3Error):
                seen["broken"] += 1
            else:
                assert answer.data in (old[start:], new[start:]), number
                seen["old" if answer.data == old[start:] else "new"] += 1
    assert seen["old"]
    assert seen["new"]


def stamped(number: int) -> bytes:
    """A version whose number stands every 4 KiB."""
    return number.to_bytes(4, "big") * 1024 * (2 * BLOCK_BYTES // 4096 + 1)


def _write(far: Far, data: bytes) -> None:
    """Write as somebody else, at once."""
    bucket = far.fake.buckets[BUCKET]
    current = bucket.current("k")
    assert current is not None
    if current.data != data:
        far.fake.answer(Wire("PUT", f"/{BUCKET}/k", "", CIMultiDict()), data, {})


@pytest.mark.semantics("C-1")
async def test_a_fill_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    far = Far(breaks_at=CHUNK)
    async with cached(tmp_path, far, runs=True) as there:
        await far.put("k", LARGE)
        assert isinstance(await there.ask("GetObject", "k"), S3Error)
        await there.quiet()
        assert there.cache.status()["entries"] == 0
        far.breaks_at = None
        answer = await there.get("k")
        assert (how(answer), answer.data) == ("MISS", LARGE)
