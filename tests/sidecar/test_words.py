import pytest

from s3d import words


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (4096, "4.1 kB"),
        (10**6, "1.0 MB"),
        (5 * 10**9, "5.0 GB"),
        (10**15, "1000.0 TB"),
    ],
)
def test_a_size_has_a_unit(size: int, shown: str) -> None:
    assert words.show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (3.4, "3 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (345_600, "4 days")],
)
def test_an_age_has_a_unit(seconds: float, shown: str) -> None:
    assert words.show_age(seconds) == shown


def test_a_name_turns_neither_a_terminal_nor_the_direction_of_a_text() -> None:
    assert words.printable("a\x1b[31m\u202egnp.exe\u2066") == "a\\x1b[31m\\u202egnp.exe\\u2066"
