"""A folder with a limit of files: what is beyond it stays where it is."""

from pathlib import Path

import pytest

from s3d.sync.moves import paired
from s3d.sync.plan import Action, Do, Rules, plan
from s3d.sync.quota import limited
from tests.sidecar.sync.folders import synced
from tests.sidecar.sync.test_plan import base, here, there


def names(do: Do, actions: list[Action]) -> list[str]:
    return [one.path for one in actions if one.do is do]


@pytest.mark.semantics("S-4")
async def test_what_is_new_beyond_the_limit_is_left_alone_on_its_side_until_there_is_room(tmp_path: Path) -> None:
    async with synced(tmp_path, most=2) as world:
        world.write("b", b"1")
        world.write("c", b"2")
        await world.settle()
        world.write("a", b"3")
        await world.foreign.put("d", b"4")
        await world.settle()
        assert sorted(world.here()) == ["a", "b", "c"]
        assert sorted(await world.foreign.there()) == ["b", "c", "d"]
        assert [one["path"] for one in world.folder.left_alone()] == ["a", "d"]
        (world.path / "b").unlink()
        await world.settle()
        assert sorted(await world.foreign.there()) == ["a", "c", "d"]


@pytest.mark.semantics("S-4")
def test_a_move_needs_no_room_and_what_both_sides_have_stays() -> None:
    """The old name would go, and the new one stay behind."""
    was = [*base("1", "old"), *base("2", "other")]
    seen = [*there("1", "old"), *there("2", "other"), *there("4", "zz")]
    now = [*here("3", "new"), *here("1", "newer"), *here("2", "other")]
    planned = limited(paired([*plan(now, seen, was, Rules())]), 2, 1)
    assert names(Do.PUSH, planned) == ["newer"]
    assert names(Do.DROP_THERE, planned) == ["old"]
    assert names(Do.LEAVE, planned) == ["new", "zz"]


def test_what_both_sides_turn_out_to_have_and_conflicts_are_within_the_limit() -> None:
    planned = limited(
        [*plan([*here("1", "a"), *here("2", "b")], [*there("1", "a"), *there("3", "b")], [], Rules())], 0, 1
    )
    assert (names(Do.ADOPT, planned), names(Do.PULL, planned)) == (["a"], ["b"])
