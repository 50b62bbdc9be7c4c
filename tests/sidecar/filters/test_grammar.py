"""Rules are read, and written back, as SEMANTICS F-1 says; what cannot be read is told with its place."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s3d.filters.grammar import MAX_RULES, MAX_TEXT, FilterError, parse
from s3d.filters.rule import ANY, UNITS, Condition, Member, Operator, Pattern, Rule, Rules

NAMES = st.text(min_size=1, max_size=12)
PATTERNS = st.builds(Pattern, NAMES, st.booleans()) | st.just(ANY)
NUMBERS = st.tuples(st.from_regex(r"[0-9]{1,9}(\.[0-9]{1,4})?", fullmatch=True), st.sampled_from(sorted(UNITS)))


def number(operator: Operator, member: Member, name: str, value: tuple[str, str]) -> Condition:
    """A condition that compares numbers."""
    digits, unit = value
    return Condition(member, name, operator, Pattern(digits + unit), float(digits) * UNITS[unit])


def lowered(member: Member, name: str) -> str:
    """A name as its member has it."""
    return name.lower() if member in (Member.HEADER, Member.METADATA) else name


MEMBERS = st.sampled_from([Member.BUCKET_TAG, Member.TAG, Member.HEADER, Member.METADATA])
NAMED = st.builds(lambda member, name: (member, lowered(member, name)), MEMBERS, NAMES)
CONDITIONS = st.one_of(
    st.builds(lambda named: Condition(*named), NAMED),
    st.builds(
        lambda named, operator, value: Condition(named[0], named[1], operator, value),
        NAMED,
        st.sampled_from([Operator.EQUAL, Operator.UNEQUAL]),
        PATTERNS | st.just(Pattern("")),
    ),
    st.builds(
        lambda named, operator, value: number(operator, named[0], named[1], value),
        NAMED,
        st.sampled_from([Operator.LESS, Operator.AT_MOST, Operator.MORE, Operator.AT_LEAST]),
        NUMBERS,
    ),
    st.builds(lambda value: Condition(Member.IDENTITY, "", Operator.EQUAL, value), PATTERNS),
)


def ordered(conditions: list[Condition]) -> tuple[Condition, ...]:
    """Those of the bucket stand in front."""
    return tuple(sorted(conditions, key=lambda one: one.member is not Member.BUCKET_TAG))


RULES = st.lists(
    st.builds(Rule, PATTERNS, PATTERNS, st.lists(CONDITIONS, max_size=3).map(ordered), st.booleans()), max_size=4
).map(lambda rules: Rules(tuple(rules)))


@given(RULES)
@pytest.mark.semantics("F-1")
def test_a_list_reads_as_it_is_written(rules: Rules) -> None:
    assert parse(str(rules)) == rules
    assert parse([str(rule) for rule in rules.rules]) == rules


@given(st.text(max_size=200) | st.text("ab/*'[]!:=<>, \\tagid", max_size=60))
@example("[" * 200)
@example("'" * 199)
def test_any_text_is_a_list_or_an_error_with_its_place(text: str) -> None:
    refusal: FilterError | None = None
    try:
        rules = parse(text)
    except FilterError as error:
        refusal = error
    if refusal is None:
        assert parse(str(rules)) == rules
    else:
        assert 0 <= refusal.position <= len(text)
        assert f"at character {refusal.position + 1} of" in str(refusal)


SIZE = Condition(Member.HEADER, "content-length", Operator.LESS, Pattern("64Ki"), 65536.0)
CLIP = Condition(Member.HEADER, "content-type", Operator.EQUAL, Pattern("video/", is_prefix=True))


@pytest.mark.semantics("F-1")
@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("photos", Rule(Pattern("photos"))),
        ("photos/", Rule(Pattern("photos"))),
        ("logs-*", Rule(Pattern("logs-", is_prefix=True))),
        ("*", Rule(ANY)),
        ("!photos", Rule(Pattern("photos"), excludes=True)),
        ("photos[tag:k]", Rule(Pattern("photos"), ANY, (Condition(Member.BUCKET_TAG, "k"),))),
        ("photos/[tag:k]", Rule(Pattern("photos"), ANY, (Condition(Member.TAG, "k"),))),
        (
            "photos[tag:k=v]",
            Rule(Pattern("photos"), ANY, (Condition(Member.BUCKET_TAG, "k", Operator.EQUAL, Pattern("v")),)),
        ),
        (
            "photos[tag:K!=v]",
            Rule(Pattern("photos"), ANY, (Condition(Member.BUCKET_TAG, "K", Operator.UNEQUAL, Pattern("v")),)),
        ),
        (
            "photos/*[tag:k=]",
            Rule(Pattern("photos"), ANY, (Condition(Member.TAG, "k", Operator.EQUAL, Pattern("")),)),
        ),
        (
            "photos[tag:a]/x*[tag:b]",
            Rule(
                Pattern("photos"),
                Pattern("x", is_prefix=True),
                (Condition(Member.BUCKET_TAG, "a"), Condition(Member.TAG, "b")),
            ),
        ),
        ("photos/2026/a.jpg", Rule(Pattern("photos"), Pattern("2026/a.jpg"))),
        ("lake/dt=2026-01-01/*", Rule(Pattern("lake"), Pattern("dt=2026-01-01/", is_prefix=True))),
        ("b//x", Rule(Pattern("b"), Pattern("/x"))),
        (r"b/a\*", Rule(Pattern("b"), Pattern("a*"))),
        (r"b/a\\*", Rule(Pattern("b"), Pattern("a\\", is_prefix=True))),
        ("b/'it''s, [x]'", Rule(Pattern("b"), Pattern("it's, [x]"))),
        ("b[hdr:Content-Type='video/*']", Rule(Pattern("b"), ANY, (CLIP,))),
        ("b[hdr:content-type='video/'*]", Rule(Pattern("b"), ANY, (CLIP,))),
        ("b[ hdr:content-type = video/* ]", Rule(Pattern("b"), ANY, (CLIP,))),
        (
            "b[hdr:content-length<64Ki]",
            Rule(
                Pattern("b"),
                ANY,
                (Condition(Member.HEADER, "content-length", Operator.LESS, Pattern("64Ki"), 65536.0),),
            ),
        ),
        (
            "b[md:Name=value]",
            Rule(Pattern("b"), ANY, (Condition(Member.METADATA, "name", Operator.EQUAL, Pattern("value")),)),
        ),
        (
            "b[id:alice]",
            Rule(Pattern("b"), ANY, (Condition(Member.IDENTITY, "", Operator.EQUAL, Pattern("alice")),)),
        ),
    ],
)
def test_a_form(text: str, rule: Rule) -> None:
    assert parse(text) == Rules((rule,))


def test_commas_within_quotes_part_no_rules() -> None:
    assert [str(rule) for rule in parse("a/x[hdr:x='1,2'] , !b\n, c").rules] == ["a/x[hdr:x='1,2']", "!b", "c"]


@pytest.mark.semantics("F-1b")
@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("b[tga:k]", 2, "'tga' is none of tag, hdr, md and id; did you mean tag?"),
        ("b[]", 2, "'' is none of tag, hdr, md and id"),
        ("b[tag]", 5, ": and a name are expected behind tag"),
        ("b[tag:]", 6, "a name is expected"),
        ("b[tag:x*]", 6, r"a name has no *; \* is a star"),
        ("b[tag:k", 7, "the bracket is not closed: ] is expected"),
        ("b[tag:k=a,b]", 9, "the bracket is not closed: ] is expected"),
        ("b[id:]", 5, "the name of an identity is expected"),
        ("b[hdr:content-length<ten]", 21, "'ten' is no number; write for example 100, 64Ki or 1.5G"),
        ("b[hdr:content-length<]", 21, "a number is expected"),
        ("b[hdr:content-length<1e3]", 21, "'1e3' is no number; write for example 100, 64Ki or 1.5G"),
        ("b[hdr:content-length<1Xi]", 21, "'1Xi' is no number; write for example 100, 64Ki or 1.5G"),
        ("/x", 0, "a rule begins with the name of a bucket; * is any bucket"),
        ("a, [tag:k]", 3, "a rule begins with the name of a bucket; * is any bucket"),
        ("b/a*b", 3, r"a * stands for any rest, and only at the end; \* is a star"),
        (r"b/x\y", 3, r"a backslash stands before * or another backslash only"),
        ("b/'x", 4, "the quotation is not closed: ' is expected"),
        ("a b", 2, "a comma or the end of the list is expected"),
        ("b]", 1, "a comma or the end of the list is expected"),
        (",b", 0, "the name of a bucket is expected"),
        ("b,,c", 2, "the name of a bucket is expected"),
        ("!", 1, "the name of a bucket is expected"),
    ],
)
def test_what_is_no_rule_is_told_with_its_place(text: str, position: int, problem: str) -> None:
    with pytest.raises(FilterError) as error:
        parse(text)
    assert (error.value.position, error.value.problem) == (position, problem)


def test_a_list_is_bounded() -> None:
    assert len(parse(",".join(["b"] * MAX_RULES)).rules) == MAX_RULES
    for text in (",".join(["b"] * (MAX_RULES + 1)), "b" * (MAX_TEXT + 1)):
        with pytest.raises(FilterError):
            parse(text)
    with pytest.raises(FilterError):
        parse(["b"] * (MAX_RULES + 1))
