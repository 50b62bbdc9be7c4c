"""What the pages show, read from the answers of the daemon.

A name goes onto a page without control characters; the templates escape it and keep its direction from what is around
it. A time is a span: a page may be read where another clock is set.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from s3d import words
from s3d.cli import queue
from s3d.cli.queue import request
from s3d.cli.status import fetch, read
from s3d.cli.ui.charts import Chart, points
from s3d.errors import S3DError

SHOWN = 100
"""Changes and cached objects of each table."""


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
class Page:
    """The status page."""

    sentence: str
    """Whether anything is not in the remote yet."""
    is_whole: bool
    """Whether the remote has everything."""
    problems: Sequence[dict[str, str]]
    facts: Sequence[tuple[str, str]]
    """Names and values: the daemon, the remote, keys, cache."""
    charts: Sequence[Chart]
    under_way: Sequence[Row]
    kept: Sequence[Row]
    paused: Sequence[str]
    cached: Sequence[tuple[str, str]]
    """Names and sizes; none where there is no cache."""
    pending: int


def page() -> Page:
    """Ask the daemon. Raises S3DError."""
    said = fetch(None)
    number, size = said["pending"]["changes"], said["pending"]["bytes"]
    oldest = said["pending"]["oldest_age_seconds"]
    since = "" if oldest is None else f"; the oldest since {words.show_age(oldest)}"
    pending = f"{words.count(number, 'change')}, {words.show_size(size)}, not in the remote yet{since}."
    return Page(
        sentence=pending if number else "The remote has everything.",
        is_whole=not number,
        problems=said["problems"],
        facts=[*facts(said)],
        charts=charts(read(request("GET", "/history"))),
        under_way=[under_way(one) for one in read(request("GET", "/queue/under-way"))["changes"]],
        kept=[kept(one) for one in read(request("GET", "/queue?after=0"))["changes"][:SHOWN]],
        paused=[*paused(said)],
        cached=cached() if said["read_cache"] else (),
        pending=number,
    )


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


def facts(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The daemon in words."""
    now, remote = time.time(), said["remote"]
    draining = "; draining: no new requests are taken" if said["draining"] else ""
    yield "s3d", f"{said['version']}, runs for {words.show_age(now - said['started_at'])}{draining}"
    word = {"unknown": "not asked yet"}.get(remote["state"], remote["state"])
    since = f" for {words.show_age(now - remote['since'])}" if remote["since"] and word == remote["state"] else ""
    yield "remote", f"{words.printable(remote['endpoint'])}: {word}{since}"
    yield "credentials", f"{remote['credentials']}{': ' + remote['refusal'] if remote['refusal'] else ''}"
    if said["access_keys"] is not None:
        yield "access keys", str(said["access_keys"])
    if said["tls"]:
        yield "certificate", f"expires in {words.show_age(said['tls']['expires_at'] - now)}"
    for state, number in said["states"].items():
        if number:
            yield state, f"{number}: {words.STATES.get(state, '')}"
    if cache := said["read_cache"]:
        yield "cache", f"{words.count(cache['entries'], 'object')}, {words.show_size(cache['bytes'])}"


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


def cached() -> Sequence[tuple[str, str]]:
    """What is in the cache: names and sizes. None where it cannot be read just now."""
    try:
        entries = read(request("GET", "/cache?after=0"))["entries"][:SHOWN]
    except S3DError:
        return ()
    return [
        (words.printable(f"{entry['bucket']}/{entry['key']}"), words.show_size(entry["length"])) for entry in entries
    ]


def charts(said: dict[str, Any]) -> list[Chart]:
    """The counts of the last day."""
    samples: list[dict[str, float]] = said["samples"]
    slots = round(86400 / said["interval_seconds"]) + 1
    each = f"each {words.show_age(said['interval_seconds'])}"
    series: list[tuple[str, str, Callable[[float], str]]] = [
        ("changes", "Pending changes", shown),
        ("bytes", "Pending bytes", words.show_size),
        ("delivered", f"Delivered, {each}", shown),
        ("requests", f"Requests, {each}", shown),
        ("failed", f"Failed requests, {each}", shown),
    ]
    drawn = []
    for name, title, written in series:
        values = [sample[name] for sample in samples]
        drawn.append(Chart(title, written(values[-1]), written(max(values)), *points(values, slots)))
    return drawn


def shown(number: float) -> str:
    """A count."""
    return f"{number:,.0f}"
