"""Whose request it is: AWS Signature Version 4 in the Authorization header or in the query of a presigned URL."""

from dataclasses import dataclass
from datetime import datetime

from s3d.access.keys import AccessKey, Keys
from s3d.api import Wire
from s3d.protocol.chunked import Seal


@dataclass(frozen=True, slots=True)
class Caller:
    """Who made a request, and what its signature says of the body."""

    key: AccessKey
    seal: Seal | None
    """Judges the chunks of a body that is signed in pieces; None for any other body."""
    payload: str
    """The x-amz-content-sha256 that was signed: a SHA-256 in hex, UNSIGNED-PAYLOAD or a STREAMING- value."""


def is_signed(wire: Wire) -> bool:
    """Whether a request carries a signature, of whatever kind. That of a form is in its body."""
    raise NotImplementedError


def authenticate(wire: Wire, keys: Keys, now: datetime, *, secure: bool) -> Caller:
    """Find out who made a request, before a byte of its body is read. Raises S3Error.

    `secure` says that nobody on the way can change the body: TLS, or a connection of this machine.
    """
    raise NotImplementedError
