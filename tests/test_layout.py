"""Where tests are."""

from collections import Counter

from tests.daemons import ROOT


def test_no_two_files_of_tests_have_one_name() -> None:
    """A name in a log or a document leads to one file."""
    names = Counter(path.name for folder in ("tests", "e2e") for path in (ROOT / folder).rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
