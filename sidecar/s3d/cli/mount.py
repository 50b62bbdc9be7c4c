"""`mount`: what was written to the mount and is no object yet.

`status` and `publish` ask the daemon over its socket. `recover` reads the local dir, so that what was synced can be
copied where no daemon runs.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s3d import documents, words
from s3d.cli import settings, terminal
from s3d.cli.queue import request
from s3d.cli.status import fetch, read
from s3d.errors import ConfigError, S3DError

FAILED = 1
RECORD = ".json"
"""Ending of the record beside a file."""


def mount(options: argparse.Namespace) -> int:
    """Show, publish or recover."""
    return {"status": status, "publish": publish, "recover": recover}[options.action](options)


def status(options: argparse.Namespace) -> int:
    """Print what is no object yet."""
    said = fetch(None).get("mount")
    if not said:
        raise S3DError("there is no mount", hint="S3D_FUSE_MOUNT=true makes one")
    files = read(request("GET", "/mount"))["files"]
    if options.json:
        terminal.print_json({**said, "files": files})
        return 0
    if terminal.is_terminal():
        where = "mounted" if said["mounted"] else terminal.paint("gone", "red")
        sys.stdout.write(f"{words.printable(said['path'])}: {where}, {said['open_files']} open\n")
    for file in files:
        show(file)
    return 0


def publish(options: argparse.Namespace) -> int:
    """Make objects of what was written, and print what could not become one."""
    said = read(request("POST", "/mount/publish"))
    if options.json:
        terminal.print_json(said)
    else:
        if terminal.is_terminal():
            sys.stdout.write(f"{words.count(said['published'], 'object')} made\n")
        for file in said["left"]:
            show(file)
    return FAILED if said["left"] else 0


def show(file: dict[str, Any]) -> None:
    """Print a file that is no object yet."""
    name = f"{file['bucket']}/{file['key']}"
    if not terminal.is_terminal():
        terminal.print_fields(name, file["size"], "synced" if file["synced"] else "open", file["error"])
        return
    why = f": {file['error']}" if file["error"] else ""
    sys.stdout.write(f"{words.printable(name)}  {words.show_size(file['size'])}{words.printable(why)}\n")


def recover(options: argparse.Namespace) -> int:
    """Copy what was synced and is no object yet into a directory. Nothing of it is taken away."""
    target = Path(options.output)
    if not target.is_dir():
        raise ConfigError(f"{target} is no directory", hint="make it, or name another one with -o")
    for body, record in left_in(settings.local_dir() / "mount"):
        copy = target / body.name
        with body.open("rb") as source, copy.open("xb") as written:
            shutil.copyfileobj(source, written)
        terminal.print_fields(copy, f"{record['bucket']}/{record['key']}", copy.stat().st_size)
    return 0


def left_in(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the files that have a record. Raises S3DError for a record that cannot be read."""
    for path in sorted(directory.glob("*" + RECORD)):
        try:
            record = documents.parse(path.read_bytes())
            body = path.with_suffix("")
            if isinstance(record, dict) and {"bucket", "key"} <= record.keys() and os.access(body, os.R_OK):
                yield body, record
        except ValueError as error:
            raise S3DError(f"{path} cannot be read: {error}", hint="the bytes are in the file beside it") from None
