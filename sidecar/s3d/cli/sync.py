"""`sync`: the sync folder, over the socket of the daemon."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from s3d.cli import terminal
from s3d.cli.queue import request
from s3d.cli.status import WRONG, fetch, flatten, read
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
        case "restore":
            query = urlencode({"id": options.id})
            path = str(read(request("POST", f"/sync/restore?{query}"))["path"])
            if options.json:
                terminal.print_json({"path": path})
            else:
                sys.stdout.write(f"{terminal.printable(path)}\n")
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
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        terminal.print_rows(rows(said))
    else:
        for name, value in flatten(said):
            terminal.print_fields(name, value)
    return WRONG if said["halt"] else 0


def rows(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The folder for a person."""
    since = terminal.show_age(max(0.0, time.time() - said["since"]))
    reason = f": {terminal.printable(said['reason'])}" if said["reason"] else ""
    yield "folder", terminal.paint(said["state"], COLOURS.get(said["state"], "dim")) + f" for {since}{reason}"
    if said["hint"]:
        yield "", terminal.printable(said["hint"])
    unsent = f", {said['unsent']} not sent yet" if said["unsent"] else ""
    yield "files", f"{said['files']} on both sides{unsent}"
    if said["left_alone"] or said["failed"]:
        yield "left", f"{said['left_alone']} left alone, {said['failed']} failed: `s3d sync left` says why"
    if said["conflicts"]:
        yield "conflicts", f"{said['conflicts']} since the start; both versions are on both sides"
    if said["trash"]:
        yield "trash", terminal.count(said["trash"], "file")


def show_lists(options: argparse.Namespace) -> int:
    """Print what is left alone or what is in the trash, a line each."""
    for one in read(request("GET", "/sync"))[options.action]:
        if options.json:
            terminal.print_json(one)
        elif options.action == "left":
            if terminal.is_terminal():
                sys.stdout.write(f"{terminal.printable(one['path'])}  {one['reason']}\n")
            else:
                terminal.print_fields(one["path"], one["reason"])
        elif terminal.is_terminal():
            age, size = terminal.show_age(max(0.0, time.time() - one["at"])), terminal.show_size(one["size"])
            sys.stdout.write(f"{one['id']}  {terminal.printable(one['path'])}  {size}, {age} ago\n")
        else:
            terminal.print_fields(one["id"], one["path"], one["size"], one["at"])
    return 0
