import io

import pytest

from s3d.cli import terminal


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
    assert terminal.show_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (3.4, "3 s"), (119, "119 s"), (300, "5 min"), (7200, "2 h"), (345_600, "4 days")],
)
def test_an_age_has_a_unit(seconds: float, shown: str) -> None:
    assert terminal.show_age(seconds) == shown


def test_a_time_that_is_none_is_shown_as_it_came() -> None:
    assert terminal.show_time("soon\x1b") == "soon\\x1b"


def test_a_name_turns_neither_a_terminal_nor_the_direction_of_a_text() -> None:
    assert terminal.printable("a\x1b[31m\u202egnp.exe\u2066") == "a\\x1b[31m\\u202egnp.exe\\u2066"


def test_progress_is_shown_on_a_terminal_and_wiped_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(terminal, "FIRST_SHOWN", 0)
    monkeypatch.setattr("sys.stderr", screen)
    with terminal.Progress(2_000_000) as progress:
        progress.add(500_000)
    assert "500.0 kB of 2.0 MB, 25 %" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_progress_is_not_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "FIRST_SHOWN", 0)
    monkeypatch.setattr("sys.stderr", screen)
    with terminal.Progress(10) as progress:
        progress.add(5)
    assert screen.getvalue() == ""
