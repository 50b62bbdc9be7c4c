"""What every implementation of a remote keeps about listings."""

from typing import Any
from urllib.parse import unquote_plus

from tests.contracts.far import KEYS, Far, ask, fill, keys_of, md5


async def a_listing_is_in_order_and_says_what_is_there(s3: Far, bucket: str) -> None:
    await fill(s3, bucket, reversed(KEYS))
    for operation in ("ListObjects", "ListObjectsV2"):
        found = (await ask(s3, operation, {"Bucket": bucket})).result
        assert [one["Key"] for one in found["Contents"]] == list(KEYS)
        assert [one["Size"] for one in found["Contents"]] == [len(key.encode()) for key in KEYS]
        assert [one["ETag"].strip('"') for one in found["Contents"]] == [md5(key.encode()) for key in KEYS]
        assert not found["IsTruncated"]
    assert found["KeyCount"] == len(KEYS)


async def a_listing_selects_and_groups(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    assert await keys_of(s3, bucket, Prefix="b/") == ["b/1", "b/2", "b/c/3"]
    assert await keys_of(s3, bucket, Delimiter="/") == ["a", "a b+c", "b/", "c", "d/"]
    assert await keys_of(s3, bucket, Delimiter="/", Prefix="b/") == ["b/1", "b/2", "b/c/"]
    assert await keys_of(s3, bucket, StartAfter="b/2") == ["b/c/3", "c", "d/\u00e9"]
    assert await keys_of(s3, bucket, Prefix="none") == []


async def pages_follow_each_other(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    for params in ({}, {"Delimiter": "/"}, {"Prefix": "b"}, {"StartAfter": "a"}):
        whole = await keys_of(s3, bucket, **params)
        for size in (1, 2):
            assert await paged(s3, bucket, params | {"MaxKeys": size}) == whole


async def paged(s3: Far, bucket: str, params: dict[str, Any]) -> list[str]:
    """All keys and common prefixes, in the order in which the pages give them."""
    names: list[str] = []
    token: dict[str, str] = {}
    while True:
        found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, **params, **token})).result
        page = [one["Key"] for one in found.get("Contents", ())]
        page += [one["Prefix"] for one in found.get("CommonPrefixes", ())]
        assert len(page) <= params["MaxKeys"]
        names += sorted(page, key=str.encode)
        if not found["IsTruncated"]:
            return names
        assert page
        token = {"ContinuationToken": found["NextContinuationToken"]}


async def the_first_listing_goes_on_from_a_marker(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    for delimiter, names in (({}, list(KEYS)), ({"Delimiter": "/"}, ["a", "a b+c", "b/", "c", "d/"])):
        seen: list[str] = []
        marker: dict[str, str] = {}
        while True:
            found = (await ask(s3, "ListObjects", {"Bucket": bucket, "MaxKeys": 2, **delimiter, **marker})).result
            page = [one["Key"] for one in found.get("Contents", ())]
            page += [one["Prefix"] for one in found.get("CommonPrefixes", ())]
            seen += sorted(page, key=str.encode)
            if not found["IsTruncated"]:
                break
            marker = {"Marker": found.get("NextMarker") or seen[-1]}
        assert seen == names


async def names_in_a_listing_are_encoded_where_it_says_so(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, "EncodingType": "url"})).result
    decode = unquote_plus if found.get("EncodingType") == "url" else str
    assert [decode(one["Key"]) for one in found["Contents"]] == list(KEYS)


async def no_entries_are_a_page_too(s3: Far, bucket: str) -> None:
    await fill(s3, bucket)
    found = (await ask(s3, "ListObjectsV2", {"Bucket": bucket, "MaxKeys": 0})).result
    assert (found.get("Contents", []), found["IsTruncated"]) == ([], False)
