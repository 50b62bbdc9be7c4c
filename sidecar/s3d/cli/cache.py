"""`cache`: what is in the read cache, over the socket of the daemon."""

import argparse
import sys
import time
from collections.abc import Iterator
from typing import Any

from s3d.cli import terminal
from s3d.cli.queue import choice, paged, request
from s3d.cli.status import fetch, read
from s3d.errors import ConfigError, S3DError


def cache(options: argparse.Namespace) -> int:
    """Show, list or drop."""
    return {"stat": stat, "ls": show, "drop": drop}[options.action](options)


def stat(options: argparse.Namespace) -> int:
    """Print how much is cached."""
    said = fetch(None).get("read_cache")
    if not said:
        raise S3DError("the read cache is off", hint="S3D_READ_CACHE=true turns it on")
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        usable = "" if said["usable"] else ", and it cannot be used just now: see the log"
        count = terminal.count(said["entries"], "object")
        sys.stdout.write(f"{count}, {terminal.show_size(said['bytes'])} of the disk{usable}\n")
    else:
        terminal.print_fields(said["entries"], said["bytes"])
    return 0


def show(options: argparse.Namespace) -> int:
    """Print what is cached, one object a line."""
    for entry in listed(options):
        name = f"{entry['bucket']}/{entry['key']}" + (f"?versionId={entry['version']}" if entry["version"] else "")
        if options.json:
            terminal.print_json(entry)
        elif terminal.is_terminal():
            age = terminal.show_age(max(0.0, time.time() - entry["validated"]))
            size = terminal.show_size(entry["length"])
            sys.stdout.write(f"{terminal.printable(name)}  {size}, confirmed {age} ago\n")
        else:
            terminal.print_fields(name, entry["length"], entry["bytes"], entry["etag"], entry["validated"])
    return 0


def listed(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield what is cached."""
    return paged(options, "/cache", "entries", "id")


def drop(options: argparse.Namespace) -> int:
    """Drop what is cached."""
    if options.target is None and not options.all:
        raise ConfigError("what is to be dropped?", hint="name BUCKET[/PREFIX], or say --all")
    said = read(request("POST", f"/cache/drop?{choice(options)}"))
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        sys.stdout.write(f"{terminal.count(said['entries'], 'object')} dropped\n")
    else:
        terminal.print_fields(said["entries"], said["bytes"])
    return 0
