"""Which key has signed something: the credential that names it, and the secret by which the signature holds.

Requests and forms are judged by the same rules. The region of a signature may be any, since s3d has none of its own.
"""

import hmac
import re
from dataclasses import dataclass

from s3d.access.keys import AccessKey, Keys
from s3d.errors import S3Error
from s3d.protocol import sigv4
from s3d.protocol.checksums import PAYLOAD

SERVICE = "s3"
KEY_ID = re.compile(r"[!-~]{1,256}")
REGION = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a signature says of its key: the id, and the scope that the signature holds in."""

    key_id: str
    day: str
    region: str

    @property
    def scope(self) -> str:
        """The scope as it is signed."""
        return f"{self.day}/{self.region}/{SERVICE}/{sigv4.TERMINATOR}"

    def signing_key(self, secret: str) -> bytes:
        """The key that a secret signs with in this scope."""
        return sigv4.signing_key(secret, self.day, self.region, SERVICE)


class Malformed(ValueError):
    """What is wrong with a credential."""


def read(text: str, date: str) -> Credential:
    """Read a credential, whose scope must be of the day of `date`. Raises Malformed."""
    parts = text.rsplit("/", 4)
    if len(parts) < 5 or not KEY_ID.fullmatch(parts[0]) or not REGION.fullmatch(parts[2]):
        raise Malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    key_id, day, region, service, terminator = parts
    if day != date[:8]:
        raise Malformed(f'Invalid credential date "{day[:16]}". This date is not the same as X-Amz-Date: "{date[:8]}".')
    if service != SERVICE:
        raise Malformed(f'incorrect service "{service[:64]}". This endpoint belongs to "{SERVICE}".')
    if terminator != sigv4.TERMINATOR:
        raise Malformed(f'incorrect terminal "{terminator[:64]}". This endpoint uses "{sigv4.TERMINATOR}".')
    return Credential(key_id, day, region)


def check_token(token: str | None) -> None:
    """Refuse a session token, which no local key has. Raises S3Error InvalidToken."""
    if token:
        raise S3Error(
            "InvalidToken",
            "The provided token is malformed or otherwise invalid.",
            hint="access keys of the gateway have no session token: unset AWS_SESSION_TOKEN",
        )


def check_way(*, secure: bool) -> None:
    """Refuse a body that no signature covers where somebody on its way could change it. Raises S3Error AccessDenied."""
    if not secure:
        raise S3Error(
            "AccessDenied",
            "A body that is not signed is not taken over plain HTTP from another machine",
            status=403,
            hint=f"use TLS, or sign the body ({PAYLOAD})",
        )


def match(keys: Keys, credential: Credential, to_sign: str, signature: str) -> tuple[AccessKey, str] | None:
    """The key, and that of its secrets, by which a string is signed; None where there is none.

    As much is computed for an unknown key as for a wrong secret, and for every secret of a key.
    """
    key = keys.find(credential.key_id)
    given = signature.encode(errors="backslashreplace")
    found = ""
    for number, secret in enumerate(keys.candidates(key)):
        expected = sigv4.signed(credential.signing_key(secret), to_sign)
        equal = hmac.compare_digest(expected.encode(), given)
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


def unsigned(keys: Keys) -> AccessKey:
    """Whom what is not signed counts as. Raises S3Error AccessDenied where that is nobody."""
    if keys.anonymous is None:
        raise S3Error(
            "AccessDenied", "Access Denied", status=403, hint="sign the request with an access key of this gateway"
        )
    return keys.anonymous


def kind(algorithm: str) -> str:
    """What a person calls an algorithm that is not ours."""
    if algorithm == "AWS":
        return "version 2"
    return "version 4A" if algorithm.startswith("AWS4-ECDSA") else "another kind"


def unsupported(kind: str) -> S3Error:
    """The answer to signatures that s3d does not verify."""
    return S3Error(
        "InvalidRequest",
        "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.",
        hint=f"the request has a signature of {kind}; let the client sign by Signature Version 4, such as boto3 with "
        "Config(signature_version='s3v4')",
    )
