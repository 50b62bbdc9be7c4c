"""`key` and `presign`: the access keys of the S3 door, and URLs that are signed with them.

The file of keys is written as a whole under its name, open to its owner alone, by one command at a time. The door takes
it over by itself. A secret is shown once, by the command that has made it.
"""

import argparse
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from s3d import files, words
from s3d.access.keys import new_id, new_secret
from s3d.cli import client, settings, signing, terminal
from s3d.cli.signing import Key
from s3d.cli.target import Target
from s3d.errors import ConfigError, S3Error

if TYPE_CHECKING:
    from s3d.access.document import Entry

WEEK = 604_800
"""Seconds."""


def key(options: argparse.Namespace) -> int:
    """Do what is asked for."""
    actions = {"new": new, "ls": ls, "rotate": rotate, "test": test}
    return actions[options.action](options)


def new(options: argparse.Namespace) -> int:
    """Add a key to the file, which is made where there is none."""
    from s3d.access.document import Entry

    path = keys_file()
    secret = new_secret()
    with edited(path) as entries:
        name = options.id or new_id()
        if any(entry.id == name for entry in entries):
            raise ConfigError(f"there is a key {name} already", hint=f"s3d key rotate {name} gives it another secret")
        said = {"id": name, "secret": secret, "identity": options.identity or ""}
        if options.read_only:
            said["readOnly"] = True
        if options.bucket:
            said["buckets"] = tuple(options.bucket)
        entries.append(made(Entry, said))
    show_secret(name, secret, as_json=options.json)
    return 0


def rotate(options: argparse.Namespace) -> int:
    """Give a key a second secret, or with --finish take its old one away."""
    path = keys_file()
    secret = new_secret()
    with edited(path) as entries:
        at = next((number for number, entry in enumerate(entries) if entry.id == options.id), None)
        if at is None:
            raise ConfigError(f"there is no key {options.id} in {path}", hint="`s3d key ls` shows them")
        there = entries[at].all_secrets
        if options.finish == (len(there) == 1):
            raise ConfigError(
                f"the key {options.id} has {words.count(len(there), 'secret')}",
                hint=f"s3d key rotate {options.id}{'' if options.finish else ' --finish'} comes first",
            )
        held = (there[0],) if options.finish else (secret, there[0])
        entries[at] = entries[at].model_copy(update={"secret": None, "secrets": held})
    if not options.finish:
        show_secret(options.id, secret, as_json=options.json)
        sys.stderr.write(f"both secrets hold until `s3d key rotate {options.id} --finish`\n")
    return 0


def ls(options: argparse.Namespace) -> int:
    """List the keys, without their secrets."""
    for entry in read(keys_file()):
        limits = entry.key
        name = entry.id or "(anonymous)"
        if options.json:
            terminal.print_json(
                {
                    "id": entry.id,
                    "anonymous": entry.anonymous,
                    "secrets": len(limits.secrets),
                    "readOnly": limits.read_only,
                    "buckets": None if limits.buckets is None else list(limits.buckets),
                    "identity": limits.identity,
                }
            )
            continue
        may = "read" if limits.read_only else "read and write"
        where = "all buckets" if limits.buckets is None else ",".join(limits.buckets)
        number = words.count(len(limits.secrets), "secret")
        if terminal.is_terminal():
            print(f"{terminal.paint(f'{name:<24}', 'bold')}{number:<11} {may:<15} {words.printable(where)}")
        else:
            terminal.print_fields(name, len(limits.secrets), may, where)
    return 0


def test(options: argparse.Namespace) -> int:
    """Sign a request to the door with a key, and say what it answered."""
    chosen, buckets = signing.find(), None
    if options.id or settings.find("S3D_ACCESS_KEYS_FILE"):
        name = options.id or (chosen.id if chosen else "")
        entry = next((entry for entry in read(keys_file()) if entry.id == name), None)
        if entry is None:
            raise ConfigError(f"there is no key {name} in the file", hint="`s3d key ls` shows them")
        chosen, buckets = Key(name, entry.all_secrets[0]), entry.buckets
    if chosen is None:
        raise ConfigError(
            "there is no key to test", hint="set S3D_ACCESS_KEYS_FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    path, query = ("/", {}) if not buckets else (Target(buckets[0]).path, {"list-type": "2", "max-keys": "1"})
    if not is_refused(Key(chosen.id, new_secret()), path, query):
        raise ConfigError(
            f"the door at {settings.endpoint()} takes any signature: it has no access keys",
            hint="start `s3d run` with S3D_ACCESS_KEYS_FILE",
        )
    start = time.monotonic()
    with client.ask("GET", path, query, key=chosen) as response:
        client.read_bounded(response)
        took = f"{(time.monotonic() - start) * 1000:.0f} ms"
    if terminal.is_terminal():
        print(f"{terminal.paint('accepted', 'green')}: {chosen.id} at {settings.endpoint()}, in {took}")
    else:
        terminal.print_fields(chosen.id, "accepted", response.status)
    return 0


def is_refused(key: Key, path: str, query: dict[str, str]) -> bool:
    """Whether the door refuses what a key signs."""
    try:
        with client.ask("GET", path, query, key=key):
            return False
    except S3Error as error:
        return error.status == 403


def presign(options: argparse.Namespace) -> int:
    """Print a URL that lets anybody do one thing for a while."""
    from s3d.protocol import sigv4
    from s3d.settings.values import parse_duration

    chosen = signing.find()
    if chosen is None:
        raise ConfigError(
            "there is no key to sign with", hint="set S3D_ACCESS_KEYS_FILE, or AWS_ACCESS_KEY_ID and its secret"
        )
    try:
        seconds = parse_duration(options.expires)
    except ValueError as error:
        raise ConfigError(f"--expires: {error}") from None
    if not isinstance(seconds, float) or not 1 <= seconds <= WEEK:
        raise ConfigError("--expires: a URL holds for a second at least, and for a week at most", hint="--expires 7d")
    url, target = settings.endpoint(), options.target
    query = sigv4.presign(
        method=options.method,
        path=target.path,
        host=urlsplit(url).netloc,
        access_key=chosen.id,
        secret_key=chosen.secret,
        region=signing.region(),
        seconds=int(seconds),
        now=datetime.now(UTC),
    )
    print(f"{url}{target.path}?{query}")
    return 0


def keys_file() -> Path:
    """The file of the access keys. Raises ConfigError where no setting names it."""
    path = settings.find("S3D_ACCESS_KEYS_FILE")
    if not path:
        raise ConfigError(
            "S3D_ACCESS_KEYS_FILE is not set",
            hint="it names the file of access keys, for the daemon and here: export S3D_ACCESS_KEYS_FILE=keys.json",
        )
    return Path(path)


def read(path: Path) -> "tuple[Entry, ...]":
    """The entries of the file. Raises ConfigError."""
    from s3d.access import document

    return document.parse(files.read(path, document.MAX_BYTES), path)


@contextmanager
def edited(path: Path) -> "Iterator[list[Entry]]":
    """The entries of the file, to be changed; the file is written when the block ends without an error."""
    from s3d.access import document

    # A link is followed: what it leads to is replaced, and not the link.
    path = path.resolve()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        entries = list(read(path)) if path.exists() else []
        yield entries
        write_private(path, document.write(entries))
    finally:
        os.close(directory)


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole under its name, for its owner alone; one that is there keeps its owner and its mode."""
    mode, owner = 0o600, None
    if path.exists():
        there = path.stat()
        mode = stat.S_IMODE(there.st_mode) & 0o640
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            owner = there.st_uid, there.st_gid
    files.write_whole(path, data, mode=mode, owner=owner)


def made(model: "type[Entry]", said: dict[str, object]) -> "Entry":
    """An entry of what the command line says. Raises ConfigError."""
    from pydantic import ValidationError

    from s3d.access.document import problem

    try:
        return model.model_validate(said)
    except ValidationError as error:
        said_wrong = "; ".join(problem((0, *each["loc"]), each["msg"]) for each in error.errors(include_url=False))
        raise ConfigError(said_wrong.replace("entry 1: ", "")) from None


def show_secret(name: str, secret: str, *, as_json: bool) -> None:
    """Show a secret, once."""
    if as_json:
        terminal.print_json({"id": name, "secret": secret})
    elif not terminal.is_terminal():
        terminal.print_fields(name, secret)
    else:
        print(f"AWS_ACCESS_KEY_ID={name}\nAWS_SECRET_ACCESS_KEY={secret}")
        sys.stderr.write("the secret is shown this once; `s3d key test` says whether the door takes it yet\n")
