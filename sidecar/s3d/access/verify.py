"""Whose request it is: AWS Signature Version 4 in the Authorization header, or in the query of a presigned URL.

A request is judged before a byte of its body is read. The client names the headers that it signed: Host and every
x-amz-* header must be among them, other headers may be left out, as S3 has it. The region of a signature may be any,
since s3d has none of its own. Local keys have no session tokens. What an error shows is what the client has sent, and
the string to sign, in which the request is a hash: never a secret, and never the signature that would have been right.

Clients differ in how they read white space in headers, and some sign an odd path or query as they send it, not quoted
anew. Each reading is tried, since no two requests that mean something else have one reading in common.
"""

import hmac
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from s3d.access.chain import Chain
from s3d.access.keys import AccessKey, Keys
from s3d.api import AnyHeaders, Wire
from s3d.errors import S3Error
from s3d.protocol import canonical, checksums, chunked, decode, sigv4
from s3d.protocol.canonical import Reading
from s3d.protocol.chunked import Seal
from s3d.protocol.model import iso_date, timestamp

SERVICE = "s3"
TOKEN = "x-amz-security-token"  # noqa: S105
SIGNATURE = "X-Amz-Signature"
IN_QUERY = frozenset(f"X-Amz-{name}" for name in "Algorithm Credential Date Expires SignedHeaders Signature".split())
TELLING = frozenset(["X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE])
"""A query that has one of these is meant to be signed, by version 4."""
TELLING_V2 = frozenset(["AWSAccessKeyId", "Signature"])
IN_HEADER = frozenset(["Credential", "SignedHeaders", "Signature"])
CHAINED = frozenset(f"STREAMING-{sigv4.ALGORITHM}-PAYLOAD{end}" for end in ("", "-TRAILER"))
"""What says that a body is signed in pieces."""
UNSIGNED = frozenset([checksums.UNSIGNED, chunked.UNSIGNED_TRAILER])
MAX_REGION = 64


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request, and what its signature says of the body."""

    key: AccessKey
    seal: Seal | None
    """Judges the chunks of a body that is signed in pieces; None for any other body."""
    payload: str
    """The x-amz-content-sha256 that was signed: a SHA-256 in hex, UNSIGNED-PAYLOAD or a STREAMING- value."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a signature says of its key: the id, and the scope that the key is used in."""

    key_id: str
    day: str
    region: str

    @property
    def scope(self) -> str:
        """The scope as it is signed."""
        return f"{self.day}/{self.region}/{SERVICE}/{sigv4.TERMINATOR}"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says of its own signature."""

    credential: Credential
    date: str
    """In ISO 8601's long form, as it is signed."""
    names: Sequence[str]
    """The headers that are signed, lower-case."""
    signature: str
    payload: str


class Malformed(ValueError):
    """What is wrong with a credential."""


def is_signed(wire: Wire) -> bool:
    """Whether a request carries a signature, of whatever kind. That of a form is in its body."""
    names = {name for name, _ in decode.query(wire.query)}
    return bool(_authorization(wire.headers)) or not names.isdisjoint(TELLING | TELLING_V2)


def authenticate(wire: Wire, keys: Keys, now: datetime, *, secure: bool) -> Caller:
    """Find out who made a request, before a byte of its body is read.

    `secure` says that nobody on the way can change the body: TLS, or a connection of this machine. Raises S3Error:
    AccessDenied for what is not signed, InvalidAccessKeyId, SignatureDoesNotMatch, RequestTimeTooSkewed, and others for
    a signature that cannot be read.
    """
    claim = _claim(wire, now)
    if claim is None:
        if keys.anonymous is None:
            raise S3Error(
                "AccessDenied", "Access Denied", status=403, hint="sign the request with an access key of this gateway"
            )
        return Caller(keys.anonymous, None, wire.headers.get(checksums.PAYLOAD, checksums.UNSIGNED))
    _check_signed(wire.headers, claim.names)
    key, secret = _verified(wire, claim, keys)
    _check_payload(wire.headers, claim.payload, secure=secure)
    seal = None
    if claim.payload in CHAINED:
        credential = claim.credential
        signing_key = sigv4.signing_key(secret, credential.day, credential.region, SERVICE)
        seal = Chain(signing_key, date=claim.date, scope=credential.scope, seed=claim.signature)
    return Caller(key, seal, claim.payload)


def _authorization(headers: AnyHeaders) -> str:
    lines = [line for line in headers.getall("Authorization", ()) if line.strip()]
    if len(lines) > 1:
        raise S3Error("InvalidArgument", "The request has more than one Authorization header")
    return lines[0] if lines else ""


def _claim(wire: Wire, now: datetime) -> Claim | None:
    """What a request claims, in time and not verified yet; None where it is not signed."""
    authorization = _authorization(wire.headers)
    members = decode.query(wire.query) if wire.query else ()
    names = {name for name, _ in members}
    if not names.isdisjoint(TELLING | TELLING_V2):
        if authorization:
            raise S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
                "parameter or the Authorization header should be specified",
                details={"ArgumentName": "Authorization"},
            )
        if names.isdisjoint(TELLING):
            raise unsupported("version 2")
        return _claim_of_query(members, wire.headers, now)
    if authorization:
        return _claim_of_header(authorization, wire.headers, now)
    return None


def _claim_of_header(text: str, headers: AnyHeaders, now: datetime) -> Claim:
    algorithm, _, rest = text.strip().partition(" ")
    if algorithm != sigv4.ALGORITHM:
        if algorithm == "AWS":
            raise unsupported("version 2")
        if algorithm.startswith("AWS4-ECDSA"):
            raise unsupported("version 4A")
        raise S3Error("InvalidArgument", "Unsupported Authorization Type", details={"ArgumentName": "Authorization"})
    members: dict[str, str] = {}
    for part in rest.split(","):
        name, _, value = part.strip().partition("=")
        if name in members:
            raise _malformed_header(f"it has {name} twice")
        members[name] = value
    if not members.keys() >= IN_HEADER:
        raise _malformed_header(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature."
        )
    moment, date = _dated(headers)
    try:
        credential = read_credential(members["Credential"], date)
    except Malformed as error:
        raise _malformed_header(str(error)) from None
    _check_token(headers.get(TOKEN))
    if abs(now - moment) > sigv4.SKEW:
        raise S3Error(
            "RequestTimeTooSkewed",
            "The difference between the request time and the current time is too large.",
            status=403,
            hint="set the clock of the client, or that of the gateway's machine",
            details={
                "RequestTime": date,
                "ServerTime": iso_date(now),
                "MaxAllowedSkewMilliseconds": str(int(sigv4.SKEW.total_seconds() * 1000)),
            },
        )
    payload = headers.get(checksums.PAYLOAD)
    if payload is None:
        raise S3Error("MissingSecurityHeader", f"Your request was missing a required header: {checksums.PAYLOAD}")
    return Claim(credential, date, _names(members["SignedHeaders"]), members["Signature"], payload)


def _claim_of_query(pairs: Sequence[tuple[str, str]], headers: AnyHeaders, now: datetime) -> Claim:
    members = dict(pairs)
    twice = {name for name in IN_QUERY if sum(1 for other, _ in pairs if other == name) > 1}
    if twice or not members.keys() >= IN_QUERY:
        raise _malformed_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each of them once."
        )
    if members["X-Amz-Algorithm"] != sigv4.ALGORITHM:
        raise unsupported("version 4A" if members["X-Amz-Algorithm"].startswith("AWS4-ECDSA") else "another kind")
    sigv4.check_presigned(members, now)
    date = members["X-Amz-Date"]
    try:
        credential = read_credential(members["X-Amz-Credential"], date)
    except Malformed as error:
        raise _malformed_query(f"Error parsing the X-Amz-Credential parameter; {error}") from None
    _check_token(members.get("X-Amz-Security-Token") or headers.get(TOKEN))
    # Of the two one is enough. A header that describes another body than the query does is not what was signed.
    in_query, in_header = members.get("X-Amz-Content-Sha256"), headers.get(checksums.PAYLOAD)
    if in_query is not None and in_header is not None and in_query != in_header:
        raise _malformed_query(f"X-Amz-Content-Sha256 must be what the header {checksums.PAYLOAD} says")
    if in_query is not None and in_header is None and in_query.startswith(chunked.STREAMING):
        raise _malformed_query(f"a body in chunks needs the header {checksums.PAYLOAD}")
    payload = in_query or in_header or checksums.UNSIGNED
    return Claim(credential, date, _names(members["X-Amz-SignedHeaders"]), members[SIGNATURE], payload)


def _names(text: str) -> Sequence[str]:
    return text.lower().split(";")


def _dated(headers: AnyHeaders) -> tuple[datetime, str]:
    """When a request was signed, and the same as it is signed: by x-amz-date, or else by Date."""
    try:
        if (text := headers.get("x-amz-date")) is not None:
            return sigv4.long_date(text), text
        text = headers.get("Date", "")
        if sigv4.LONG_DATE.fullmatch(text):
            return sigv4.long_date(text), text
        moment = timestamp(text)
        return moment, f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    except ValueError:
        raise S3Error(
            "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header", status=403
        ) from None


def read_credential(text: str, date: str) -> Credential:
    """Read a credential, whose scope must be of the day of `date`. Raises Malformed."""
    parts = text.rsplit("/", 4)
    if len(parts) < 5 or not parts[0] or not 0 < len(parts[2]) <= MAX_REGION:
        raise Malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    key_id, day, region, service, terminator = parts
    if day != date[:8]:
        raise Malformed(f'Invalid credential date "{day[:16]}". This date is not the same as X-Amz-Date: "{date[:8]}".')
    if service != SERVICE:
        raise Malformed(f'incorrect service "{service[:64]}". This endpoint belongs to "{SERVICE}".')
    if terminator != sigv4.TERMINATOR:
        raise Malformed(f'incorrect terminal "{terminator[:64]}". This endpoint uses "{sigv4.TERMINATOR}".')
    return Credential(key_id, day, region)


def _check_token(token: str | None) -> None:
    if token:
        raise S3Error(
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
            hint="access keys of the gateway have no session token: unset AWS_SESSION_TOKEN",
        )


def _check_signed(headers: AnyHeaders, names: Collection[str]) -> None:
    """Refuse a request with headers that must be signed and are not."""
    missing = {low for name in headers if (low := name.lower()).startswith("x-amz-") and low not in names}
    if "host" not in names:
        missing.add("host")
    if missing:
        raise S3Error(
            "AccessDenied",
            "There were headers present in the request which were not signed",
            status=403,
            details={"HeadersNotSigned": ", ".join(sorted(missing))},
        )


def _check_payload(headers: AnyHeaders, payload: str, *, secure: bool) -> None:
    """Refuse a body that the signature does not cover, where somebody on the way could change it."""
    empty = headers.get("Content-Length", "0") == "0" and "Transfer-Encoding" not in headers
    if "AWS4-ECDSA" in payload:
        raise unsupported("version 4A")
    if payload in UNSIGNED and not empty and not secure:
        raise S3Error(
            "AccessDenied",
            "A body that is not signed is not taken over plain HTTP from another machine",
            status=403,
            hint=f"use TLS, or sign the body ({checksums.PAYLOAD})",
        )
    if empty and checksums.HEX_SHA256.match(payload) and payload != checksums.EMPTY_SHA256:
        raise S3Error(
            "XAmzContentSHA256Mismatch",
            f"The provided '{checksums.PAYLOAD}' header does not match what was computed.",
            details={
                "ClientComputedContentSHA256": payload,
                "S3ComputedContentSHA256": checksums.EMPTY_SHA256,
            },
        )


def _verified(wire: Wire, claim: Claim, keys: Keys) -> tuple[AccessKey, str]:
    """The key that signed a request, and which of its secrets."""
    tried = ""
    for digest in _digests(wire, claim):
        to_sign = f"{sigv4.ALGORITHM}\n{claim.date}\n{claim.credential.scope}\n{digest}"
        tried = tried or to_sign
        if found := match(keys, claim.credential, to_sign, claim.signature):
            return found
    raise refusal(keys, claim.credential, tried)


def _digests(wire: Wire, claim: Claim) -> Iterator[str]:
    """The hash of the request by each of its readings, that of AWS first."""
    seen: set[str] = set()
    names = ";".join(claim.names)
    for reading in Reading:
        lines = canonical.headers(wire.headers, claim.names, reading)
        for read_path, read_query in (canonical.path, canonical.query), (str, canonical.query_as_sent):
            digest = canonical.digest(
                method=wire.method,
                path=read_path(wire.path),
                query=read_query(wire.query, SIGNATURE),
                headers=lines,
                names=names,
                payload_hash=claim.payload,
            )
            if digest not in seen:
                seen.add(digest)
                yield digest


def match(keys: Keys, credential: Credential, to_sign: str, signature: str) -> tuple[AccessKey, str] | None:
    """The key, and that of its secrets, by which a string is signed; None where there is none.

    As much is computed for an unknown key as for a wrong secret, and for every secret of a key.
    """
    key = keys.find(credential.key_id)
    given = signature.encode()
    found = ""
    for number, secret in enumerate(keys.candidates(key)):
        signing_key = sigv4.signing_key(secret, credential.day, credential.region, SERVICE)
        equal = hmac.compare_digest(sigv4.signed(signing_key, to_sign).encode(), given)
        if equal and key is not None and number < len(key.secrets):
            found = secret
    return (key, found) if key is not None and found else None


def refusal(keys: Keys, credential: Credential, to_sign: str) -> S3Error:
    """The answer to a signature that does not match."""
    if keys.find(credential.key_id) is None:
        return S3Error(
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            status=403,
            hint="the gateway has access keys of its own, which are not those of the store behind it",
            details={"AWSAccessKeyId": credential.key_id},
        )
    return S3Error(
        "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing "
        "method.",
        status=403,
        hint="the secret is another one, or something on the way has changed the host, the path or a header",
        details={"AWSAccessKeyId": credential.key_id, "StringToSign": to_sign},
    )


def unsupported(kind: str) -> S3Error:
    """The answer to signatures that s3d does not verify."""
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        hint=f"the request has a signature of {kind}; let the client sign by Signature Version 4",
    )


def _malformed_header(why: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}")


def _malformed_query(why: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", why)
