"""The chain of signatures in a body that is signed in pieces: each chunk is signed with the signature before it.

The first link is the signature of the request itself. So no chunk can be changed, left out, added or moved; the chunk
of size 0 ends the chain, and the trailers are one more link behind it (AWS: "Signature calculations for the
Authorization header: Transferring payload in multiple chunks").
"""

import hashlib
import hmac

from s3d.errors import S3Error
from s3d.protocol import sigv4
from s3d.protocol.checksums import EMPTY_SHA256

CHUNK = f"{sigv4.ALGORITHM}-PAYLOAD"
TRAILER = f"{sigv4.ALGORITHM}-TRAILER"


class Chain:
    """Judges the chunks of one body: a `chunked.Seal`."""

    __slots__ = ("_date", "_hash", "_key", "_previous", "_scope")

    def __init__(self, key: bytes, *, date: str, scope: str, seed: str) -> None:
        """Take the signing key, the date and the scope of the request, and its signature, which is the seed."""
        self._key = key
        self._date = date
        self._scope = scope
        self._previous = seed
        self._hash = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take bytes of the current chunk."""
        self._hash.update(data)

    def chunk(self, signature: str) -> None:
        """Judge the chunk that ends here. Raises S3Error SignatureDoesNotMatch."""
        # Before the digest of its bytes stands that of its headers, which no chunk has.
        self._judge(CHUNK, f"{EMPTY_SHA256}\n{self._hash.hexdigest()}", signature, "a chunk")
        self._hash = hashlib.sha256()

    def trailer(self, lines: bytes, signature: str) -> None:
        """Judge the trailers. Raises S3Error SignatureDoesNotMatch."""
        self._judge(TRAILER, hashlib.sha256(lines).hexdigest(), signature, "the trailers")

    def _judge(self, algorithm: str, digests: str, signature: str, what: str) -> None:
        to_sign = f"{algorithm}\n{self._date}\n{self._scope}\n{self._previous}\n{digests}"
        expected = sigv4.signed(self._key, to_sign)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise S3Error(
                "SignatureDoesNotMatch",
                f"The signature of {what} of the body does not match the one that we calculated.",
                status=403,
                hint="the body was changed on its way, or chunks of it were lost, added or moved",
            )
        self._previous = expected
