"""The allow-list of members is complete: held against botocore's own model."""

from collections.abc import Iterator

import botocore.session
import pytest
from botocore.model import OperationModel, Shape, StructureShape
from multidict import CIMultiDict

from s3d.api import Wire
from s3d.layers.queue.layer import HANDLERS
from s3d.layers.queue.rules import allowlist
from s3d.protocol import decode
from s3d.protocol.model import OPERATIONS, Class

SERVICE = botocore.session.get_session().get_service_model("s3")
ANSWERED = sorted(name for name in HANDLERS if OPERATIONS[name].klass in (Class.QUEUE, Class.OVERLAY))


def elements(shape: Shape, path: str) -> Iterator[str]:
    """Every element of a document, as a path of member names."""
    yield path
    if isinstance(shape, StructureShape):
        for name, member in shape.members.items():
            yield from elements(member, f"{path}.{name}")
    elif shape.type_name == "list":
        inner = shape.member
        if isinstance(inner, StructureShape):
            for name, member in inner.members.items():
                yield from elements(member, f"{path}.{name}")


def members(operation: OperationModel) -> Iterator[str]:
    """Every member of a request: lower-case name on the wire, or path of the element."""
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    payload = shape.serialization.get("payload")
    for name, member in shape.members.items():
        location = member.serialization.get("location")
        if location in ("header", "headers", "querystring"):
            yield str(member.serialization["name"]).lower()
        elif location is None and (name == payload or payload is None) and member.type_name != "blob":
            yield from elements(member, name)


@pytest.mark.semantics("Q-17")
@pytest.mark.parametrize("name", ANSWERED)
def test_every_member_of_botocores_is_understood_or_goes_through_for_a_reason(name: str) -> None:
    known = allowlist.ALLOWED[name] | decode.MEANINGLESS | allowlist.ELEMENTS.get(name, frozenset())
    unthought = [one for one in members(SERVICE.operation_model(name)) if one not in known | set(allowlist.THROUGH)]
    assert unthought == []


@pytest.mark.semantics("Q-17")
def test_no_reason_outlives_its_member() -> None:
    every = {one for name in SERVICE.operation_names if name in OPERATIONS for one in members_of(name)}
    assert set(allowlist.THROUGH) - every == set()


def members_of(name: str) -> list[str]:
    operation = SERVICE.operation_model(name)
    return list(members(operation)) if operation.input_shape is not None else []


@pytest.mark.semantics("Q-17", "R-4")
@pytest.mark.parametrize("name", ANSWERED)
def test_a_member_that_goes_through_is_foreign(name: str) -> None:
    operation = OPERATIONS[name]
    for member in operation.members.values():
        low = member.wire.lower()
        if member.location == "header" and low not in allowlist.ALLOWED[name] | decode.MEANINGLESS:
            wire = Wire(operation.method, "/b/k", "", CIMultiDict({member.wire: "x"}))
            assert allowlist.unsupported(wire, name) == [low]
        elif member.location == "querystring" and low not in allowlist.ALLOWED[name]:
            wire = Wire(operation.method, "/b/k", f"{member.wire}=x", CIMultiDict())
            assert allowlist.unsupported(wire, name) == [low]


VALUES = [
    ("x-amz-storage-class", "STANDARD_IA", True),
    ("x-amz-storage-class", "GLACIER", False),
    ("x-amz-storage-class", "DEEP_ARCHIVE", False),
    ("x-amz-storage-class", "GLACIER_IR", False),
    ("x-amz-storage-class", "OF_TOMORROW", False),
    ("x-amz-server-side-encryption", "AES256", True),
    ("x-amz-server-side-encryption", "aws:kms", False),
    ("x-amz-acl", "public-read", True),
    ("x-amz-acl", "nobody", False),
    ("x-amz-grant-read", "id=1", True),
    ("x-amz-website-redirect-location", "/there", True),
    ("x-amz-tagging", "a=b", True),
    ("x-amz-expected-bucket-owner", "123456789012", True),
    ("x-amz-request-payer", "requester", True),
    ("x-amz-meta-any", "thing", True),
    ("x-amz-of-tomorrow", "1", False),
    ("content-of-tomorrow", "1", False),
]


@pytest.mark.semantics("Q-6", "Q-14", "Q-17")
@pytest.mark.parametrize("name, value, queued", VALUES)
def test_a_put_is_queued_where_every_member_and_value_is_understood(name: str, value: str, queued: bool) -> None:
    wire = Wire("PUT", "/b/k", "", CIMultiDict({name: value}))
    assert (not allowlist.unsupported(wire, "PutObject")) is queued
    if queued:
        assert allowlist.kept(wire) == {"content-type": allowlist.DEFAULT_TYPE, name: value}


@pytest.mark.semantics("Q-6")
def test_a_content_header_without_a_value_says_nothing_and_the_type_is_always_said() -> None:
    said = CIMultiDict({"Content-Type": "", "Cache-Control": "", "x-amz-meta-empty": ""})
    kept = allowlist.kept(Wire("PUT", "/b/k", "", said))
    assert kept == {"content-type": "binary/octet-stream", "x-amz-meta-empty": ""}
