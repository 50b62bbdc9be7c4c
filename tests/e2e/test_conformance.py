"""The runner of the conformance suite: its comparison sees what may go wrong, and its lists are whole."""

from typing import Any

import pytest

from e2e.conformance import suite, views

SHOWN = {"b": {}, "b/k": {"ETag": '"1"', "sha256": "aa", "Metadata": {"m": "1"}, "tags": {}}}


def test_equal_views_do_not_differ() -> None:
    assert views.difference(SHOWN, {name: dict(shown) for name, shown in SHOWN.items()}) == ""


@pytest.mark.parametrize(
    "delivered, said",
    [
        ({"b": {}}, "b/k is not on the remote"),
        ({**SHOWN, "b/l": {}}, "b/l is on the remote and was not shown"),
        ({**SHOWN, "b/k": {**SHOWN["b/k"], "sha256": "bb"}}, "b/k: sha256 was 'aa' and is 'bb'"),
        ({**SHOWN, "b/k": {**SHOWN["b/k"], "Metadata": {}}}, "b/k: Metadata was {'m': '1'} and is {}"),
        ({**SHOWN, "b/k": {"error": "AccessDenied"}}, "b/k: ETag was '\"1\"' and is None"),
    ],
)
def test_a_view_that_differs_is_told_apart(delivered: dict[str, dict[str, Any]], said: str) -> None:
    assert views.difference(SHOWN, delivered) == said


def test_every_accepted_test_has_a_reason_and_passes_on_a_remote_alone() -> None:
    accepted = suite.listed(suite.HERE / "accepted.txt")
    bases = [set(suite.listed(suite.HERE / "base" / f"{name}.txt")) for name in suite.REMOTES]
    assert all(accepted.values())
    assert not set(accepted) - set().union(*bases)
