"""The example key of AWS, a door that knows it, and requests for it to judge."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from multidict import CIMultiDict

from s3d.access.keys import AccessKey, Keys
from s3d.api import Wire
from s3d.protocol import sigv4

ID = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
KEY = AccessKey(ID, (SECRET,))
KEYS = Keys([KEY], None)
DAY = datetime(2013, 5, 24, tzinfo=UTC)
SCOPE = "20130524/us-east-1/s3/aws4_request"
EMPTY = hashlib.sha256().hexdigest()
HELLO = hashlib.sha256(b"hello").hexdigest()
HOST = "examplebucket.s3.amazonaws.com"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"


def authorization(names: str, signature: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={ID}/{SCOPE},SignedHeaders={names},Signature={signature}"


def put(
    path: str = "/b/k",
    query: str = "",
    headers: Mapping[str, str] | None = None,
    *,
    payload: str = HELLO,
    now: datetime = DAY,
    key: str = ID,
    secret: str = SECRET,
    region: str = "us-east-1",
    service: str = "s3",
    token: str | None = None,
) -> Wire:
    """A put of `hello` that is signed."""
    sent = CIMultiDict({"Host": HOST, "Content-Length": "5", "x-amz-acl": "private", **(headers or {})})
    sigv4.sign(
        method="PUT",
        path=path,
        query=query,
        headers=sent,
        payload_hash=payload,
        access_key=key,
        secret_key=secret,
        token=token,
        region=region,
        service=service,
        now=now,
    )
    return Wire("PUT", path, query, sent)


def changed(wire: Wire, change: Callable[[CIMultiDict[str]], object]) -> Wire:
    """The same request with other headers."""
    headers = CIMultiDict(wire.headers)
    change(headers)
    return replace(wire, headers=headers)
