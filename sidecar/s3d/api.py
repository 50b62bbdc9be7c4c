"""The seam: everything that holds data is an async function from a Call to a Reply.

Layers, the folder sync, the mount and the CLI each hold an `S3` and cannot tell a gateway from a bucket. Nothing in
here does I/O. The rules of a Body are a contract that tests/contracts.py holds every implementation to.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from multidict import CIMultiDict, CIMultiDictProxy

AnyHeaders = CIMultiDict[str] | CIMultiDictProxy[str]
Headers = CIMultiDict[str]
MOST_HEADERS = 640
"""Headers of a request or an answer, at the door and at the remote: S3 bounds bytes, and 512 of metadata fill 8 KB."""


class Body(Protocol):
    """Bytes on their way.

    A digest, a chunk signature or a trailer that does not match raises *instead of* yielding the last block. Whoever
    takes a body calls `aclose()`, also on cancellation. The first block of a request body is what lets a waiting client
    send it (100 Continue).
    """

    @property
    def length(self) -> int | None:
        """Length in bytes; None only in a reply whose length the remote did not say."""

    @property
    def replayable(self) -> bool:
        """Whether `chunks` may be called more than once."""

    def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` up to, not including, `end`. A body that is not replayable takes no range."""

    async def aclose(self) -> None:
        """Let go of what the body holds. Safe to call twice."""


@dataclass(slots=True)
class Wire:
    """A request as it came over the wire, nothing decoded."""

    method: str
    path: str
    """As sent, percent-encoded, without the query: `/bucket/a%2Fb`."""
    query: str
    """As sent, percent-encoded, without the question mark."""
    headers: AnyHeaders


@dataclass(slots=True)
class Call:
    """One operation asked of an S3.

    `params` holds botocore's member names; `Bucket` and `Key` are there whenever the request names them, also where the
    operation is unknown. With `wire`, the call may be forwarded as it came; without, a layer made it.
    """

    operation: str
    """botocore's name of the operation, or "" for one that the model does not know."""
    params: dict[str, Any]
    body: Body | None = None
    identity: str = ""
    wire: Wire | None = None

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


@dataclass(slots=True)
class Reply:
    """The answer to a Call.

    Either `result` (botocore's member names, encoded at the door) or, where it is None, the remote's own response:
    status, headers and body untouched. A forwarded call may come back with an error status; a call without a wire
    raises S3Error instead.
    """

    status: int = 200
    headers: Headers = field(default_factory=CIMultiDict)
    result: dict[str, Any] | None = None
    body: Body | None = None
    outcome: Outcome = Outcome.DONE


class S3(Protocol):
    """The seam itself."""

    async def __call__(self, call: Call) -> Reply:
        """Serve one call. Raises S3Error and nothing else."""


@dataclass(slots=True)
class BytesBody:
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

    async def aclose(self) -> None:
        """Nothing to let go of."""


async def read_small(body: Body) -> bytes:
    """Read a whole body that is known to be small; the caller closes it.

    A body may have a method `whole` beside `chunks`: the same bytes, judged the same, without a generator for each
    layer around it. For a small body those generators cost more than everything that is done to its bytes.
    """
    whole: Callable[[], Awaitable[bytes]] | None = getattr(body, "whole", None)
    if whole is not None:
        return await whole()
    return b"".join([block async for block in body.chunks()])


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
