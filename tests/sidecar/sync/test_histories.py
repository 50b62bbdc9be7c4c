"""Histories of two gateways, their users and a foreign writer: what no plan may ever lose, and where all of it ends."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d.sync.plan import Action, Direction, Do
from tests.sidecar.sync.worlds import Gateway, Remote

PATHS = ["a", "a/b", "b", "c.txt", "d/e"]
ROUNDS = 12
"""More than any history of these needs: a clash of names is two rounds, a conflict three."""

edit = st.tuples(st.just("edit"), st.integers(0, 1), st.sampled_from(PATHS), st.just(""))
delete = st.tuples(st.just("delete"), st.integers(0, 1), st.sampled_from(PATHS), st.just(""))
move = st.tuples(st.just("move"), st.integers(0, 1), st.sampled_from(PATHS), st.sampled_from(PATHS))
foreign = st.tuples(st.sampled_from(["put", "remove", "parts"]), st.just(0), st.sampled_from(PATHS), st.just(""))
part = st.tuples(st.sampled_from(["some", "late", "blind"]), st.integers(0, 1), st.sampled_from(PATHS), st.just(""))
whole = st.tuples(st.just("round"), st.integers(0, 1), st.just(""), st.just(""))
histories = st.lists(st.one_of(edit, delete, move, foreign, part, whole), max_size=24)


@dataclass
class World:
    """Two gateways on a remote, and what became of each content."""

    remote: Remote = field(default_factory=Remote)
    gateways: list[Gateway] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    """Contents that somebody has replaced or deleted where they stood before his eyes."""
    made: list[str] = field(default_factory=list)
    plans: dict[int, list[Action]] = field(default_factory=dict)

    def new(self) -> str:
        self.made.append(f"content {len(self.made)}")
        return self.made[-1]

    def step(self, what: str, which: int, path: str, to: str) -> None:
        gateway = self.gateways[which]
        if what == "edit" and can_hold(gateway.files, path):
            self.given_up |= {gateway.files.get(path, "")}
            gateway.files[path] = self.new()
        elif what == "delete" and path in gateway.files:
            self.given_up.add(gateway.files.pop(path))
        elif what == "move" and path in gateway.files and path != to:
            data = gateway.files.pop(path)
            if can_hold(gateway.files, to):
                self.given_up |= {gateway.files.get(to, "")}
                path = to
            gateway.files[path] = data
        elif what in ("put", "parts"):
            self.given_up |= {self.remote.objects.get(path, ("", ""))[0]}
            self.remote.put(path, self.new(), in_parts=what == "parts")
        elif what == "remove" and path in self.remote.objects:
            self.given_up.add(self.remote.objects.pop(path)[0])
        elif what == "round":
            gateway.run(gateway.plan())
        elif what == "some":
            gateway.run(gateway.plan()[: PATHS.index(path)])
        elif what == "blind":
            gateway.run(gateway.plan(sees=PATHS.index(path) / len(PATHS)))
        elif what == "late":
            # What was planned then is done now, whatever has happened since.
            gateway.run(self.plans.pop(which, []))
            self.plans[which] = gateway.plan()

    def standing(self) -> set[str]:
        return {data for data, _ in self.remote.objects.values()}.union(*(one.files.values() for one in self.gateways))


def can_hold(files: dict[str, str], path: str) -> bool:
    return not any(name.startswith(f"{path}/") or path.startswith(f"{name}/") for name in files if name != path)


def worlds(direction: Direction = Direction.BOTH) -> World:
    world = World()
    world.gateways = [Gateway(world.remote, direction), Gateway(world.remote, direction)]
    return world


def settle(world: World) -> None:
    for _ in range(ROUNDS):
        before = (dict(world.remote.objects), [dict(one.files) for one in world.gateways])
        for gateway in world.gateways:
            gateway.run(gateway.plan())
        if before == (world.remote.objects, [one.files for one in world.gateways]):
            return
    raise AssertionError("it does not come to rest")


@pytest.mark.semantics("S-1")
@given(histories)
@settings(max_examples=400)
def test_no_content_vanishes_unless_somebody_who_saw_it_replaced_it(history: list[tuple[str, int, str, str]]) -> None:
    world = worlds()
    for step in history:
        world.step(*step)
        assert {*world.made} - world.given_up <= world.standing()
    settle(world)
    assert {*world.made} - world.given_up <= world.standing()


@pytest.mark.semantics("S-4")
@given(histories)
@settings(max_examples=400)
def test_when_it_is_quiet_both_sides_and_the_base_are_equal(history: list[tuple[str, int, str, str]]) -> None:
    """But for names that a side cannot have: those are reported, and nothing else is planned any more."""
    world = worlds()
    for step in history:
        world.step(*step)
    settle(world)
    for gateway in world.gateways:
        left = gateway.plan()
        assert {action.do for action in left} <= {Do.LEAVE}
        alone = {action.path for action in left}
        there = {path: data for path, (data, _) in world.remote.objects.items() if path not in alone}
        assert {path: data for path, data in gateway.files.items() if path not in alone} == there
        assert {path: one.etag for path, one in gateway.base.items() if path not in alone} == {
            path: world.remote.etag(path) for path in there
        }


@pytest.mark.semantics("S-2")
@given(histories, st.sampled_from(Direction))
@settings(max_examples=200)
def test_lost_knowledge_deletes_nothing(history: list[tuple[str, int, str, str]], direction: Direction) -> None:
    """Without a base, or with half of the remote's names, no plan drops anything on either side."""
    world = worlds(direction)
    for step in history:
        world.step(*step)
    gateway = world.gateways[0]
    dropped = {action.path for action in gateway.plan(sees=0) if action.do is Do.DROP_HERE}
    gateway.base.clear()
    assert dropped == set()
    assert {Do.DROP_HERE, Do.DROP_THERE} & {action.do for action in gateway.plan()} == set()


@pytest.mark.semantics("S-1")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_gateways_make_one_copy_of_a_conflict(order: tuple[int, int]) -> None:
    """Both users have written the same, and a foreign writer something else: one copy, by one name, on all sides."""
    world = worlds()
    for gateway in world.gateways:
        gateway.files["a"] = "what both wrote"
    world.remote.put("a", "what another wrote")
    for which in order:
        world.step("round", which, "", "")
    settle(world)
    assert len(world.remote.objects) == 2
    assert Counter(data for one in world.gateways for data in one.files.values()) == {
        "what both wrote": 2,
        "what another wrote": 2,
    }


@pytest.mark.semantics("S-4")
def test_lost_state_with_equal_sides_moves_no_byte() -> None:
    world = worlds()
    for path in PATHS[1:]:
        world.step("put", 0, path, "")
    settle(world)
    world.gateways[0].base.clear()
    assert {action.do for action in world.gateways[0].plan()} == {Do.ADOPT}
