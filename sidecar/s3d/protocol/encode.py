"""From botocore's member names to the wire: requests to a remote, results and errors for a client.

A request's path names the bucket, as path style has it; whoever sends it may address it otherwise. Members that the
operation does not have are not sent without a word: they raise TypeError, as calls are made by our own layers.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from multidict import CIMultiDict

from s3d.api import BytesBody, Call, Headers, Outcome, Reply, Wire
from s3d.errors import S3Error
from s3d.protocol.headers import METADATA
from s3d.protocol.model import OPERATIONS, XSI, Member, Shape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>\n'
ERROR_END = "</Error>"
KEY_SAFE, BUCKET_SAFE = "/-_.~", "-_.~"
# Carriage returns must be references, or the reader turns them into line feeds; so must what XML has no letter for.
SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff\ud800-\udfff]')
REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def request(operation_name: str, params: Mapping[str, Any]) -> tuple[Wire, bytes]:
    """The request and the document of a call.

    The bytes of a streaming operation, Content-Length and the signature are the sender's. Raises TypeError for a member
    that the operation does not have or that it misses.
    """
    operation = OPERATIONS[operation_name]
    query = [name if not value else f"{name}={value}" for name, value in operation.literals.items()]
    headers: Headers = CIMultiDict()
    payload = operation.payload
    document = b""
    for name, value in params.items():
        if value is None:
            continue
        member = operation.members.get(name)
        if member is None:
            if payload is None or not (name == payload.name or (not payload.name and name in payload.shape.members)):
                raise TypeError(f"{operation_name} has no member {name}")
            continue
        if member.location == "header":
            if name != "ContentLength":
                headers[member.wire] = _text(member, value)
        elif member.location == "headers":
            for key, text in value.items():
                headers[METADATA + key] = text
        elif member.location == "querystring":
            query.append(f"{quote(member.wire, safe='-_.~')}={quote(_text(member, value), safe='-_.~')}")
    for name in (m.name for m in operation.members.values() if m.required):
        if params.get(name) in (None, ""):
            raise TypeError(f"{operation_name} needs {name}")
    if payload is not None and not operation.streaming_input:
        value = params.get(payload.name) if payload.name else params
        if value is not None:
            document = _document(payload, value)
        if document and payload.shape.kind != "string":
            headers.setdefault("Content-Type", "application/xml")
    if operation.checksum_required and "Content-MD5" not in headers:
        digest = hashlib.md5(document, usedforsecurity=False).digest()
        headers["Content-MD5"] = base64.b64encode(digest).decode("ascii")
    return Wire(operation.method, path(params), "&".join(query), headers), document


def path(params: Mapping[str, Any]) -> str:
    """The path of the object or bucket that members name, as SigV4 wants it for S3."""
    bucket, key = params.get("Bucket", ""), params.get("Key", "")
    named = f"/{quote(bucket, safe=BUCKET_SAFE)}" if bucket else ""
    return f"{named}/{quote(key, safe=KEY_SAFE)}" if key or not bucket else named


def result(
    operation_name: str, result: Mapping[str, Any], *, extra: Mapping[str, str] | None = None
) -> tuple[int, Headers, bytes]:
    """Status, headers and document of a layer's answer, with `extra` headers; of a streaming one no document."""
    operation = OPERATIONS[operation_name]
    headers: Headers = CIMultiDict(extra or {})
    known = operation.response_members
    for name, value in result.items():
        member = known.get(name)
        if member is not None and value is not None:
            headers[member.wire] = value if type(value) is str else _text(member, value)
    if operation.response_metadata:
        for key, text in (result.get("Metadata") or {}).items():
            headers[METADATA + key] = text
    status = 206 if "ContentRange" in result else operation.http_status
    payload = operation.response_payload
    if payload is None or operation.streaming_output:
        return status, headers, b""
    value = result.get(payload.name) if payload.name else result
    if value is None:
        return status, headers, b""
    if operation.text_root:
        inner = next(iter(payload.shape.members))
        text = f'<{payload.wire} xmlns="{NAMESPACE}">{escape(result.get(inner) or "")}</{payload.wire}>'
        document = (PROLOGUE + text).encode()
    else:
        document = _document(payload, value, NAMESPACE, PROLOGUE)
    headers.setdefault("Content-Type", "application/json" if payload.shape.kind == "string" else "application/xml")
    return status, headers, document


def reply(operation_name: str, members: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Reply:
    """A layer's own answer, with further headers."""
    status, encoded, document = result(operation_name, members)
    encoded.update(headers or {})
    return Reply(status, encoded, BytesBody(document), source="queue")


def refusal(call: Call, err: S3Error) -> Reply:
    """A layer's own answer to a call that it refuses. The answer to a HEAD has no document."""
    headers: Headers = CIMultiDict(err.headers)
    outcome = Outcome.UNKNOWN if err.unknown else Outcome.REFUSED
    if call.wire.method == "HEAD" or err.status == 304:
        return Reply(err.status, headers, outcome=outcome, source="queue")
    headers["Content-Type"] = "application/xml"
    return Reply(err.status, headers, BytesBody(error(err)), outcome, "queue")


def error(err: S3Error) -> bytes:
    """The document of an error; its hint is part of the message. `identified` adds what only the door knows."""
    message = f"{err.message} ({err.hint})" if err.hint else err.message
    inner = _fields({"Code": err.code, "Message": message, **err.details})
    return f"{PROLOGUE}<Error>{inner}{ERROR_END}".encode()


def identified(document: bytes, *, request_id: str, host_id: str, resource: str) -> bytes:
    """The document of an error with the request that it answers, and who answered."""
    inner = _fields({"Resource": resource, "RequestId": request_id, "HostId": host_id})
    return document.removesuffix(ERROR_END.encode()) + f"{inner}{ERROR_END}".encode()


def _fields(fields: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())


def escape(text: str) -> str:
    """Make a text part of a document, so that reading it gives the same text wherever XML can say it."""
    return SPECIAL.sub(_reference, text) if SPECIAL.search(text) else text


def _reference(match: re.Match[str]) -> str:
    char = match.group()
    return REFERENCES.get(char) or ("\ufffd" if "\ud800" <= char <= "\udfff" else f"&#x{ord(char):x};")


def _text(member: Member, value: Any) -> str:
    if member.shape.format is None:
        raise TypeError(f"{member.name} has no form as a header")
    return member.shape.format(value)


def _document(payload: Member, value: Any, namespace: str = "", prologue: str = "") -> bytes:
    if payload.shape.kind == "string":
        return str(value).encode()
    parts = [prologue]
    _element(parts, payload.wire, payload.shape, value, payload.namespace or namespace)
    return "".join(parts).encode()


def _element(parts: list[str], name: str, shape: Shape, value: Any, namespace: str = "") -> None:
    """Append one element; a None is left out."""
    opening = f'<{name} xmlns="{namespace}"' if namespace else f"<{name}"
    if shape.kind == "structure":
        for member in shape.attributes:
            if value.get(member.name) is not None:
                opening += f' xmlns:xsi="{XSI}" {member.wire}="{escape(value[member.name])}"'
        parts.append(opening + ">")
        _members(parts, shape, value)
    elif shape.kind == "list" and shape.item is not None:
        parts.append(opening + ">")
        for item in value:
            _element(parts, shape.item_name, shape.item, item)
    else:
        if shape.format is None:
            raise TypeError(f"{name} has no form in a document")
        parts.append(f"{opening}>{escape(shape.format(value))}")
    parts.append(f"</{name}>")


def _members(parts: list[str], shape: Shape, value: Mapping[str, Any]) -> None:
    for member in shape.members.values():
        inner = value.get(member.name)
        if inner is None or member.location == "attribute":
            continue
        if member.shape.flattened and member.shape.item is not None:
            for item in inner:
                _element(parts, member.wire, member.shape.item, item)
        else:
            _element(parts, member.wire, member.shape, inner)
