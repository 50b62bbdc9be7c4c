"""What the daemon says of itself, read into what a page shows. Nothing here names a bucket or a key (SEMANTICS A-7).

A time is a span: a page may be read where another clock is set. Words that come from elsewhere, such as the remote's,
are without control characters; the templates escape them.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s3d import words
from s3d.page import parts
from s3d.page.charts import Chart, points


@dataclass(frozen=True, slots=True)
class Counts:
    """The part of the page that is made of counts."""

    sentence: str
    """Whether anything is not in the remote yet."""
    is_whole: bool
    """Whether the remote has everything."""
    problems: Sequence[Mapping[str, str]]
    facts: Sequence[tuple[str, str]]
    """Names and values: the daemon and its parts."""
    charts: Sequence[Chart]


def read(said: Mapping[str, Any], history: Mapping[str, Any]) -> Counts:
    """Read the status and a day of counts, as the doors answer them."""
    left, oldest = parts.left(said), said["pending"]["oldest_age_seconds"]
    since = "" if oldest is None else f"; the oldest since {words.show_age(oldest)}"
    return Counts(
        sentence=f"{left}, not in the remote yet{since}." if left else "The remote has everything.",
        is_whole=not left,
        problems=[{name: words.printable(text) for name, text in one.items()} for one in said["problems"]],
        facts=[(name, words.printable(text)) for name, text in facts(said)],
        charts=charts(history),
    )


def facts(said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The daemon and its parts, each in words."""
    now, remote = time.time(), said["remote"]
    draining = "; draining: no new requests are taken" if said["draining"] else ""
    yield "s3d", f"{said['version']}, runs for {words.show_age(now - said['started_at'])}{draining}"
    word = {"unknown": "not asked yet"}.get(remote["state"], remote["state"])
    since = f" for {words.show_age(now - remote['since'])}" if remote["since"] and word == remote["state"] else ""
    yield "remote", f"{remote['endpoint']}: {word}{since}"
    yield "credentials", f"{remote['credentials']}{': ' + remote['refusal'] if remote['refusal'] else ''}"
    if said["access_keys"] is not None:
        yield "access keys", str(said["access_keys"])
    if said["tls"]:
        yield "certificate", f"expires in {words.show_age(said['tls']['expires_at'] - now)}"
    for state, number in said["states"].items():
        if number:
            yield state, f"{number}: {words.STATES.get(state, '')}"
    yield from parts.shown(said)


def charts(history: Mapping[str, Any]) -> list[Chart]:
    """The counts of the last day; none where nothing is counted yet."""
    samples: Sequence[Mapping[str, float]] = history["samples"]
    slots = round(86400 / history["interval_seconds"]) + 1
    each = f"each {words.show_age(history['interval_seconds'])}"
    series: list[tuple[str, str, Callable[[float], str]]] = [
        ("changes", "Pending changes", shown),
        ("bytes", "Pending bytes", words.show_size),
        ("delivered", f"Delivered, {each}", shown),
        ("requests", f"Requests, {each}", shown),
        ("failed", f"Failed requests, {each}", shown),
    ]
    drawn = []
    for name, title, written in series if samples else ():
        values = [sample[name] for sample in samples]
        drawn.append(Chart(title, written(values[-1]), written(max(values)), *points(values, slots)))
    return drawn


def shown(number: float) -> str:
    """A count."""
    return f"{number:,.0f}"
