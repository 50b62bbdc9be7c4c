"""Form POSTs: whole and hostile ones, in blocks of any size, and what their policies allow."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d.api import Body
from s3d.errors import S3Error
from s3d.protocol import forms

TYPE = "multipart/form-data; boundary=xYz"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = "2026-01-03T00:00:00Z"


class Blocks(Body):
    """A body in blocks of one size."""

    length: int | None = None

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size
        self.length = len(data)
        self.closed = False

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for at in range(0, len(self.data), self.size):
            yield self.data[at : at + self.size]

    async def aclose(self) -> None:
        self.closed = True


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--xYz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xYz--\r\n"


async def receive(data: bytes, size: int = 1 << 16, content_type: str = TYPE) -> tuple[forms.Form, bytes]:
    read = await forms.read(Blocks(data, size), content_type)
    return read, b"".join([block async for block in read.file.chunks()])


async def refusal(data: bytes, content_type: str = TYPE) -> tuple[str, int]:
    """Code and number of bytes that came before it."""
    came = 0
    try:
        read = await forms.read(Blocks(data, 1 << 10), content_type)
        async for block in read.file.chunks():
            came += len(block)
    except S3Error as error:
        return error.code, came
    return "", came


WHOLE = form(part("Key", b"a/${filename}"), part("empty", b""), part("x-amz-meta-a", "ü".encode()), part("file", b"data", "C:\\dir\\f.txt"))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 16])
async def test_a_form_is_its_fields_and_its_file(size: int) -> None:
    read, data = await receive(WHOLE, size)
    assert read.fields == {"key": "a/f.txt", "empty": "", "x-amz-meta-a": "ü"}
    assert (read.filename, data) == ("f.txt", b"data")


CONTENTS = [
    b"",
    b"\r\n",
    b"--xYz",
    b"\r\n--xY",
    b"\r\n--xYzz\r\n",
    b"\r\n--xYz \r\n",
    b"-" * 100,
    bytes(range(256)) * 999,
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: repr(content[:12]))
@pytest.mark.parametrize("size", [1, 5, 4096])
async def test_a_file_is_its_bytes_whatever_they_look_like(content: bytes, size: int) -> None:
    size = max(size, len(content) // 500)
    assert (await receive(form(part("key", b"k"), part("file", content, "f")), size))[1] == content


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_content_in_any_blocks_comes_out_as_it_went_in(content: bytes, size: int) -> None:
    if b"\r\n--xYz\r\n" not in content + b"\r\n" and b"\r\n--xYz--" not in content:
        assert asyncio.run(receive(form(part("key", b"k"), part("file", content, "f")), size))[1] == content


@pytest.mark.parametrize(
    "content_type", ['multipart/form-data; boundary="xYz"', "Multipart/Form-Data; charset=UTF-8; BOUNDARY=xYz"]
)
async def test_a_boundary_is_found_however_it_is_written(content_type: str) -> None:
    assert (await receive(WHOLE, content_type=content_type))[1] == b"data"


async def test_what_stands_around_the_form_does_not_count() -> None:
    data = b"hello\r\n" + form(part("key", b"k"), part("file", b"data", "f"), part("submit", b"go")) + b"bye"
    read, content = await receive(data)
    assert (read.fields, content) == ({"key": "k"}, b"data")


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
async def test_the_length_of_a_file_that_comes_last_is_known(size: int) -> None:
    read = await forms.read(Blocks(WHOLE, size), TYPE)
    assert read.file.presumed(len(WHOLE)) == 4


FILE = part("file", b"d" * 5000, "f")
HOSTILE = [
    ("no file", form(part("key", b"k")), "InvalidArgument"),
    ("no part", b"--xYz--\r\n", "InvalidArgument"),
    ("nothing", b"", "MalformedPOSTRequest"),
    ("no delimiter", b"x" * 1000, "MalformedPOSTRequest"),
    ("a huge preamble", b"x" * 30_000 + form(FILE), "MaxPostPreDataLengthExceededError"),
    ("another boundary", form(FILE).replace(b"xYz", b"zYx"), "MalformedPOSTRequest"),
    ("two files", form(part("key", b"k"), FILE, part("file", b"second", "g")), "InvalidArgument"),
    ("two keys", form(part("key", b"k"), part("KEY", b"k2"), FILE), "InvalidArgument"),
    ("a huge field", form(part("key", b"k" * 21_000), FILE), "MaxPostPreDataLengthExceededError"),
    ("many fields", form(*[part(f"f{n}", b"v" * 90) for n in range(200)], FILE), "MaxPostPreDataLengthExceededError"),
    ("huge headers", form(part("k" * 9000, b"v"), FILE), "MaxPostPreDataLengthExceededError"),
    ("endless headers", b"--xYz\r\n" + b"a: b\r\n" * 9000, "MaxPostPreDataLengthExceededError"),
    ("a part without a name", form(part("key", b"k").replace(b"name", b"x"), FILE), "MalformedPOSTRequest"),
    ("no disposition", form(b"--xYz\r\n\r\nv\r\n", FILE), "MalformedPOSTRequest"),
    ("a header without a colon", form(part("key", b"k").replace(b": form", b"  form"), FILE), "MalformedPOSTRequest"),
    ("no UTF-8", form(part("key", b"\xff"), FILE), "MalformedPOSTRequest"),
    ("a header in a value", form(part("x-amz-meta-a", b"1\r\nx-amz-acl: public"), FILE), "InvalidArgument"),
    ("a header in a name", form(part("x-amz-meta-a: 1", b"1"), FILE), "InvalidArgument"),
    ("truncated in a field", form(part("key", b"k"), FILE)[:30], "MalformedPOSTRequest"),
    ("truncated in the file", form(part("key", b"k"), FILE)[:-2000], "MalformedPOSTRequest"),
    ("truncated at the end", form(part("key", b"k"), FILE)[:-4], "MalformedPOSTRequest"),
    ("an endless end", form(part("key", b"k"), FILE) + b"x" * 30_000, "MalformedPOSTRequest"),
    ("much behind it", form(part("k", b"k"), FILE, part("x", b"v" * 30_000)), "MaxPostPreDataLengthExceededError"),
]  # fmt: skip


@pytest.mark.parametrize("data, code", [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
async def test_a_form_that_is_not_whole_never_gives_its_files_last_block(data: bytes, code: str) -> None:
    got, came = await refusal(data)
    assert got == code
    assert came < 5000


async def test_without_a_boundary_there_is_no_form() -> None:
    assert await refusal(WHOLE, "multipart/form-data") == ("MalformedPOSTRequest", 0)


@pytest.mark.parametrize(
    "smallest, largest, code", [(0, 5000, ""), (5001, None, "EntityTooSmall"), (0, 4999, "EntityTooLarge")]
)
async def test_a_file_keeps_to_its_bounds(smallest: int, largest: int | None, code: str) -> None:
    read = await forms.read(Blocks(form(part("key", b"k"), FILE), 1000), TYPE)
    read.file.smallest, read.file.largest = smallest, largest
    came = b""
    try:
        async for block in read.file.chunks():
            came += block
        got = ""
    except S3Error as error:
        got = error.code
    assert (got, len(came) == 5000) == (code, not code)


def policy(*conditions: Any, **other: Any) -> str:
    document = {"expiration": LATER, "conditions": [{"bucket": "b"}, *conditions], **other}
    return base64.b64encode(json.dumps(document).encode()).decode()


FIELDS = {
    "key": "user/a.txt",
    "acl": "private",
    "content-type": "text/plain",
    "policy": "..",
    "signature": "s",
    "x-ignore-a": "1",
}
COVERED = (["starts-with", "$key", "user/"], {"acl": "private"}, ["starts-with", "$Content-Type", "text/"])
ALLOWED = [
    COVERED,
    ([*COVERED[0]], {"AcL": "private"}, ["EQ", "$content-type", "text/plain"]),
    (*COVERED, ["content-length-range", 0, 10]),
    (*COVERED, ["content-length-range", "0", "10"]),
    (["starts-with", "$key", ""], ["eq", "$acl", "private"], ["starts-with", "$content-type", ""]),
]


@pytest.mark.semantics("A-1")
@pytest.mark.parametrize("conditions", ALLOWED)
def test_a_form_that_meets_every_condition_is_allowed(conditions: tuple[Any, ...]) -> None:
    forms.judge(forms.policy(policy(*conditions)), FIELDS, "b", NOW)


DENIED = [
    (),
    COVERED[:2],
    (["starts-with", "$key", "other/"], *COVERED[1:]),
    (COVERED[0], {"acl": "public-read"}, COVERED[2]),
    (*COVERED, {"x-amz-meta-a": "1"}),
    (*COVERED, ["starts-with", "$x-amz-meta-a", "1"]),
    (*COVERED, {"bucket": "other"}),
]


@pytest.mark.semantics("A-1")
@pytest.mark.parametrize("conditions", DENIED)
def test_a_form_that_misses_a_condition_or_says_more_is_denied(conditions: tuple[Any, ...]) -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        forms.judge(forms.policy(policy(*conditions)), FIELDS, "b", NOW)


@pytest.mark.semantics("A-1")
def test_an_expired_policy_allows_nothing() -> None:
    read = forms.policy(policy(*COVERED))
    with pytest.raises(S3Error, match="expired"):
        forms.judge(read, FIELDS, "b", datetime(2026, 1, 3, tzinfo=UTC))


def test_a_policy_must_name_the_bucket() -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        forms.judge(forms.policy(policy(conditions=list(COVERED))), FIELDS, "b", NOW)


INVALID = [
    "no base64!",
    base64.b64encode(b"no json").decode(),
    base64.b64encode(b"[]").decode(),
    base64.b64encode(b"\xff").decode(),
    base64.b64encode(b"[" * 9000).decode(),
    policy(expiration=None),
    policy(expiration="soon"),
    policy(expiration="2100-01-01 00:00:00+00:00"),
    policy(expiration="2100-01-01T00:00:00"),
    policy(expiration="2100-02-30T00:00:00Z"),
    policy(conditions=None),
    policy(conditions={}),
    policy({}),
    policy([]),
    policy(["like", "$key", "a"]),
    policy(["eq", "key", "a"]),
    policy(["eq", "$key"]),
    policy({"key": 1}),
    policy(["content-length-range", 0]),
    policy(["content-length-range", -1, 0]),
    policy(["content-length-range", True, 1]),
    base64.b64encode(json.dumps({"EXPIRATION": LATER, "conditions": []}).encode()).decode(),
    base64.b64encode(json.dumps({"expiration": LATER, "CONDITIONS": []}).encode()).decode(),
]


@pytest.mark.parametrize("text", INVALID)
def test_a_policy_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(S3Error) as refused:
        forms.policy(text)
    assert (refused.value.code, refused.value.status) == ("InvalidPolicyDocument", 400)


def test_the_bounds_of_a_policy_are_the_narrowest() -> None:
    read = forms.policy(policy(["content-length-range", 1, 9], ["content-length-range", "2", "8"]))
    assert (read.smallest, read.largest) == (2, 8)


def test_a_dollar_may_be_escaped() -> None:
    raw = rb'{"expiration": "2026-01-03T00:00:00Z", "conditions": [["eq", "$key", "\$a"], ["eq", "$acl", "\\$a"]]}'
    conditions = forms.policy(base64.b64encode(raw).decode()).conditions
    assert [value for *_, value in conditions] == ["$a", "\\$a"]
