"""Completion in a shell: commands and options, and the buckets and keys that the door lists.

A shell that completes runs `s3d` with `_ARGCOMPLETE` set, and asks for nothing but names. Whatever goes wrong then has
no completions: a person is typing, and no error is wanted in the middle of a line.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import argcomplete
from argcomplete.shell_integration import shellcode

from s3d.cli import client, objects
from s3d.cli.target import Target
from s3d.errors import S3DError

MAX_NAMES = 200
"""Names that are offered at most."""
SECONDS = 2
"""For which the door is waited for."""


def completion(options: argparse.Namespace) -> int:
    """Print what tells a shell how the words of `s3d` are completed."""
    sys.stdout.write(shellcode(["s3d"], shell=options.shell))
    return 0


def complete(commands: argparse.ArgumentParser) -> None:
    """Answer the shell, and end the process."""
    client.CONNECT_SECONDS = client.ANSWER_SECONDS = SECONDS
    for action in targets(commands):
        action.completer = offered  # type: ignore[attr-defined]
    argcomplete.autocomplete(commands, exclude=["prestop"])


def targets(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of all commands that name a bucket or a key."""
    for action in parser._actions:  # noqa: SLF001 -- argparse has no other way to its arguments
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 -- the same
            for choice in set(action.choices.values()):
                yield from targets(choice)
        elif str(action.metavar).startswith("BUCKET"):
            yield action


def offered(prefix: str, **_: Any) -> list[str]:
    """The buckets, or the first level of keys below a bucket, that begin so."""
    bucket, slash, key = prefix.partition("/")
    try:
        if slash:
            entries = objects.list_keys(Target(bucket, key), recursive=False)
            return [f"{bucket}/{entry.name}" for entry in itertools.islice(entries, MAX_NAMES)]
        found = client.ask_document("GET", "/").iterfind("{*}Buckets/{*}Bucket")
        return [f"{one.findtext('{*}Name', '')}/" for one in itertools.islice(found, MAX_NAMES)]
    except (S3DError, OSError):
        return []
