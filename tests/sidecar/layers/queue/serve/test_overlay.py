"""A pending object answers as the remote will."""

from datetime import UTC, datetime
from typing import Any

import pytest

from s3d.api import BytesBody, read_all
from s3d.errors import S3Error
from s3d.layers.queue.rows.changes import Change
from s3d.layers.queue.rows.states import Op, State
from s3d.layers.queue.serve import overlay
from s3d.protocol import decode

DATA = bytes(range(256)) * 4
ETAG = "0" * 32
ACKED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE, AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)


def pending(size: int = len(DATA), **members: str) -> Change:
    return Change(
        seq=1, bucket="b", key="k", op=Op.PUT, state=State.WAITING, members=members, size=size, etag=ETAG,
        acked_at=ACKED.timestamp() + 0.9, attempts=0, next_at=0, attempt_at=None, code="", reason="", file=None,
    )  # fmt: skip


async def ask(
    operation: str = "GetObject", change: Change | None = None, **params: Any
) -> tuple[int, dict[str, str], bytes]:
    reply = overlay.answer(operation, params, change or pending(), lambda: BytesBody(DATA))
    return reply.status, dict(reply.headers), await read_all(reply.body, 1 << 20)


RANGES = [
    ("bytes=0-", 206, "bytes 0-1023/1024", DATA),
    ("bytes=0-0", 206, "bytes 0-0/1024", DATA[:1]),
    ("bytes=10-19", 206, "bytes 10-19/1024", DATA[10:20]),
    ("bytes=-5", 206, "bytes 1019-1023/1024", DATA[-5:]),
    ("bytes=-5000", 206, "bytes 0-1023/1024", DATA),
    ("bytes=1000-9999", 206, "bytes 1000-1023/1024", DATA[1000:]),
    ("bytes=5-2", 200, None, DATA),
    ("bytes=", 200, None, DATA),
    ("bytes=-", 200, None, DATA),
    ("bytes=0-1,5-6", 200, None, DATA),
    ("lines=1-2", 200, None, DATA),
]


@pytest.mark.semantics("R-1")
@pytest.mark.parametrize("header, status, content_range, data", RANGES)
async def test_ranges_are_those_of_s3(header: str, status: int, content_range: str | None, data: bytes) -> None:
    got_status, headers, body = await ask(Range=header)
    assert (got_status, headers.get("Content-Range"), body) == (status, content_range, data)


@pytest.mark.parametrize("header, size", [("bytes=1024-", 1024), ("bytes=-0", 1024), ("bytes=0-", 0), ("bytes=-0", 0)])
async def test_a_range_beyond_the_end_is_416(header: str, size: int) -> None:
    with pytest.raises(S3Error) as refused:
        await ask(change=pending(size), Range=header)
    assert (refused.value.status, refused.value.code) == (416, "InvalidRange")
    assert refused.value.headers["Content-Range"] == f"bytes */{size}"


async def test_the_last_bytes_of_an_empty_object_are_all_of_it() -> None:
    assert (await ask("HeadObject", pending(0), Range="bytes=-5"))[0] == 200


async def test_a_304_repeats_what_caches_need() -> None:
    change = pending(len(DATA), **{"cache-control": "no-cache", "content-type": "x/y"})
    status, headers, body = await ask(change=change, IfNoneMatch="*")
    assert (status, set(headers), body) == (304, {"ETag", "Last-Modified", "Cache-Control"}, b"")


CONDITIONS: list[tuple[dict[str, Any], int]] = [
    ({"IfMatch": f'"{ETAG}"'}, 200),
    ({"IfMatch": ETAG}, 200),
    ({"IfMatch": "*"}, 200),
    ({"IfMatch": f'"x", "{ETAG}"'}, 200),
    ({"IfMatch": '"x"'}, 412),
    ({"IfNoneMatch": f'"{ETAG}"'}, 304),
    ({"IfNoneMatch": "*"}, 304),
    ({"IfNoneMatch": '"x"'}, 200),
    ({"IfModifiedSince": BEFORE}, 200),
    ({"IfModifiedSince": ACKED}, 304),
    ({"IfModifiedSince": AFTER}, 304),
    ({"IfUnmodifiedSince": BEFORE}, 412),
    ({"IfUnmodifiedSince": ACKED}, 200),
    ({"IfMatch": f'"{ETAG}"', "IfUnmodifiedSince": BEFORE}, 200),
    ({"IfNoneMatch": '"x"', "IfModifiedSince": AFTER}, 200),
]


@pytest.mark.semantics("R-1")
@pytest.mark.parametrize("operation", ["GetObject", "HeadObject"])
@pytest.mark.parametrize("conditions, status", CONDITIONS)
async def test_conditions_are_judged_in_their_order(operation: str, conditions: dict[str, Any], status: int) -> None:
    try:
        got, headers, _ = await ask(operation, **conditions)
        assert headers["ETag"] == f'"{ETAG}"'
    except S3Error as refused:
        got = refused.status
    assert got == status


async def test_what_was_sent_comes_back() -> None:
    change = pending(
        len(DATA),
        **{"content-type": "text/x", "x-amz-meta-a": "1", "x-amz-acl": "private", "cache-control": "no-cache"},
    )
    _, headers, _ = await ask("HeadObject", change)
    assert headers == {
        "ETag": f'"{ETAG}"',
        "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
        "Accept-Ranges": "bytes",
        "Content-Type": "text/x",
        "Cache-Control": "no-cache",
        "x-amz-meta-a": "1",
        "Content-Length": "1024",
    }


@pytest.mark.semantics("Q-6")
async def test_what_s3_shows_of_an_object_is_shown_of_a_pending_one() -> None:
    change = pending(
        len(DATA),
        **{
            "x-amz-tagging": "a=b&c=",
            "x-amz-storage-class": "STANDARD_IA",
            "x-amz-website-redirect-location": "/there",
            "x-amz-server-side-encryption": "AES256",
            "x-amz-grant-read": "id=1",
            "x-amz-expected-bucket-owner": "1",
        },
    )
    headers = (await ask("HeadObject", change))[1]
    assert {name: value for name, value in headers.items() if name.startswith("x-amz-")} == {
        "x-amz-tagging-count": "2",
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-website-redirect-location": "/there",
        "x-amz-server-side-encryption": "AES256",
    }
    plain = (await ask("HeadObject", pending(len(DATA), **{"x-amz-tagging": "", "x-amz-storage-class": "STANDARD"})))[1]
    assert not [name for name in plain if name.startswith("x-amz-")]


IF_RANGES = [
    (f'"{ETAG}"', 206),
    ("Fri, 02 Jan 2026 03:04:05 GMT", 206),
    ('"x"', 200),
    (f'W/"{ETAG}"', 200),
    ("Fri, 02 Jan 2026 03:04:04 GMT", 200),
    ("nonsense", 200),
]


@pytest.mark.semantics("R-1")
@pytest.mark.parametrize("validator, status", IF_RANGES)
async def test_a_range_of_another_version_is_the_whole_object(validator: str, status: int) -> None:
    assert (await ask(Range="bytes=0-1", IfRange=validator))[0] == status


async def test_checksums_show_where_they_are_asked_for_and_the_object_is_whole() -> None:
    change = pending(len(DATA), **{"x-amz-checksum-crc32": "AAAAAA=="})
    assert (await ask(change=change, ChecksumMode="ENABLED"))[1]["x-amz-checksum-crc32"] == "AAAAAA=="
    assert "x-amz-checksum-crc32" not in (await ask(change=change))[1]
    assert "x-amz-checksum-crc32" not in (await ask(change=change, ChecksumMode="ENABLED", Range="bytes=0-1"))[1]


async def test_response_overrides_replace_headers() -> None:
    _, headers, _ = await ask(ResponseContentType="x/y", ResponseCacheControl="no-store", ResponseExpires=AFTER)
    assert headers["Content-Type"] == "x/y"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Expires"] == "Sat, 03 Jan 2026 00:00:00 GMT"


async def test_a_single_put_has_one_part() -> None:
    assert (await ask(PartNumber=1))[0] == 206
    with pytest.raises(S3Error, match="InvalidPartNumber"):
        await ask(PartNumber=2)


SUM = {"x-amz-checksum-crc32": "AAAAAA=="}
ATTRIBUTES: list[tuple[list[str], dict[str, str], dict[str, Any] | None]] = [
    (["ETag"], {}, {"ETag": ETAG}),
    (["ObjectSize", "StorageClass"], {}, {"ObjectSize": 1024, "StorageClass": "STANDARD"}),
    (["StorageClass"], {"x-amz-storage-class": "STANDARD_IA"}, {"StorageClass": "STANDARD_IA"}),
    (["ObjectParts"], {}, {}),
    (["Checksum"], SUM, {"Checksum": {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "FULL_OBJECT"}}),
    (["ETag", "Checksum"], {}, None),
    (["Colour"], {}, None),
    ([], {}, None),
]


@pytest.mark.semantics("R-1", "R-1a")
@pytest.mark.parametrize("wanted, members, result", ATTRIBUTES)
def test_attributes_are_those_that_are_known(
    wanted: list[str], members: dict[str, str], result: dict[str, Any] | None
) -> None:
    reply = overlay.attributes(wanted, pending(len(DATA), **members))
    assert (reply is None) is (result is None)
    if reply is not None:
        assert isinstance(reply.body, BytesBody)
        shown = decode.response("GetObjectAttributes", reply.status, reply.headers, reply.body.data)
        assert shown.pop("LastModified") == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert shown == result
