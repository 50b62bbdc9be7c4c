"""What a list says of an object, in three values."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d.filters.grammar import parse
from s3d.filters.match import Subject, Truth, Values, decide

YES, NO, UNKNOWN = Truth.YES, Truth.NO, Truth.UNKNOWN
PUT = Subject(
    "b",
    "clips/a.mp4",
    bucket_tags={"team": "blue"},
    tags={"class": "public", "empty": ""},
    headers={"content-type": "video/mp4", "content-length": "70000"},
    metadata={"author": "Ada"},
    identity="alice",
)


@pytest.mark.semantics("F-1a")
@pytest.mark.parametrize(
    ("rules", "answer"),
    [
        ("", YES),
        ("b", YES),
        ("c", NO),
        ("!c", YES),
        ("!b", NO),
        ("b, !b/clips/*", NO),
        ("!b/clips/*, b", YES),
        ("b/clips/*", YES),
        ("b/clips", NO),
        ("b/clips/a.mp4", YES),
        ("*/clips/*", YES),
        ("b[tag:team]", YES),
        ("b[tag:Team]", NO),
        ("b[tag:class]", NO),
        ("b/*[tag:class=public]", YES),
        ("b/*[tag:class=pub*]", YES),
        ("b/*[tag:class!=public]", NO),
        ("b/*[tag:other!=public]", YES),
        ("b/*[tag:empty]", YES),
        ("b/*[tag:empty=]", YES),
        ("b/*[tag:other=]", NO),
        ("b[tag:team=blue]/clips/*[tag:class=public][hdr:content-type='video/*']", YES),
        ("b[tag:team=blue]/clips/*[tag:class=secret][hdr:content-type='video/*']", NO),
        ("b[hdr:Content-Length>64Ki]", YES),
        ("b[hdr:content-length<=70000]", YES),
        ("b[hdr:content-length<70000]", NO),
        ("b[hdr:content-length>=70k]", YES),
        ("b[hdr:expires<1]", NO),
        ("b[md:Author=Ada]", YES),
        ("b[id:alice]", YES),
        ("b[id:bob]", NO),
    ],
)
def test_of_an_object_that_is_known_whole(rules: str, answer: Truth) -> None:
    assert decide(parse(rules), PUT).answer is answer


DELETE = Subject("b", "k", bucket_tags={"team": "blue"})
CREATE = Subject("b", "k", tags={}, headers={"content-type": "text/plain", "content-length": None}, metadata={})


@pytest.mark.semantics("F-5")
@pytest.mark.parametrize(
    ("subject", "rules", "answer", "of_known"),
    [
        (DELETE, "b/*[tag:keep!=yes]", UNKNOWN, False),
        (DELETE, "!b/*[tag:keep=yes]", UNKNOWN, True),
        (DELETE, "b[hdr:content-length<10]", UNKNOWN, False),
        (DELETE, "b[md:a]", UNKNOWN, False),
        (DELETE, "b[id:alice]", UNKNOWN, False),
        (DELETE, "b[tag:team=blue]", YES, True),
        (DELETE, "c/*[tag:keep!=yes]", NO, False),
        (DELETE, "b[tag:team=red]/*[tag:keep!=yes]", NO, False),
        # A rule that cannot be judged changes nothing where it would say what is said already.
        (DELETE, "b, b/*[tag:keep=yes]", YES, True),
        # What a later rule says, whoever could not be judged before it, is known.
        (DELETE, "b/*[tag:keep=yes], !b", NO, False),
        (DELETE, "b, !b/*[tag:keep=yes], b/k", YES, True),
        (CREATE, "b[hdr:content-length<10]", UNKNOWN, False),
        (CREATE, "b[hdr:content-length]", UNKNOWN, False),
        (CREATE, "b[hdr:content-type=text/plain]", YES, True),
        (CREATE, "b/*[tag:keep!=yes]", YES, True),
        (CREATE, "b[tag:team]", UNKNOWN, False),
        (Subject("b", "k", headers={"x": "ten"}), "b[hdr:x<11]", UNKNOWN, False),
    ],
)
def test_of_what_is_not_known(subject: Subject, rules: str, answer: Truth, *, of_known: bool) -> None:
    verdict = decide(parse(rules), subject)
    assert (verdict.answer, verdict.of_known) == (answer, of_known)


# A list over one object with two tags of two values: each may be absent, one of the values, or not known.
VALUES = (None, "u", "v")
CONDITIONS = ("[tag:a]", "[tag:a=u]", "[tag:a!=u]", "[tag:b=v]", "[tag:b!=v]", "")


@given(
    st.lists(
        st.builds(
            lambda excludes, key, *c: (excludes, key, c),
            st.booleans(),
            st.sampled_from("k*x"),
            st.sampled_from(CONDITIONS),
            st.sampled_from(CONDITIONS),
        ),
        max_size=5,
    ),
    st.sets(st.sampled_from("ab")),
    st.sampled_from(VALUES),
    st.sampled_from(VALUES),
)
@pytest.mark.semantics("F-5")
def test_an_answer_is_known_if_it_is_the_same_whatever_the_unknown_is(
    rules: list[tuple[bool, str, tuple[str, ...]]], unknown: set[str], a: str | None, b: str | None
) -> None:
    text = ", ".join(f"{'!' if excludes else ''}b/{key}{''.join(conditions)}" for excludes, key, conditions in rules)
    seen = {"a": a, "b": b}
    # All worlds that what is known leaves open.
    worlds = [
        naive(rules, dict(zip("ab", values, strict=True)))
        for values in itertools.product(VALUES, VALUES)
        if all(seen[name] == value for name, value in zip("ab", values, strict=True) if name not in unknown)
    ]
    tags: Values = {**{name: value for name, value in seen.items() if value is not None}, **dict.fromkeys(unknown)}
    verdict = decide(parse(text), Subject("b", "k", tags=tags))
    if verdict.answer is not UNKNOWN:
        assert set(worlds) == {verdict.answer is YES}
    if not unknown:
        assert verdict.answer is not UNKNOWN


def naive(rules: list[tuple[bool, str, tuple[str, ...]]], tags: dict[str, str | None]) -> bool:
    """The same, spelled out for this one object."""
    answer = not rules or rules[0][0]
    for excludes, key, conditions in rules:
        if key != "x" and all(naive_condition(one, tags) for one in conditions):
            answer = not excludes
    return answer


def naive_condition(text: str, tags: dict[str, str | None]) -> bool:
    """A condition of the six."""
    return {
        "[tag:a]": tags["a"] is not None,
        "[tag:a=u]": tags["a"] == "u",
        "[tag:a!=u]": tags["a"] != "u",
        "[tag:b=v]": tags["b"] == "v",
        "[tag:b!=v]": tags["b"] != "v",
        "": True,
    }[text]
