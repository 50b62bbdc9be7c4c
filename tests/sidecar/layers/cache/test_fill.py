"""A fill, block by block, into a real file."""

import asyncio
from array import array
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from s3d.api import Body
from s3d.errors import Unavailable
from s3d.layers.cache.fill import Fill
from s3d.store.blocks import BLOCK_BYTES, Blocks


class Watched(Body):
    """A body of so many blocks that notes what its fill has brought when it is asked for the next one."""

    replayable = False
    length = None

    def __init__(self, number: int) -> None:
        self.number = number
        self.blocks = array("Q", bytes(8 * number))
        self.brought: list[int] = []

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for at in range(self.number):
            self.brought.append(sum(map(bool, self.blocks)))
            yield bytes([at]) * BLOCK_BYTES

    async def aclose(self) -> None:
        """Nothing is held."""


async def test_a_block_is_written_while_the_next_one_comes(tmp_path: Path) -> None:
    store = await asyncio.to_thread(Blocks, tmp_path / "blocks")
    file = await store.create()
    body = Watched(4)
    await Fill(0, 4, 4 * BLOCK_BYTES).run(body, file, body.blocks, set())
    # One block is on its way to the disk, and no more than one.
    assert body.brought == [0, 0, 1, 2]
    assert [await file.read(at * BLOCK_BYTES, at * BLOCK_BYTES + 1) for at in range(4)] == [
        bytes([at]) for at in range(4)
    ]
    file.close()
    await store.close()


@pytest.mark.semantics("C-5")
async def test_of_a_body_that_is_too_short_no_block_comes_after_it_has_broken_off(tmp_path: Path) -> None:
    store = await asyncio.to_thread(Blocks, tmp_path / "blocks")
    file = await store.create()
    body = Watched(2)
    with pytest.raises(Unavailable):
        await Fill(0, 3, 3 * BLOCK_BYTES).run(body, file, body.blocks, set())
    ended = [*body.blocks]
    file.close()
    await store.close()
    assert [*body.blocks] == ended
