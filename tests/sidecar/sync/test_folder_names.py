"""Which names can be on both sides, and what a conflict copy is called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d.sync.names import MAX_NAME_BYTES, conflict_copy, original, why_not

SHA = bytes.fromhex("3f9a1c2b4d5e") + bytes(26)


@pytest.mark.semantics("S-6")
@pytest.mark.parametrize(
    "path",
    ["", "a/", "/a", "a//b", "./a", "a/..", "a/../b", "a\0", ".s3d/x", ".s3d", "x" * 256, "a/" * 600 + "a", "\udcff"],
)
def test_a_name_that_cannot_be_on_both_sides_has_a_reason(path: str) -> None:
    assert why_not(path)


@pytest.mark.semantics("S-6")
@pytest.mark.parametrize("path", ["a", "a/b", "...", ".s3dx", "a b", "é", "x" * 255, "a/.s3d", "a\\b", "a\nb"])
def test_any_other_name_can(path: str) -> None:
    assert why_not(path) == ""


def test_a_key_is_as_long_as_its_prefix_makes_it() -> None:
    assert why_not("a" * 200, "p/" * 411) == ""
    assert why_not("a" * 203, "p/" * 411)


@pytest.mark.semantics("S-1")
@pytest.mark.parametrize(
    "path, copy",
    [
        ("d.x/a.txt", "d.x/a (conflict 3f9a1c2b4d5e).txt"),
        ("a", "a (conflict 3f9a1c2b4d5e)"),
        ("d/.bashrc", "d/.bashrc (conflict 3f9a1c2b4d5e)"),
        ("a.", "a (conflict 3f9a1c2b4d5e)."),
    ],
)
def test_a_copy_is_called_by_its_content(path: str, copy: str) -> None:
    assert conflict_copy(path, SHA) == copy
    assert conflict_copy(path, SHA, 2) == copy.replace(")", " 2)")
    assert [original(one) for one in (copy, conflict_copy(path, SHA, 2), path)] == [path, path, ""]


@pytest.mark.semantics("S-6")
@given(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), st.integers(1, 10**6))
def test_the_name_of_a_copy_can_be_on_both_sides(name: str, number: int) -> None:
    path = "d/" + name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")
    if not why_not(path):
        copy = conflict_copy(path, SHA, number)
        assert why_not(copy) == ""
        assert copy != path
        assert copy != conflict_copy(path, SHA, number + 1)
