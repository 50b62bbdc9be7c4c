"""`ls`, `get`, `put` and `set`: the S3 door from a shell."""

import argparse
import base64
import hashlib
import http.client
import mimetypes
import os
import posixpath
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from s3d import words
from s3d.cli import signing, terminal
from s3d.cli.client import BLOCK, ask, ask_document, read_blocks, read_bounded, send_document
from s3d.cli.target import Target, parse_object
from s3d.errors import ConfigError, S3DError, S3Error

PUT_LIMIT = 5 << 30
SPOOL_MEMORY = 8 << 20
# Headers of an answer that say something about the way, not about the object.
ABOUT_THE_WAY = {"accept-ranges", "connection", "date", "keep-alive", "server", "transfer-encoding", "vary"}
ABOUT_THE_WAY |= {"x-amz-id-2", "x-amz-request-id"}
DURABILITY = {
    "local": "safe on the local dir, on its way to the remote",
    "remote": "the remote has it",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a listing: an object, or a prefix that several keys share."""

    name: str
    size: int | None = None
    modified: str = ""
    etag: str = ""


def ls(options: argparse.Namespace) -> int:
    """List the buckets, or the keys of one."""
    target: Target | None = options.target
    if target is None:
        if options.pending:
            raise ConfigError("--pending lists the keys of one bucket", hint="s3d ls --pending BUCKET")
        for bucket in ask_document("GET", "/").iterfind("{*}Buckets/{*}Bucket"):
            print_bucket(bucket.findtext("{*}Name", ""), bucket.findtext("{*}CreationDate", ""), as_json=options.json)
        return 0
    for entry in list_keys(target, recursive=options.recursive, pending=options.pending):
        print_entry(entry, as_json=options.json)
    return 0


def list_keys(target: Target, *, recursive: bool, pending: bool = False) -> Iterator[Entry]:
    """Yield everything whose key begins with the target's, page by page, in the byte order of S3.

    With `pending` only what the remote does not have yet, which needs no remote.
    """
    headers = {"x-s3d-listing": "pending"} if pending else {}
    query = {"list-type": "2", "encoding-type": "url", "prefix": target.key}
    if not recursive:
        query["delimiter"] = "/"
    bucket = Target(target.bucket)
    while True:
        page = ask_document("GET", bucket.path, query, headers)
        plain = page.findtext("{*}EncodingType") != "url"
        yield from sorted(page_entries(page, plain=plain), key=lambda entry: os.fsencode(entry.name))
        token = page.findtext("{*}NextContinuationToken", "")
        if page.findtext("{*}IsTruncated") != "true" or not token:
            return
        query["continuation-token"] = token


def page_entries(page: ET.Element, *, plain: bool) -> Iterator[Entry]:
    """Yield the objects, then the prefixes of one page."""

    def name(element: ET.Element, tag: str) -> str:
        text = element.findtext(f"{{*}}{tag}", "")
        return text if plain else unquote_plus(text, errors="surrogateescape")

    for item in page.iterfind("{*}Contents"):
        yield Entry(
            name(item, "Key"),
            int(item.findtext("{*}Size", "0")),
            item.findtext("{*}LastModified", ""),
            item.findtext("{*}ETag", "").strip('"'),
        )
    for item in page.iterfind("{*}CommonPrefixes"):
        yield Entry(name(item, "Prefix"))


def print_bucket(name: str, created: str, *, as_json: bool) -> None:
    """Print a line of the list of buckets."""
    if as_json:
        terminal.print_json({"bucket": name, "created": created})
    elif terminal.is_terminal():
        sys.stdout.write(f"{terminal.show_time(created):16}  {terminal.paint(words.printable(name), 'blue')}\n")
    else:
        terminal.print_fields(created, name)


def print_entry(entry: Entry, *, as_json: bool) -> None:
    """Print a line of the list of keys."""
    if as_json:
        if entry.size is None:
            terminal.print_json({"prefix": entry.name})
        else:
            terminal.print_json(
                {"key": entry.name, "size": entry.size, "last_modified": entry.modified, "etag": entry.etag}
            )
    elif not terminal.is_terminal():
        terminal.print_fields(entry.modified or "-", "-" if entry.size is None else entry.size, entry.name)
    elif entry.size is None:
        sys.stdout.write(f"{'':16}  {'':>9}  {terminal.paint(words.printable(entry.name), 'blue')}\n")
    else:
        size, time = words.show_size(entry.size), terminal.show_time(entry.modified)
        sys.stdout.write(f"{time:16}  {size:>9}  {words.printable(entry.name)}\n")


def get(options: argparse.Namespace) -> int:
    """Write an object to stdout or to a file, and what is known of it to stderr."""
    target: Target = options.target
    if options.output == "-":
        with ask("GET", target.path) as response:
            print_headers(response, quiet=options.quiet)
            receive(response, sys.stdout.buffer, shown=not terminal.is_terminal())
            sys.stdout.buffer.flush()
        return 0
    with ask("GET", target.path) as response, written_whole(Path(options.output)) as file:
        print_headers(response, quiet=options.quiet)
        receive(response, file, shown=True)
    return 0


def print_headers(response: http.client.HTTPResponse, *, quiet: bool) -> None:
    """Print what the answer says about the object."""
    for name, value in () if quiet else response.getheaders():
        if name.lower() not in ABOUT_THE_WAY:
            text = words.printable(value.encode("latin-1").decode("utf-8", "replace"))
            sys.stderr.write(f"{terminal.paint(f'{name.lower()}:', 'dim', stream=sys.stderr)} {text}\n")


def receive(response: http.client.HTTPResponse, file: IO[bytes], *, shown: bool) -> None:
    """Write the body of an answer to a file."""
    with terminal.Progress(response.length, shown=shown) as progress:
        for block in read_blocks(response):
            file.write(block)
            progress.add(len(block))


@contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when it is complete; what was there before stays until then.

    A device or a pipe is written to as it is.
    """
    real = path.resolve()
    if real.exists() and not real.is_file():
        with real.open("wb") as file:
            yield file
        return
    part = real.with_name(f".{real.name[:200]}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            yield file
        if real.exists():
            part.chmod(stat.S_IMODE(real.stat().st_mode))
        part.replace(real)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def put(options: argparse.Namespace) -> int:
    """Store a file, or what comes on stdin."""
    target = where_to(options.file, options.target)
    name = "-" if options.file is None else options.file
    if name == "-":
        check_stdin(target, asked_for=options.file == "-")
    with closing(open_source(name)) as source:
        # What was read of stdin before is not ours.
        start, md5, sha256 = source.tell(), hashlib.md5(usedforsecurity=False), hashlib.sha256()
        signs = signing.find() is not None
        length = max(0, source.seek(0, os.SEEK_END) - start)
        if length > PUT_LIMIT:
            raise S3DError(
                f"{name} has {length} bytes; a single put takes at most {PUT_LIMIT}",
                hint="an SDK sends it in parts, for example `aws s3 cp --endpoint-url $S3D_ENDPOINT`",
            )
        source.seek(start)
        while block := source.read(BLOCK):
            md5.update(block)
            if signs:
                sha256.update(block)
        source.seek(start)
        headers = {"Content-MD5": base64.b64encode(md5.digest()).decode()}
        content_type = options.content_type or guess_type(target.key) or guess_type(name)
        if content_type:
            headers["Content-Type"] = content_type
        for name, value in options.metadata:
            headers[f"x-amz-meta-{name}"] = value
        if options.tag:
            headers["x-amz-tagging"] = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in options.tag)
        digest = sha256.hexdigest()
        with ask("PUT", target.path, headers=headers, body=source, length=length, sha256=digest) as response:
            read_bounded(response)
    etag = response.headers.get("ETag", "").strip('"')
    durability = response.headers.get("x-s3d-durability", "remote")
    if options.json:
        stored = {"bucket": target.bucket, "key": target.key, "size": length, "etag": etag, "durability": durability}
        terminal.print_json(stored)
    elif terminal.is_terminal():
        promise = terminal.paint(DURABILITY.get(durability, durability), "green")
        sys.stdout.write(f"{words.printable(str(target))}: {words.show_size(length)}, {promise}\n")
    else:
        terminal.print_fields(target, length, etag, durability)
    return 0


def where_to(file: str | None, text: str) -> Target:
    """What the last argument names. Raises ConfigError where it names no key, or may be the file itself."""
    if file is None and not text.startswith("s3://") and Path(text).is_file():
        raise ConfigError(
            f"{text} is a file: where to is missing",
            hint=f"s3d put {text} BUCKET/KEY; if that is the key of what comes on stdin: s3d put - BUCKET/KEY",
        )
    try:
        return parse_object(text)
    except argparse.ArgumentTypeError as error:
        hint = "s3d put BUCKET/KEY < FILE, or s3d put FILE BUCKET/KEY"
        if file is not None and Path(text).is_file():
            hint = f"the file comes first: s3d put {text} {file}"
        raise ConfigError(str(error), hint=hint) from None


def check_stdin(target: Target, *, asked_for: bool) -> None:
    """Tell a person at a terminal what is waited for; where nobody asked for stdin, it is refused."""
    if sys.stdin is None:
        raise ConfigError("stdin is closed, and no file is named", hint=f"s3d put FILE {target}")
    if not sys.stdin.isatty():
        return
    if not asked_for:
        raise ConfigError(
            "no file is named, and stdin is a terminal",
            hint=f"s3d put FILE {target}, or s3d put {target} < FILE; to type it in: s3d put - {target}",
        )
    sys.stderr.write("reading from the terminal; Ctrl-D ends it\n")


def open_source(name: str) -> IO[bytes]:
    """Open what is to be stored, where it begins. S3 asks for the length before, so that a pipe is copied to a
    temporary file first."""
    if name == "-" and (number := number_of(sys.stdin)) is not None and stat.S_ISREG(os.fstat(number).st_mode):
        return os.fdopen(os.dup(number), "rb")
    file: IO[bytes] = sys.stdin.buffer if name == "-" else Path(name).open("rb")  # noqa: SIM115 -- the caller closes it
    if name != "-" and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY)  # noqa: SIM115 -- the caller closes it
    try:
        with terminal.Progress(None) as progress:
            more = True
            while more:
                block = file.read(BLOCK)
                spool.write(block)
                progress.add(len(block))
                # A terminal says its end once, and would be read on after it.
                more = len(block) == BLOCK
    except BaseException as error:
        spool.close()
        if isinstance(error, FileNotFoundError):
            raise S3DError(
                f"more than {SPOOL_MEMORY >> 20} MiB through a pipe need a temporary file: {error.strerror}",
                hint="set TMPDIR to a directory that can be written to, or name a file: s3d put FILE BUCKET/KEY",
            ) from error
        raise
    finally:
        if name != "-":
            file.close()
    spool.seek(0)
    return spool


def number_of(file: IO[str]) -> int | None:
    """The descriptor of a file; None where it has none."""
    try:
        return file.fileno()
    except OSError:
        return None


def guess_type(name: str) -> str | None:
    """The media type that a name suggests; of a compressed file that of the compression."""
    kind, encoding = mimetypes.guess_type(posixpath.basename(name))
    return {None: kind, "gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
        encoding
    )


def set_tags(options: argparse.Namespace) -> int:
    """Merge tags into those that a bucket or an object has."""
    target: Target = options.target
    before = read_tags(target)
    tags = {name: value for name, value in before.items() if name not in options.untag} | dict(options.tag)
    if tags != before:
        write_tags(target, tags)
    if options.json:
        terminal.print_json({"bucket": target.bucket, "key": target.key, "tags": tags})
        return 0
    if terminal.is_terminal():
        sys.stdout.write(f"{terminal.paint(words.printable(str(target)), 'bold')}\n")
    for name, value in tags.items():
        if terminal.is_terminal():
            sys.stdout.write(f"  {words.printable(name)} = {words.printable(value)}\n")
        else:
            terminal.print_fields(name, value)
    return 0


def read_tags(target: Target) -> dict[str, str]:
    """The tags of a bucket or an object."""
    try:
        document = ask_document("GET", target.path, {"tagging": ""})
    except S3Error as error:
        if error.code == "NoSuchTagSet":
            return {}
        raise
    return {tag.findtext("{*}Key", ""): tag.findtext("{*}Value", "") for tag in document.iterfind("{*}TagSet/{*}Tag")}


def write_tags(target: Target, tags: dict[str, str]) -> None:
    """Replace the tags of a bucket or an object; without any, they are deleted."""
    if not tags:
        with ask("DELETE", target.path, {"tagging": ""}) as response:
            read_bounded(response)
        return
    items = "".join(f"<Tag><Key>{escape(k)}</Key><Value>{escape(v)}</Value></Tag>" for k, v in tags.items())
    document = f'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet>{items}</TagSet></Tagging>'.encode()
    digest = base64.b64encode(hashlib.md5(document, usedforsecurity=False).digest()).decode()
    send_document(target.path, {"tagging": ""}, {"Content-MD5": digest}, document)
