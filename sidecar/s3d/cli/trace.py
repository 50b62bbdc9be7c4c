"""`trace`: what has become of one pending change so far, and the traces in which a collector has the rest."""

import argparse
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from s3d import words
from s3d.cli import terminal
from s3d.cli.queue import name_of, request, why
from s3d.cli.status import print_answer, read


def trace(options: argparse.Namespace) -> int:
    """Print it, the first thing first."""
    change = read(request("GET", f"/queue/why?seq={options.seq}"))["change"]
    print_answer(change, told, as_json=options.json)
    return 0


def told(change: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Its story for a person."""
    now = time.time()
    size = f", {words.show_size(change['size'])}" if change["op"] == "put" else ""
    yield change["op"], words.printable(f"{name_of(change)}{size}")
    at = datetime.fromtimestamp(change["acked_at"], UTC).isoformat(timespec="milliseconds")
    whose = f" for {change['identity']}" if change["identity"] else ""
    by = f" by {change['origin']}" if change["origin"] else ""
    yield "accepted", words.printable(f"{at}, {words.show_age(change['age_seconds'])} ago{whose}{by}")
    for traceparent in change["requests"]:
        _, trace_id, span_id, *_ = f"{traceparent}---".split("-")
        yield "request", words.printable(f"trace {trace_id}, span {span_id}")
    if not change["requests"]:
        yield "request", terminal.paint("no trace was recorded; docs/TELEMETRY.md says how", "dim")
    if change["attempts"]:
        error = ": ".join(word for word in (change["code"], change["reason"]) if word)
        yield "tried", words.printable(words.count(change["attempts"], "time") + (f": {error}" if error else ""))
    again = change["next_at"]
    then = f", again in {words.show_age(again - now)}" if change["attempts"] and again and again > now else ""
    yield (
        change["state"],
        words.printable(f"it {why(change) if change['rule'] else words.STATES[change['state']]}{then}"),
    )
    if change["followers"]:
        yield "", f"{words.count(change['followers'], 'change')} must be delivered after it"
