"""botocore as the oracle: its own model, serializer and parser, and members for every operation."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from botocore.awsrequest import HeadersDict, create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from multidict import CIMultiDict

from s3d.api import Wire

MODEL = ServiceModel(Loader().load_service_model("s3", "service-2"), "s3")
SERIALIZER = create_serializer("rest-xml", include_validation=True)
PARSER = create_parser("rest-xml")
NAMES = tuple(MODEL.operation_names)
HOST = "127.0.0.1:33333"
ODD = "ä b+c&<d>\"'/%2F"
MOMENT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
# One address for two operations, or a name that only the newer one has.
TWINS = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}


def operation(name: str) -> OperationModel:
    return MODEL.operation_model(name)


def example(shape: Shape, name: str = "", *, full: bool = True) -> Any:
    """A value of a shape with all its members, or with those that it needs."""
    kind = shape.type_name
    if kind == "structure":
        members = shape.members.items()
        wanted = full or shape.is_tagged_union
        return {n: example(m, n, full=full) for n, m in members if wanted or n in shape.required_members}
    if kind == "list":
        return [example(shape.member, name, full=full)] * (2 if full else 1)
    if kind == "map":
        return {"author": "Ann", "a-b": "c d"}
    if kind == "blob":
        return b"bytes"
    if kind == "timestamp":
        return MOMENT
    if kind == "boolean":
        return True
    if kind in ("integer", "long"):
        return 7
    if name == "Bucket":
        return "bucket"
    if shape.enum:
        return shape.enum[-1]
    if name == "RequestRoute":
        return "route"
    if shape.serialization.get("location") in ("header", "headers"):
        return "a b"
    return ODD * (1 + shape.metadata.get("min", 0) // len(ODD))


def wire(name: str, params: dict[str, Any]) -> tuple[Wire, bytes]:
    """The request that botocore makes of an operation and its members."""
    prepared = SERIALIZER.serialize_to_request(params, operation(name))
    prepare_request_dict(prepared, endpoint_url=f"http://{HOST}")
    sent = create_request_object(prepared).prepare()
    url = urlsplit(sent.url)
    headers = CIMultiDict({"Host": HOST, "User-Agent": "Boto3", **dict(sent.headers.items())})
    body = sent.body or b""
    return Wire(sent.method, url.path, url.query, headers), body.encode() if isinstance(body, str) else body


def parsed(name: str, status: int, headers: Any, body: bytes) -> dict[str, Any]:
    """What botocore reads out of a response."""
    response = {"status_code": status, "headers": HeadersDict(headers), "body": body}
    result: dict[str, Any] = PARSER.parse(response, operation(name).output_shape)
    del result["ResponseMetadata"]
    return result
