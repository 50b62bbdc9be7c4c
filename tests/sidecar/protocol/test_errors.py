"""Error documents: ours as botocore reads them, and the remote's as we do."""

import pytest
from multidict import CIMultiDict

from s3d.errors import S3Error
from s3d.protocol import decode, encode
from tests.sidecar.protocol import oracle


def test_botocore_reads_an_error_document() -> None:
    error = S3Error("NoSuchKey", "No <such> key", status=404, details={"Key": "a&b"}, hint="look twice")
    body = encode.identified(encode.error(error), request_id="4442587FB7D0A2F9", host_id="here", resource="/b/a&b")
    read = oracle.PARSER.parse(
        {"status_code": 404, "headers": {}, "body": body}, oracle.operation("GetObject").output_shape
    )
    assert read["Error"] == {
        "Code": "NoSuchKey",
        "Message": "No <such> key (look twice)",
        "Key": "a&b",
        "Resource": "/b/a&b",
    }
    assert b"<RequestId>4442587FB7D0A2F9</RequestId><HostId>here</HostId>" in body


def test_an_error_document_comes_back_as_the_same_error() -> None:
    error = S3Error("NoSuchBucket", "It is not there", status=404, details={"BucketName": "b"})
    body = encode.identified(encode.error(error), request_id="1", host_id="2", resource="/b")
    read = decode.error(404, CIMultiDict({"Retry-After": "7", "Server": "x"}), body)
    assert (read.code, read.message, read.status, read.details) == (
        "NoSuchBucket",
        "It is not there",
        404,
        {"BucketName": "b"},
    )
    assert read.headers == {"Retry-After": "7"}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (301, "PermanentRedirect"),
        (304, "NotModified"),
        (307, "TemporaryRedirect"),
        (400, "BadRequest"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (412, "PreconditionFailed"),
        (418, "BadRequest"),
        (503, "ServiceUnavailable"),
        (599, "InternalError"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"<html><body>no</body>", b"gateway timeout", b'<!DOCTYPE a SYSTEM "b"><Error/>']
)
def test_an_error_without_a_document_has_the_code_of_its_status(status: int, code: str, body: bytes) -> None:
    error = decode.error(status, CIMultiDict(), body)
    assert (error.code, error.status) == (code, status)
    assert str(status) in error.message


@pytest.mark.semantics("Q-22")
def test_an_error_behind_a_byte_order_mark_is_an_error() -> None:
    body = "\N{BYTE ORDER MARK}<Error><Code>EntityTooLarge</Code></Error>".encode()
    assert decode.is_error(body)
    assert decode.error(400, CIMultiDict(), body).code == "EntityTooLarge"


def test_of_a_huge_error_only_so_much_is_kept_as_a_person_reads() -> None:
    body = b"<Error><Code>%s</Code><Message>%s</Message></Error>" % (b"C" * 100_000, b"m" * 100_000)
    error = decode.error(400, CIMultiDict(), body)
    assert (len(error.code), len(error.message)) == (decode.MAX_CODE, decode.MAX_MESSAGE)


def test_what_a_peer_sent_that_is_no_text_is_shown_as_text() -> None:
    assert S3Error("Whatever", "text/html; charset=\udcff").message == "text/html; charset=\\udcff"
