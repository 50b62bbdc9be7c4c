"""`cache warm`: read objects through the S3 door, so that the read cache has them (SEMANTICS C-14).

They are read as anybody would who has the same key, and the bytes are thrown away: nothing is cached that the caller
may not read, and nobody else is given a right to it. What is cached already costs one HEAD at the remote.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from s3d import words
from s3d.cli import terminal
from s3d.cli.client import ask, read_blocks
from s3d.cli.objects import Entry, list_keys
from s3d.cli.target import Target
from s3d.errors import S3Error

FETCHED, CACHED, PENDING, GONE, FAILED = "fetched", "cached before", "pending", "gone", "failed"
MEGABYTE = 1_000_000
Read = tuple[str, int, S3Error | None]
"""What came of an object, the bytes that were fetched of it, and why it failed."""


def warm(options: argparse.Namespace, counts: Callable[[], object]) -> int:
    """Read what is not cached yet; `counts` raises where there is no cache."""
    counts()
    bucket, tally, moved = options.target.bucket, Counter[str](), 0
    with terminal.Progress(None) as progress:
        for entry, (what, size, error) in read_each(options, tally):
            moved += size
            progress.add(size)
            show(f"{bucket}/{entry.name}", what, size, as_json=options.json)
            if error is not None:
                terminal.complain(f"{bucket}/{entry.name} cannot be read: {error.message}", error.hint)
    if terminal.is_terminal() and not options.json:
        said = [f"{words.count(tally[FETCHED], 'object')} fetched, {words.show_size(moved)}"]
        said += [f"{tally[what]} {what}" for what in (CACHED, PENDING, GONE, FAILED) if tally[what]]
        sys.stdout.write("; ".join(said) + "\n")
    if tally[FETCHED] >= options.max:
        terminal.complain(f"ended after {words.count(tally[FETCHED], 'object')}", "--max says how many are fetched")
    return 1 if tally[FAILED] else 0


def read_each(options: argparse.Namespace, tally: Counter[str]) -> Iterator[tuple[Entry, Read]]:
    """Read some objects at a time, count what came of them and yield it, until enough are fetched or there are no more.

    A read begins when what was fetched until then has taken its time at the rate: one large object comes as fast as
    the remote gives it, and the next one waits for so much longer.
    """
    began, moved = time.monotonic(), 0
    running: dict[Future[Read], Entry] = {}
    entries = list_keys(options.target, recursive=True)
    more = True
    with ThreadPoolExecutor(options.parallel) as pool:
        while more or running:
            room = more and len(running) < options.parallel and tally[FETCHED] + len(running) < options.max
            entry = next(entries, None) if room else None
            if entry is not None:
                if options.rate > 0:
                    time.sleep(max(0.0, began + moved / (options.rate * MEGABYTE) - time.monotonic()))
                running[pool.submit(read_one, Target(options.target.bucket, entry.name))] = entry
                continue
            more = more and not room and tally[FETCHED] < options.max
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                what, size, error = done.result()
                tally[what] += 1
                moved += size
                yield running.pop(done), (what, size, error)


def read_one(target: Target) -> Read:
    """Read an object, unless it is here. Raises S3DError where the next one would not be read either."""
    try:
        with ask("GET", target.path) as response:
            how = response.headers.get("x-cache", "")
            if how == "MISS":
                return FETCHED, sum(map(len, read_blocks(response))), None
            # What the write queue has pending comes into the cache when it is delivered.
            return (CACHED if how else PENDING), 0, None
    except S3Error as error:
        if error.status >= 500:
            raise
        return (GONE, 0, None) if error.status == 404 else (FAILED, 0, error)


def show(name: str, what: str, size: int, *, as_json: bool) -> None:
    """Print what came of an object, where no person reads along."""
    if as_json:
        terminal.print_json({"object": name, "result": what, "bytes": size})
    elif not terminal.is_terminal():
        terminal.print_fields(name, what, size)
