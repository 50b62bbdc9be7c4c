"""What was kept in a directory is forgotten when another one takes its place, or none."""

from pathlib import Path

from s3d.errors import ConfigError
from s3d.store.earlier import forget_earlier


def start(root: Path, now: str | None, fails: str = "") -> list[str]:
    """One start: the names of the directories that are forgotten."""
    forgotten: list[str] = []

    def forget(directory: Path) -> None:
        if directory.name == fails:
            raise ConfigError("it is in use")
        forgotten.append(directory.name)

    for name in ("usual", "a", "b"):
        (root / name).mkdir(exist_ok=True)
    forget_earlier(root / "marker", [root / "usual"], root / now if now else None, forget)
    return forgotten


def test_a_directory_is_forgotten_when_another_takes_its_place_or_none(tmp_path: Path) -> None:
    assert start(tmp_path, "a") == ["usual"]
    assert start(tmp_path, "a") == ["usual"]
    assert start(tmp_path, "b") == ["a", "usual"]
    assert start(tmp_path, None) == ["b", "usual"]
    assert start(tmp_path, None) == ["usual"]
    assert start(tmp_path, "usual") == []


def test_one_that_cannot_be_cleared_is_tried_again(tmp_path: Path) -> None:
    start(tmp_path, "a")
    assert start(tmp_path, "b", fails="a") == ["usual"]
    assert start(tmp_path, "b") == ["a", "usual"]


def test_a_marker_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    for text in ("", "{", "[1, 2]", '{"a": 1}', "[" * 100_000):
        (tmp_path / "marker").write_text(text)
        assert start(tmp_path, "a") == ["usual"]
        assert start(tmp_path, "b") == ["a", "usual"]
