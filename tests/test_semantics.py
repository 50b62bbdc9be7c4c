"""The document of promises and the tests that quote it fit each other."""

from itertools import groupby
from string import ascii_lowercase

from tests.semantics import points, quoted, quoted_sentences, sentences


def test_every_quoted_sentence_exists() -> None:
    unknown = {name: places for name, places in quoted_sentences().items() if name not in sentences()}
    assert not unknown


def test_the_sentences_of_each_section_are_numbered_from_one_without_gaps() -> None:
    assert len(sentences()) == len(set(sentences()))
    for section, names in groupby(sorted(sentences()), key=lambda name: name.split("-")[0]):
        # An amendment has the number of its sentence, and a letter.
        numbers = {int(name.split("-")[1].rstrip(ascii_lowercase)) for name in names}
        assert numbers == set(range(1, len(numbers) + 1)), section


def test_every_promise_of_durability_queue_and_reads_is_quoted() -> None:
    assert [name for name in sentences() if name[0] in "DQR" and name not in quoted_sentences()] == []


def test_every_section_is_there() -> None:
    assert {name[0] for name in sentences()} == set("DQRCFSMAO")


def test_every_point_of_the_checklist_has_a_test_or_says_why_not() -> None:
    assert list(points()) == list(range(1, len(points()) + 1))
    assert {number for number, text in points().items() if "*Not here:*" in text} <= {41, 42, 62, 63}
    assert [n for n, text in points().items() if n not in quoted("checklist") and "*Not here:*" not in text] == []
    assert quoted("checklist").keys() <= points().keys()
