"""The seam: everything that holds data is an async function from a Call to a Reply.

Layers, the folder sync, the mount and the CLI each hold an `S3` and cannot tell a gateway from a bucket. Nothing in
here does I/O. The rules of a Body are a contract that tests/contracts/ holds every implementation to.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, Protocol

from multidict import CIMultiDict, CIMultiDictProxy

AnyHeaders = CIMultiDict[str] | CIMultiDictProxy[str]
Headers = CIMultiDict[str]
MAX_HEADERS = 640
"""Headers of a request or an answer, at the door and at the remote: S3 bounds bytes, and 512 of metadata fill 8 KB."""
Origin = Literal["client", "door", "queue", "sync", "mount"]
Source = Literal["queue", "cache", "stale", "remote"]


class Send(Protocol):
    """Sends a body, or a stretch of it, to a non-blocking socket without passing the bytes through this process.

    The number stays that of the socket until the end, though the connection may go before. Raises the OSError of the
    socket, and what `Body.chunks` raises.
    """

    async def __call__(self, socket: int, start: int = 0, end: int | None = None) -> None:
        """Send the bytes from `start` up to, not including, `end`. A body that is not replayable takes no range."""


class Body:
    """Bytes on their way.

    A digest, a chunk signature or a trailer that does not match raises *instead of* yielding the last block. Whoever
    takes a body calls `aclose()`, also on cancellation. The first block of a request body is what lets a waiting client
    send it (100 Continue).

    A body around another one says itself what becomes of its `digests` (they are the client's checksums, Q-5), of
    `send` and of `verify`: what is said here fits a body that has none of them.
    """

    __slots__ = ()

    @property
    def length(self) -> int | None:
        """Length in bytes; None only in a reply whose length the remote did not say."""
        raise NotImplementedError

    @property
    def replayable(self) -> bool:
        """Whether `chunks` may be called more than once."""
        return False

    @property
    def digests(self) -> Mapping[str, str]:
        """What was computed of the bytes, once they are all read: checksums by the name of their header, in base64, and
        the digests that whoever made the body asked for, by their name."""
        return NO_DIGESTS

    @property
    def send(self) -> Send | None:
        """Sends the body to a socket; None for a body that must be read by `chunks`."""
        return None

    def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`. A body that is not replayable takes no range."""
        raise NotImplementedError

    async def whole(self) -> bytes:
        """All bytes at once, judged as `chunks` judges them, of a body that is known to be small.

        For such a body a generator in each layer around it would cost more than all that is done to its bytes.
        """
        return b"".join([block async for block in self.chunks()])

    async def verify(self, start: int = 0, end: int | None = None) -> None:
        """Check a stored body before a stretch of it is given out (D-11). Raises CorruptBody and StoreFailed."""

    async def aclose(self) -> None:
        """Let go of what the body holds. Safe to call twice."""


NO_DIGESTS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Wire:
    """A request as it came over the wire, nothing decoded."""

    method: str
    path: str
    """As sent, percent-encoded, without the query: `/bucket/a%2Fb`."""
    query: str
    """As sent, percent-encoded, without the question mark."""
    headers: AnyHeaders
    scheme: str = "http"
    """By what it came: http or https."""
    _names: tuple[str, ...] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each header, in order, as it was sent. Nobody changes the headers of a wire."""
        if self._names is None:
            names = tuple(self.headers)
            # A name that is there twice comes once by itself.
            self._names = names if len(names) == len(self.headers) else tuple(name for name, _ in self.headers.items())
        return self._names


@dataclass(frozen=True, slots=True)
class Terms:
    """What a part of s3d that makes a write asks for it (SEMANTICS Q-2b, Q-18b, Q-21). No request says any of it: the
    door makes calls without terms."""

    expects: str | None = None
    """The ETag that the maker saw of the key, "" for no object: where it is another, the write is refused with 412. A
    write that expects something is always compared at the remote. None: whatever is there."""
    after: tuple[str, str, str] | None = None
    """Bucket, key and ETag ("" for none) of what must be delivered before it."""
    conflict: Literal["", "Park", "Overwrite"] = ""
    """What becomes of it where somebody else wrote the key; "": as the settings say."""
    always: bool = False
    """Whether it is compared at the remote however short it waited."""
    name: str = ""
    """Which one of those that the call's origin may mean: a folder."""
    share: float = 1.0
    """How full of its limits it may make the queue; the rest is left to others. It waits and is refused there as at a
    limit, and one that is larger than the share is written through."""


NO_TERMS = Terms()


@dataclass(slots=True)
class Call:
    """One request to an S3.

    `params` holds botocore's member names of the path, the query and the headers; `Bucket` and `Key` are there whenever
    the request names them, also where the operation is unknown. A layer's own call is a request too: `client.Client`
    encodes it.
    """

    operation: str
    """botocore's name of the operation, or "" for one that the model does not know."""
    params: dict[str, Any]
    wire: Wire
    body: Body | None = None
    identity: str = ""
    """On whose behalf it is made; "" for the gateway's own identity."""
    origin: Origin = "client"
    """Who made the call."""
    fresh: bool = False
    """Whether no memory of any layer may answer it. A pending change is no memory."""
    trace: str = ""
    """The id of the client's request that the call belongs to, which the door gave it; "" where it serves none."""
    terms: Terms = NO_TERMS
    """Of a write that s3d makes itself."""

    @property
    def bucket(self) -> str:
        """The bucket that the call names, or ""."""
        bucket: str = self.params.get("Bucket", "")
        return bucket

    @property
    def key(self) -> str:
        """The key that the call names, or ""."""
        key: str = self.params.get("Key", "")
        return key


class Outcome(StrEnum):
    """What an answer says of its request (SEMANTICS Q-3a); `layers/judge.py` decides it for each answer of a remote."""

    DONE = "done"
    """The store confirms it."""
    REFUSED = "refused"
    """The store refuses it: nothing was done, and nothing will be."""
    UNKNOWN = "unknown"
    """It may have been done, or may be done later."""
    UNCLEAR = "unclear"
    """An answer to a HEAD that anybody could have given; a GET tells."""


@dataclass(slots=True)
class Reply:
    """The response to a Call. Any status is an answer, and an error of S3's has its document as the body."""

    status: int = 200
    headers: Headers = field(default_factory=CIMultiDict)
    body: Body | None = None
    outcome: Outcome = Outcome.DONE
    source: Source = "remote"
    """Who answered. Only what the remote gave teaches an ETag; the door adds the request's id to other errors."""
    validated: bool = False
    """Whether the head is the remote's own, which was asked for this request, though the bytes are a cache's."""

    @property
    def is_remotes(self) -> bool:
        """Whether its head is what the remote has said to this request."""
        return self.source == "remote" or self.validated


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the write queue has delivered, for whoever goes on with its bytes."""

    bucket: str
    key: str
    identity: str
    """Who wrote it."""
    members: Mapping[str, str]
    """The headers that the write gave its object, by lower-case name."""
    headers: AnyHeaders
    """Those of the remote's answer."""


class S3(Protocol):
    """The seam itself."""

    async def __call__(self, call: Call, /) -> Reply:
        """Serve one call; whatever its status is, an answer is returned.

        Raises Unavailable where there is no answer, which says whether the request may have arrived; CorruptBody where
        stored bytes are damaged; and, as it came, what the call's own body raises.
        """


@dataclass(slots=True)
class BytesBody(Body):
    """A body that is in memory."""

    data: bytes
    replayable: bool = True

    @property
    def length(self) -> int:
        """Length in bytes."""
        return len(self.data)

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the whole range at once; nothing for an empty range."""
        block = self.data[start:end] if start or end is not None else self.data
        if block:
            yield block

    async def whole(self) -> bytes:
        """The bytes."""
        return self.data


async def read_all(body: Body | None, limit: int) -> bytes:
    """Read a whole body into memory and close it. Raises ValueError when it is larger than `limit` bytes."""
    if body is None:
        return b""
    blocks: list[bytes] = []
    size = 0
    try:
        async for block in body.chunks():
            size += len(block)
            if size > limit:
                raise ValueError(f"the body is larger than {limit} bytes")
            blocks.append(block)
    finally:
        await body.aclose()
    return b"".join(blocks)
