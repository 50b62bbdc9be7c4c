"""`cache`: what is in the read cache, over the socket of the daemon; and reading ahead, through its S3 door."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from s3d import words
from s3d.cli import terminal
from s3d.cli.queue import choice, paged, request
from s3d.cli.status import fetch, read
from s3d.errors import ConfigError, S3DError


def cache(options: argparse.Namespace) -> int:
    """Show, list, warm, verify or drop."""
    if options.action == "warm":
        from s3d.cli.warm import warm

        return warm(options, counts)
    return {"stat": stat, "ls": show, "verify": verify, "drop": drop}[options.action](options)


def counts() -> dict[str, Any]:
    """How much is cached. Raises S3DError where there is no cache."""
    said: dict[str, Any] | None = fetch(None).get("read_cache")
    if not said:
        raise S3DError("the read cache is off", hint="S3D_READ_CACHE=true turns it on")
    return said


def stat(options: argparse.Namespace) -> int:
    """Print how much is cached."""
    said = counts()
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        usable = "" if said["usable"] else ", and it cannot be used just now: see the log"
        count = words.count(said["entries"], "object")
        decided = "" if said["decided"] else ", and the policy does not decide what it may keep: see the log"
        sys.stdout.write(f"{count}, {words.show_size(said['bytes'])} of the disk{usable}{decided}\n")
        if any(said["pins"].values()):
            sys.stdout.write("pinned: " + ", ".join(f"{count} {state}" for state, count in said["pins"].items()) + "\n")
    else:
        terminal.print_fields(said["entries"], said["bytes"], *said["pins"].values())
    return 0


def show(options: argparse.Namespace) -> int:
    """Print what is cached, one object a line."""
    for entry in listed(options):
        name = name_of(entry)
        if options.json:
            terminal.print_json(entry)
        elif terminal.is_terminal():
            age = words.show_age(max(0.0, time.time() - entry["validated"]))
            size = words.show_size(entry["length"])
            stays = ", pinned" if entry["pinned"] else ""
            sys.stdout.write(f"{words.printable(name)}  {size}, confirmed {age} ago{stays}\n")
        else:
            stays = "pinned" if entry["pinned"] else ""
            terminal.print_fields(name, entry["length"], entry["bytes"], entry["etag"], entry["validated"], stays)
    return 0


def listed(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what is cached."""
    return paged(options, "/cache", "entries", "id")


def verify(options: argparse.Namespace) -> int:
    """Compare what is cached with its checksums: what is damaged is dropped, and named on stderr."""
    total = counts()["bytes"] if options.target is None else None
    found: dict[str, Any] = {"entries": 0, "blocks": 0, "bytes": 0, "damaged": []}
    page: dict[str, Any] = {"after": 0, "block": 0, "done": False}
    with terminal.Progress(total) as progress:
        while not page["done"]:
            query = choice(options, after=page["after"], block=page["block"])
            page = read(request("POST", f"/cache/verify?{query}"))
            for name in found:
                found[name] += page[name]
            progress.add(page["bytes"])
    blocks = sum(one["blocks"] for one in found["damaged"])
    if options.json:
        terminal.print_json(found)
    elif terminal.is_terminal():
        size = words.show_size(found["bytes"])
        what = f"{words.count(blocks, 'block')} damaged" if blocks else "nothing is damaged"
        sys.stdout.write(f"{words.count(found['entries'], 'object')}, {size}: {what}\n")
    else:
        terminal.print_fields(found["entries"], found["blocks"], found["bytes"], blocks)
    if not options.json:
        for one in found["damaged"]:
            damaged = f"{words.count(one['blocks'], 'block')} of {name_of(one)}"
            terminal.complain(f"{damaged}: damaged on the disk, and dropped")
    return 1 if found["damaged"] else 0


def name_of(entry: dict[str, Any]) -> str:
    """The bucket, key and version of an entry."""
    return f"{entry['bucket']}/{entry['key']}" + (f"?versionId={entry['version']}" if entry["version"] else "")


def drop(options: argparse.Namespace) -> int:
    """Drop what is cached."""
    if options.target is None and not options.all:
        raise ConfigError("what is to be dropped?", hint="name BUCKET[/PREFIX], or say --all")
    said = read(request("POST", f"/cache/drop?{choice(options)}"))
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        sys.stdout.write(f"{words.count(said['entries'], 'object')} dropped\n")
    else:
        terminal.print_fields(said["entries"], said["bytes"])
    return 0
