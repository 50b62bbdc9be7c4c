"""What the pages show beside the counts, read from the answers of the daemon.

A name goes onto a page without control characters; the templates escape it and keep its direction from what is around
it. A time is a span: a page may be read where another clock is set.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from s3d import words
from s3d.cli import queue
from s3d.cli.queue import request
from s3d.cli.status import fetch, read
from s3d.errors import S3DError
from s3d.page import counts
from s3d.page.counts import Counts

MAX_SHOWN = 100
"""Rows of each table."""


@dataclass(frozen=True, slots=True)
class Row:
    """A pending change."""

    seq: int
    name: str
    what: str
    """Operation and size."""
    state: str
    age: str
    why: str
    can_retry: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """An object or a file of which little is to be said."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Page:
    """The status page."""

    counts: Counts
    """What the page of the metrics door shows too."""
    under_way: Sequence[Row]
    kept: Sequence[Row]
    paused: Sequence[str]
    lists: Sequence[tuple[str, str, Sequence[Item]]]
    """Names, titles and rows of further tables."""


def page() -> Page:
    """Ask the daemon. Raises S3DError."""
    said = fetch(None)
    return Page(
        counts=counts.read(said, read(request("GET", "/history"))),
        under_way=[under_way(one) for one in read(request("GET", "/queue/under-way"))["changes"]],
        kept=[kept(one) for one in read(request("GET", "/queue?after=0"))["changes"][:MAX_SHOWN]],
        paused=[*paused(said)],
        lists=[one for one in lists(said) if one[2]],
    )


def lists(said: dict[str, Any]) -> Iterator[tuple[str, str, Sequence[Item]]]:
    """What is in the parts that there are. A part that cannot be read just now shows nothing."""
    if said["mount"]:
        yield "unpublished", "Files of the mount that are no objects yet", listed("/mount", "files", unpublished)
    for folder in said["sync_folders"]:
        name, is_one = folder["name"], len(said["sync_folders"]) == 1
        title = f"What the sync folder{'' if is_one else f' {name}'} leaves alone"
        yield (
            "left" if is_one else f"left-{name}",
            title,
            listed(f"/sync?{urlencode({'folder': name})}", "left", left_alone),
        )
    if said["read_cache"]:
        yield "cached", "What is cached", listed("/cache?after=0", "entries", cached)


def listed(path: str, name: str, show: Callable[[dict[str, Any]], tuple[str, str]]) -> Sequence[Item]:
    """The first rows of a list of the daemon's."""
    try:
        found = read(request("GET", path))[name][:MAX_SHOWN]
    except S3DError:
        return ()
    return [Item(*map(words.printable, show(one))) for one in found]


def change(seq: int) -> Row | None:
    """One change that waits for a person; None where it waits no more. Raises S3DError."""
    found = read(request("GET", f"/queue?seq={seq}"))["changes"]
    return kept(found[0]) if found else None


def retry(seq: int | None) -> str:
    """Try one change again, or all of them; what came of it, as a sentence. Raises S3DError."""
    said = read(request("POST", "/queue/retry" + (f"?seq={seq}" if seq else "")))
    tried = f"{words.count(said['changes'], 'change')} will be tried again."
    left = words.count(len(said["left"]), "change")
    return f"{tried} {left} cannot be tried; the table says why." if said["left"] else tried


def discard(seq: int) -> str:
    """Drop one change for good; what came of it, as a sentence. Raises S3DError."""
    said = read(request("POST", f"/queue/discard?seq={seq}"))
    return f"{words.count(said['changes'], 'change')} discarded."


def under_way(said: dict[str, Any]) -> Row:
    """A change that is to be pushed."""
    why = words.STATES.get(said["state"], "")
    if said["attempts"]:
        again = (said["next_at"] or 0) - time.time()
        error = ": ".join(word for word in (said["code"], said["reason"]) if word)
        when = f", again in {words.show_age(again)}" if again > 0 else ""
        why = f"{error or why} ({words.count(said['attempts'], 'attempt')}{when})"
    return row(said, why)


def kept(said: dict[str, Any]) -> Row:
    """A change that waits for a person."""
    return row(said, queue.why(said), can_retry=said["state"] == "parked")


def row(said: dict[str, Any], why: str, *, can_retry: bool = False) -> Row:
    """A change as a table shows it."""
    size = f", {words.show_size(said['size'])}" if said["op"] == "put" else ""
    return Row(
        said["seq"],
        words.printable(queue.name_of(said)),
        f"{said['op']}{size}",
        said["state"],
        words.show_age(said["age_seconds"]),
        words.printable(why),
        can_retry,
    )


def paused(said: dict[str, Any]) -> Iterator[str]:
    """The buckets that the remote refuses, a sentence each."""
    for lane in said.get("lanes", ()):
        if lane["state"] == "paused":
            whose = f" of identity {lane['identity']}" if lane["identity"] else ""
            since = words.show_age(time.time() - lane["since"])
            text = f"{lane['bucket']}{whose} is paused for {since}: {lane['code']}: {lane['reason']}"
            yield words.printable(text)


def unpublished(said: dict[str, Any]) -> tuple[str, str]:
    """A file of the mount that is no object yet."""
    why = f": {said['error']}" if said["error"] else ""
    return f"{said['bucket']}/{said['key']}", f"{words.show_size(said['size'])}{why}"


def left_alone(said: dict[str, Any]) -> tuple[str, str]:
    """A name that a sync folder leaves alone, or could not do."""
    return said["path"], said["reason"]


def cached(said: dict[str, Any]) -> tuple[str, str]:
    """An object of the read cache."""
    stays = ", pinned" if said["pinned"] else ""
    return f"{said['bucket']}/{said['key']}", f"{words.show_size(said['length'])}{stays}"
