"""Whose request it is, and whether they may: judged before a byte of the body is read (SEMANTICS A-2).

A form is the exception: its signature is among its fields, so these are read first, bounded as forms are.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from s3d.access import form, verify
from s3d.access.authorise import authorise
from s3d.access.keys import AccessKey
from s3d.access.verify import Caller
from s3d.api import Body, Wire
from s3d.door.keys import DoorKeys
from s3d.errors import S3Error
from s3d.metrics import Metrics
from s3d.protocol import checksums, forms

GATEWAY = Caller(AccessKey(id="", secrets=()), seal=None, payload=checksums.UNSIGNED)
"""Everyone who reaches a door without keys."""


class Callers:
    """Who may come in, by the access keys."""

    def __init__(self, keys: DoorKeys, metrics: Metrics) -> None:
        """Take the keys."""
        self._keys = keys
        self._metrics = metrics

    @property
    def all_sign(self) -> bool:
        """Whether nothing is served that is not signed."""
        return self._keys.keys.anonymous is None

    async def admit(
        self, operation: str, params: Mapping[str, Any], wire: Wire, body: Body | None, *, secure: bool
    ) -> tuple[Caller, Body | None]:
        """Find out who makes a request, and whether they may; with them, the body, still to be read from its start.

        Raises S3Error.
        """
        try:
            keys = self._keys.keys
            if body is not None and forms.is_form(wire) and not operation and not verify.is_signed(wire):
                looked = Looked(body)
                fields = (await forms.read(looked, wire.headers.get("Content-Type", ""))).fields
                caller = Caller(form.authenticate(fields, keys, secure=secure), seal=None, payload=checksums.UNSIGNED)
                body, operation = looked.again(), "PutObject"
            else:
                caller = verify.authenticate(wire, keys, datetime.now(UTC), secure=secure)
            authorise(caller.key, operation, params.get("Bucket", ""), wire)
        except S3Error as error:
            self._metrics.count_caller(error.code)
            raise
        self._metrics.count_caller("anonymous" if caller.key is keys.anonymous else "accepted")
        return caller, body


class Looked(Body):
    """A body whose beginning somebody looks at, before another one reads it: what the first has read is kept in memory,
    so that must be little."""

    length: int | None = None

    def __init__(self, body: Body) -> None:
        """Take the body; nothing is read yet."""
        self._body = body
        self._blocks = body.chunks()
        self._seen: list[bytes] = []
        self._started = False
        self.length = body.length

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield the blocks, and keep them."""
        if start or end is not None or self._started:
            raise ValueError("a body that is being received can be read once, from its start")
        self._started = True
        async for block in self._blocks:
            self._seen.append(block)
            yield block

    def again(self) -> "Resumed":
        """The body from its start, for whoever reads it all."""
        return Resumed(self._body, self._seen, self._blocks)

    async def aclose(self) -> None:
        """Close the body underneath."""
        await self._body.aclose()


class Resumed(Body):
    """A body of which some blocks have come already."""

    length: int | None = None

    def __init__(self, body: Body, seen: Sequence[bytes], blocks: AsyncIterator[bytes]) -> None:
        """Take the blocks that have come, and what gives the others."""
        self._body = body
        self._seen = deque(seen)
        self._blocks = blocks
        self._started = False
        self.length = body.length

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Yield all blocks from the first one on."""
        if start or end is not None or self._started:
            raise ValueError("a body that is being received can be read once, from its start")
        self._started = True
        while self._seen:
            yield self._seen.popleft()
        async for block in self._blocks:
            yield block

    async def aclose(self) -> None:
        """Close the body underneath."""
        await self._body.aclose()
