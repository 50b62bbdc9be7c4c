"""What the parts say of themselves, in words."""

from typing import Any

import pytest

from s3d.page import counts, parts

CACHE = {"entries": 1, "bytes": 5000, "usable": True, "decided": True, "pins": {"kept": 0, "waiting": 0, "over": 0}}
FOLDER = {
    "name": "folder",
    "state": "quiet",
    "reason": "",
    "files": 2,
    "unsent": 0,
    "left_alone": 0,
    "failed": 0,
    "conflicts": 0,
}
MOUNT = {"path": "/mnt", "mounted": True, "open_files": 1, "unpublished": 0, "failing": 0, "staged_bytes": 0}


@pytest.mark.parametrize(
    ("part", "said", "shown"),
    [
        ("read_cache", CACHE, ("cache", "1 object, 5.0 kB")),
        (
            "read_cache",
            CACHE | {"pins": {"kept": 3, "waiting": 0, "over": 1}},
            ("cache", "1 object, 5.0 kB; pinned: 3 kept, 1 over"),
        ),
        (
            "read_cache",
            CACHE | {"usable": False},
            ("cache", "1 object, 5.0 kB; it cannot be used just now: see the log"),
        ),
        (
            "read_cache",
            CACHE | {"decided": False},
            ("cache", "1 object, 5.0 kB; the policy does not decide what it may keep: see the log"),
        ),
        ("sync_folders", [FOLDER], ("folder", "quiet; 2 files on both sides")),
        (
            "sync_folders",
            [
                FOLDER
                | {
                    "state": "halted",
                    "reason": "a mass delete",
                    "unsent": 4,
                    "left_alone": 1,
                    "failed": 5,
                    "conflicts": 6,
                }
            ],
            (
                "folder",
                "halted (a mass delete); 2 files on both sides, 4 not sent yet, 1 left alone, 5 failed, 6 kept twice",
            ),
        ),
        ("mount", MOUNT, ("mount", "/mnt: mounted, 1 file open")),
        (
            "mount",
            MOUNT | {"mounted": False, "open_files": 0, "unpublished": 3, "failing": 2, "staged_bytes": 9000},
            ("mount", "/mnt: gone, 0 files open, 3 no object yet (9.0 kB), 2 could not become one"),
        ),
    ],
)
def test_each_part_is_told_in_words(part: str, said: Any, shown: tuple[str, str]) -> None:
    nothing: dict[str, Any] = {"read_cache": None, "sync_folders": [], "mount": None}
    assert [*parts.shown(nothing)] == []
    assert [*parts.shown({**nothing, part: said})] == [shown]


NOTHING: dict[str, Any] = {"pending": {"changes": 0, "bytes": 0}, "sync_folders": [], "mount": None}


@pytest.mark.semantics("O-12")
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, ""),
        ({"sync_folders": [FOLDER], "mount": MOUNT}, ""),
        ({"pending": {"changes": 2, "bytes": 5000}}, "2 changes, 5.0 kB"),
        ({"sync_folders": [FOLDER | {"unsent": 1}]}, "1 file of the sync folder"),
        (
            {"pending": {"changes": 1, "bytes": 0}, "mount": MOUNT | {"unpublished": 3}},
            "1 change, 0 B, and 3 files of the mount",
        ),
    ],
)
def test_what_is_not_in_the_remote_yet_is_all_of_it(said: dict[str, Any], shown: str) -> None:
    assert parts.left(NOTHING | said) == shown


def test_of_several_folders_each_has_its_name_and_what_they_have_not_sent_is_one_number() -> None:
    said = NOTHING | {"read_cache": None, "sync_folders": [FOLDER | {"name": name, "unsent": 2} for name in "ab"]}
    assert [name for name, _ in parts.shown(said)] == ["folder a", "folder b"]
    assert parts.left(said) == "4 files of the sync folders"


def test_a_day_of_which_nothing_is_counted_has_no_charts() -> None:
    assert counts.charts({"interval_seconds": 300, "samples": []}) == []
