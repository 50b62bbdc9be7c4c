"""`sync`: the sync folders, over the socket of the daemon."""

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
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
            chosen = folders(options)
            return max(show(one, options, among=len(chosen)) for one in chosen)
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
        case "restore":
            path = str(read(request("POST", asked("restore", options, id=options.id)))["path"])
            if options.json:
                terminal.print_json({"path": path})
            else:
                sys.stdout.write(f"{words.printable(path)}\n")
            return 0
        case "resume" if options.as_new or options.accept_deletes:
            # What is decided about one folder is not meant for another.
            return show(do("as-new" if options.as_new else "accept-deletes", options), options)
        case "wait":
            return wait(options)
        case _:
            chosen = folders(options)
            return max(show(do(options.action, options, one["name"]), options, among=len(chosen)) for one in chosen)


def named(options: argparse.Namespace) -> list[str]:
    """Which folders are meant, each by its name or an absolute path; [] where none is said."""
    said: list[str] = options.folder
    if not said and options.action == "why" and Path(options.path).is_absolute():
        said = [options.path]
    # A name has no slash, and links stay: one in the folder may lead out of it.
    return [os.path.normpath(Path(one).absolute()) if "/" in one or one in (".", "..") else one for one in said]


def asked(action: str, options: argparse.Namespace, folder: str = "", **more: str) -> str:
    """The path of a request about a folder. Raises S3DError where several are said."""
    if not folder:
        folder, *others = named(options) or [""]
        if others:
            raise S3DError("--folder is said several times", hint="this is about one folder: say it for each")
    said = {"folder": folder} | more
    return f"/sync{action and f'/{action}'}?{urlencode({name: value for name, value in said.items() if value})}"


def do(what: str, options: argparse.Namespace, folder: str = "") -> dict[str, Any]:
    """Have a folder do something; how it is then."""
    return read(request("POST", asked("do", options, folder, what=what)))


def folders(options: argparse.Namespace) -> list[dict[str, Any]]:
    """How the folders are that are meant, or else all of them. Raises S3DError where there is none."""
    if wanted := named(options):
        return [read(request("GET", asked("status", options, one))) for one in wanted]
    found: list[dict[str, Any]] = fetch(None)["sync_folders"]
    if not found:
        raise S3DError("there is no sync folder", hint="S3D_SYNC_FOLDER=true makes one")
    return found


def show(said: dict[str, Any], options: argparse.Namespace, *, among: int = 1) -> int:
    """Print how a folder is doing, with its name where it is one of several; the exit code says whether it is
    halted."""
    print_answer(said, partial(rows, among=among), as_json=options.json)
    return WRONG if said["halt"] else 0


def rows(said: dict[str, Any], *, among: int) -> Iterator[tuple[str, str]]:
    """The folder for a person."""
    since = words.show_age(max(0.0, time.time() - said["since"]))
    reason = f": {words.printable(said['reason'])}" if said["reason"] else ""
    name = f"{said['name']} is " if among > 1 else ""
    yield "folder", name + terminal.paint(said["state"], COLOURS.get(said["state"], "dim")) + f" for {since}{reason}"
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
    """Wait for a round of each folder that begins from now on and finds both sides equal, with nothing that is still to
    be sent."""
    ends = math.inf if options.timeout is None else time.monotonic() + options.timeout
    began = {one["name"]: do("now", options, one["name"]) for one in folders(options)}
    return max(wait_for(name, said, ends, options, among=len(began)) for name, said in began.items())


def wait_for(name: str, said: dict[str, Any], ends: float, options: argparse.Namespace, *, among: int) -> int:
    """The same of one folder, by what it said first."""
    first, look = said["began"], FIRST_LOOK
    while not (said["ended"] > first and said["state"] == "quiet" and not said["unsent"]):
        if said["halt"] and said["ended"] > first:
            break
        if said["state"] == "paused":
            raise S3DError(f"the sync folder {name!r} is paused", hint=f"s3d sync resume --folder {name}")
        left = ends - time.monotonic()
        if left <= 0:
            show(said, options, among=among)
            return LEFT_BEHIND
        time.sleep(min(look, left))
        look = min(look * 2, LATER_LOOK)
        said = read(request("GET", asked("status", options, name)))
    return show(said, options, among=among)


def show_differences(options: argparse.Namespace) -> int:
    """Print what would be done now, a line each."""
    for one in read(request("GET", asked("diff", options)))["differences"]:
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
            page = read(request("GET", asked("check", options, after=page["after"])))
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
    while page := read(request("GET", asked("conflicts", options, after=after)))["conflicts"]:
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
    print_answer(read(request("GET", asked("why", options, path=options.path))), reasons, as_json=options.json)
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
    for one in read(request("GET", asked("", options)))[options.action]:
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
