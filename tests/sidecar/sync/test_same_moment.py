"""An app writes a key by the door in the very moment in which the folder's upload of it is taken: whoever comes first,
nothing is superseded that nobody has seen. S3D_E2E_SOAK_HOURS makes it 1,000 keys; S3D_E2E_SEED repeats the choices."""

import asyncio
import os
import random
import secrets
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from s3d.api import S3, Call, Reply
from s3d.client import Client
from s3d.sync.guards import Limits
from tests.callers import ask
from tests.queues import BUCKET
from tests.sidecar.sync.folders import PREFIX, World, synced

KEYS = 1000 if float(os.environ.get("S3D_E2E_SOAK_HOURS", "0")) else 25
LONGEST = 40
"""Turns of the loop, at most, by which one of the two begins before the other."""


@dataclass
class Meeting:
    """The gateway as the folder sees it: with each upload comes an app's put of the same key."""

    s3: S3
    choose: random.Random
    wrote: dict[str, bytes] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __call__(self, call: Call) -> Reply:
        if call.operation == "PutObject":
            self.wrote[call.key] = b"by the app: " + call.key.encode()
            first, second = self.choose.randrange(LONGEST), self.choose.randrange(LONGEST)
            self.tasks.append(asyncio.create_task(self._put(call.key, first)))
            await turns(second)
        return await self.s3(call)

    async def _put(self, key: str, number: int) -> None:
        await turns(number)
        await ask(self.s3, "PutObject", {"Bucket": BUCKET, "Key": key}, self.wrote[key])


@dataclass
class Refused:
    """The gateway as the folder sees it: with its first write the remote is back, and refuses those of before."""

    world: World
    choose: random.Random
    s3: S3
    met: set[str] = field(default_factory=set)

    async def __call__(self, call: Call) -> Reply:
        if call.operation in ("PutObject", "DeleteObject"):
            self.met.add(call.key)
            if self.world.store.away:
                self.world.store.away = False
                await self.world.queue.pusher.drained(0)
            await asyncio.sleep(self.choose.random() * self.choose.choice((0.0, 0.01, 0.1)))
        return await self.s3(call)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@pytest.mark.timeout(600)
@pytest.mark.semantics("S-1")
@pytest.mark.semantics("Q-18a")
@pytest.mark.parametrize("is_away", [False, True], ids=["remote there", "remote away"])
@pytest.mark.parametrize("is_new", [False, True], ids=["edit", "new file"])
async def test_a_put_of_an_app_and_an_upload_in_one_moment_lose_neither(
    tmp_path: Path, is_away: bool, is_new: bool
) -> None:
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    names = [f"{number:04}.txt" for number in range(KEYS)]
    async with synced(tmp_path) as world:
        world.write("stays", b"stays")
        for name in [] if is_new else names:
            world.write(name, b"base of " + name.encode())
        await world.settle()
        folder, meeting = world.folder, Meeting(world.queue, random.Random(seed))
        objects, folder.objects = folder.objects, replace(folder.objects, client=Client(meeting, origin="sync"))
        world.store.away = is_away
        for name in names:
            world.write(name, b"by the folder: " + name.encode())
        await world.rounds(1)
        await asyncio.gather(*meeting.tasks)
        folder.objects = objects
        assert set(meeting.wrote) == {PREFIX + name for name in names}
        world.store.away = False
        await world.settle()
        here = world.here()
        assert await world.foreign.there() == here
        # The folder's version stood at the remote where it was delivered first: then the app has replaced it.
        standing = Counter(here.values())
        kept = {*standing, *world.trash()}
        assert {*meeting.wrote.values()} <= {*standing}
        assert {b"by the folder: " + name.encode() for name in names} <= kept
        assert max(standing.values()) == 1, "a conflict has one copy"
        assert {here[name] for name in names} <= {*meeting.wrote.values()}


@pytest.mark.timeout(600)
@pytest.mark.semantics("S-1", "Q-2c", "Q-18g")
@pytest.mark.parametrize("is_new", [False, True], ids=["edit", "new file"])
@pytest.mark.parametrize("done", ["changed", "deleted", "moved"])
async def test_what_is_done_to_a_file_while_its_upload_is_refused_costs_nobodys_version(
    tmp_path: Path, is_new: bool, done: str
) -> None:
    """Somebody else has written meanwhile. What is done is made upon the upload that is being refused."""
    seed = os.environ.get("S3D_E2E_SEED") or secrets.token_hex(4)
    print(f"seed {seed}")
    names = [f"{number:04}.txt" for number in range(KEYS)]
    async with synced(tmp_path, limits=Limits(share=1.0, count=10_000)) as world:
        world.write("stays", b"stays")
        for name in [] if is_new else names:
            world.write(name, b"base of " + name.encode())
        await world.settle()
        world.store.away = True
        for name in names:
            world.write(name, b"the first of " + name.encode())
        await world.rounds(1)
        for name in names:
            await world.foreign.put(name, b"somebody's " + name.encode())
            match done:
                case "changed":
                    world.write(name, b"the second of " + name.encode())
                case "deleted":
                    (world.path / name).unlink()
                case _:
                    (world.path / name).rename(world.path / f"moved {name}")
        folder, refused = world.folder, Refused(world, random.Random(seed), world.queue)
        objects, folder.objects = folder.objects, replace(folder.objects, client=Client(refused, origin="sync"))
        await world.rounds(1)
        folder.objects = objects
        assert refused.met >= ({PREFIX + name for name in names} if done != "moved" else {PREFIX + "moved " + names[0]})
        # A round may find one conflict alone, since the others are found out while it goes on.
        await world.settle(3 * KEYS)
        here = world.here()
        assert await world.foreign.there() == here
        standing = Counter(here.values())
        for said in (b"somebody's ", *{"changed": [b"the second of "], "moved": [b"the first of "]}.get(done, [])):
            assert {said + name.encode() for name in names} <= {*standing}
        assert max(standing.values()) == 1, "a conflict has one copy"
