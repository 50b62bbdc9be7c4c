"""What a person sees: colours, sizes, ages and progress on a terminal, and none of it elsewhere.

Whatever is not a terminal gets one record a line, its fields separated by tabs, or JSON where it asks for it. A name
never carries control characters to either: JSON has it byte for byte.
"""

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TextIO

from s3d import words

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
PROGRESS_AFTER = 0.5
"""Seconds that something takes before its progress is worth showing."""
REDRAW_INTERVAL = 0.1


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person reads along; without a stream: the output."""
    return (stream or sys.stdout).isatty()


def paint(text: str, *colours: str, stream: TextIO | None = None) -> str:
    """Colour a text where the stream is a terminal and nobody objects (https://no-color.org)."""
    if not colours or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not is_terminal(stream):
        return text
    return f"\x1b[{';'.join(COLOURS[colour] for colour in colours)}m{text}\x1b[0m"


def show_time(stamp: str) -> str:
    """A time of S3 (ISO 8601) as local time; as it came where it is no such time."""
    try:
        return datetime.fromisoformat(stamp).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return words.printable(stamp)


def clear() -> None:
    """Begin at the top of an empty terminal."""
    sys.stdout.write("\x1b[H\x1b[2J\x1b[3J" if os.environ.get("TERM") != "dumb" else "\n")


def print_fields(*fields: object) -> None:
    """Print one record for a program."""
    sys.stdout.write("\t".join(words.printable(str(field)) for field in fields) + "\n")


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    sys.stdout.write(json.dumps(value) + "\n")


def print_rows(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and values for a person."""
    for name, value in rows:
        sys.stdout.write(f"{paint(f'{name:<10}', 'bold')}{value}\n")


def complain(message: str, hint: str = "") -> None:
    """Say on stderr what went wrong and what can be done about it."""
    prefix = "" if message.startswith("s3d ") else f"{paint('s3d:', 'red', stream=sys.stderr)} "
    sys.stderr.write(f"{prefix}{words.printable(message)}\n")
    if hint:
        sys.stderr.write(f"{paint('hint:', 'yellow', stream=sys.stderr)} {words.printable(hint)}\n")


class Progress:
    """How far a transfer is, on stderr, where that is a terminal and it takes a while."""

    def __init__(self, total: int | None, *, shown: bool = True) -> None:
        """Take the number of bytes to come, where it is known."""
        self._total = total
        self._shown = shown and is_terminal(sys.stderr)
        self._done = 0
        self._start = time.monotonic()
        self._drawn = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def add(self, size: int) -> None:
        """Count bytes that have moved."""
        self._done += size
        now = time.monotonic()
        if not self._shown or now - self._start < PROGRESS_AFTER or now - self._drawn < REDRAW_INTERVAL:
            return
        self._drawn = now
        of = f" of {words.show_size(self._total)}, {self._done * 100 // self._total} %" if self._total else ""
        speed = words.show_size(self._done / (now - self._start))
        sys.stderr.write(f"\r\x1b[K{words.show_size(self._done)}{of}, {speed}/s")
        sys.stderr.flush()
