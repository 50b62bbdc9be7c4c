"""Listings of stores that page in their own way, with and without something pending (SEMANTICS R-8a, R-8b)."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from s3d.api import BytesBody, Reply, Wire
from s3d.layers.queue.serve import listing
from s3d.store.db import Database
from tests.callers import Answer
from tests.daemons import StartDaemon
from tests.gateways import gateway
from tests.listers import Begun, Lister, Style, walked
from tests.remotes import Remote
from tests.stores import Store, until

pytestmark = pytest.mark.usefixtures("quick")
KEYS = ["a", "b/1", "b/2", "c", "d", "e/1", "f"]
PUTS, DELETES = ["b/15", "cc", "zz"], ["a", "e/1"]
LEFT = sorted({*KEYS, *PUTS} - set(DELETES))
QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"Delimiter": "/"},
    {"MaxKeys": 1},
    {"MaxKeys": 2, "Delimiter": "/"},
    {"MaxKeys": 3},
)
TRUNCATING = {
    "plain": Style(),
    "short pages": Style(most=2),
    "empty pages": Style(most=2, empty=2),
    "only by its token": Style(most=2, starts=False),
    "empty pages, only by its token": Style(most=1, empty=1, starts=False),
    "CDATA": Style(most=2, cdata=True),
}


@pytest.mark.semantics("R-8", "R-8a")
@pytest.mark.parametrize("second", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("style", TRUNCATING.values(), ids=TRUNCATING.keys())
async def test_every_name_comes_once_however_the_store_pages(tmp_path: Path, style: Style, second: bool) -> None:
    async with Store(Lister(style, {"b": KEYS})) as store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        for query in QUERIES:
            expected = ["a", "b/", "c", "d", "e/", "f"] if "Delimiter" in query else KEYS
            assert await walked(gate, "b", second=second, **query) == expected, query
        for key in PUTS:
            await gate.ask("PutObject", {"Bucket": "b", "Key": key}, b"y")
        for key in DELETES:
            await gate.ask("DeleteObject", {"Bucket": "b", "Key": key})
        for query in QUERIES:
            expected = ["b/", "c", "cc", "d", "f", "zz"] if "Delimiter" in query else LEFT
            assert await walked(gate, "b", second=second, **query) == expected, query


def utf_16(name: str) -> bytes:
    return name.encode("utf-16-be")


def folded(name: str) -> tuple[str, str]:
    return name.lower(), name


def hashed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


ORDERS = [utf_16, folded, hashed]
FOREIGN = ["a", "B", "c", "z\uff5e", "z\U0001f600", "Z", "y"]


@pytest.mark.semantics("R-8b")
@pytest.mark.parametrize("most", [1, 2, 3, 1000])
@pytest.mark.parametrize("second", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("order", ORDERS)
async def test_no_name_is_lost_where_a_store_lists_in_another_order(
    tmp_path: Path, order: Callable[[str], Any], second: bool, most: int
) -> None:
    lister = Lister(Style(most=most, order=order), {"b": FOREIGN})
    async with Store(lister) as store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        assert sorted(await walked(gate, "b", second=second)) == sorted(FOREIGN)
        await gate.ask("PutObject", {"Bucket": "b", "Key": "m"}, b"y")
        await gate.ask("DeleteObject", {"Bucket": "b", "Key": "c"})
        names: list[str] = []
        with contextlib.suppress(Begun):
            names = await walked(gate, "b", second=second)
        # What was passed cannot be told any more: the next listing begins with what is pending delivered.
        names = names or await walked(gate, "b", second=second)
        assert sorted(names) == sorted({*FOREIGN, "m"} - {"c"})


@pytest.mark.semantics("R-8b")
async def test_what_is_pending_before_a_forwarded_page_of_another_order_is_not_forgotten(tmp_path: Path) -> None:
    async with (
        Store(Lister(Style(most=2, order="bdac".index), {"b": list("abcd")})) as store,
        gateway(tmp_path, store, ("b",), delay="1h") as gate,
    ):
        first = await gate.ask("ListObjectsV2", {"Bucket": "b"})
        assert isinstance(first, Answer)
        await gate.ask("DeleteObject", {"Bucket": "b", "Key": "a"})
        second = await gate.ask(
            "ListObjectsV2", {"Bucket": "b", "ContinuationToken": first.result["NextContinuationToken"]}
        )
        assert isinstance(second, Answer)
        assert [one["Key"] for one in second.result["Contents"]] == ["c"]


ENCODINGS = {
    "said": Style(most=2),
    "not said": Style(most=2, says=False),
    "ignored": Style(most=2, encodes=False),
}


@pytest.mark.semantics("R-8a")
@pytest.mark.parametrize("encoding", [{}, {"EncodingType": "url"}], ids=["plain", "url"])
@pytest.mark.parametrize("style", ENCODINGS.values(), ids=ENCODINGS.keys())
async def test_names_are_read_as_the_store_writes_them(tmp_path: Path, style: Style, encoding: dict[str, Any]) -> None:
    keys = ["a b", "a%20b", "a+b", "a0", "\u00e9"]
    async with Store(Lister(style, {"b": keys})) as store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        await gate.ask("DeleteObject", {"Bucket": "b", "Key": "a b"})
        await gate.ask("PutObject", {"Bucket": "b", "Key": "b c"}, b"y")
        names = await walked(gate, "b", **encoding)
        shown = [unquote(name) for name in names] if encoding else names
        assert shown == ["a%20b", "a+b", "a0", "b c", "\u00e9"]


@pytest.mark.semantics("R-8a")
async def test_a_token_of_before_says_the_last_name_as_it_is(tmp_path: Path) -> None:
    async with (
        Store(Lister(Style(most=1, says=False), {"b": ["a b", "a0", "c"]})) as store,
        gateway(tmp_path, store, ("b",), delay="1h") as gate,
    ):
        first = await gate.ask("ListObjectsV2", {"Bucket": "b", "EncodingType": "url"})
        assert isinstance(first, Answer)
        await gate.ask("PutObject", {"Bucket": "b", "Key": "a$"}, b"y")
        query = {"ContinuationToken": first.result["NextContinuationToken"], "EncodingType": "url"}
        assert [unquote(name) for name in await walked(gate, "b", **query)] == ["a$", "a0", "c"]


@pytest.mark.semantics("R-8", "R-8a")
@pytest.mark.parametrize("second", [True, False], ids=["v2", "v1"])
@pytest.mark.parametrize("at", range(1, 5))
async def test_a_walk_that_begins_idle_goes_on_merged_and_the_other_way_round(
    tmp_path: Path, second: bool, at: int
) -> None:
    keys = [f"k{number:02}" for number in range(12)]
    async with Store(Lister(Style(), {"b": keys})) as store, gateway(tmp_path, store, ("b",), delay="1h") as gate:
        names: list[str] = []
        query: dict[str, Any] = {"Bucket": "b", "MaxKeys": 2}
        for page in range(20):
            if page == at:
                await gate.ask("PutObject", {"Bucket": "b", "Key": "k085"}, b"y")
                await gate.ask("PutObject", {"Bucket": "b", "Key": "a"}, b"y")
            if page == at + 2:
                await gate.queue.flush("b", "", None)
                await until(lambda: store.data("b", "k085") is not None, what="the delivery")
            answer = await gate.ask("ListObjectsV2" if second else "ListObjects", query)
            assert isinstance(answer, Answer)
            result = answer.result
            names += [one["Key"] for one in result.get("Contents", ())]
            if not result["IsTruncated"]:
                break
            if second:
                query["ContinuationToken"] = result["NextContinuationToken"]
            else:
                query["Marker"] = result.get("NextMarker") or names[-1]
        assert names == sorted([*keys, "k085"])


@pytest.mark.semantics("R-8c")
@pytest.mark.parametrize("last", ["delete", "put"])
async def test_others_are_served_while_a_listing_looks_at_what_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    monkeypatch.setattr(listing, "MAX_BATCH", 50)
    keys = [f"p/{number:04}" for number in range(600)]
    rows = most = 0
    real = Database.read

    def read(*args: Any) -> list[Any]:
        nonlocal rows, most
        found = real(*args)
        rows += len(found)
        most = max(most, rows)
        return found

    async def others() -> None:
        nonlocal rows
        while True:
            await asyncio.sleep(0)
            rows = 0

    async with (
        Store(Lister(Style(most=200), {"b": [*keys, "q"]})) as store,
        gateway(tmp_path, store, ("b",), delay="1h") as gate,
    ):
        await gate.ask("DeleteObject", {"Bucket": "b", "Key": "other"})
        await gate.ask("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": key} for key in keys]}})
        if last == "put":
            await gate.ask("PutObject", {"Bucket": "b", "Key": "p/z"}, b"y")
            await gate.ask("PutObject", {"Bucket": "b", "Key": "p/zz"}, b"y")
        monkeypatch.setattr(Database, "read", read)
        serving = asyncio.ensure_future(others())
        names = await walked(gate, "b", Delimiter="/")
        serving.cancel()
        assert names == (["q"] if last == "delete" else ["p/", "q"])
        assert most <= 200


@pytest.mark.semantics("R-8a")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_any_legal_name_pages(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    prefix = "\u00e9" * 511
    keys = [f"{prefix}{number}" for number in range(3)]
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_DELAY="1h")
    s3 = daemon.client()
    for key in keys[:2]:
        remote.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    s3.put_object(Bucket=bucket, Key=keys[2], Body=b"x")
    query = {"Prefix": prefix, "Delimiter": "\u00e9" * 512, "StartAfter": prefix, "MaxKeys": 1}
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, **query)
    assert [one["Key"] for page in pages for one in page["Contents"]] == keys


class Coder(Lister):
    """A store, or a proxy before it, that codes every document for who says that it may."""

    def answer(self, wire: Wire, data: bytes, sums: Mapping[str, str]) -> Reply:
        reply = super().answer(wire, data, sums)
        coding = wire.headers.get("Accept-Encoding", "")
        if coding and isinstance(reply.body, BytesBody):
            reply.headers["Content-Encoding"] = coding
            reply.body = BytesBody(b"\x1f\x8b" + reply.body.data)
        return reply


@pytest.mark.semantics("R-4")
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "gzip, deflate, br, zstd"])
async def test_what_is_read_here_comes_plain_whatever_coding_its_client_takes(tmp_path: Path, coding: str) -> None:
    async with (
        Store(Coder(Style(most=2), {"b": [*KEYS, "k"]})) as store,
        gateway(tmp_path, store, ("b",), delay="1h") as gate,
    ):
        takes: dict[str, Any] = {"Accept_Encoding": coding}
        for key in ("first", "pending"):
            await gate.ask("PutObject", {"Bucket": "b", "Key": key}, b"y", **takes)
        whole = {"Bucket": "b", "Key": "whole"}
        begun = await gate.ask("CreateMultipartUpload", whole, **takes)
        assert isinstance(begun, Answer)
        upload = {**whole, "UploadId": begun.result["UploadId"]}
        part = await gate.ask("UploadPart", {**upload, "PartNumber": 1}, b"y", **takes)
        assert isinstance(part, Answer)
        listed = {"Parts": [{"PartNumber": 1, "ETag": part.etag}]}
        for operation, params in {
            "ListObjects": {"Bucket": "b"},
            "ListObjectsV2": {"Bucket": "b"},
            "ListMultipartUploads": {"Bucket": "b"},
            "ListParts": upload,
            "CompleteMultipartUpload": {**upload, "MultipartUpload": listed},
            "CopyObject": {**whole, "Key": "copy", "CopySource": "b/k"},
            "DeleteObjects": {"Bucket": "b", "Delete": {"Objects": [{"Key": "a"}]}},
            "GetObjectTagging": {**whole, "Key": "k"},
            "ListBuckets": {},
        }.items():
            answer = await gate.ask(operation, params, **takes)
            assert isinstance(answer, Answer), (operation, answer)
        assert not [one.operation for one in store.seen if "Accept-Encoding" in one.headers]
        await gate.ask("GetObject", {"Bucket": "b", "Key": "k"}, **takes)
        assert store.seen[-1].headers["Accept-Encoding"] == coding
