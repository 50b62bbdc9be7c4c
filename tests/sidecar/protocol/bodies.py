"""Request bodies for tests."""

from collections.abc import AsyncIterator, Sequence

from s3d.api import Body


class Blocks(Body):
    """A body that comes in the given blocks, with any length said."""

    length: int | None = None

    def __init__(self, blocks: Sequence[bytes], length: int | None = None) -> None:
        self.blocks = blocks
        self.length = sum(map(len, blocks)) if length is None else length
        self.closed = False

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for block in self.blocks:
            yield block

    async def aclose(self) -> None:
        self.closed = True


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def drain(body: Body, taken: list[bytes]) -> bytes:
    """Read a body into `taken`, so that what came before an error can be looked at."""
    async for block in body.chunks():
        taken += [block]
    return b"".join(taken)
