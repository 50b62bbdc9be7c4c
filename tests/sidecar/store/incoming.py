"""Bodies that come in, and what is in their directory then."""

import asyncio
from collections.abc import AsyncIterator

from s3d.api import Body
from s3d.store.bodies import Bodies

LIMIT = 16 << 10


class Incoming(Body):
    """A request body that gives its chunks once, then raises `end` if there is one."""

    length: int | None = None

    def __init__(self, *chunks: bytes, length: int | None = -1, end: BaseException | None = None) -> None:
        self.given = chunks
        self.length = sum(map(len, chunks)) if length == -1 else length
        self.end = end
        self.closed = 0

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for chunk in self.given:
            await asyncio.sleep(0)
            yield chunk
        if self.end:
            raise self.end

    async def aclose(self) -> None:
        self.closed += 1


def files(bodies: Bodies) -> list[str]:
    """All names in the directory but the quarantine's."""
    return sorted(path.name for path in bodies.root.iterdir() if path.name != "quarantine")


async def quiet(bodies: Bodies) -> None:
    """Let the threads finish what is left to do."""
    await bodies.close()


async def put_file(bodies: Bodies, data: bytes) -> str:
    stored = await bodies.receive(Incoming(data))
    assert stored.id
    return stored.id
