"""Whatever happens in whatever order, the onion keeps what it owes; and the machine that says so has eyes.

tests/machine/ does the steps, tests/mutants.py takes promises out of the product one by one. S3D_E2E_SEED names other
steps; S3D_E2E_SOAK_HOURS makes them many more, by further seeds.
"""

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable, Iterator

import pytest

from s3d.layers import remote as layer
from s3d.layers import splice
from s3d.layers.queue.push import late_writes
from s3d.layers.queue.rules import retry
from s3d.metrics import Metrics
from s3d.settings import Remote as RemoteSettings
from tests import cache_mutants
from tests.crashes import Disk
from tests.fakes.fake import Fake
from tests.machine.play import Gateway, play
from tests.machine.world import CACHED, COUNTED, IDENTITIES, World
from tests.model import Wrong
from tests.moves import Watch
from tests.mutants import AMONG_IDENTITIES, MUTANTS
from tests.remotes import REGION, Remote

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
STEPS = 100
"""Steps of a round, about: many short rounds meet more than a long one does."""
ROUNDS = 20 + int(SOAK_HOURS * 1400)
MORE_ROUNDS = 100
"""Rounds, at most, for what was seldom answered: a slow machine makes other outages of the same steps."""
CACHED_ROUNDS = 5 + int(SOAK_HOURS * 1400)
"""Rounds with a read cache."""
REAL_ROUNDS = 4 + int(SOAK_HOURS * 140)
"""Rounds on a real server."""
OFTEN = 10 if not SOAK_HOURS else 50
SEARCHED = 40 + int(SOAK_HOURS * 1400)
"""Rounds, at most, in which a mutant is looked for."""
BEGUN_AT = {
    "superseded_tried_again": 10,
    "stale_for_ever": 9,
    "token_without_a_last_key": 6,
    "part_boundaries_changed": 5,
    "validated_once": 5,
    "drop_in_memory_alone": 4,
    "failure_by_status": 3,
    "filter_ignored": 3,
    "kept_back_behind_a_newer_change": 3,
    "grant_ignored": 2,
    "no_decision_lets_leave": 2,
}
"""The round with which the search for a mutant begins, where it was not found in the first two. It saves time alone."""

pytestmark = pytest.mark.timeout(600 + SOAK_HOURS * 3600)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A loop, a disk that is watched, retries without a pause, and no word in the log of the faults that we make."""
    monkeypatch.setattr(retry, "MIN_BACKOFF", 0.0005)
    monkeypatch.setattr(retry, "MAX_BACKOFF", 0.02)
    monkeypatch.setattr(retry, "MIN_PROBE_BACKOFF", 0.0005)
    monkeypatch.setattr(retry, "MAX_PROBE_BACKOFF", 0.02)
    monkeypatch.setattr(late_writes, "MAX_INTERVAL", 0.02)
    monkeypatch.setattr(late_writes, "MIN_INTERVAL", 0.002)
    log = logging.getLogger("s3d")
    before = log.level
    log.setLevel(logging.CRITICAL)
    with Disk().watched() as disk, asyncio.Runner() as runner:
        yield World(Fake, runner.get_loop(), disk)
    log.setLevel(before)


def seeds(rounds: int, first: int = 0) -> Iterator[int]:
    """The seed of each round."""
    name = os.environ.get("S3D_E2E_SEED") or "s3d"
    print(f"S3D_E2E_SEED={name}")
    for number in range(first, first + rounds):
        yield int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:4])


def seldom(world: World) -> dict[str, int]:
    """What was answered less than OFTEN."""
    return {name: world.answered[name] for name in COUNTED if world.answered[name] < OFTEN}


def search(world: World, mutant: Callable[[pytest.MonkeyPatch], None]) -> None:
    """Play until something is found. Raises Wrong."""
    for seed in seeds(SEARCHED, BEGUN_AT.get(mutant.__name__, 0)):
        play(world, STEPS, seed)


@pytest.mark.semantics(
    "D-1", "D-4", "Q-1", "Q-2", "Q-2a", "Q-3", "Q-4", "Q-16", "Q-19", "Q-20", "R-1", "R-2", "R-3", "R-5", "R-8", "A-8"
)
@pytest.mark.semantics("O-4")
def test_the_onion_keeps_what_it_owes(world: World) -> None:
    # Two identities take turns where the machine plays for hours, and for the mutants that only they can show.
    world.shared = None if SOAK_HOURS else False
    for number, seed in enumerate(seeds(ROUNDS + MORE_ROUNDS)):
        if number < ROUNDS or seldom(world):
            play(world, STEPS, seed)
    assert world.steps >= ROUNDS * STEPS // 2
    assert seldom(world) == {}
    assert {"ChangesParked", "RemoteAway"} <= world.told


@pytest.mark.semantics("C-1", "C-2", "C-3", "C-4", "C-8", "C-9", "C-9a", "C-11", "C-12", "R-2a")
def test_the_onion_keeps_what_it_owes_with_a_read_cache(world: World) -> None:
    world.cache, world.shared = True, None if SOAK_HOURS else False

    def missing() -> list[str]:
        return [name for name in CACHED if not world.answered[name]]

    for number, seed in enumerate(seeds(CACHED_ROUNDS + MORE_ROUNDS)):
        if number < CACHED_ROUNDS or missing():
            play(world, STEPS, seed)
    assert missing() == []


@pytest.mark.semantics("Q-2a", "Q-18b")
def test_what_is_parked_in_a_conflict_is_superseded_by_anothers_write(world: World) -> None:
    machine = type("Gateway", (Gateway,), {"world": world})()
    try:
        machine.come_in(0, shared=True)
        machine.chance = None
        machine.park("c", upon=False)
        machine.put_bytes("c", b"of another", "", IDENTITIES[1])
    finally:
        machine.teardown()
    assert world.answered["conflict"] == 1


@pytest.mark.remote
@pytest.mark.parametrize("remote", ["versitygw"], indirect=True)
def test_the_onion_keeps_what_it_owes_in_front_of_a_real_server(
    world: World, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in remote.environment.items():
        monkeypatch.setenv(name, value)
    # Once a process it writes a byte to a pipe, which must not be taken for a blocking call when a large body comes.
    splice.check()
    connecting = layer.connect(RemoteSettings(endpoint=remote.endpoint, region=REGION), Metrics())
    far = world.loop.run_until_complete(connecting.__aenter__())
    world.remote = lambda: far
    world.versions = world.tags = world.shared = False
    try:
        for seed in seeds(REAL_ROUNDS):
            play(world, STEPS, seed)
    finally:
        world.loop.run_until_complete(connecting.__aexit__(None, None, None))
    assert world.steps >= REAL_ROUNDS * STEPS // 2


@pytest.mark.parametrize(
    "mutant", [*cache_mutants.MUTANTS, *cache_mutants.AMONG_IDENTITIES], ids=lambda mutant: mutant.__name__
)
def test_the_machine_sees_a_mutant_of_the_cache(
    world: World, mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, moves: Watch
) -> None:
    mutant(monkeypatch)
    world.cache, world.shared = True, mutant in cache_mutants.AMONG_IDENTITIES
    with pytest.raises(Wrong):
        search(world, mutant)
    moves.wrong.clear()


@pytest.mark.parametrize("mutant", [*MUTANTS, *AMONG_IDENTITIES], ids=lambda mutant: mutant.__name__)
def test_the_machine_sees_a_mutant(
    world: World, mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, moves: Watch
) -> None:
    mutant(monkeypatch)
    world.shared = mutant in AMONG_IDENTITIES
    with pytest.raises(Wrong):
        search(world, mutant)
    # The machine has to see it by what the gateway does; a mutant may also make a move that no table allows.
    moves.wrong.clear()
