"""Requests in both directions, held to botocore's own serializer."""

import base64
import hashlib
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from s3d.protocol import decode, encode
from s3d.protocol.model import OPERATIONS, http_date
from tests.sidecar.protocol import oracle

ROUTED = [name for name in oracle.NAMES if name not in oracle.TWINS]


def params_of(name: str, *, full: bool) -> dict[str, Any]:
    shape = oracle.operation(name).input_shape
    return oracle.example(shape, full=full) if shape is not None else {}


def comparable(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """Members as decoding gives them: dates of Expires as text, no bytes of the body."""
    payload = OPERATIONS[name].payload
    out = {n: v for n, v in params.items() if not (OPERATIONS[name].streaming_input and payload and n == payload.name)}
    if "Expires" in out:
        out["Expires"] = http_date(out["Expires"])
    return out


def decoded(name: str, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    wire, body = oracle.wire(name, params)
    operation, found = decode.request(wire, ["localhost"])
    assert operation is not None
    if "ContentLength" not in params:
        found.pop("ContentLength", None)
    return operation.name, found | decode.input_xml(operation, body)


@pytest.mark.parametrize("name", ROUTED)
def test_every_request_of_botocore_decodes_to_its_members(name: str) -> None:
    params = params_of(name, full=True)
    found_name, found = decoded(name, params)
    assert found_name == name
    assert found == comparable(name, params)


@pytest.mark.parametrize("name", [name for name in ROUTED if name != "ListDirectoryBuckets"])
def test_every_request_with_only_what_it_needs_decodes_to_its_members(name: str) -> None:
    params = params_of(name, full=False)
    found_name, found = decoded(name, params)
    assert found_name == name
    assert found == comparable(name, params)


@pytest.mark.parametrize(("name", "meant"), oracle.TWINS.items())
def test_a_deprecated_twin_is_taken_for_its_successor(name: str, meant: str) -> None:
    wire, _ = oracle.wire(name, params_of(name, full=False))
    operation, _ = decode.request(wire, [])
    assert operation is OPERATIONS[meant]


@pytest.mark.parametrize("full", [True, False], ids=["all members", "needed members"])
@pytest.mark.parametrize("name", oracle.NAMES)
def test_a_typed_call_is_encoded_as_botocore_does(name: str, full: bool) -> None:
    params = params_of(name, full=full)
    wire, body = oracle.wire(name, params)
    made, document = encode.request(name, params)

    assert made.method == wire.method
    if name != "WriteGetObjectResponse":
        assert made.path.rstrip("/") == wire.path.rstrip("/") or not params.get("Bucket")
    assert sorted(decode.query(made.query)) == sorted(decode.query(wire.query))
    ours = {n.lower(): v for n, v in made.headers.items() if n.lower() not in ("content-type", "content-md5")}
    theirs = {n.lower(): v for n, v in wire.headers.items()}
    for left_out in ("host", "user-agent", "content-length"):
        theirs.pop(left_out, None)
    theirs.pop("content-type", None)
    theirs.pop("content-md5", None)
    # S3 writes milliseconds, botocore does not.
    assert {n: v.replace(".000Z", "Z") for n, v in ours.items()} == theirs
    if OPERATIONS[name].streaming_input:
        assert document == b""
    elif body.startswith(b"<"):
        assert ET.canonicalize(document).replace(".000Z", "Z") == ET.canonicalize(body)
    else:
        assert document == body


def test_a_required_digest_is_the_md5_of_the_document() -> None:
    wire, document = encode.request("DeleteObjects", {"Bucket": "b", "Delete": {"Objects": [{"Key": "k"}]}})
    assert document == (
        b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>k</Key></Object></Delete>'
    )
    assert wire.headers["Content-MD5"] == base64.b64encode(hashlib.md5(document).digest()).decode()


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("PutObject", {"Bucket": "b", "Key": "k", "Colour": "red"}),
        ("GetObject", {"Bucket": "b"}),
        ("GetObject", {"Bucket": "b", "Key": ""}),
        ("UploadPart", {"Bucket": "b", "Key": "k", "UploadId": "u"}),
        ("DeleteObjects", {"Bucket": "b", "Key": "k", "Delete": {"Objects": []}}),
    ],
)
def test_a_call_with_a_wrong_member_is_a_bug(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        encode.request(name, params)
