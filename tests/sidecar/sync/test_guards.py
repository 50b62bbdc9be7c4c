"""Moves and guards: what a plan means as a whole."""

import pytest

from s3d.sync.guards import MIN_DELETES, Halt, Limits, Tally, halt, tally
from s3d.sync.moves import paired
from s3d.sync.plan import Do, Rules, plan
from tests.sidecar.sync.test_plan import base, content, here, there


@pytest.mark.semantics("S-5")
def test_a_renamed_directory_is_moves_and_no_deletes() -> None:
    """Each old name waits for the new one, and the new one knows where its bytes are already."""
    names = [f"{number:04}" for number in range(2000)]
    now = [one for name in names for one in here(name, f"new/{name}")]
    was = [one for name in names for one in base(name, f"old/{name}")]
    seen = [one for name in names for one in there(name, f"old/{name}")]
    planned = paired([*plan(now, seen, was, Rules())])
    assert halt(tally(planned, len(was)), Limits()) is None
    assert tally(planned, len(was)) == Tally(2000, pushes=2000, moves=2000)
    pushed = [action for action in planned if action.do is Do.PUSH]
    assert [(action.path, action.source, action.source_etag) for action in pushed] == [
        (f"new/{name}", f"old/{name}", content(name).md5) for name in names
    ]


@pytest.mark.semantics("S-5")
def test_what_was_renamed_at_the_remote_is_no_delete_either() -> None:
    planned = paired([*plan(here("1", "a"), there("1", "b"), base("1", "a"), Rules())])
    assert [(action.do, action.goes_to, action.source) for action in planned] == [
        (Do.DROP_HERE, "b", ""),
        (Do.PULL, "", "a"),
    ]


def test_a_new_file_is_the_other_half_of_one_drop_only() -> None:
    planned = paired(
        [*plan(here("1", "c"), [*there("1", "a"), *there("1", "b")], [*base("1", "a"), *base("1", "b")], Rules())]
    )
    assert [action.goes_to for action in planned if action.do is Do.DROP_THERE] == ["c", ""]


@pytest.mark.semantics("S-2")
@pytest.mark.semantics("S-5")
@pytest.mark.parametrize(
    "counted, reason",
    [
        (Tally(100), None),
        (Tally(100, drops_here=50), None),
        (Tally(100, drops_here=51), Halt.MASS_DELETE),
        (Tally(100, drops_there=30, drops_here=30), Halt.MASS_DELETE),
        (Tally(100, moves=100), None),
        (Tally(12, drops_there=MIN_DELETES), None),
        (Tally(12, drops_there=MIN_DELETES + 1), Halt.MASS_DELETE),
        (Tally(1, drops_there=1), Halt.FOLDER_EMPTY),
        (Tally(1, drops_there=1, pushes=1), None),
        (Tally(5, drops_here=5), Halt.REMOTE_EMPTY),
        (Tally(5, drops_here=5, pulls=1), None),
        (Tally(100_000, drops_there=1001), Halt.MASS_DELETE),
        (Tally(100, returned=60), Halt.REMOTE_ROLLED_BACK),
        (Tally(100, returned_here=60), Halt.FOLDER_ROLLED_BACK),
        (Tally(0), None),
    ],
)
def test_a_plan_halts_for_a_reason(counted: Tally, reason: Halt | None) -> None:
    assert halt(counted, Limits()) is reason
