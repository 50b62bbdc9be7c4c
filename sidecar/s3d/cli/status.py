"""`status`: what the daemon says of itself, of a bucket or of an object.

Counts come over the unix socket in the local dir or over the metrics door. What names buckets and keys comes over the
socket only (SEMANTICS A-7): it has to be asked where the daemon runs.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, NoReturn
from urllib.parse import quote, urlencode, urlsplit

from s3d import documents, words
from s3d.cli import client, settings, terminal
from s3d.cli.client import NotRunning
from s3d.cli.target import Target
from s3d.errors import S3DError
from s3d.page import parts

Rows = Callable[[dict[str, Any]], Iterator[tuple[str, str]]]
"""Makes of an answer what a person sees: names and values."""
WATCHED_SECONDS = 2.0
WRONG = 3
"""Exit code where something is wrong with the daemon."""


def status(options: argparse.Namespace) -> int:
    """Show it, once or until somebody ends it."""
    target: Target | None = options.target
    if options.watch:
        watch(target, as_json=options.json)
    said = fetch(target)
    show(target, said, as_json=options.json)
    return exit_code(said) if target is None else 0


def exit_code(said: dict[str, Any]) -> int:
    """What the command ends with, by what the daemon says of itself."""
    return WRONG if said["problems"] else 0


def watch(target: Target | None, *, as_json: bool) -> NoReturn:
    """Show it again and again: on a terminal in the same place, elsewhere one after the other. A daemon that does not
    answer may be starting anew: that is said, and it is asked again."""
    redraws = terminal.is_terminal() and not as_json
    while True:
        try:
            said = fetch(target)
        except NotRunning as error:
            said = {"error": error.message}
        if redraws:
            terminal.clear()
        if "error" in said and redraws:
            terminal.print_rows([("s3d", terminal.paint(words.printable(said["error"]), "red"))])
        elif "error" in said and not as_json:
            terminal.print_fields("error", said["error"])
        else:
            show(target, said, as_json=as_json)
        if not redraws and not as_json:
            terminal.print_fields()
        sys.stdout.flush()
        time.sleep(WATCHED_SECONDS)


def show(target: Target | None, said: dict[str, Any], *, as_json: bool) -> None:
    """Show it once."""
    rows = daemon_rows if target is None else object_rows if target.key else bucket_rows
    print_answer(said, rows, as_json=as_json)


def print_answer(said: dict[str, Any], rows: Rows, *, as_json: bool) -> None:
    """Print an answer of the daemon: as JSON, as the rows that are made of it for a person, or a value a line."""
    if as_json:
        terminal.print_json(said)
    elif terminal.is_terminal():
        terminal.print_rows(rows(said))
    else:
        for name, value in flatten(said):
            terminal.print_fields(name, value)


def fetch(target: Target | None) -> dict[str, Any]:
    """Ask the daemon. Raises NotRunning where it does not answer."""
    if target is not None:
        names = {"bucket": target.bucket, "key": target.key} if target.key else {"bucket": target.bucket}
        return ask_socket({name: os.fsencode(value) for name, value in names.items()})
    # Whoever names the metrics door and no local dir means another daemon than the one that may run beside.
    named = settings.find("S3D_METRICS_ENDPOINT") and not settings.find("S3D_LOCAL_DIR")
    if not named:
        try:
            return ask_socket({})
        except NotRunning:
            pass
    url = settings.endpoint("S3D_METRICS_ENDPOINT")
    try:
        sock = client.connect(url)
    except NotRunning:
        raise NotRunning(
            f"s3d is not running: nobody answers at {url} or on {settings.local_dir() / client.SOCKET_NAME}",
            hint="start it with `s3d run`, or set S3D_METRICS_ENDPOINT or S3D_LOCAL_DIR",
        ) from None
    return read(client.exchange(sock, urlsplit(url).netloc, "GET", "/status", {}, None, 0))


def ask_socket(query: dict[str, bytes]) -> dict[str, Any]:
    """Ask over the unix socket."""
    sock = client.connect_unix(settings.local_dir() / client.SOCKET_NAME)
    where = "/status" + (f"?{urlencode(query, quote_via=quote, safe='')}" if query else "")
    return read(client.exchange(sock, "localhost", "GET", where, {}, None, 0))


def read(response: Any) -> dict[str, Any]:
    """Read a JSON answer; raises S3DError for one that is no success."""
    with response:
        document = client.read_bounded(response)
    try:
        said = documents.parse(document)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise S3DError("the status cannot be read", hint="does S3D_METRICS_ENDPOINT name s3d's metrics door?")
    if response.status != HTTPStatus.OK:
        raise S3DError(str(said.get("error", response.reason)), hint=str(said.get("hint", "")))
    return said


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield every value with its path: `remote.state`, `changes.0.seq`. A missing value is empty."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, bool):
        yield name, str(value).lower()
    else:
        yield name, "" if value is None else value


def daemon_rows(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The daemon for a person."""
    now = time.time()
    remote, pending = said["remote"], said["pending"]
    draining = terminal.paint(", draining: no new requests are taken", "yellow") if said["draining"] else ""
    if left := parts.left(said):
        oldest = pending["oldest_age_seconds"]
        waited = "" if oldest is None else f", the oldest since {words.show_age(oldest)}"
        yield "pending", f"{left}, not in the remote yet{waited}"
    else:
        yield "pending", "nothing: the remote has everything"
    for problem in said["problems"]:
        colour = "red" if problem["stake"] == "data" else "yellow"
        yield "wrong", terminal.paint(words.printable(problem["text"]), colour)
        yield "", words.printable(problem["hint"])
    yield "s3d", f"{said['version']}, runs for {words.show_age(now - said['started_at'])}{draining}"
    state = remote["state"]
    colour = {"reachable": "green", "away": "red"}.get(state, "dim")
    word = {"unknown": "not asked yet"}.get(state, state)
    since = f" for {words.show_age(now - remote['since'])}" if remote["since"] and state != "unknown" else ""
    yield "remote", f"{words.printable(remote['endpoint'])} {terminal.paint(word + since, colour)}"
    if tls := said["tls"]:
        lasts = tls["expires_at"] - now
        until = f"expires in {words.show_age(lasts)}" if lasts > 0 else f"expired {words.show_age(-lasts)} ago"
        yield "certificate", until if lasts > 0 else terminal.paint(until, "red")
    if said["access_keys"] is not None:
        yield "keys", f"{words.count(said['access_keys'], 'access key')}: what none of them signs is refused"
    if said["keeps_push_filter"]:
        text = "push filter: the settings do not say which holds, so the last one stays in force"
        yield "old", terminal.paint(text, "yellow")
    for lane in said.get("lanes", ()):
        if lane["state"] == "paused":
            waits = words.show_age(now - lane["since"])
            whose = f" of identity {lane['identity']}" if lane["identity"] else ""
            text = f"{lane['bucket']}{whose} for {waits}: {lane['code']}: {lane['reason']}"
            yield "paused", terminal.paint(words.printable(text), "red")
    for change in said.get("tried", ()):
        name = f"{change['bucket']}/{change['key']}"
        text = f"{name} {words.count(change['attempts'], 'time')}: {change['code']}: {change['reason']}"
        yield "tried", terminal.paint(words.printable(text), "yellow")
    if pending.get("unjudged"):
        yield (
            "  unjudged",
            f"{pending['unjudged']:>6}  {terminal.paint('the policy has not decided about them', 'dim')}",
        )
    for state, number in said["states"].items():
        if number:
            yield f"  {state}", f"{number:>6}  {terminal.paint(words.STATES.get(state, ''), 'dim')}"
    if pending["held"] + pending["parked"]:
        yield "kept", f"{words.show_size(pending['kept_bytes'])} are held or parked, and may fill half of the queue"
    for part, text in parts.shown(said):
        yield part, words.printable(text)


def bucket_rows(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A bucket for a person."""
    pending = said["pending"]
    yield "bucket", words.printable(said["bucket"])
    yield "known", "yes" if said["known"] else "no: it is looked up before its first write is accepted"
    yield "writes", words.printable(str(said.get("writes", "")))
    yield "pending", f"{words.count(pending['changes'], 'change')}, {words.show_size(pending['bytes'])}"


def object_rows(said: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """An object and its changes for a person."""
    now = time.time()
    yield "object", words.printable(f"{said['bucket']}/{said['key']}")
    if not said["changes"]:
        yield "state", f"{terminal.paint(said['state'], 'green')}: nothing is pending, the remote's word holds"
    for change in said["changes"]:
        size = f"{words.show_size(change['size'])}, " if change["op"] == "put" else ""
        age = words.show_age(change["age_seconds"])
        yield change["op"], f"{size}accepted {age} ago; it {words.STATES.get(change['state'], change['state'])}"
        if change["attempts"]:
            again = change["next_at"]
            when = f", again in {words.show_age(again - now)}" if again and again > now else ""
            yield "", f"{words.count(change['attempts'], 'attempt')}{when}"
        if first := change.get("waits_for"):
            text = (
                f"waits for {first['op']} of {first['bucket']}/{first['key']} (change {first['seq']}): {first['state']}"
            )
            yield "", terminal.paint(words.printable(text), "yellow")
        if change.get("rule"):
            yield "", terminal.paint(words.printable(f"held by {change['rule']}"), "yellow")
        if change["code"] or change["reason"]:
            yield "", terminal.paint(words.printable(f"{change['code']}: {change['reason']}"), "yellow")
