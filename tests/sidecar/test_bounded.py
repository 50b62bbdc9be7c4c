"""The bounded map: what it forgets, and when."""

from hypothesis import given
from hypothesis import strategies as st

from s3d.bounded import BoundedMap


def test_an_entry_is_got_until_it_is_forgotten() -> None:
    numbers: BoundedMap[str, int] = BoundedMap(2)
    numbers["one"] = 1
    assert numbers.get("one") == 1
    assert "one" in numbers
    numbers.forget("one")
    assert numbers.get("one") is None
    assert "one" not in numbers


def test_what_is_not_there_can_be_forgotten() -> None:
    BoundedMap[str, int](2).forget("one")


def test_one_too_many_pushes_out_the_oldest() -> None:
    numbers: BoundedMap[str, int] = BoundedMap(2)
    for number, name in enumerate(["zero", "one", "two"]):
        numbers[name] = number
    assert [numbers.get(name) for name in ("zero", "one", "two")] == [None, 1, 2]


def test_what_is_set_again_is_the_newest() -> None:
    numbers: BoundedMap[str, int] = BoundedMap(2)
    for name in ("one", "two", "one", "three"):
        numbers[name] = len(name)
    assert "one" in numbers
    assert "two" not in numbers


def test_what_is_read_is_no_newer_for_it() -> None:
    numbers: BoundedMap[str, int] = BoundedMap(2)
    numbers["one"] = 1
    numbers["two"] = 2
    assert numbers.get("one") == 1
    numbers["three"] = 3
    assert "one" not in numbers


@given(st.integers(1, 5), st.lists(st.integers(0, 9)))
def test_the_entries_that_were_set_last_are_there(most: int, keys: list[int]) -> None:
    numbers: BoundedMap[int, int] = BoundedMap(most)
    for key in keys:
        numbers[key] = key
    last = list(dict.fromkeys(reversed(keys)))[:most]
    assert len(numbers) == len(last)
    assert all(numbers.get(key) == key for key in last)
