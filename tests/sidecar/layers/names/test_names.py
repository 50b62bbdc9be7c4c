"""Listings that go on while the remote is away, out of what it has shown (SEMANTICS C-10)."""

import asyncio
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from s3d.client import Client
from s3d.errors import Unavailable
from tests.callers import Answer, ask
from tests.remembering import BUCKET, Far, Gate, remembering, shown

KEYS = ["a", "b/1", "b/2", "c d+%&<é", "d/e/1", "d/f", "z"]
plain = unquote_plus
"""A name as it is: stores write it in their own ways."""
QUERIES: list[dict[str, Any]] = [
    {},
    {"MaxKeys": 2},
    {"Delimiter": "/"},
    {"Delimiter": "/", "MaxKeys": 2},
    {"Prefix": "d/"},
    {"Prefix": "d/", "Delimiter": "/"},
    {"Prefix": "b", "MaxKeys": 1},
    {"StartAfter": "b/1"},
    {"EncodingType": "url", "Prefix": "c"},
    {"FetchOwner": True},
    {"Prefix": "nothing/"},
]


def described(page: Answer) -> list[dict[str, Any]]:
    """What a page shows of its objects."""
    return [{**one, "Key": plain(one["Key"])} for one in page.result.get("Contents", ())]


@pytest.mark.semantics("C-10")
@pytest.mark.parametrize("query", QUERIES, ids=str)
async def test_a_listing_that_was_shown_is_shown_while_the_remote_is_away(
    tmp_path: Path, query: dict[str, Any]
) -> None:
    """The same names, sizes and ETags, marked as stale."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        online = await one.walk(**query)
        before = await one.page(**query)
        one.far.away = True
        assert list(map(plain, await one.walk(**query))) == list(map(plain, online))
        page = await one.page(**query)
        assert page.source == "stale"
        assert page.headers["x-cache"] == "STALE"
        assert int(page.headers["Age"]) >= 0
        assert described(page) == described(before)
        assert page.result["IsTruncated"] == before.result["IsTruncated"]


@pytest.mark.semantics("C-10a")
async def test_what_was_not_shown_is_503_and_never_shorter(tmp_path: Path) -> None:
    """Also where a part of the page is known, and where the same names were shown in another way."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        await one.page(MaxKeys=3)
        await one.page(Prefix="d/", Delimiter="/")
        one.far.away = True
        assert shown(await one.page(MaxKeys=3)) == KEYS[:3]
        for query in ({}, {"MaxKeys": 4}, {"Prefix": "z"}, {"Delimiter": "/"}, {"MaxKeys": 3, "FetchOwner": True}):
            error = await one.refused(**query)
            assert (error.status, error.code) == (503, "ServiceUnavailable")
        assert (await one.refused("ListObjects")).status == 503


async def test_names_roll_up_out_of_a_listing_of_all(tmp_path: Path) -> None:
    """What was listed in whole is listed by folders too."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        await one.walk()
        one.far.away = True
        assert await one.walk(Delimiter="/") == ["a", "b/", "c d+%&<é", "d/", "z"]
        assert await one.walk(Delimiter="/", MaxKeys=1) == ["a", "b/", "c d+%&<é", "d/", "z"]
        assert await one.walk(Delimiter="/", Prefix="d/") == ["d/e/", "d/f"]


@pytest.mark.semantics("C-10d")
@pytest.mark.parametrize("query", [{"Delimiter": "/"}, {}, {"FetchOwner": True}], ids=str)
async def test_a_listing_goes_on_offline_and_back(tmp_path: Path, query: dict[str, Any]) -> None:
    """Begun online, cut after two pages, gone on with offline, and finished online: each name once, in order."""
    keys = [f"{number:03}/x" if number % 3 else f"{number:03}" for number in range(40)]
    async with remembering(tmp_path) as one:
        await one.put(*keys)
        whole = await one.walk(MaxKeys=4, **query)
        found: list[str] = []
        asked = {"MaxKeys": 4, **query}
        for number in range(10):
            one.far.away = 2 <= number < 6
            page = await one.page(**asked)
            assert (page.headers.get("x-cache") == "STALE") == one.far.away
            found += shown(page)
            asked["ContinuationToken"] = page.result.get("NextContinuationToken")
        assert found == whole
        assert asked["ContinuationToken"] is None


@pytest.mark.semantics("C-10")
async def test_pages_that_come_quickly_are_one_stretch(tmp_path: Path) -> None:
    """The next page is asked for before the one before it was learnt."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        token: dict[str, Any] = {}
        for _ in range(4):
            page = await one.ask("ListObjectsV2", MaxKeys=2, **token)
            token = {"ContinuationToken": page.result.get("NextContinuationToken")}
        one.far.away = True
        assert await one.walk() == sorted(KEYS)


async def test_v1_goes_on_by_names(tmp_path: Path) -> None:
    """Its markers are names, online and offline."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        for away in (False, True):
            one.far.away = away
            found, marker = [], ""
            for _ in range(4):
                page = await one.ask("ListObjects", MaxKeys=2, Delimiter="/", Marker=marker)
                await one.names.learnt()
                found += shown(page)
                marker = page.result.get("NextMarker", "")
                if not marker:
                    break
            assert found == ["a", "b/", "c d+%&<é", "d/", "z"]


@pytest.mark.semantics("C-10b")
async def test_delivered_changes_are_taken(tmp_path: Path) -> None:
    """A put shows its ETag and size, in views by folder too, and a delete shows nothing."""
    async with remembering(tmp_path) as one:
        await one.put(*KEYS)
        await one.walk()
        await one.walk(Delimiter="/")
        await one.ask("PutObject", "a", b"longer")
        await one.ask("PutObject", "n/1", b"x")
        await one.ask("DeleteObject", "z")
        one.far.away = True
        page = await one.page()
        assert shown(page) == sorted([*KEYS[:-1], "n/1"])
        first = page.result["Contents"][0]
        assert (first["Size"], first["ETag"]) == (6, f'"{md5(b"longer").hexdigest()}"')
        assert await one.walk(Delimiter="/") == ["a", "b/", "c d+%&<é", "d/", "n/"]


@pytest.mark.semantics("C-10c")
async def test_a_page_that_was_asked_before_a_change_does_not_undo_it(tmp_path: Path) -> None:
    """Its answer left before the put came, and is learnt after it."""
    async with remembering(tmp_path) as one:
        await one.put("a", "c")
        gate = one.far.gates["ListObjectsV2"] = Gate()
        listing = asyncio.create_task(one.page())
        await gate.reached.wait()
        await one.put("b")
        await one.ask("DeleteObject", "c")
        gate.opened.set()
        assert shown(await listing) == ["a", "c"]
        one.far.away = True
        assert await one.walk() == ["a", "b"]


async def test_a_name_is_in_doubt_while_it_is_changed(tmp_path: Path) -> None:
    """Nobody knows which of the two is there, so a page with it is 503; others are shown."""
    async with remembering(tmp_path) as one:
        await one.put("a", "b", "c")
        await one.walk()
        gate = one.far.gates["PutObject"] = Gate()
        putting = asyncio.create_task(one.put("b"))
        await gate.reached.wait()
        one.far.away = True
        assert (await one.refused()).status == 503
        assert shown(await one.page(MaxKeys=1)) == ["a"]
        gate.opened.set()
        await putting
        assert await one.walk() == ["a", "b", "c"]


async def test_a_page_that_is_asked_while_a_name_is_changed_leaves_it_in_doubt(tmp_path: Path) -> None:
    """Also where nothing was remembered when the call went out."""
    async with remembering(tmp_path) as one:
        await one.put("a", "b", "c")
        gate = one.far.gates["DeleteObject"] = Gate()
        deleting = asyncio.create_task(one.ask("DeleteObject", "b"))
        await gate.reached.wait()
        await one.walk()
        one.far.away = True
        assert (await one.refused()).status == 503
        gate.opened.set()
        await deleting
        assert await one.walk() == ["a", "c"]


LOST: list[tuple[str, str, dict[str, Any], list[str]]] = [
    ("PutObject", "b2", {}, ["a", "b", "b2", "c"]),
    ("DeleteObject", "b", {}, ["a", "c"]),
    ("CopyObject", "b2", {"CopySource": f"{BUCKET}/a"}, ["a", "b", "b2", "c"]),
]


@pytest.mark.semantics("C-10b")
@pytest.mark.parametrize(("operation", "key", "more", "after"), LOST)
@pytest.mark.parametrize("restart", [False, True])
async def test_a_name_whose_call_was_not_answered_is_in_doubt_until_it_was_looked_at(
    tmp_path: Path,
    operation: str,
    key: str,
    more: dict[str, Any],
    after: list[str],
    restart: bool,
) -> None:
    """Also over a restart."""
    far = Far()
    async with remembering(tmp_path, far) as one:
        await one.put("a", "b", "c")
        await one.walk()
        far.lose = lambda call: call.operation == operation
        with pytest.raises(Unavailable):
            await one.ask(operation, key, b"x" if operation == "PutObject" else None, **more)
        far.away = True
        assert (await one.refused()).status == 503
        if not restart:
            far.away = False
            await one.names.mend()
            far.away = True
            assert await one.walk() == after
            return
    async with remembering(tmp_path, far) as one:
        assert (await one.refused()).status == 503
        far.away = False
        await one.names.mend()
        far.away = True
        assert await one.walk() == after


async def test_a_refused_call_leaves_names_as_they_are(tmp_path: Path) -> None:
    """And so does one that was never sent."""
    async with remembering(tmp_path) as one:
        await one.put("a", "b")
        await one.walk()
        error = await one.refused("PutObject", "b", IfNoneMatch="*")
        assert error.status == 412
        one.far.away = True
        assert (await one.refused("DeleteObject", "a")).status == 503
        assert await one.walk() == ["a", "b"]


async def test_a_copy_and_an_upload_are_looked_at(tmp_path: Path) -> None:
    """Their answers do not say how large the object is."""
    async with remembering(tmp_path) as one:
        await one.put("a", "c")
        await one.walk()
        await one.ask("CopyObject", "b", CopySource=f"{BUCKET}/a")
        upload = (await one.ask("CreateMultipartUpload", "d")).result["UploadId"]
        part = await one.ask("UploadPart", "d", b"part", UploadId=upload, PartNumber=1)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part.etag}]}
        await one.ask("CompleteMultipartUpload", "d", UploadId=upload, MultipartUpload=parts)
        await one.names.mend()
        one.far.away = True
        page = await one.page()
        assert [(o["Key"], o["Size"]) for o in page.result["Contents"]] == [("a", 1), ("b", 1), ("c", 1), ("d", 4)]


async def test_a_bulk_delete_takes_its_keys(tmp_path: Path) -> None:
    """Those that its answer does not name as errors are gone."""
    async with remembering(tmp_path) as one:
        await one.put("a", "b", "c", "d")
        await one.walk()
        for quiet, keys in ((True, ["b"]), (False, ["d"])):
            await one.ask("DeleteObjects", Delete={"Objects": [{"Key": key} for key in keys], "Quiet": quiet})
        one.far.away = True
        assert await one.walk() == ["a", "c"]


async def test_a_call_that_names_no_key_forgets_the_bucket(tmp_path: Path) -> None:
    """Whatever it changes."""
    async with remembering(tmp_path) as one:
        await one.put("a")
        await one.walk()
        await one.ask("HeadObject", "a")
        await one.names.learnt()
        await one.ask("PutBucketVersioning", VersioningConfiguration={"Status": "Enabled"})
        one.far.away = True
        assert (await one.refused()).status == 503
        assert (await one.refused("HeadObject", "a")).status == 503


@pytest.mark.semantics("C-10")
async def test_heads_are_remembered_until_their_object_changes(tmp_path: Path) -> None:
    """With all headers that the remote gave. One that was under way when the object changed is not kept."""
    async with remembering(tmp_path) as one:
        await one.ask("PutObject", "a", b"12345", Metadata={"m": "1"}, ContentType="text/x")
        before = await one.ask("HeadObject", "a")
        await one.names.learnt()
        one.far.away = True
        head = await one.ask("HeadObject", "a")
        assert (head.source, head.headers["x-cache"]) == ("stale", "STALE")
        assert {**head.result, "ContentLength": 5} == {**before.result, "ContentLength": 5}
        assert head.headers["Content-Length"] == "5"
        for params in ({"IfNoneMatch": "x"}, {"Range": "bytes=0-1"}, {"PartNumber": 1}):
            assert (await one.refused("HeadObject", "a", **params)).status == 503
        assert (await one.refused("HeadObject", "b")).status == 503
        one.far.away = False
        gate = one.far.gates["HeadObject"] = Gate()
        asking = asyncio.create_task(one.ask("HeadObject", "a"))
        await gate.reached.wait()
        await one.ask("PutObject", "a", b"1")
        gate.opened.set()
        assert (await asking).headers.get("x-cache") is None
        await one.names.learnt()
        one.far.away = True
        assert (await one.refused("HeadObject", "a")).status == 503


@pytest.mark.semantics("C-10e")
async def test_refusals_are_not_remembered_and_drop_what_is(tmp_path: Path) -> None:
    """A 404 of the object, a 403 of one identity."""
    async with remembering(tmp_path) as one:
        await one.put("a")
        await one.ask("HeadObject", "a")
        await one.names.learnt()
        await ask(one.far.fake, "DeleteObject", {"Bucket": BUCKET, "Key": "a"})
        assert (await one.refused("HeadObject", "a")).status == 404
        one.far.away = True
        assert (await one.refused("HeadObject", "a")).status == 503


async def test_a_server_that_fails_counts_as_away(tmp_path: Path) -> None:
    """Its answer is handed on where nothing is remembered."""
    async with remembering(tmp_path) as one:
        await one.put("a")
        await one.walk()
        one.far.failing = 503
        assert (await one.page()).headers["x-cache"] == "STALE"
        assert (await one.refused(Prefix="b", FetchOwner=True)).status == 503


@pytest.mark.semantics("C-10e")
async def test_what_is_asked_fresh_is_never_answered(tmp_path: Path) -> None:
    """Whoever asks so decides by it."""
    async with remembering(tmp_path) as one:
        await one.put("a")
        await one.walk()
        await one.ask("HeadObject", "a")
        await one.names.learnt()
        one.far.away = True
        client = Client(one.names, "queue")
        for asking in (
            client.head_object(BUCKET, "a", fresh=True),
            client.ask("ListObjectsV2", {"Bucket": BUCKET}, fresh=True),
        ):
            with pytest.raises(Unavailable):
                await asking


async def test_identities_are_apart(tmp_path: Path) -> None:
    """What one has been shown is not shown to another."""
    async with remembering(tmp_path) as one:
        await one.put("a")
        await ask(one.names, "ListObjectsV2", {"Bucket": BUCKET}, identity="alice")
        await one.names.learnt()
        one.far.away = True
        with pytest.raises(Unavailable):
            await ask(one.names, "ListObjectsV2", {"Bucket": BUCKET}, identity="bob")
        page = await ask(one.names, "ListObjectsV2", {"Bucket": BUCKET}, identity="alice")
        assert shown(page) == ["a"]


@pytest.mark.semantics("C-10f")
async def test_names_survive_a_restart_and_another_endpoint_forgets_them(tmp_path: Path) -> None:
    """They are of one remote."""
    far = Far()
    async with remembering(tmp_path, far) as one:
        await one.put("a")
        await one.walk()
    far.away = True
    async with remembering(tmp_path, far) as one:
        assert await one.walk() == ["a"]
    async with remembering(tmp_path, far, "http://another.test") as one:
        assert (await one.refused()).status == 503


@pytest.mark.semantics("C-10f")
@pytest.mark.parametrize("damage", [b"", b"no database at all" * 500])
async def test_a_damaged_file_is_begun_anew(tmp_path: Path, damage: bytes) -> None:
    """It is set aside, and never a reason not to start."""
    far = Far()
    async with remembering(tmp_path, far) as one:
        await one.put("a")
        await one.walk()
    (tmp_path / "names.db").write_bytes(damage)
    async with remembering(tmp_path, far) as one:
        assert await one.walk() == ["a"]
        far.away = True
        assert await one.walk() == ["a"]


@pytest.mark.semantics("C-10f")
async def test_names_are_bounded(tmp_path: Path) -> None:
    """The view that was used least recently goes."""
    async with remembering(tmp_path, max_names=10) as one:
        await one.put(*(f"a/{n}" for n in range(6)), *(f"b/{n}" for n in range(6)))
        await one.walk(Prefix="a/", Delimiter="/")
        await one.walk(Prefix="b/", Delimiter="/")
        await one.walk()
        one.far.away = True
        assert (await one.refused(Prefix="a/", Delimiter="/")).status == 503
        assert len(await one.walk(Prefix="b/", Delimiter="/")) == 6
        assert (await one.refused()).status == 503


async def test_what_is_too_old_is_no_answer(tmp_path: Path) -> None:
    """As a cached object's."""
    async with remembering(tmp_path, max_stale=0) as one:
        await one.put("a")
        await one.walk()
        await asyncio.sleep(0.001)
        one.far.away = True
        assert (await one.refused()).status == 503


@pytest.mark.semantics("C-10g")
async def test_names_are_remembered_again_once_their_file_can_be_written(tmp_path: Path) -> None:
    async with remembering(tmp_path) as one:
        await one.put("a", "b")
        await one.walk()
        await one.names._memory.abandon("the disk is full")
        await one.put("c")
        one.far.away = True
        assert (await one.refused()).status == 503
        one.far.away = False
        await one.names.look_after()
        await one.walk()
        one.far.away = True
        assert await one.walk() == ["a", "b", "c"]


@pytest.mark.semantics("C-10g", "C-10c")
async def test_a_change_over_the_moment_in_which_names_are_remembered_again_is_not_undone(tmp_path: Path) -> None:
    async with remembering(tmp_path) as one:
        await one.put("a", "b")
        await one.names._memory.abandon("the disk is full")
        gate = one.far.gates["DeleteObject"] = Gate()
        deleting = asyncio.create_task(one.ask("DeleteObject", "b"))
        await gate.reached.wait()
        await one.names.begin_anew()
        # Nobody has noted that it is on its way: what is shown meanwhile is not learnt.
        await one.walk()
        one.far.away = True
        assert (await one.refused()).status == 503
        one.far.away = False
        gate.opened.set()
        await deleting
        await one.walk()
        one.far.away = True
        assert await one.walk() == ["a"]
