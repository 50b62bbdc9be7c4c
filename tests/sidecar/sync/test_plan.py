"""The table of what is planned for one path, and what a plan never does."""

import hashlib
from dataclasses import replace

import pytest

from s3d.sync.plan import Action, Direction, Do, Rules, plan
from s3d.sync.trees import Base, Content, Here, Kind, OutOfOrder, There, side_by_side


def content(data: str) -> Content:
    raw = data.encode()
    return Content(hashlib.sha256(raw).digest(), hashlib.md5(raw).hexdigest(), len(raw))


def here(data: str, path: str = "a") -> list[Here]:
    return [Here(path, content=content(data))] if data else []


def there(data: str, path: str = "a", etag: str = "") -> list[There]:
    return [There(path, etag or content(data).md5, len(data))] if data else []


def base(data: str, path: str = "a", former: tuple[str, ...] = ()) -> list[Base]:
    return [Base(path, content(data).md5, content(data), former)] if data else []


def first(mine: list[Here], theirs: list[There], was: list[Base], rules: Rules) -> Action:
    return next(plan(mine, theirs, was, rules))


def one(actions: list[Action]) -> Do | None:
    assert len(actions) < 2
    return actions[0].do if actions else None


@pytest.mark.semantics("S-1")
@pytest.mark.semantics("S-2")
@pytest.mark.parametrize(
    "is_here, is_there, was, both, push, pull",
    [
        ("", "", "", None, None, None),
        ("", "", "1", Do.FORGET, Do.FORGET, Do.FORGET),
        ("1", "1", "1", None, None, None),
        ("2", "1", "1", Do.PUSH, Do.PUSH, Do.PULL),
        ("1", "2", "1", Do.PULL, Do.PUSH, Do.PULL),
        ("2", "2", "1", Do.ADOPT, Do.ADOPT, Do.ADOPT),
        ("2", "3", "1", Do.PULL, Do.PUSH, Do.PULL),
        ("1", "1", "", Do.ADOPT, Do.ADOPT, Do.ADOPT),
        ("1", "2", "", Do.PULL, Do.PUSH, Do.PULL),
        ("1", "", "", Do.PUSH, Do.PUSH, Do.LEAVE),
        ("1", "", "1", Do.DROP_HERE, Do.PUSH, Do.DROP_HERE),
        ("2", "", "1", Do.PUSH, Do.PUSH, Do.FORGET),
        ("", "1", "", Do.PULL, Do.LEAVE, Do.PULL),
        ("", "1", "1", Do.DROP_THERE, Do.DROP_THERE, Do.PULL),
        ("", "2", "1", Do.PULL, Do.LEAVE, Do.PULL),
    ],
)
def test_each_case_of_a_path_has_its_action(
    is_here: str, is_there: str, was: str, both: Do | None, push: Do | None, pull: Do | None
) -> None:
    trees = here(is_here), there(is_there), base(was)
    planned = [one([*plan(*trees, Rules(direction))]) for direction in Direction]
    assert planned == [both, push, pull]


@pytest.mark.semantics("S-2b")
@pytest.mark.parametrize(
    "is_here, is_there, both, push, pull",
    [
        ("1", "1", None, None, None),
        ("1", "", Do.PUSH, Do.PUSH, Do.LEAVE),
        ("1", "2", Do.PULL, Do.PUSH, Do.PULL),
        ("2", "", Do.PUSH, Do.PUSH, Do.LEAVE),
        ("", "1", Do.DROP_THERE, Do.DROP_THERE, Do.PULL),
        ("", "2", Do.PULL, Do.LEAVE, Do.PULL),
        ("", "", Do.FORGET, Do.FORGET, Do.FORGET),
    ],
)
def test_a_base_that_the_remote_was_not_seen_to_have_counts_while_the_gateway_shows_it(
    is_here: str, is_there: str, both: Do | None, push: Do | None, pull: Do | None
) -> None:
    was = [replace(base("1")[0], is_delivered=False)]
    planned = [one([*plan(here(is_here), there(is_there), was, Rules(direction))]) for direction in Direction]
    assert planned == [both, push, pull]
    away = one([*plan(here(is_here), [], was, Rules(there_is_whole=False))])
    assert away == {"1": None, "2": Do.PUSH, "": Do.DROP_THERE}[is_here]


def test_an_upload_and_a_delete_expect_what_the_remote_was_seen_to_have() -> None:
    assert first(here("2"), there("1"), base("1"), Rules()).expects == content("1").md5
    assert first([], there("1"), base("1"), Rules()).expects == content("1").md5
    assert first(here("2"), [], base("1"), Rules()).expects == ""


@pytest.mark.semantics("S-1")
def test_a_download_may_replace_the_base_and_nothing_else() -> None:
    edited, clean, new = (
        first(here(mine), there("3"), base(was), Rules()) for mine, was in [("2", "1"), ("1", "1"), ("2", "")]
    )
    assert (edited.is_conflict, edited.content) == (True, content("1"))
    assert (clean.is_conflict, clean.content) == (False, content("1"))
    assert (new.is_conflict, new.content) == (True, None)


@pytest.mark.semantics("S-2")
@pytest.mark.parametrize("direction", Direction)
def test_a_tree_that_was_not_walked_in_whole_makes_no_name_absent(direction: Direction) -> None:
    """What it does not show is as it was: nothing is dropped on the other side, nor made again."""
    blind_there = Rules(direction, there_is_whole=False)
    blind_here = Rules(direction, here_is_whole=False)
    assert [*plan(here("1"), [], base("1"), blind_there)] == []
    assert [*plan([], there("1"), base("1"), blind_here)] == []


@pytest.mark.semantics("S-2")
def test_with_the_remote_half_known_edits_and_deletes_are_sent_under_the_base() -> None:
    rules = Rules(there_is_whole=False)
    edit, delete = first(here("2"), [], base("1"), rules), first([], [], base("1"), rules)
    assert (edit.do, edit.expects) == (Do.PUSH, content("1").md5)
    assert (delete.do, delete.expects) == (Do.DROP_THERE, content("1").md5)


@pytest.mark.semantics("S-4")
@pytest.mark.parametrize("trees", [(here("1"), []), ([], there("1")), (here("1"), there("1")), (here("1"), there("2"))])
def test_what_leaves_the_scope_is_no_delete(trees: tuple[list[Here], list[There]]) -> None:
    rules = Rules(leaves_out=lambda _path, _size: "filtered")
    assert [one([*plan(*trees, base("1"), rules)]), one([*plan(*trees, [], rules)])] == [Do.FORGET, Do.LEAVE]


@pytest.mark.semantics("S-4")
def test_a_file_that_grew_beyond_the_limit_on_one_side_is_left_alone_on_both() -> None:
    rules = Rules(leaves_out=lambda _path, size: "too large" if size > 3 else "")
    assert one([*plan(here("1234"), there("1"), base("1"), rules)]) is Do.FORGET
    assert one([*plan(here("1"), there("1234"), base("1"), rules)]) is Do.FORGET


@pytest.mark.semantics("S-6")
def test_a_key_and_a_key_below_it_cannot_both_be_files() -> None:
    both = [*there("1", "a"), *there("1", "a-"), *there("1", "a/b"), *there("1", "ab")]
    planned = {action.path: action.do for action in plan([], both, [], Rules())}
    assert planned == {"a": Do.PULL, "a-": Do.PULL, "a/b": Do.LEAVE, "ab": Do.PULL}
    directory = [Here("a", Kind.DIRECTORY), *here("1", "a/b")]
    planned = {action.path: action.do for action in plan(directory, both, [], Rules())}
    assert planned == {"a": Do.LEAVE, "a-": Do.PULL, "a/b": Do.ADOPT, "ab": Do.PULL}


@pytest.mark.semantics("S-7")
def test_what_was_below_a_link_is_neither_dropped_nor_written() -> None:
    """A directory that became a link, a mount point or unreadable takes its names with it: nobody knows of them."""
    seen = [*there("1", "d/a"), *there("2", "d/b"), *there("1", "d/c")]
    known = [*base("1", "d/a"), *base("1", "d/b")]
    planned = [*plan([Here("d", Kind.OPAQUE)], seen, known, Rules())]
    assert {action.do for action in planned} == {Do.LEAVE}


@pytest.mark.semantics("S-8")
def test_a_file_that_is_being_written_is_left_alone() -> None:
    assert one([*plan([Here("a")], there("2"), base("1"), Rules())]) is Do.LEAVE


def test_an_etag_that_the_remote_had_before_is_said() -> None:
    """A remote that was rolled back looks like somebody's edits, and only in numbers unlike them."""
    actions = [*plan(here("2"), there("1"), base("2", former=(content("1").md5,)), Rules())]
    assert (actions[0].do, actions[0].returned) == (Do.PULL, True)


@pytest.mark.semantics("S-2")
def test_a_tree_out_of_order_is_no_tree() -> None:
    """A name that comes late would have looked deleted before."""
    with pytest.raises(OutOfOrder):
        [*side_by_side([Here("b"), Here("a")], [], [])]


def test_what_replaces_others_work_at_the_remote_is_kept_first() -> None:
    pushed = first(here("1"), there("2"), base("1"), Rules(Direction.PUSH))
    assert (pushed.do, pushed.expects, pushed.keeps) == (Do.PUSH, content("2").md5, True)
