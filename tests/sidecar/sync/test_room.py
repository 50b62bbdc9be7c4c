"""The folder leaves room in the write queue to the writes of apps."""

from pathlib import Path

import pytest

from s3d.settings import WriteQueue
from s3d.sync.state import State
from tests.callers import ask
from tests.queues import BUCKET
from tests.sidecar.sync.folders import synced

SMALL = WriteQueue(max_files=20, max_size=1 << 20, wait=0.1)


@pytest.mark.semantics("S-9a")
@pytest.mark.semantics("Q-7h")
async def test_a_folder_with_more_changes_than_the_queue_takes_leaves_apps_their_half(tmp_path: Path) -> None:
    """While the remote is away its changes would fill the queue, and each PUT of an app would be refused."""
    async with synced(tmp_path, limits_of_queue=SMALL) as world:
        world.write("first", b"x")
        await world.settle()
        world.store.refuses_writes = True
        for number in range(40):
            world.write(f"{number:02}", b"%d" % number)
        await world.rounds(2)
        assert world.queue.pending()["changes"] == SMALL.max_files // 2
        assert (world.folder.state, world.folder.status()["failed"]) == (State.WAITING, 0)
        assert world.folder.unsent == 40 - SMALL.max_files // 2
        for number in range(SMALL.max_files // 2):
            await ask(world.queue, "PutObject", {"Bucket": BUCKET, "Key": f"app/{number}"}, b"x")
        world.store.refuses_writes = False
        for _ in range(40):
            await world.rounds(1)
            if world.folder.state is State.QUIET:
                break
        await world.settle()
        assert await world.foreign.there() == world.here()


@pytest.mark.semantics("Q-7h")
async def test_a_file_that_is_larger_than_the_share_is_written_through(tmp_path: Path) -> None:
    async with synced(tmp_path, limits_of_queue=SMALL) as world:
        world.write("first", b"x")
        await world.settle()
        world.write("large", b"x" * (600 << 10))
        await world.folder.round()
        assert world.queue.pending()["changes"] == 0
        assert len((await world.foreign.there())["large"]) == 600 << 10
