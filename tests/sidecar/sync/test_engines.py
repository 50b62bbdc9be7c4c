"""Random histories of two gateways with real folders and a foreign writer, over outages,
crashes and moves: where all of it ends, and what must still be there."""

import asyncio
import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d.layers.judge import Judge
from s3d.layers.queue import Queue
from s3d.sync.guards import Limits
from s3d.sync.state import State
from tests.callers import ask
from tests.fakes.fake import Fake
from tests.queues import BUCKET, at_work, until
from tests.sidecar.sync.folders import Foreign, Store, World, opened

PATHS = ["a", "a/b", "b.txt", "d/e"]
SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
EXAMPLES = 300 if SOAK_HOURS else 8
NO_LIMITS = Limits(share=1.0, count=10_000)
steps = st.lists(
    st.tuples(
        st.sampled_from(["edit", "edit", "delete", "move", "put", "remove", "round", "round", "away", "restart"]),
        st.integers(0, 1),
        st.sampled_from(PATHS),
        st.sampled_from(PATHS),
    ),
    max_size=16,
)


@dataclass
class Two:
    """Two folders of two gateways on one store, and what became of each content."""

    store: Store
    worlds: list[World]
    made: list[bytes] = field(default_factory=list)
    given_up: set[bytes] = field(default_factory=set)

    def new(self) -> bytes:
        self.made.append(b"content %d" % len(self.made))
        return self.made[-1]

    async def step(self, what: str, which: int, path: str, to: str) -> None:
        world = self.worlds[which]
        here = await asyncio.to_thread(world.here)
        if what == "edit" and can_hold(here, path):
            self.given_up.add(here.get(path, b""))
            await asyncio.to_thread(world.write, path, self.new())
        elif what == "delete" and path in here:
            self.given_up.add(here[path])
            await asyncio.to_thread((world.path / path).unlink)
        elif what == "move" and path in here and path != to and can_hold(here, to) and can_hold({path: b""}, to):
            self.given_up.add(here.get(to, b""))
            await asyncio.to_thread(move, world.path / path, world.path / to)
        elif what in ("put", "remove"):
            foreign = Foreign(self.store.s3)
            self.given_up.add((await foreign.there()).get(path, b""))
            await (foreign.put(path, self.new()) if what == "put" else foreign.delete(path))
        elif what == "round":
            await world.rounds(1)
        elif what == "away":
            self.store.away = not self.store.away
        elif what == "restart":
            await world.folder.aclose()


def can_hold(files: dict[str, bytes], path: str) -> bool:
    return not any(name.startswith(f"{path}/") or path.startswith(f"{name}/") for name in files if name != path)


def move(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.replace(to)


async def play(directory: Path, history: list[tuple[str, int, str, str]]) -> None:
    store = Store(Judge(Fake()))
    await ask(store.s3, "CreateBucket", {"Bucket": BUCKET})
    async with contextlib.AsyncExitStack() as stack:
        queues: list[Queue] = []
        worlds: list[World] = []
        for name in ("one", "two"):
            place = directory / name
            await asyncio.to_thread((place / "folder").mkdir, parents=True)
            queue = await stack.enter_async_context(at_work(place / "local", store))
            worlds.append(await stack.enter_async_context(opened(place, queue, limits=NO_LIMITS)))
            queues.append(queue)
        two = Two(store, worlds)
        for step in history:
            await two.step(*step)
        store.away = False
        await settle(two)
        there = await Foreign(store.s3).there()
        standing = {*there.values(), *worlds[0].here().values(), *worlds[1].here().values()}
        assert {*two.made} - two.given_up <= standing, "a content is gone that nobody has given up"
        for world in worlds:
            left = {one["path"] for one in world.folder.left_alone()}
            assert {k: v for k, v in world.here().items() if k not in left} == {
                k: v for k, v in there.items() if k not in left
            }


async def settle(two: Two) -> None:
    quiet = 0
    for _ in range(40):
        before = await Foreign(two.store.s3).there(), [world.here() for world in two.worlds]
        for world in two.worlds:
            if world.folder.state is State.HALTED:
                await world.folder.resume(as_new=True, accepts=False)
            await world.rounds(1)
            await until(lambda world=world: not on_its_way(world))  # type: ignore[misc]  # a lambda with a default
        after = await Foreign(two.store.s3).there(), [world.here() for world in two.worlds]
        quiet = quiet + 1 if before == after and all(w.folder.state is State.QUIET for w in two.worlds) else 0
        if quiet == 2:
            return
    raise AssertionError([world.folder.status() for world in two.worlds])


def on_its_way(world: World) -> bool:
    states = world.queue.states()
    return bool(world.queue.pending()["changes"] - states["parked"])


@pytest.mark.timeout(120 + SOAK_HOURS * 3600)
@pytest.mark.semantics("S-1", "S-4")
@given(history=steps)
@settings(max_examples=EXAMPLES)
def test_two_gateways_end_equal_and_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, int, str, str]]
) -> None:
    asyncio.run(play(tmp_path_factory.mktemp("two"), history))
