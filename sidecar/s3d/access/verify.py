"""Whose request it is: AWS Signature Version 4 in the Authorization header, or in the query of a presigned URL.

A request is judged before a byte of its body is read. The client names the headers that it signed: Host and every
x-amz-* header must be among them, other headers may be left out, as S3 has it. What an error shows is what the client
has sent, and the string to sign, in which the request is a hash: never a secret, and never the right signature.

Clients differ in how they read white space in headers, and some sign an odd path or query as they send it, not quoted
anew. Each reading is tried, since no two requests that mean something else have one reading in common.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from s3d.access import credential
from s3d.access.chain import Chain
from s3d.access.credential import Credential, Malformed
from s3d.access.keys import AccessKey, Keys
from s3d.api import AnyHeaders, Wire
from s3d.errors import S3Error
from s3d.protocol import canonical, checksums, chunked, decode, sigv4
from s3d.protocol.canonical import Reading
from s3d.protocol.chunked import Seal
from s3d.protocol.model import iso_date, timestamp

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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request, and what its signature says of the body."""

    key: AccessKey
    seal: Seal | None
    """Judges the chunks of a body that is signed in pieces; None for any other body."""
    payload: str
    """The x-amz-content-sha256 that was signed: a SHA-256 in hex, UNSIGNED-PAYLOAD or a STREAMING- value."""


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
        return Caller(credential.unsigned(keys), None, wire.headers.get(checksums.PAYLOAD, checksums.UNSIGNED))
    _check_signed(wire.headers, claim.names)
    key, secret = _verified(wire, claim, keys)
    _check_payload(wire, claim.payload, secure=secure)
    seal = None
    if claim.payload in CHAINED:
        used = claim.credential
        seal = Chain(used.signing_key(secret), date=claim.date, scope=used.scope, seed=claim.signature)
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
            raise credential.unsupported("version 2")
        return _claim_of_query(members, wire.headers, now)
    if authorization:
        return _claim_of_header(authorization, wire.headers, now)
    return None


def _claim_of_header(text: str, headers: AnyHeaders, now: datetime) -> Claim:
    algorithm, _, rest = text.strip().partition(" ")
    if algorithm != sigv4.ALGORITHM:
        if algorithm == "AWS" or algorithm.startswith("AWS4-"):
            raise credential.unsupported(credential.kind(algorithm))
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
        used = credential.read(members["Credential"], date)
    except Malformed as error:
        raise _malformed_header(str(error)) from None
    credential.check_token(headers.get(TOKEN))
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
    return Claim(used, date, _names(members["SignedHeaders"]), members["Signature"], payload)


def _claim_of_query(pairs: Sequence[tuple[str, str]], headers: AnyHeaders, now: datetime) -> Claim:
    members = dict(pairs)
    if not members.keys() >= IN_QUERY or len([name for name, _ in pairs if name in IN_QUERY]) > len(IN_QUERY):
        raise _malformed_query(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
            "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters, each of them once."
        )
    if members["X-Amz-Algorithm"] != sigv4.ALGORITHM:
        raise credential.unsupported(credential.kind(members["X-Amz-Algorithm"]))
    sigv4.check_presigned(members, now)
    date = members["X-Amz-Date"]
    try:
        used = credential.read(members["X-Amz-Credential"], date)
    except Malformed as error:
        raise _malformed_query(f"Error parsing the X-Amz-Credential parameter; {error}") from None
    credential.check_token(members.get("X-Amz-Security-Token") or headers.get(TOKEN))
    # Of the two one is enough. A header that describes another body than the query does is not what was signed.
    in_query, in_header = members.get("X-Amz-Content-Sha256"), headers.get(checksums.PAYLOAD)
    if in_query is not None and in_header is not None and in_query != in_header:
        raise _malformed_query(f"X-Amz-Content-Sha256 must be what the header {checksums.PAYLOAD} says")
    if in_query is not None and in_header is None and in_query.startswith(chunked.STREAMING):
        raise _malformed_query(f"a body in chunks needs the header {checksums.PAYLOAD}")
    payload = in_query or in_header or checksums.UNSIGNED
    return Claim(used, date, _names(members["X-Amz-SignedHeaders"]), members[SIGNATURE], payload)


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


def _check_payload(wire: Wire, payload: str, *, secure: bool) -> None:
    """Refuse a body that is not the signed one since it is not there, or that somebody on the way could change."""
    length = wire.headers.get("Content-Length")
    none = length is None and "Transfer-Encoding" not in wire.headers
    if "AWS4-ECDSA" in payload:
        raise credential.unsupported("version 4A")
    # A put whose body was taken away on the way would be one of nothing.
    if payload in UNSIGNED and (wire.method in ("PUT", "POST") or not (none or length == "0")):
        credential.check_way(secure=secure)
    if none and payload.startswith(chunked.STREAMING):
        raise S3Error("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    if none and checksums.HEX_SHA256.match(payload) and payload != checksums.EMPTY_SHA256:
        raise checksums.other_payload(payload, checksums.EMPTY_SHA256)


def _verified(wire: Wire, claim: Claim, keys: Keys) -> tuple[AccessKey, str]:
    """The key that signed a request, and which of its secrets."""
    tried = ""
    for digest in _digests(wire, claim):
        to_sign = f"{sigv4.ALGORITHM}\n{claim.date}\n{claim.credential.scope}\n{digest}"
        tried = tried or to_sign
        if found := credential.match(keys, claim.credential, to_sign, claim.signature):
            return found
    raise credential.refusal(keys, claim.credential, tried)


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


def _malformed_header(why: str) -> S3Error:
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {why}")


def _malformed_query(why: str) -> S3Error:
    return S3Error("AuthorizationQueryParametersError", why)
