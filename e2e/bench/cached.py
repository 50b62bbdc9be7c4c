"""What the read cache gives and takes: reads of what is cached, a miss, and a delivery that is handed over to it.

nginx's `proxy_cache` stands beside the small reads: it answers a second long without asking, and asks then whether the
object is still the same.
"""

import asyncio
import statistics
import time
import urllib.request
from array import array
from collections.abc import Callable
from pathlib import Path

from multidict import CIMultiDict

from e2e.bench import backlog, loads
from e2e.bench.files import make_file
from e2e.bench.loads import BUCKET, Result
from e2e.bench.run import HELD, Run, fill, mega, middle, need, pending, status
from e2e.bench.servers import Server
from e2e.bench.table import at_least, at_most, missing
from e2e.bench.trouble import BEGIN
from s3d.layers.cache.layer import INDEX
from s3d.layers.cache.rows import entries
from s3d.layers.cache.rows.entries import New, Spot
from s3d.store.db import Database

CACHED = {"S3D_READ_CACHE": "true"}
FRESH = {**CACHED, "S3D_READ_CACHE_FRESH_FOR": "1h"}
KEYS = 500
LARGE, MISSED = 1000, 64
"""In MB."""
DELIVERED = 5000
PATIENCE = 0.2
"""Seconds that a read waits for a remote that hangs."""
ENTRIES, GROUP = 100_000, 1000
"""Objects in the index at a start, and how many are written together."""
DRAIN_LIMIT = 300.0
"""In seconds."""


def cache(run: Run) -> None:
    """Reads of large and small objects that are cached, misses, and a drain with hand-over."""
    remote = need(run.place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    hit(run, remote)
    small(run, remote)
    troubled(run, remote)
    miss(run, remote)
    handed_over(run, remote)
    started(run, remote)


def hit(run: Run, remote: Server) -> None:
    """One gigabyte that is cached, beside the same file by aiohttp."""
    bare = run.place.limit()
    s3d = run.place.s3d(remote, None, **FRESH)
    file = make_file(run.place.directory / "large", LARGE)
    (Path(bare.program.log.parent) / "blob").symlink_to(file)
    loads.send(remote, "large/blob", file)
    loads.fetch(s3d, "large/blob")
    times: dict[str, list[float]] = {"s3d": [], "bare": []}
    for _ in range(run.rounds):
        for server in (bare, s3d):
            times[server.name].append(loads.fetch(server, "large/blob"))
    rate = {name: LARGE / min(some) for name, some in times.items()}
    run.add(at_least("GET 1 GB cached", "MB/s", rate.pop("s3d"), rate, {"bare": 1 / 1.3}))
    run.add(at_most("resident, most with 1 GB cached", "MB", mega(s3d.memory("VmHWM")), {}, {"": 100}))
    bare.stop()
    s3d.stop()
    file.unlink()


def small(run: Run, remote: Server) -> None:
    """Reads of 4 KiB: fresh, validated, and what is beside them."""
    place = run.place
    keys = [f"k/{number:05}" for number in range(KEYS)]
    fill(remote, keys)
    bare, nginx = place.limit(), place.nginx(remote)
    fresh = place.s3d(remote, None, "fresh", **FRESH)
    validated = place.s3d(remote, None, "validated", **CACHED)
    waiting = place.s3d(remote, None, "pending", **HELD)
    fill(waiting, keys)
    readers = [bare, fresh, waiting, remote, *([nginx] if nginx else [])]
    many = measure(run, [*readers, validated], keys, "get_object", 16)
    one = measure(run, [bare, validated], keys, "get_object", 1)
    asked = measure(run, [remote], keys, "head_object", 1)
    rates = {server.name: many[server.name].rate for server in readers}
    goals = {"pending": 1.0, "versitygw": 1.3}
    run.add(at_least("GET 4 KiB cached, fresh, 16 connections", "req/s", rates.pop("fresh"), rates, goals))
    cpu = {server.name: many[server.name].cpu * 1000 for server in readers}
    run.add(at_most("CPU of such a GET", "ms", cpu.pop("fresh"), cpu, {}))
    if nginx is None:
        run.add(missing("GET 4 KiB by nginx, which validates once a second", "there is no nginx"))
    rates = {name: many[name].rate for name in ("versitygw", "fresh")}
    run.add(at_least("GET 4 KiB cached, validated, 16 connections", "req/s", many["validated"].rate, rates, {}))
    least = {"bare and one HEAD": (one["bare"].p50 + asked["versitygw"].p50) * 1000}
    took = one["validated"].p50 * 1000
    run.add(at_most("GET 4 KiB cached, validated, p50", "ms", took, least, {"bare and one HEAD": 2.0}))
    for server in (fresh, validated, waiting, bare, *([nginx] if nginx else [])):
        server.stop()


def measure(run: Run, servers: list[Server], keys: list[str], operation: str, connections: int) -> dict[str, Result]:
    """The same reads of each server in turns, after one of each key, which has it cached."""
    turns: dict[str, list[Result]] = {server.name: [] for server in servers}
    for server in servers:
        lines = loads.presign(server, operation, keys)
        (run.place.directory / f"{server.name}-{operation}").write_text("\n".join(lines))
        loads.once(server, lines)
    for turn in range(run.rounds + 1):
        for server in servers:
            requests = run.place.directory / f"{server.name}-{operation}"
            result = loads.run(server, requests, connections, run.seconds)
            # The first turn warms up.
            turns[server.name] += [result] if turn else []
    return {name: middle(results) for name, results in turns.items()}


def troubled(run: Run, remote: Server) -> None:
    """Reads of what is cached, each of which asks a remote that now and then fails, or hangs."""
    keys = [f"k/{number:05}" for number in range(KEYS)]
    fill(remote, keys)
    trouble = run.place.trouble(remote)
    s3d = run.place.s3d(trouble, None, S3D_READ_CACHE_VALIDATE_TIMEOUT=f"{PATIENCE}s", **CACHED)
    lines = loads.presign(s3d, "get_object", keys)
    requests = run.place.directory / "troubled"
    requests.write_text("\n".join(lines))
    loads.once(s3d, lines)
    urllib.request.urlopen(f"{trouble.endpoint}/{BEGIN}", timeout=10).close()
    waited = middle([loads.run(s3d, requests, 16, run.seconds) for _ in range(run.rounds)]).p99 * 1000
    work = f"GET 4 KiB cached, the remote fails or hangs in a fifth, {PATIENCE:g} s of patience, p99"
    run.add(at_most(work, "ms", waited, {}, {"": PATIENCE * 1000 + 50}))
    trouble.stop()
    s3d.stop()


def miss(run: Run, remote: Server) -> None:
    """Objects that are read for the first time, with the cache and without: there they go from socket to socket."""
    number = run.rounds * 3
    file = make_file(run.place.directory / "missed", MISSED)
    for at in range(number):
        loads.send(remote, f"missed/{at}", file)
    servers = [run.place.s3d(remote, None, "without"), run.place.s3d(remote, None, "cached", **CACHED)]
    times: dict[str, list[float]] = {server.name: [] for server in servers}
    for at in range(number):
        for server in servers:
            times[server.name].append(loads.fetch(server, f"missed/{at}"))
        servers.reverse()
    rate = {name: MISSED / statistics.median(some) for name, some in times.items()}
    run.add(at_least("GET 64 MB, not cached yet", "MB/s", rate.pop("cached"), rate, {"without": 0.85}))
    for server in servers:
        server.stop()


def handed_over(run: Run, remote: Server) -> None:
    """Deliveries of 4 KiB that the cache takes over, and those that are deleted."""
    rate: dict[str, list[float]] = {"cached": [], "without": []}
    for turn in range(run.rounds):
        for name, settings in (("without", {}), ("cached", CACHED))[:: -1 if turn % 2 else 1]:
            local = run.place.new("drained")
            backlog.fill(local, remote.endpoint, DELIVERED, "drained/{:05}".format)
            started = time.monotonic()
            server = run.place.s3d(remote, local, S3D_BUCKETS=BUCKET, **settings)
            while pending(server):
                if time.monotonic() > started + DRAIN_LIMIT:
                    raise RuntimeError(f"{pending(server)} changes were not delivered in {DRAIN_LIMIT:.0f} s")
                time.sleep(0.05)
            rate[name].append(DELIVERED / (time.monotonic() - started))
            server.stop()
    got = {name: statistics.median(some) for name, some in rate.items()}
    work = f"drain of {DELIVERED:,} x 4 KiB into the cache"
    run.add(at_least(work, "objects/s", got.pop("cached"), got, {"without": 1 / 1.15}))


def started(run: Run, remote: Server) -> None:
    """A start with many objects in the cache, and one with none."""
    ready: dict[str, list[float]] = {"cached": [], "empty": []}
    places = {name: run.place.new(name) for name in ready}
    for name, local in places.items():
        run.place.s3d(remote, local, **CACHED).stop()
        if name == "cached":
            asyncio.run(fill_index(local / "cache" / INDEX))
    for _ in range(run.rounds * 3):
        for name, local in places.items():
            server = run.place.s3d(remote, local, **CACHED)
            ready[name].append(server.ready)
            if status(server)["read_cache"]["entries"] != (ENTRIES if name == "cached" else 0):
                raise RuntimeError("what was cached before the start is not there")
            server.stop()
    got = {name: statistics.median(some) for name, some in ready.items()}
    run.add(at_most(f"ready with {ENTRIES:,} objects cached", "s", got.pop("cached"), got, {"empty": 1.2}))


async def fill_index(path: Path) -> None:
    """Write entries as fills do; nobody reads their files."""
    db = await asyncio.to_thread(Database.open, path, entries.SCHEMA)
    blocks = array("Q", [1]).tobytes()

    def add(first: int) -> Callable[[entries.Tables], None]:
        def write(tables: entries.Tables) -> None:
            for at in range(first, first + GROUP):
                head = CIMultiDict({"ETag": '"e"', "Content-Type": "text/plain"})
                new = New("e", loads.SMALL, f"0-{at:08x}", blocks, loads.SMALL, head, 1.0, {"": 1.0}, None, "")
                entries.put(tables, Spot(BUCKET, f"cached/{at:08}"), new, 1.0)

        return write

    for first in range(0, ENTRIES, GROUP):
        await db.write(add(first))
    await db.close()
