"""Spans of names that are known whole, against a set of names."""

from hypothesis import given
from hypothesis import strategies as st

from s3d.layers.names.spans import Span, cut, meet

NAMES = "abcdefgh"
bounds = st.tuples(st.sampled_from(NAMES), st.sampled_from([*NAMES, None])).filter(
    lambda two: two[1] is None or two[0] < two[1]
)


def names_in(spans: list[Span]) -> list[str]:
    return [name for span in spans for name in NAMES if span.holds(name)]


@given(st.lists(bounds, max_size=12))
def test_spans_hold_what_was_put_and_do_not_overlap(given_spans: list[tuple[str, str | None]]) -> None:
    """After any number of pages each name is known by the newest page that shows it, and by no other."""
    kept: list[tuple[Span, int]] = []
    newest: dict[str, int] = {}
    for number, (low, high) in enumerate(given_spans):
        new = Span(low, high)
        kept = [(left, which) for span, which in kept for left in cut(span, new)] + [(new, number)]
        newest |= dict.fromkeys(names_in([new]), number)
    known = [(name, which) for span, which in kept for name in names_in([span])]
    assert sorted(known) == sorted(newest.items())
    assert all(not meet(one, other) for one, _ in kept for other, _ in kept if one != other)
    assert all(span.high is None or span.low < span.high for span, _ in kept)


@given(bounds, bounds)
def test_spans_meet_where_they_have_names_in_common(one: tuple[str, str | None], other: tuple[str, str | None]) -> None:
    """Bounds are among the names here, so two spans that meet have one of them in common."""
    assert meet(Span(*one), Span(*other)) == bool(set(names_in([Span(*one)])) & set(names_in([Span(*other)])))
