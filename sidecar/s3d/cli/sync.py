"""`sync`: the sync folder, over the socket of the daemon."""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from s3d import words
from s3d.cli import terminal
from s3d.cli.queue import FIRST_LOOK, LATER_LOOK, LEFT_BEHIND, request
from s3d.cli.status import WRONG, fetch, print_answer, read
from s3d.errors import S3DError

COLOURS = {"quiet": "green", "waiting": "yellow", "paused": "yellow", "halted": "red"}


def sync(options: argparse.Namespace) -> int:
    """Show, or have something done."""
    match options.action:
        case "status":
            said = fetch(None).get("sync_folder")
            if not said:
                raise S3DError("there is no sync folder", hint="S3D_SYNC_FOLDER=true makes one")
            return show(said, options)
        case "left" | "trash":
            return show_lists(options)
        case "diff":
            return show_differences(options)
        case "check":
            return check(options)
        case "conflicts":
            return show_conflicts(options)
        case "why":
            return explain(options)
        case "wait":
            return wait(options)
        case "restore":
            query = urlencode({"id": options.id})
            path = str(read(request("POST", f"/sync/restore?{query}"))["path"])
            if options.json:
                terminal.print_json({"path": path})
            else:
                sys.stdout.write(f"{words.printable(path)}\n")
            return 0
        case _:
            return show(read(request("POST", f"/sync/do?{urlencode({'what': wanted(options)})}")), options)


def wanted(options: argparse.Namespace) -> str:
    """What the daemon is asked to do."""
    if options.action != "resume":
        return str(options.action)
    return "as-new" if options.as_new else "accept-deletes" if options.accept_deletes else "resume"


def show(said: dict[str, Any], options: argparse.Namespace) -> int:
    """Print how the folder is doing; the exit code says whether it is halted."""
    print_answer(said, rows, as_json=options.json)
    return WRONG if said["halt"] else 0


def rows(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The folder for a person."""
    since = words.show_age(max(0.0, time.time() - said["since"]))
    reason = f": {words.printable(said['reason'])}" if said["reason"] else ""
    yield "folder", terminal.paint(said["state"], COLOURS.get(said["state"], "dim")) + f" for {since}{reason}"
    if said["hint"]:
        yield "", words.printable(said["hint"])
    unsent = f", {said['unsent']} not sent yet" if said["unsent"] else ""
    yield "files", f"{said['files']} on both sides{unsent}"
    if said["left_alone"] or said["failed"]:
        yield "left", f"{said['left_alone']} left alone, {said['failed']} failed: `s3d sync left` says why"
    if said["conflicts"]:
        yield "conflicts", f"{said['conflicts']} since the start; both versions are on both sides"
    if said["trash"]:
        yield "trash", words.count(said["trash"], "file")


def wait(options: argparse.Namespace) -> int:
    """Wait for a round that begins from now on and finds both sides equal, with nothing that is still to be sent."""
    began = time.monotonic()
    said = read(request("POST", f"/sync/do?{urlencode({'what': 'now'})}"))
    first, look = said["began"], FIRST_LOOK
    while not (said["ended"] > first and said["state"] == "quiet" and not said["unsent"]):
        if said["halt"] and said["ended"] > first:
            return show(said, options)
        if said["state"] == "paused":
            raise S3DError("the sync folder is paused", hint="s3d sync resume")
        left = math.inf if options.timeout is None else options.timeout - (time.monotonic() - began)
        if left <= 0:
            show(said, options)
            return LEFT_BEHIND
        time.sleep(min(look, left))
        look = min(look * 2, LATER_LOOK)
        said = fetch(None)["sync_folder"]
    return show(said, options)


def show_differences(options: argparse.Namespace) -> int:
    """Print what would be done now, a line each."""
    for one in read(request("GET", "/sync/diff"))["differences"]:
        note = "conflict" if one["conflict"] else f"moved from {one['moved_from']}" if one["moved_from"] else ""
        if options.json:
            terminal.print_json(one)
        elif terminal.is_terminal():
            line = f"{one['do']:<10}  {words.printable(one['path'])}  {words.printable(note)}"
            sys.stdout.write(f"{line.rstrip()}\n")
        else:
            terminal.print_fields(one["do"], one["path"], note)
    return 0


def check(options: argparse.Namespace) -> int:
    """Compare all files of both sides, and print what differs, a line each; the exit code says whether any does."""
    found: dict[str, Any] = {"files": 0, "bytes": 0, "left_alone": 0, "differences": []}
    page: dict[str, Any] = {"after": "", "done": False}
    with terminal.Progress(None) as progress:
        while not page["done"]:
            page = read(request("GET", f"/sync/check?{urlencode({'after': page['after']})}"))
            for name in found:
                found[name] += page[name]
            progress.add(page["bytes"])
    differences = found["differences"]
    if options.json:
        terminal.print_json(found)
        return 1 if differences else 0
    for one in differences:
        if terminal.is_terminal():
            sys.stdout.write(f"{words.printable(one['path'])}  {one['reason']}\n")
        else:
            terminal.print_fields(one["path"], one["reason"])
    if terminal.is_terminal():
        size, what = (
            words.show_size(found["bytes"]),
            f"{len(differences)} differ" if differences else "all are equal",
        )
        alone = f", {found['left_alone']} left alone" if found["left_alone"] else ""
        sys.stdout.write(f"{words.count(found['files'], 'file')}, {size}: {what}{alone}\n")
    return 1 if differences else 0


def show_conflicts(options: argparse.Namespace) -> int:
    """Print the conflict copies that wait, a line each."""
    after = ""
    while page := read(request("GET", f"/sync/conflicts?{urlencode({'after': after})}"))["conflicts"]:
        after = page[-1]["path"]
        for one in page:
            sizes = [side["size"] if side else "" for side in (one["here"], one["remote"])]
            if options.json:
                terminal.print_json(one)
            elif terminal.is_terminal():
                age = f", {words.show_age(max(0.0, time.time() - one['at']))} ago" if one["at"] else ""
                where = " and ".join(name for name, side in (("here", sizes[0]), ("remote", sizes[1])) if side != "")
                sys.stdout.write(f"{words.printable(one['path'])}  {where}{age}\n")
            else:
                terminal.print_fields(one["path"], one["of"], one["at"] or "", *sizes)
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print what both sides have of a path, and what is done with it."""
    print_answer(read(request("GET", f"/sync/why?{urlencode({'path': options.path})}")), reasons, as_json=options.json)
    return 0


MEANING = {
    "push": "it is uploaded",
    "pull": "it is downloaded",
    "drop-here": "it goes to the trash here",
    "drop-there": "it is deleted at the remote",
    "adopt": "both sides are equal, and that is noted",
    "forget": "it is forgotten",
    "leave": "it is left alone",
    "": "nothing is to be done",
}
"""What is done with a path."""


def reasons(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The same for a person."""
    here, remote = said["here"], said["remote"]
    yield "path", words.printable(said["path"])
    yield "here", said["here_is"] + (f", {words.show_size(here['size'])}" if here else "")
    what = f", {words.show_size(remote['size'])}, ETag {words.printable(remote['etag'])}" if remote else ""
    yield "remote", said["remote_is"] + what
    then = MEANING[said["do"]] + (", and what is here becomes a conflict copy" if said["conflict"] else "")
    yield "so", then + (f": {words.printable(said['reason'])}" if said["reason"] else "")
    if said["failed"]:
        yield "failed", words.printable(said["failed"])
    if said["delivered"] is False:
        yield "", "the remote itself was not seen to have it yet: it is in the write queue, or just out of it"
    for one in said["queue"]:
        text = f"change {one['seq']} ({one['op']}) is {one['state']}: {one['code']} {one['reason']}"
        yield "queue", words.printable(text.rstrip(": "))


def show_lists(options: argparse.Namespace) -> int:
    """Print what is left alone or what is in the trash, a line each."""
    for one in read(request("GET", "/sync"))[options.action]:
        if options.json:
            terminal.print_json(one)
        elif options.action == "left":
            if terminal.is_terminal():
                sys.stdout.write(f"{words.printable(one['path'])}  {one['reason']}\n")
            else:
                terminal.print_fields(one["path"], one["reason"])
        elif terminal.is_terminal():
            age, size = words.show_age(max(0.0, time.time() - one["at"])), words.show_size(one["size"])
            sys.stdout.write(f"{one['id']}  {words.printable(one['path'])}  {size}, {age} ago\n")
        else:
            terminal.print_fields(one["id"], one["path"], one["size"], one["at"])
    return 0
