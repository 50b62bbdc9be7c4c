"""The optional parts of the daemon, each in a line of words: for the page, and for `s3d status`."""

from collections.abc import Iterator, Mapping
from typing import Any

from s3d import words


def shown(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The cache, the sync folders and the mount, each where it is there, in words."""
    if cache := said["read_cache"]:
        yield "cache", of_cache(cache)
    folders = said["sync_folders"]
    for folder in folders:
        yield f"folder {folder['name']}" if len(folders) > 1 else "folder", of_folder(folder)
    if mount := said["mount"]:
        yield "mount", of_mount(mount)


def left(said: Mapping[str, Any]) -> str:
    """What is not in the remote yet, of the queue and of the parts that have files before it; "" where it has all."""
    pending, folders, mount = said["pending"], said["sync_folders"], said["mount"]
    found = []
    if number := pending["changes"]:
        found.append(f"{words.count(number, 'change')}, {words.show_size(pending['bytes'])}")
    if number := sum(folder["unsent"] for folder in folders):
        found.append(f"{words.count(number, 'file')} of the sync folder{'s' if len(folders) > 1 else ''}")
    if mount and (number := mount["unpublished"]):
        found.append(f"{words.count(number, 'file')} of the mount")
    return ", and ".join(found)


def of_cache(said: Mapping[str, Any]) -> str:
    """The read cache."""
    pins = ", ".join(f"{number} {state}" for state, number in said["pins"].items() if number)
    return "; ".join(
        [
            f"{words.count(said['entries'], 'object')}, {words.show_size(said['bytes'])}",
            *([f"pinned: {pins}"] if pins else ()),
            *(["it cannot be used just now: see the log"] if not said["usable"] else ()),
            *(["the policy does not decide what it may keep: see the log"] if not said["decided"] else ()),
        ]
    )


def of_folder(said: Mapping[str, Any]) -> str:
    """A sync folder."""
    counted = {
        "not sent yet": said["unsent"],
        "left alone": said["left_alone"],
        "failed": said["failed"],
        "kept twice": said["conflicts"],
    }
    reason = f" ({said['reason']})" if said["reason"] else ""
    less = "".join(f", {number} {what}" for what, number in counted.items() if number)
    return f"{said['state']}{reason}; {words.count(said['files'], 'file')} on both sides{less}"


def of_mount(said: Mapping[str, Any]) -> str:
    """The mount."""
    there = "mounted" if said["mounted"] else "gone"
    staged = f" ({words.show_size(said['staged_bytes'])})" if said["staged_bytes"] else ""
    unpublished = f", {said['unpublished']} no object yet{staged}" if said["unpublished"] else ""
    failing = f", {said['failing']} could not become one" if said["failing"] else ""
    return f"{said['path']}: {there}, {words.count(said['open_files'], 'file')} open{unpublished}{failing}"
