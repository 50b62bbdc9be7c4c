"""What the words of a command line mean: a bucket, a key in it, a pair."""

import argparse
import os
from typing import NamedTuple
from urllib.parse import quote


class Target(NamedTuple):
    """A bucket, or a key in it. The key is everything behind the first slash, as it is."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    @property
    def path(self) -> str:
        """The path of its URL."""
        return f"/{quote_name(self.bucket)}" + (f"/{quote_name(self.key)}" if self.key else "")


def quote_name(name: str) -> str:
    """Percent-encode a name as S3 does; bytes that are no UTF-8 stay the bytes they were on the command line."""
    return quote(os.fsencode(name), safe="/-_.~")


def parse_target(text: str) -> Target:
    """Read BUCKET or BUCKET/KEY; `s3://` in front of it changes nothing."""
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise argparse.ArgumentTypeError(f"{text!r} names no bucket; write BUCKET or BUCKET/KEY")
    return Target(bucket, key)


def parse_object(text: str) -> Target:
    """Read BUCKET/KEY."""
    target = parse_target(text)
    if not target.key:
        raise argparse.ArgumentTypeError(f"{text!r} names no key; write BUCKET/KEY")
    return target


def parse_pair(text: str) -> tuple[str, str]:
    """Read NAME=VALUE; the value may be empty and may hold `=`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no pair; write NAME=VALUE")
    return name, value


def parse_count(text: str) -> int:
    """Read a number of at least one."""
    if not (text.isascii() and text.isdigit()) or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 1")
    return int(text)


def parse_metadata(text: str) -> tuple[str, str]:
    """Read NAME=VALUE of what travels in a header."""
    name, value = parse_pair(text)
    if not (text.isascii() and text.isprintable()) or any(c in ' ":;,()<>@[]{}/?\\' for c in name):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot travel in a header; it takes printable ASCII, a name no spaces"
        )
    return name, value


def parse_header(text: str) -> str:
    """Read the value of a header."""
    if not text or not text.isascii() or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} cannot travel in a header; it takes printable ASCII")
    return text
