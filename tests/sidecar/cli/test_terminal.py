import io

import pytest

from s3d.cli import terminal


def test_a_time_that_is_none_is_shown_as_it_came() -> None:
    assert terminal.show_time("soon\x1b") == "soon\\x1b"


def test_progress_is_shown_on_a_terminal_and_wiped_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(terminal, "PROGRESS_AFTER", 0)
    monkeypatch.setattr("sys.stderr", screen)
    with terminal.Progress(2_000_000) as progress:
        progress.add(500_000)
    assert "500.0 kB of 2.0 MB, 25 %" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")


def test_progress_is_not_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "PROGRESS_AFTER", 0)
    monkeypatch.setattr("sys.stderr", screen)
    with terminal.Progress(10) as progress:
        progress.add(5)
    assert screen.getvalue() == ""
