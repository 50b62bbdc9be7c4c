"""How the store reads white space in the values of headers, which it does before it judges a signature.

AWS says that runs of spaces become one space, and says nothing of tabs or of the blanks of Unicode; some stores make
one space of those, too. A signature holds for one of the two readings. Where they differ, the store is asked once, by a
request that changes nothing: what it says of a write may come after its bytes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from s3d.api import AnyHeaders
from s3d.errors import S3Error
from s3d.protocol import canonical
from s3d.protocol.canonical import Reading

log = logging.getLogger(__name__)

SAMPLE = {"x-amz-meta-s3d": "a\tb"}
"""A header that the two readings tell apart."""
AFTER = frozenset(["", "AccessDenied", "NoSuchBucket", "NoSuchKey"])
"""What a store says once it has found the signature right; "" is a success."""


class Blanks:
    """What is known of the store's reading."""

    def __init__(self, ask: Callable[[str, str, Reading], Awaitable[str]]) -> None:
        """Take what sends the sample to a bucket on behalf of an identity, signed by a reading, and gives the code of
        the answer's error."""
        self._ask = ask
        self._known: Reading | None = None
        self._asking = asyncio.Lock()

    async def reading(self, bucket: str, identity: str, headers: AnyHeaders) -> Reading:
        """The reading to sign these headers by, where an identity sends them to a bucket."""
        if not canonical.is_ambiguous(headers):
            return Reading.SPACES
        async with self._asking:
            if self._known is None:
                self._known = await self._look(bucket, identity)
            return self._known or Reading.SPACES

    async def _look(self, bucket: str, identity: str) -> Reading | None:
        """Ask; None where the answers say nothing of it."""
        for reading in Reading:
            try:
                code = await self._ask(bucket, identity, reading)
            except S3Error as error:
                log.debug("the store could not be asked how it reads white space: %s", error)
                return None
            if code in AFTER:
                return reading
            if code != "SignatureDoesNotMatch":
                return None
        return None

    def refused(self, headers: AnyHeaders) -> None:
        """Note that a request was refused: if it depends on the reading, that is asked again before the next one."""
        if self._known is not None and canonical.is_ambiguous(headers):
            self._known = None
