"""Digests of bodies on their way: verified while they pass, kept for whoever stores them (SEMANTICS Q-5).

A digest that the client sent is compared before the last block is given out, and a body that is shorter or longer than
its length is an error, so nobody stores half a body or a wrong one. Large blocks are hashed in a thread, since MD5 runs
at some 0.6 GB/s: the event loop never waits for a digest.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from multidict import CIMultiDict

from s3d.api import AnyHeaders, Body, Wire
from s3d.errors import CorruptBody, S3Error
from s3d.protocol import chunked
from s3d.protocol.headers import MAX_REMEMBERED

PREFIX = "x-amz-checksum-"
SDK_ALGORITHM = "x-amz-sdk-checksum-algorithm"
INLINE_MAX_BYTES = 32 << 10
"""Larger blocks are hashed in a thread."""
HEX_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
PAYLOAD = "x-amz-content-sha256"
UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256().hexdigest()
"""Of no bytes."""


class Hash(Protocol):
    """What hashlib gives."""

    def update(self, data: bytes, /) -> None:
        """Take bytes."""

    def digest(self) -> bytes:
        """The digest of what was taken."""


class Crc:
    """A cyclic checksum in the shape of a hash."""

    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[[bytes, int], int], size: int) -> None:
        """Take the function that goes on from a value, and the size of the result in bytes."""
        self._function = function
        self._size = size
        self._value = 0

    def update(self, data: bytes, /) -> None:
        """Take bytes."""
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        """The checksum, big endian."""
        return self._value.to_bytes(self._size, "big")


class XXHash:
    """awscrt's xxHash in the shape of a hash."""

    __slots__ = ("_digest", "_hash")

    def __init__(self, name: str) -> None:
        """Take the name that awscrt has for it."""
        self._hash: Any = getattr(_awscrt().XXHash, f"new_{name}")()
        self._digest = b""

    def update(self, data: bytes, /) -> None:
        """Take bytes."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """The hash; awscrt gives it once."""
        self._digest = self._digest or self._hash.finalize()
        return self._digest


def _awscrt() -> Any:
    from awscrt import checksums

    return checksums


ALGORITHMS: Mapping[str, Callable[[], Hash]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "sha512": hashlib.sha512,
    "crc32": lambda: Crc(zlib.crc32, 4),
    "crc32c": lambda: Crc(_awscrt().crc32c, 4),
    "crc64nvme": lambda: Crc(_awscrt().crc64nvme, 8),
    "xxhash64": lambda: XXHash("xxhash64"),
    "xxhash3": lambda: XXHash("xxhash3_64"),
    "xxhash128": lambda: XXHash("xxhash3_128"),
}
SIZES: Mapping[str, int] = {
    "md5": 16,
    "sha1": 20,
    "sha256": 32,
    "sha512": 64,
    "crc32": 4,
    "crc32c": 4,
    "crc64nvme": 8,
    "xxhash64": 8,
    "xxhash3": 8,
    "xxhash128": 16,
}
"""In bytes."""
HEADERS = frozenset(PREFIX + name for name in ALGORITHMS)
PROMISING = HEADERS | {"content-md5", PAYLOAD, SDK_ALGORITHM, "x-amz-trailer"}
"""Headers that promise something about a body."""
STANDING_ALONE = frozenset(["md5", "sha256"])
"""Digests that have a header of their own beside the checksums."""


class Digests:
    """Several digests of the same bytes."""

    __slots__ = ("_hashes",)

    def __init__(self, names: Iterable[str]) -> None:
        """Take names out of ALGORITHMS."""
        self._hashes = {name: ALGORITHMS[name]() for name in names}

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def update(self, block: bytes) -> None:
        """Take bytes; not from two threads at once."""
        for one in self._hashes.values():
            one.update(block)

    def digest(self, name: str) -> bytes:
        """One digest, raw."""
        return self._hashes[name].digest()

    def result(self, name: str) -> str:
        """One digest as S3 writes it where it stands alone: md5 and sha256 in hex, the others in base64."""
        raw = self.digest(name)
        return raw.hex() if name in STANDING_ALONE else to_base64(raw)


@dataclass(frozen=True, slots=True)
class Expected:
    """The digests that a request promises, raw."""

    content_md5: bytes | None = None
    content_sha256: bytes | None = None
    checksum: tuple[str, bytes] | None = None
    """Name of the algorithm and value."""
    trailers: frozenset[str] = frozenset()
    """Names of the algorithms whose value comes as a trailer."""
    sent: Mapping[str, str] = field(default_factory=dict)
    """What was sent, by lower-case name of the header, as it was sent."""

    @property
    def names(self) -> frozenset[str]:
        """The algorithms that verifying takes."""
        names = set(self.trailers)
        if self.content_md5 is not None:
            names.add("md5")
        if self.content_sha256 is not None:
            names.add("sha256")
        if self.checksum is not None:
            names.add(self.checksum[0])
        return frozenset(names)


def is_promised(wire: Wire, payload: str = UNSIGNED) -> bool:
    """Whether a request says anything of its body by which that is to be verified; `payload` is as in `incoming`."""
    return payload != UNSIGNED or _are_promising(wire.names)


@lru_cache(maxsize=MAX_REMEMBERED)
def _are_promising(names: tuple[str, ...]) -> bool:
    """Whether one of these headers promises something about a body."""
    return not PROMISING.isdisjoint(name.lower() for name in names)


def expected(headers: AnyHeaders) -> Expected:
    """Read the digests that the headers of a request promise.

    Raises S3Error InvalidDigest (Content-MD5), InvalidArgument (x-amz-content-sha256) or InvalidRequest (checksums,
    and an algorithm that is named and whose checksum does not come).
    """
    sent: dict[str, str] = {}
    content_md5 = content_sha256 = checksum = None
    if (text := headers.get("Content-MD5")) is not None:
        content_md5 = _from_base64(text, 16)
        if content_md5 is None:
            raise S3Error("InvalidDigest", "The Content-MD5 you specified was invalid.", details={"Content-MD5": text})
        sent["content-md5"] = text
    payload = headers.get(PAYLOAD, UNSIGNED)
    if HEX_SHA256.match(payload):
        content_sha256 = bytes.fromhex(payload)
        sent[PAYLOAD] = payload
    elif payload != UNSIGNED and payload not in chunked.SCHEMES:
        raise S3Error(
            "InvalidArgument",
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of the STREAMING- values or a valid sha256 value.",
            details={"ArgumentName": PAYLOAD, "ArgumentValue": payload},
        )
    values = [(low, value) for name, value in headers.items() if (low := name.lower()) in HEADERS]
    trailers = chunked.announced(headers)
    if len(values) + len(trailers) > 1:
        raise S3Error(
            "InvalidRequest", "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    for name, text in values:
        algorithm = name.removeprefix(PREFIX)
        raw = _from_base64(text, SIZES[algorithm])
        if raw is None:
            raise S3Error("InvalidRequest", f"Value for {name} header is invalid.")
        checksum = algorithm, raw
        sent[name] = text
    if not trailers <= HEADERS:
        raise S3Error("InvalidRequest", "The value specified in the x-amz-trailer header is not supported")
    _check_named(headers, {*sent, *trailers} & HEADERS)
    return Expected(
        content_md5, content_sha256, checksum, frozenset(name.removeprefix(PREFIX) for name in trailers), sent
    )


def _check_named(headers: AnyHeaders, coming: Collection[str]) -> None:
    """Refuse an algorithm that a request names where no checksum by it comes, in a header or a trailer (Q-15)."""
    named = headers.get(SDK_ALGORITHM, "").strip().lower()
    if not named:
        return
    if named not in ALGORITHMS:
        raise unsupported_algorithm()
    if not coming:
        raise S3Error(
            "InvalidRequest",
            f"{SDK_ALGORITHM} specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.",
        )
    if PREFIX + named not in coming:
        raise S3Error("InvalidRequest", f"Value for {SDK_ALGORITHM} header is invalid.")


def unsupported_algorithm() -> S3Error:
    """The answer to the name of an algorithm that S3 does not have."""
    names = ", ".join(name.upper() for name in sorted(ALGORITHMS))
    return S3Error(
        "InvalidRequest",
        f"Checksum algorithm provided is unsupported. Please try again with any of the valid types: [{names}]",
    )


class VerifiedBody(Body):
    """A body that raises instead of its last block where it is not what was promised.

    After the last block `digests` holds md5 in hex, what else was computed (sha256 in hex), and each checksum that the
    client sent by the name of its header, as base64.
    """

    length: int | None = None

    def __init__(
        self, body: Body, promise: Expected, *, trailers: Mapping[str, str] | None, names: Iterable[str]
    ) -> None:
        """Take the decoded body; `trailers` is filled by the time it ends."""
        self._body = body
        self._promise = promise
        self._trailers = trailers
        wanted, promised = frozenset(names), promise.names
        self._digests = Digests(promised | wanted)
        self._names = wanted | (promised & STANDING_ALONE)
        self.length = body.length
        self._found: dict[str, str] = {}
        self.sent: dict[str, str] = dict(promise.sent)

    @property
    def digests(self) -> Mapping[str, str]:
        """What was computed: md5 and sha256 in hex, and each checksum that the client sent."""
        return self._found

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the blocks. Raises S3Error IncompleteBody, BadDigest or XAmzContentSHA256Mismatch."""
        if start or end is not None:
            raise ValueError("a body that is being received can be read once, from its start")
        loop = asyncio.get_running_loop()
        update = self._digests.update
        largest = INLINE_MAX_BYTES if self._digests else sys.maxsize
        left = self.length
        held = b""
        hashing: asyncio.Future[None] | None = None
        async for block in self._body.chunks():
            if not block:
                continue
            if left is not None:
                left -= len(block)
                if left < 0:
                    raise _incomplete()
            if hashing is not None:
                await hashing
                hashing = None
            if len(block) > largest:
                # While the consumer has the block before this one, and the next one comes.
                hashing = loop.run_in_executor(None, update, block)
            else:
                update(block)
            if held:
                yield held
            held = block
        if hashing is not None:
            await hashing
        if left:
            raise _incomplete()
        self._judge()
        if held:
            yield held

    async def whole(self) -> bytes:
        """All bytes at once, for a body that is known to be small. Raises what `chunks` raises."""
        data = await self._body.whole()
        if self.length is not None and len(data) != self.length:
            raise _incomplete()
        if len(data) > INLINE_MAX_BYTES:
            await asyncio.get_running_loop().run_in_executor(None, self._digests.update, data)
        else:
            self._digests.update(data)
        self._judge()
        return data

    async def aclose(self) -> None:
        """Close the body underneath."""
        await self._body.aclose()

    def _judge(self) -> None:
        promise, digests = self._promise, self._digests
        if promise.content_md5 is not None and digests.digest("md5") != promise.content_md5:
            raise S3Error(
                "BadDigest",
                "The Content-MD5 you specified did not match what we received.",
                details={
                    "ExpectedDigest": to_base64(promise.content_md5),
                    "CalculatedDigest": to_base64(digests.digest("md5")),
                },
            )
        if promise.content_sha256 is not None and digests.digest("sha256") != promise.content_sha256:
            raise other_payload(promise.content_sha256.hex(), digests.result("sha256"))
        if promise.checksum is not None:
            self._judge_checksum(*promise.checksum)
        for name in promise.trailers:
            text = (self._trailers or {}).get(PREFIX + name, "")
            raw = _from_base64(text, SIZES[name])
            if raw is None:
                raise S3Error("InvalidRequest", f"Value for {PREFIX}{name} trailing header is invalid.")
            self._judge_checksum(name, raw)
            self.sent[PREFIX + name] = text
        self._found.update((name, digests.result(name)) for name in self._names)

    def _judge_checksum(self, name: str, raw: bytes) -> None:
        computed = self._digests.digest(name)
        if computed != raw:
            raise S3Error("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")
        self._found[PREFIX + name] = to_base64(computed)


def verify(
    body: Body, promise: Expected, *, trailers: Mapping[str, str] | None = None, names: Iterable[str] = ("md5",)
) -> VerifiedBody:
    """Wrap a body so that it keeps what was promised, and gives the digests in `names` besides."""
    return VerifiedBody(body, promise, trailers=trailers, names=names)


def incoming(
    body: Body,
    wire: Wire,
    *,
    names: Iterable[str] = ("md5",),
    payload: str = UNSIGNED,
    seal: chunked.Seal | None = None,
) -> VerifiedBody:
    """A request's body as its headers describe it: decoded where it is aws-chunked, and verified.

    `payload` is what a signature says of the body, also where no header says it, and `seal` judges the signatures of
    its chunks. Raises S3Error where the headers contradict themselves. A checksum in the query of a presigned URL is no
    promise: S3 does not look at it, and SDKs put there that of the empty body which they had when they signed.
    """
    headers = _described(wire)
    if payload != UNSIGNED and PAYLOAD not in headers:
        headers = CIMultiDict(headers)
        headers[PAYLOAD] = payload
    promise = expected(headers)
    if chunked.is_chunked(headers):
        decoded = chunked.wrap(body, headers, seal=seal, apply=None if seal is None else _apart)
        return verify(decoded, promise, trailers=decoded.trailers, names=names)
    if promise.trailers:
        raise S3Error("InvalidRequest", "x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER")
    return verify(body, promise, names=names)


async def _apart(function: Callable[[bytes], list[bytes]], block: bytes) -> list[bytes]:
    """Apply what hashes a block to it, to a large one in a thread."""
    if len(block) <= INLINE_MAX_BYTES:
        return function(block)
    return await asyncio.get_running_loop().run_in_executor(None, function, block)


def _described(wire: Wire) -> AnyHeaders:
    """The headers that describe the bytes of a body."""
    if wire.method != "POST" or not any(name in wire.query for name in ("uploads", "uploadId=")):
        return wire.headers
    # What comes with a Create or a Complete is about the object, not about the document in its body.
    about_object = HEADERS | {SDK_ALGORITHM}
    return CIMultiDict((name, value) for name, value in wire.headers.items() if name.lower() not in about_object)


def to_base64(raw: bytes) -> str:
    """Write a digest as S3's headers have it."""
    return base64.b64encode(raw).decode("ascii")


def content_md5(etag: str) -> str:
    """The Content-MD5 of a body whose MD5 in hex is its ETag. Raises CorruptBody where it is none."""
    try:
        return to_base64(bytes.fromhex(etag))
    except ValueError:
        raise CorruptBody("the digest that was kept with it is none") from None


def _from_base64(text: str, size: int) -> bytes | None:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == size else None


def other_payload(said: str, computed: str) -> S3Error:
    """The answer to a body that is not the one whose SHA-256 was said, both in hex."""
    return S3Error(
        "XAmzContentSHA256Mismatch",
        f"The provided '{PAYLOAD}' header does not match what was computed.",
        details={"ClientComputedContentSHA256": said, "S3ComputedContentSHA256": computed},
    )


def _incomplete() -> S3Error:
    return S3Error(
        "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header"
    )


def combined(name: str, first: bytes, second: bytes, length: int) -> bytes:
    """The CRC of two stretches of bytes, one behind the other, by their CRCs and the length of the second in bytes."""
    combine = getattr(_awscrt(), f"combine_{name}")
    value: int = combine(int.from_bytes(first, "big"), int.from_bytes(second, "big"), length)
    return value.to_bytes(SIZES[name], "big")
