"""The oracle of the crash tests, on histories that can be judged by eye."""

import math
from typing import Any

import pytest

from e2e.chaos.ledger import Change, permitted


def put(digest: str, started: float, ended: float, outcome: Any = "acknowledged") -> Change:
    return Change("key", digest, started, ended, outcome)


HISTORIES = {
    "nothing happened": ([], {"absent"}),
    "the last one counts": ([put("a", 0, 1), put("b", 2, 3)], {"b"}),
    "a delete is a change": ([put("a", 0, 1), put("absent", 2, 3)], {"absent"}),
    "either of two at the same time": ([put("a", 0, 3), put("b", 2, 4)], {"a", "b"}),
    "one that spans two in a row may win": ([put("a", 0, 9), put("b", 1, 2), put("c", 3, 4)], {"a", "c"}),
    "cut off after the last": ([put("a", 0, 1), put("b", 2, 3, "failed")], {"a", "b"}),
    "cut off before the last": ([put("a", 0, 1, "failed"), put("b", 2, 3)], {"b"}),
    "cut off, and nothing else": ([put("a", 0, 1, "failed")], {"absent", "a"}),
    "never answered": ([put("a", 0, math.inf, "open"), put("b", 2, 3)], {"a", "b"}),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_key_may_end_as_its_last_change_or_one_beside_it(name: str) -> None:
    history, digests = HISTORIES[name]
    assert permitted(history) == digests
