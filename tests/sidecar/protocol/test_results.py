"""Responses in both directions, held to botocore's own parser."""

from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.handlers import parse_get_bucket_location
from multidict import CIMultiDict
from urllib3 import HTTPResponse

from s3d.errors import NotS3, S3Error
from s3d.protocol import decode, encode
from s3d.protocol.model import OPERATIONS, http_date
from tests.sidecar.protocol import oracle

# Nothing is routed to GetBucketNotification; its Event and Events are one element, which botocore cannot read either.
WITH_RESULT = [name for name in oracle.NAMES if oracle.operation(name).output_shape and name != "GetBucketNotification"]
DOCUMENTS = [name for name in WITH_RESULT if not OPERATIONS[name].streaming_output and name != "GetBucketLocation"]


def result_of(name: str, *, full: bool = True) -> dict[str, Any]:
    """Members of a result; those of a stream without its bytes."""
    result: dict[str, Any] = oracle.example(oracle.operation(name).output_shape, full=full)
    payload = OPERATIONS[name].response_payload
    if OPERATIONS[name].streaming_output and payload is not None:
        result.pop(payload.name, None)
    if "Expires" in result:
        result["Expires"] = http_date(oracle.MOMENT)
    return result


def without_expires(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in result.items() if name not in ("Expires", "ExpiresString")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_botocore_reads_every_result_that_is_encoded(name: str) -> None:
    result = result_of(name)
    status, headers, body = encode.result(name, result)
    assert without_expires(oracle.parsed(name, status, headers, body)) == without_expires(result)


@pytest.mark.parametrize("name", ["GetObject", "HeadObject", "GetObjectTorrent", "GetObjectAnnotation"])
def test_botocore_reads_the_headers_of_every_stream(name: str) -> None:
    result = result_of(name)
    _, headers, body = encode.result(name, result)
    read = oracle.parsed(name, 200, headers, b"")
    payload = OPERATIONS[name].response_payload
    read.pop(payload.name if payload else "", None)
    assert body == b""
    assert without_expires(read) == without_expires(result)


@pytest.mark.parametrize("name", WITH_RESULT)
def test_a_result_survives_encoding_and_decoding(name: str) -> None:
    result = result_of(name)
    status, headers, body = encode.result(name, result)
    assert decode.response(name, status, headers, body) == result


@pytest.mark.parametrize("name", WITH_RESULT)
def test_an_empty_result_survives_encoding_and_decoding(name: str) -> None:
    status, headers, body = encode.result(name, {})
    read = decode.response(OPERATIONS[name], status, headers, body)
    assert {n: v for n, v in read.items() if v} == {}


@pytest.mark.parametrize("region", ["eu-west-1", ""])
def test_botocore_reads_the_location_of_a_bucket(region: str) -> None:
    status, headers, body = encode.result("GetBucketLocation", {"LocationConstraint": region})
    parsed: dict[str, Any] = {}
    raw = HTTPResponse(BytesIO(body), preload_content=False)

    parse_get_bucket_location(parsed, AWSResponse("", status, headers, raw))
    assert (parsed["LocationConstraint"] or "") == region
    assert decode.response("GetBucketLocation", status, headers, body) == {"LocationConstraint": region}


@pytest.mark.parametrize(
    ("name", "result", "status"),
    [
        ("PutObject", {"ETag": '"e"'}, 200),
        ("DeleteObject", {}, 204),
        ("AbortMultipartUpload", {}, 204),
        ("GetObject", {"ContentLength": 3}, 200),
        ("GetObject", {"ContentLength": 3, "ContentRange": "bytes 0-2/9"}, 206),
    ],
)
def test_a_success_has_the_status_of_s3(name: str, result: dict[str, Any], status: int) -> None:
    assert encode.result(name, result)[0] == status


def test_extra_headers_are_there_beside_the_result() -> None:
    _, headers, body = encode.result("PutObject", {"ETag": '"e"'}, extra={"x-s3d-durability": "local"})
    assert headers == {"ETag": '"e"', "x-s3d-durability": "local"}
    assert body == b""


@pytest.mark.parametrize("key", ["a\rb", "a\nb", "a\tb", " a ", "a&amp;b", "]]>", "e\u0301", "\U0001f600"])
def test_a_key_of_odd_letters_comes_back_from_a_listing(key: str) -> None:
    status, headers, body = encode.result("ListObjectsV2", {"Contents": [{"Key": key}]})
    assert oracle.parsed("ListObjectsV2", status, headers, body) == {"Contents": [{"Key": key}]}
    assert decode.response("ListObjectsV2", status, headers, body) == {"Contents": [{"Key": key}]}


def test_an_error_with_status_200_is_an_error() -> None:
    body = b"<Error><Code>InternalError</Code><Message>We slipped</Message></Error>"
    with pytest.raises(S3Error, match="We slipped") as caught:
        decode.response("CompleteMultipartUpload", 200, CIMultiDict(), body)
    assert (caught.value.code, caught.value.status) == ("InternalError", 500)


def test_an_unreadable_answer_is_not_the_stores() -> None:
    with pytest.raises(S3Error, match="cannot be read") as caught:
        decode.response("ListObjectsV2", 200, CIMultiDict(), b"<ListBucketResult>")
    assert isinstance(caught.value, NotS3)


def test_an_unreadable_header_of_the_remote_is_left_out() -> None:
    headers = CIMultiDict({"Last-Modified": "yesterday", "Content-Length": "many", "ETag": '"e"'})
    assert decode.response("HeadObject", 200, headers, b"") == {"ETag": '"e"', "Metadata": {}}
