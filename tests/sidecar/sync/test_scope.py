"""Files that programs make for themselves are told from those of people."""

import pytest

from s3d.filters.grammar import parse
from s3d.sync.scope import scope


@pytest.mark.semantics("S-4")
@pytest.mark.parametrize(
    ("path", "is_left"),
    [
        ("sedPJ7Ff1", True),
        ("d/.f.AbC123", True),
        (".f.txt.swp", True),
        (".~lock.a.odt#", True),
        ("sediments", False),
        (".env.sample", False),
    ],
)
def test_files_that_programs_make_for_themselves_are_told_from_others(path: str, is_left: bool) -> None:
    assert bool(scope("bucket", "p/", parse("*"), 0)(path, 1)) is is_left
