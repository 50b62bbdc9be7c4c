"""Reads while the remote is away, in trouble or silent (SEMANTICS C-3)."""

import asyncio
from pathlib import Path

import pytest

from s3d import config
from s3d.errors import S3Error
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import Far, cached, how
from tests.contracts.bodies import pattern

LARGE = pattern(2 * BLOCK_BYTES + 9)


@pytest.mark.semantics("C-3")
async def test_what_is_cached_is_read_while_the_remote_is_away_also_after_a_restart(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE, ContentType="text/x", Metadata={"a": "1"})
        await there.get("k")
        await there.quiet()
        far.away = True
        answer = await there.get("k")
        assert (how(answer), answer.source, answer.data) == ("STALE", "stale", LARGE)
    async with cached(tmp_path, far) as there:
        answer = await there.get("k")
        part = await there.get("k", Range="bytes=-5")
        assert (how(answer), answer.data, answer.result["ContentType"]) == ("STALE", LARGE, "text/x")
        assert answer.result["Metadata"] == {"a": "1"}
        assert int(answer.headers["Age"]) >= 0
        assert (part.status, part.data) == (206, LARGE[-5:])


@pytest.mark.semantics("C-3")
async def test_a_head_of_what_is_cached_is_answered_too(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
        far.away = True
        answer = await there.ask("HeadObject", "k")
        assert not isinstance(answer, S3Error)
        assert (answer.headers["Content-Length"], how(answer)) == (str(len(LARGE)), "STALE")


@pytest.mark.semantics("C-3")
async def test_an_empty_object_is_read_while_the_remote_is_away_as_any_other(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", b"", ContentType="text/x")
        await there.get("k")
        await there.quiet()
    far.away = True
    async with cached(tmp_path, far) as there:
        answer = await there.get("k")
        assert (how(answer), answer.data, answer.result["ContentType"]) == ("STALE", b"", "text/x")
        beyond = await there.ask("GetObject", "k", Range="bytes=0-0")
        assert isinstance(beyond, S3Error)
        assert beyond.status == 416


@pytest.mark.semantics("C-3")
async def test_what_is_not_cached_is_503(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k", Range="bytes=0-9")
        await there.quiet()
        far.away = True
        for asked in ({}, {"Range": f"bytes={BLOCK_BYTES}-"}):
            error = await there.ask("GetObject", "k", **asked)
            assert isinstance(error, S3Error)
            assert error.status == 503
        assert (await there.get("k", Range="bytes=5-9")).data == LARGE[5:10]


@pytest.mark.semantics("C-3")
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_a_remote_in_trouble_counts_as_away(tmp_path: Path, status: int) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
        far.status = status
        assert how(await there.get("k")) == "STALE"


@pytest.mark.semantics("C-3")
async def test_a_silent_remote_is_waited_for_no_longer_than_validate_timeout(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, validate_timeout=0.01) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
        far.held = asyncio.Event()
        answers = await asyncio.gather(*(there.get("k") for _ in range(5)))
        assert {how(answer) for answer in answers} == {"STALE"}
        far.held.set()
        far.held = None


@pytest.mark.semantics("C-3")
async def test_what_was_not_validated_for_max_stale_is_not_answered(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, max_stale=60.0) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
        far.away = True
        assert how(await there.get("k")) == "STALE"
        config.reload(there.settings, {"S3D_READ_CACHE_MAX_STALE": "0s"})
        assert isinstance(await there.ask("GetObject", "k"), S3Error)


async def test_a_cache_of_another_remote_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", LARGE)
        await there.get("k")
        await there.quiet()
    far.away = True
    monkeypatch.setattr("tests.caches.REMOTE", "http://other.test")
    async with cached(tmp_path, far) as there:
        assert isinstance(await there.ask("GetObject", "k"), S3Error)
