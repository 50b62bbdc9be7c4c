"""AWS Signature Version 4 for S3: signing what goes out, and taking the client's own signature off.

Signed are Host, Content-MD5, Content-Type and every x-amz-* header: what the protocol demands, and what decides which
bytes are stored under which name. Other headers are left out since a proxy on the way may rewrite them
(Accept-Encoding, Expect, the Range of a cache), and a signature over them would turn that into a refusal. Presigned
URLs are judged by their time; clients' signatures are verified in `s3d.access`.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes, urlencode

from multidict import CIMultiDict

from s3d.api import AnyHeaders, Headers
from s3d.errors import S3Error
from s3d.protocol import canonical
from s3d.protocol.canonical import Reading
from s3d.protocol.model import SIGNATURE, hoisted, iso_date, neutral

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
MAX_AGE = timedelta(days=7)
SKEW = timedelta(minutes=15)
LONG_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
AUTH_HEADERS = frozenset(["authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"])
V2 = frozenset(["AWSAccessKeyId", "Signature", "Expires"])


def sign(
    *,
    method: str,
    path: str,
    query: str,
    headers: Headers,
    payload_hash: str,
    access_key: str,
    secret_key: str,
    token: str | None,
    region: str,
    service: str = "s3",
    now: datetime,
    reading: Reading = Reading.SPACES,
) -> None:
    """Add date, payload hash, token and Authorization to `headers`, which must name the Host.

    `path` and `query` are percent-encoded as they are sent; `payload_hash` is the SHA-256 in hex, UNSIGNED-PAYLOAD or
    one of the STREAMING- values.
    """
    now = now.astimezone(UTC)
    day = f"{now.year:04}{now.month:02}{now.day:02}"
    date = f"{day}T{now.hour:02}{now.minute:02}{now.second:02}Z"
    headers.popall("Authorization", None)
    headers["x-amz-date"] = date
    headers["x-amz-content-sha256"] = payload_hash
    if token:
        headers["x-amz-security-token"] = token
    else:
        headers.popall("x-amz-security-token", None)
    names = canonical.signed_names(headers)
    scope = f"{day}/{region}/{service}/{TERMINATOR}"
    digest = canonical.digest(
        method=method,
        path=canonical.path(path),
        query=canonical.query(query),
        headers=canonical.headers(headers, names, reading),
        names=";".join(names),
        payload_hash=payload_hash,
    )
    signature = signed(signing_key(secret_key, day, region, service), f"{ALGORITHM}\n{date}\n{scope}\n{digest}")
    headers["Authorization"] = (
        f"{ALGORITHM} Credential={access_key}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
    )


def presign(
    *, method: str, path: str, host: str, access_key: str, secret_key: str, region: str, seconds: int, now: datetime
) -> str:
    """The query of a URL that anybody may use for so many seconds from now, as `host` and `path` are sent."""
    date = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{date[:8]}/{region}/s3/{TERMINATOR}"
    members = {
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{access_key}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": str(seconds),
        "X-Amz-SignedHeaders": "host",
    }
    query = canonical.query(urlencode(members, quote_via=quote))
    digest = canonical.digest(
        method=method,
        path=canonical.path(path),
        query=query,
        headers=f"host:{host}\n",
        names="host",
        payload_hash="UNSIGNED-PAYLOAD",
    )
    signature = signed(signing_key(secret_key, date[:8], region, "s3"), f"{ALGORITHM}\n{date}\n{scope}\n{digest}")
    return f"{query}&X-Amz-Signature={signature}"


def signed(key: bytes, text: str) -> str:
    """The signature over a string to sign, in hex."""
    return hmac.digest(key, text.encode(), "sha256").hex()


@lru_cache(maxsize=256)
def signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """The key of one day, region and service."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def presigned(query: Mapping[str, str]) -> bool:
    """Whether a query carries the signature, of version 4 or 2."""
    return "X-Amz-Signature" in query or ("Signature" in query and "AWSAccessKeyId" in query)


def check_presigned(query: Mapping[str, str], now: datetime) -> None:
    """Judge the time of a presigned request; nothing for any other. Raises S3Error AccessDenied with status 403."""
    if "X-Amz-Signature" in query:
        try:
            start = long_date(query["X-Amz-Date"])
            seconds = query["X-Amz-Expires"]
            if not (seconds.isascii() and seconds.isdigit() and len(seconds) < 9):
                raise ValueError(seconds)  # noqa: TRY301
            lifetime = timedelta(seconds=int(seconds))
        except (KeyError, ValueError):
            raise S3Error(
                "AuthorizationQueryParametersError",
                "X-Amz-Date must be in the ISO8601 Long Format and X-Amz-Expires a number of seconds",
            ) from None
        if lifetime > MAX_AGE:
            raise S3Error(
                "AuthorizationQueryParametersError",
                "X-Amz-Expires must be less than a week (in seconds) that is 604800",
            )
        # Not start - SKEW: the client's date may be the first of all.
        if start > now + SKEW:
            raise S3Error("AccessDenied", "Request is not valid yet", status=403)
        _judge(start + lifetime, now)
    elif presigned(query):
        expires = query.get("Expires", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) < 12):
            raise S3Error("AccessDenied", f"Invalid date (should be seconds since epoch): {expires}", status=403)
        _judge(datetime.fromtimestamp(int(expires), UTC), now)


# Of the URLs of one minute many have the same date.
@lru_cache(maxsize=64)
def long_date(text: str) -> datetime:
    """Read ISO 8601's long form as signatures have it; a tenth of strptime's time. Raises ValueError."""
    match = LONG_DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no date")
    year, month, day, hour, minute, second = map(int, match.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _judge(end: datetime, now: datetime) -> None:
    if now > end:
        details = {"Expires": iso_date(end), "ServerTime": iso_date(now)}
        raise S3Error("AccessDenied", "Request has expired", status=403, details=details)


def strip_auth(query: str, headers: AnyHeaders) -> tuple[str, Headers]:
    """The query, as it was sent otherwise, and the headers without the client's signature and what stands beside it.

    Headers that a presigned URL carried in its query become headers: the new signature is one of headers, and a remote
    takes them from the query of a presigned request only. Raises S3Error InvalidArgument where one has a line break.
    """
    kept: Headers = CIMultiDict(headers)
    for name in AUTH_HEADERS:
        kept.popall(name, None)
    if not query:
        return query, kept
    parts = [(part, unquote_to_bytes(part.partition("=")[0]).decode("utf-8", "replace")) for part in query.split("&")]
    names = {name for _, name in parts}
    version2 = names >= V2
    version4 = "X-Amz-Signature" in names
    rest = []
    for part, name in parts:
        if (version2 and neutral(name) and name != "x-id") or name.lower() in SIGNATURE:
            continue
        if version4 and hoisted(name):
            value = unquote_to_bytes(part.partition("=")[2].replace("+", " ")).decode("utf-8", "surrogateescape")
            if CONTROL.search(value):
                raise S3Error("InvalidArgument", f"The value of {name} cannot be a header")
            kept.setdefault(name.lower(), value)
            continue
        rest.append(part)
    return "&".join(rest), kept
