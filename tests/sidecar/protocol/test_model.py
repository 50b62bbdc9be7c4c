"""The operations: their classes, their addresses, and what the model does not know."""

import json
from collections import Counter
from importlib import resources

import pytest
from multidict import CIMultiDict

from s3d.protocol import decode, encode
from s3d.protocol.classes import CLASSES
from s3d.protocol.model import OPERATIONS, Class, http_date, iso_date, route, timestamp
from tests.sidecar.protocol import oracle


@pytest.mark.semantics("R-3")
def test_every_operation_of_botocore_has_a_class() -> None:
    assert set(oracle.NAMES) <= set(CLASSES), "decide what the queue does with a new operation"


@pytest.mark.semantics("R-3")
def test_the_classes_count_what_was_decided() -> None:
    assert Counter(CLASSES.values()) == {
        Class.QUEUE: 11,
        Class.OVERLAY: 4,
        Class.LISTING: 4,
        Class.BARRIER_KEY: 16,
        Class.BARRIER_BUCKET: 21,
        Class.PASS: 57,
        Class.REFUSE: 3,
    }


def test_no_class_is_given_to_an_operation_that_does_not_exist() -> None:
    assert set(CLASSES) <= set(oracle.NAMES)


@pytest.mark.parametrize("name", oracle.NAMES)
def test_an_operation_streams_as_botocore_says(name: str) -> None:
    model = oracle.operation(name)
    assert OPERATIONS[name].streaming_input == model.has_streaming_input
    assert OPERATIONS[name].streaming_output == (model.has_streaming_output or model.has_event_stream_output)


@pytest.mark.parametrize(
    ("method", "address", "query", "headers", "name"),
    [
        ("GET", "", {}, {}, "ListBuckets"),
        ("GET", "b", {}, {}, "ListObjects"),
        ("GET", "b", {"list-type": "2", "prefix": "a"}, {}, "ListObjectsV2"),
        ("GET", "b", {"prefix": "a", "encoding-type": "url"}, {}, "ListObjects"),
        ("GET", "b", {"versions": ""}, {}, "ListObjectVersions"),
        ("GET", "b", {"location": ""}, {}, "GetBucketLocation"),
        ("GET", "b", {"analytics": ""}, {}, "ListBucketAnalyticsConfigurations"),
        ("GET", "b", {"analytics": "", "id": "x"}, {}, "GetBucketAnalyticsConfiguration"),
        ("GET", "b", {"session": ""}, {}, "CreateSession"),
        ("HEAD", "b", {}, {}, "HeadBucket"),
        ("POST", "b", {"delete": ""}, {}, "DeleteObjects"),
        ("POST", "WriteGetObjectResponse", {}, {"x-amz-request-route": "a", "x-amz-request-token": "b"},
         "WriteGetObjectResponse"),
        ("GET", "b/k", {}, {}, "GetObject"),
        ("GET", "b/k", {"partNumber": "1", "versionId": "v"}, {}, "GetObject"),
        ("GET", "b/k", {"response-content-type": "a/b", "x-id": "GetObject"}, {}, "GetObject"),
        ("GET", "b/k", {"uploadId": "u"}, {}, "ListParts"),
        ("GET", "b/k", {"annotation": ""}, {}, "ListObjectAnnotations"),
        ("GET", "b/k", {"annotation": "", "annotationName": "n"}, {}, "GetObjectAnnotation"),
        ("GET", "b/k", {"attributes": ""}, {"x-amz-object-attributes": "ETag"}, "GetObjectAttributes"),
        ("HEAD", "b/k", {}, {}, "HeadObject"),
        ("PUT", "b/k", {}, {}, "PutObject"),
        ("PUT", "b/k", {"x-id": "PutObject"}, {}, "PutObject"),
        ("PUT", "b/k", {"X-Amz-Algorithm": "A", "X-Amz-Signature": "s", "x-amz-acl": "private"}, {}, "PutObject"),
        ("PUT", "b/k", {"AWSAccessKeyId": "a", "Signature": "s", "Expires": "1", "content-type": "a/b"}, {},
         "PutObject"),
        ("PUT", "b/k", {}, {"X-Amz-Copy-Source": "b/j"}, "CopyObject"),
        ("PUT", "b/k", {"partNumber": "1", "uploadId": "u"}, {}, "UploadPart"),
        ("PUT", "b/k", {"partNumber": "1", "uploadId": "u"}, {"x-amz-copy-source": "b/j"}, "UploadPartCopy"),
        ("PUT", "b/k", {"renameObject": ""}, {"x-amz-rename-source": "b/j"}, "RenameObject"),
        ("PUT", "b/k", {"tagging": ""}, {}, "PutObjectTagging"),
        ("POST", "b/k", {"uploads": ""}, {}, "CreateMultipartUpload"),
        ("POST", "b/k", {"uploadId": "u"}, {}, "CompleteMultipartUpload"),
        ("POST", "b/k", {"select": "", "select-type": "2"}, {}, "SelectObjectContent"),
        ("DELETE", "b/k", {}, {}, "DeleteObject"),
        ("DELETE", "b/k", {"uploadId": "u"}, {}, "AbortMultipartUpload"),
        ("DELETE", "b", {}, {}, "DeleteBucket"),
    ],
)  # fmt: skip
def test_a_request_is_routed(
    method: str, address: str, query: dict[str, str], headers: dict[str, str], name: str
) -> None:
    bucket, _, key = address.partition("/")
    assert route(method, bucket, key, query, CIMultiDict(headers)) is OPERATIONS[name]


@pytest.mark.semantics("R-4")
@pytest.mark.parametrize(
    ("method", "address", "query", "headers"),
    [
        ("PUT", "b/k", {"annotation-foo": ""}, {}),
        ("PUT", "b/k", {"x": ""}, {}),
        ("PUT", "b/k", {"acl": "", "tagging": ""}, {}),
        ("PUT", "b/k", {"uploadId": "u"}, {}),
        ("PUT", "b/k", {"partNumber": "1"}, {}),
        ("PUT", "b/k", {"versionId": "v"}, {}),
        ("PUT", "b/k", {"Tagging": ""}, {}),
        ("PUT", "b/k", {"renameObject": ""}, {}),
        ("DELETE", "b/k", {"x": ""}, {}),
        ("DELETE", "b/k", {"uploads": ""}, {}),
        ("GET", "b/k", {"acl2": ""}, {}),
        ("GET", "b/k", {"select": ""}, {}),
        ("GET", "b", {"list-type": "3"}, {}),
        ("GET", "b", {"allow-unordered": "true"}, {}),
        ("GET", "b", {"prefix": "a", "fetch-owner": "true"}, {}),
        ("POST", "b/k", {"select": "", "select-type": "9"}, {}),
        ("POST", "b/k", {"select": ""}, {}),
        ("POST", "b/k", {}, {}),
        ("POST", "b", {}, {}),
        ("HEAD", "", {}, {}),
        ("OPTIONS", "b/k", {}, {}),
        ("PATCH", "b/k", {}, {}),
    ],
)
def test_what_the_model_does_not_know_is_no_operation(
    method: str, address: str, query: dict[str, str], headers: dict[str, str]
) -> None:
    bucket, _, key = address.partition("/")
    assert route(method, bucket, key, query, CIMultiDict(headers)) is None


QUIRKS = json.loads(resources.files("s3d.protocol").joinpath("quirks.json").read_bytes())


def test_every_quirk_has_a_reason_and_a_test() -> None:
    assert all(row["reason"] for row in QUIRKS)
    assert [row["set"] for row in QUIRKS] == ["type", "root", "text"]


def test_quirk_type_expires_is_kept_as_it_came() -> None:
    (name,) = QUIRKS[0]["of"]
    headers = CIMultiDict({name: "0"})
    assert decode.response("GetObject", 200, headers, b"")["Expires"] == "0"
    assert encode.result("GetObject", {"Expires": "0"})[1] == headers


@pytest.mark.parametrize(("name", "root"), QUIRKS[1]["of"].items())
def test_quirk_root_names_what_the_model_leaves_open(name: str, root: str) -> None:
    shape = oracle.operation(name).output_shape
    assert shape is not None
    assert "payload" not in shape.serialization
    assert f"<{root} xmlns=".encode() in encode.result(name, {})[2]


@pytest.mark.parametrize(("name", "root"), QUIRKS[2]["of"].items())
def test_quirk_text_is_the_text_of_the_root(name: str, root: str) -> None:
    body = encode.result(name, {root: "eu-west-1"})[2]
    assert body.endswith(f'<{root} xmlns="{encode.NAMESPACE}">eu-west-1</{root}>'.encode())
    assert decode.response(name, 200, CIMultiDict(), body) == {root: "eu-west-1"}


@pytest.mark.parametrize(
    "text",
    [
        "Tue, 03 Feb 2026 04:05:06 GMT",
        "Tuesday, 03-Feb-26 04:05:06 GMT",
        "Tue, 3 Feb 2026 04:05:06 +0000",
        "2026-02-03T04:05:06.000Z",
        "2026-02-03T04:05:06Z",
        "2026-02-03T06:05:06+02:00",
    ],
)
def test_a_date_is_read_in_every_form_that_is_sent(text: str) -> None:
    assert timestamp(text) == oracle.MOMENT


@pytest.mark.parametrize(
    "text", ["", "0", "yesterday", "Tue, 99 Feb 2026 04:05:06 GMT", "Tue, 03 Feb 2026 0x:05:06 GMT"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        timestamp(text)


def test_dates_are_written_as_s3_writes_them() -> None:
    assert http_date(oracle.MOMENT) == "Tue, 03 Feb 2026 04:05:06 GMT"
    assert iso_date(oracle.MOMENT) == "2026-02-03T04:05:06.000Z"
