"""`queue` and `flush`: what waits for a person, and waiting for what is on its way, over the socket of the daemon.

Nothing is dropped that was not named, and no file is written over that was there before.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlencode

from s3d import words
from s3d.cli import client, settings, terminal
from s3d.cli.status import read
from s3d.cli.target import Target
from s3d.errors import ConfigError, S3DError

LEFT_BEHIND = 75
FIRST_LOOK, LATER_LOOK = 0.1, 1.0
"""Seconds between two looks at what a flush waits for: at first, and at most."""


def queue(options: argparse.Namespace) -> int:
    """List, explain, retry, export or discard."""
    return {"list": show, "why": explain, "retry": retry, "export": export, "discard": discard}[options.action](options)


def show(options: argparse.Namespace) -> int:
    """Print what waits for a person, one a line."""
    for change in kept(options):
        if options.json:
            terminal.print_json(change)
        elif terminal.is_terminal():
            print_change(change)
        else:
            terminal.print_fields(
                change["seq"], change["state"], change["op"], change["size"], name_of(change), why(change)
            )
    return 0


def explain(options: argparse.Namespace) -> int:
    """Print what each rule says of a change, and which decides whether it may leave."""
    said = read(request("GET", f"/queue/why?seq={options.seq}"))
    if options.json:
        terminal.print_json(said)
        return 0
    rows = [(line["rule"], line["matches"], line["effect"]) for line in said["asked"]]
    verdict = f"{said['rule']} holds it" if said["rule"] else "no rule holds it"
    if terminal.is_terminal():
        print_change(said["change"])
        width = max(len(rule) for rule, _, _ in rows)
        for rule, matches, effect in rows:
            line = f"{words.printable(rule):<{width}}  {matches:<8} {words.printable(effect)}"
            sys.stdout.write(f"{'':8}  {line.rstrip()}\n")
        sys.stdout.write(f"{'':8}  {terminal.paint(words.printable(verdict), 'bold')}\n")
    else:
        for row in rows:
            terminal.print_fields(*row)
        terminal.print_fields(verdict)
    return 0


def print_change(change: dict[str, Any], stream: Any = None) -> None:
    """Print a change for a person, in two lines."""
    out = stream or sys.stdout
    age = words.show_age(change["age_seconds"])
    size = f", {words.show_size(change['size'])}" if change["op"] != "delete" else ""
    name = terminal.paint(words.printable(name_of(change)), "bold", stream=out)
    out.write(f"{change['seq']:>8}  {name}  {change['op']}{size}, accepted {age} ago\n")
    out.write(f"{'':8}  {terminal.paint(change['state'], 'yellow', stream=out)}: {words.printable(why(change))}\n")
    if change["followers"]:
        out.write(
            f"{'':8}  waited for by {words.count(change['followers'], 'change')} that must be delivered after it\n"
        )


def name_of(change: dict[str, Any]) -> str:
    """The bucket and key of a change."""
    return f"{change['bucket']}/{change['key']}"


def why(change: dict[str, Any]) -> str:
    """Why a change waits."""
    said = change.get("why") or change["rule"] or ": ".join(word for word in (change["code"], change["reason"]) if word)
    return str(said or words.STATES.get(change["state"], ""))


def retry(options: argparse.Namespace) -> int:
    """Try parked changes again."""
    said = send("/queue/retry", options)
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        sys.stdout.write(f"{words.count(said['changes'], 'change')} will be tried again\n")
    else:
        terminal.print_fields(said["changes"])
    if not options.json:
        for change in said["left"]:
            print_change(change, sys.stderr)
    return 1 if said["left"] and not said["changes"] else 0


def discard(options: argparse.Namespace) -> int:
    """Drop changes for good, once somebody has said so."""
    if not options.yes:
        if not (terminal.is_terminal() and sys.stdin.isatty()):
            raise ConfigError("what is discarded is gone: nothing was done", hint="add --yes, or ask from a terminal")
        number = 0
        for change in kept(options):
            print_change(change)
            number += 1
        if not number:
            return 0
        sys.stdout.write(f"Discard {words.count(number, 'change')} for good? [y/N] ")
        sys.stdout.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 1
    said = send("/queue/discard", options)
    if options.json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        sys.stdout.write(f"{words.count(said['changes'], 'change')} discarded\n")
    else:
        terminal.print_fields(said["changes"], said["bytes"])
    return 0


def export(options: argparse.Namespace) -> int:
    """Write the body and the members of each change to files of its number: `change-7.body` and `change-7.json`."""
    directory = Path(options.output)
    found = 0
    for change in kept(options):
        found += 1
        names = [directory / f"change-{change['seq']}.json"]
        if change["op"] != "delete":
            names.append(directory / f"change-{change['seq']}.body")
        if not options.force:
            for name in names:
                if name.exists():
                    raise S3DError(f"{name} is there already", hint="--force writes over it")
        size = 0
        if change["op"] != "delete":
            with written_new(names[1], force=options.force) as file:
                size = receive(change["seq"], file)
        with written_new(names[0], force=options.force) as file:
            file.write(json.dumps(change, indent=2).encode() + b"\n")
        if options.json:
            terminal.print_json({"seq": change["seq"], "files": [str(name) for name in names], "bytes": size})
        elif terminal.is_terminal():
            sys.stdout.write(f"{words.printable(name_of(change))}: {', '.join(map(str, names))}\n")
        else:
            terminal.print_fields(change["seq"], size, *names)
    if not found:
        raise S3DError("nothing that waits for a person is there", hint="`s3d queue list` shows what is")
    return 0


class written_new:  # noqa: N801 - a context manager reads as the verb it is
    """A file that appears under its name when it is complete, and never over another one unless told so."""

    def __init__(self, path: Path, *, force: bool) -> None:
        """Take the name."""
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._force = force
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        self._file = self._part.open("xb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._file is not None
        self._file.close()
        try:
            if kind is None and self._force:
                self._part.replace(self._path)
            elif kind is None:
                # A link is refused where the name is taken; a rename is not.
                os.link(self._part, self._path)
        finally:
            self._part.unlink(missing_ok=True)


def receive(seq: int, file: IO[bytes]) -> int:
    """Write the body of a change to a file; its size."""
    response = request("GET", f"/queue/body?seq={seq}")
    if response.status != HTTPStatus.OK:
        read(response)
    size = 0
    with response, terminal.Progress(response.length) as progress:
        for block in client.read_blocks(response):
            file.write(block)
            size += len(block)
            progress.add(len(block))
    return size


def kept(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the changes that the command line names."""
    return paged(options, "/queue", "changes", "seq")


def paged(options: argparse.Namespace, path: str, rows: str, number: str) -> Iterator[dict[str, Any]]:
    """Yield what the daemon lists at a path, page by page: `rows` of a page, each with its `number`."""
    after = 0
    while page := read(request("GET", f"{path}?{choice(options, after=after)}"))[rows]:
        yield from page
        after = page[-1][number]


def choice(options: argparse.Namespace, **more: object) -> str:
    """The query that says which changes are meant."""
    target: Target | None = options.target
    chosen: dict[str, object] = dict(more)
    if target is not None:
        chosen |= {"bucket": os.fsencode(target.bucket), "prefix": os.fsencode(target.key)}
    if getattr(options, "seq", None) is not None:
        chosen["seq"] = options.seq
    return urlencode(chosen, quote_via=quote, safe="")


def send(path: str, options: argparse.Namespace) -> dict[str, Any]:
    """Have something done, and read what was."""
    if options.target is None and options.seq is None and not options.all:
        raise ConfigError("which changes?", hint="name BUCKET[/PREFIX] or --seq N, or say --all")
    return read(request("POST", f"{path}?{choice(options)}"))


def request(method: str, where: str) -> Any:
    """Ask over the unix socket."""
    sock = client.connect_unix(settings.local_dir() / client.SOCKET_NAME)
    return client.exchange(sock, "localhost", method, where, {}, None, 0)


def log_level(level: str) -> int:
    """Have the daemon log from this level on."""
    read(request("POST", f"/log?{urlencode({'level': level})}"))
    return 0


def prestop() -> int:
    """Say that the pod's grace period runs."""
    read(request("POST", "/prestop"))
    return 0


def flush(options: argparse.Namespace) -> int:
    """Wait until what is pending now is delivered."""
    began = time.monotonic()
    said = read(request("POST", f"/flush?{choice(options)}"))
    total, pause = said["changes"], FIRST_LOOK
    while said["changes"]:
        waited = time.monotonic() - began
        if options.timeout is not None and waited >= options.timeout:
            break
        show_progress(said, total)
        time.sleep(min(pause, LATER_LOOK if options.timeout is None else max(0.0, options.timeout - waited)))
        pause = min(pause * 1.5, LATER_LOOK)
        said = read(request("POST", f"/flush?{choice(options, upto=said['upto'])}"))
    show_progress(None, total)
    if options.json:
        terminal.print_json({**said, "delivered": max(0, total - said["changes"])})
    elif not terminal.is_terminal():
        terminal.print_fields(said["changes"], said["bytes"], len(said["kept"]))
    elif not said["changes"] and not said["kept"]:
        sys.stdout.write("everything that was pending is delivered\n")
    if not said["changes"] and not said["kept"]:
        return 0
    if said["changes"]:
        left = f"{words.count(said['changes'], 'change')}, {words.show_size(said['bytes'])}"
        terminal.complain(f"{left} are not delivered yet", "`s3d status` shows what they wait for")
    for lane in said["lanes"]:
        terminal.complain(f"deliveries to {lane['bucket']} are paused: {lane['code']}: {lane['reason']}")
    for change in said["kept"]:
        terminal.complain(f"{name_of(change)} (change {change['seq']}) is {change['state']}: {why(change)}")
    return LEFT_BEHIND


def show_progress(said: dict[str, Any] | None, total: int) -> None:
    """Show on a terminal how far a flush is; without anything to say: wipe it."""
    if not terminal.is_terminal(sys.stderr):
        return
    with suppress(OSError):
        text = ""
        if said is not None:
            text = f"{max(0, total - said['changes'])} of {words.count(total, 'change')} delivered"
            text += "".join(f"; {words.printable(lane['bucket'])} is paused: {lane['code']}" for lane in said["lanes"])
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
