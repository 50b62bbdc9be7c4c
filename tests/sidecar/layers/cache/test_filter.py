"""Which objects are cached: by the tag s3d.cache, else by the filter (SEMANTICS F-6)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from s3d import config
from s3d.api import Call
from s3d.errors import S3Error
from s3d.store.blocks import BLOCK_BYTES
from tests.caches import BUCKET, Cached, Far, cached, how
from tests.callers import ask
from tests.contracts.bodies import pattern
from tests.queues import until

DATA = b"data"
TAGGING = ("GetObjectTagging", "GetBucketTagging")


class Case(NamedTuple):
    """An object, whether a filter has it cached, and what is asked for that."""

    rules: str
    kept: bool
    asked: Sequence[str] = ()
    members: Mapping[str, Any] = {}
    """Of the put of the object."""


OF_OBJECT, OF_BUCKET = ("GetObjectTagging",), ("GetBucketTagging",)
CASES = [
    Case("", True),
    Case(BUCKET, True),
    Case("other", False),
    Case(f"!{BUCKET}/k", False),
    Case(f"{BUCKET}/*[hdr:content-length<5]", True),
    Case(f"{BUCKET}/*[hdr:content-length<4]", False),
    Case(f"{BUCKET}/*[hdr:content-type=video/*]", True, members={"ContentType": "video/mp4"}),
    Case(f"{BUCKET}/*[hdr:content-type=video/*]", False, members={"ContentType": "text/plain"}),
    Case(f"{BUCKET}/*[md:author=Ada]", True, members={"Metadata": {"author": "Ada"}}),
    Case(f"{BUCKET}[id:a]", True),
    Case(f"{BUCKET}[id:b]", False),
    Case(f"{BUCKET}/*[tag:t=1]", True, OF_OBJECT, {"Tagging": "t=1"}),
    Case(f"{BUCKET}/*[tag:t=2]", False, OF_OBJECT, {"Tagging": "t=1"}),
    Case(f"{BUCKET}/*[tag:t=1]", False, OF_OBJECT),
    Case(f"other/*[tag:t=1], {BUCKET}", True),
    Case(f"{BUCKET}[tag:team=blue]", True, OF_BUCKET),
    Case(f"{BUCKET}[tag:team=red]", False, OF_BUCKET),
    Case("", False, OF_OBJECT, {"Tagging": "s3d.cache=false"}),
    Case("other", True, OF_OBJECT, {"Tagging": "s3d.cache=true"}),
    Case("", True, OF_OBJECT, {"Tagging": "t=1"}),
]


async def tag_bucket(far: Far) -> None:
    tags = {"TagSet": [{"Key": "team", "Value": "blue"}]}
    await ask(far.fake, "PutBucketTagging", {"Bucket": BUCKET, "Tagging": tags})


async def read(there: Cached, key: str = "k", **asked: Any) -> str:
    """Read an object once more: where its answer is from."""
    answer = await there.get(key, identity="a", **asked)
    await there.quiet()
    return how(answer)


@pytest.mark.semantics("F-6", "F-6a")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.rules} {case.members} {case.kept}")
@pytest.mark.parametrize("asked", [{}, {"Range": "bytes=0-0"}], ids=["whole", "range"])
async def test_an_object_is_cached_as_its_tag_and_the_filter_say(
    tmp_path: Path, case: Case, asked: dict[str, Any]
) -> None:
    far = Far()
    async with cached(tmp_path, far, filter=case.rules) as there:
        await tag_bucket(far)
        await far.put("k", DATA, **case.members)
        await read(there, **asked)
        if case.rules == "other" and asked:
            # A range of what its name leaves out is the remote's own: the tag shows in a whole answer.
            await read(there)
        assert await read(there, **asked) == ("REVALIDATED" if case.kept else "MISS")
        assert there.cache.status()["entries"] == int(case.kept)
        assert [call.operation for call in far.asked if call.operation in TAGGING] == list(case.asked)
        assert all(call.identity == "a" for call in far.asked)


@pytest.mark.semantics("F-6a")
async def test_an_object_whose_tags_nobody_says_is_not_cached(tmp_path: Path) -> None:
    far = Far()

    def refuse(call: Call) -> None:
        far.refused = {"a"} if call.operation == "GetObjectTagging" else set()

    far.before = refuse
    async with cached(tmp_path, far, filter=f"!{BUCKET}/*[tag:secret]") as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", "MISS"]
        assert far.count("GetObjectTagging") == 1


@pytest.mark.semantics("F-6")
async def test_a_read_by_whom_the_filter_leaves_out_gets_nothing_out_of_the_cache(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, filter=f"{BUCKET}[id:a]", fresh_for=60) as there:
        await far.put("k", DATA)
        assert [await read(there), await read(there)] == ["MISS", "HIT"]
        assert how(await there.get("k", identity="b")) == "MISS"
        assert await read(there) == "HIT"
        far.away = True
        assert isinstance(await there.ask("GetObject", "k", identity="b"), S3Error)
        assert await read(there) == "HIT"


@pytest.mark.semantics("F-6", "F-6a")
async def test_tags_that_change_are_asked_for_anew(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far) as there:
        await far.put("k", DATA, Tagging="t=1")
        assert [await read(there), await read(there)] == ["MISS", "REVALIDATED"]
        tags = {"TagSet": [{"Key": "s3d.cache", "Value": "false"}]}
        # Through s3d: at once. Past it: where their number is another.
        await there.ask("PutObjectTagging", "k", Tagging=tags)
        assert [await read(there), await read(there)] == ["MISS", "MISS"]
        await far.put("k", DATA, Tagging="s3d.cache=true&t=1")
        assert [await read(there), await read(there)] == ["MISS", "REVALIDATED"]
        await far.put("k", DATA, Tagging="s3d.cache=false&t=1&u=1")
        assert await read(there) == "MISS"
        assert there.cache.status()["entries"] == 0


@pytest.mark.semantics("F-6b")
async def test_a_filter_that_changes_drops_what_it_leaves_out(tmp_path: Path) -> None:
    far = Far()
    async with cached(tmp_path, far, runs=True) as there:
        for key in ("a/1", "b/1"):
            await far.put(key, DATA)
            await read(there, key)
        config.reload(there.settings, {"S3D_READ_CACHE_FILTER": ["*", "!*/a/*"]})
        far.away = True
        assert isinstance(await there.ask("GetObject", "a/1", identity="a"), S3Error)
        await until(lambda: there.cache.status()["entries"] == 1)
        assert there.metric("s3d_cache_evictions_total", why="filter") == 1
        assert await read(there, "b/1") == "STALE"
    async with cached(tmp_path, far, runs=True, filter="*/a/*") as there:
        await until(lambda: there.cache.status()["entries"] == 0)


@pytest.mark.semantics("F-6b")
async def test_the_same_filter_drops_nothing_over_a_restart(tmp_path: Path) -> None:
    far = Far()
    rules = f"{BUCKET}/*[tag:t=1]"
    async with cached(tmp_path, far, filter=rules) as there:
        await far.put("k", pattern(BLOCK_BYTES + 1), Tagging="t=1")
        await read(there)
        await there.cache.rejudge()
    far.away = True
    async with cached(tmp_path, far, filter=rules) as there:
        await there.cache.rejudge()
        assert await read(there) == "STALE"
        config.reload(there.settings, {"S3D_READ_CACHE_FILTER": f"{BUCKET}/*[tag:t=2]"})
        await there.cache.rejudge()
        assert there.cache.status()["entries"] == 0
