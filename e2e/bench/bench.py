"""The benchmark: every work of the goals, on s3d and on what stands beside it, in turns in one run.

    python -m e2e.bench [--rounds N] [--seconds S] [--pending N] [--files N] [--only PART ...]

The goals are those of a machine with two cores: where a goal was a time of the processor, it is taken relative to the
limit (`limit.py`) that was measured with it. A part that fails is a row that says why; the run ends by itself.
"""

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from e2e.bench import backlog, loads
from e2e.bench.cached import cache
from e2e.bench.files import make_file
from e2e.bench.folder import sync
from e2e.bench.loads import BUCKET, Result
from e2e.bench.mounts import mount
from e2e.bench.rules import policy
from e2e.bench.run import HELD, Run, fill, mega, middle, need, pending
from e2e.bench.servers import Place, Server
from e2e.bench.table import at_least, at_most, markdown, missing
from tests.collectors import collector
from tests.daemons import ROOT
from tests.processes import NotStarted, free_port
from tests.remotes import cache_dir

KEYS = 500
LISTED = 1000
DRAINED = 10_000
LARGE, FORWARDED = 1000, 64
"""In MB."""
DRAIN_LIMIT = 120.0
"""In seconds."""
# What the goals were set by: of s3d, and of what was measured with them.
CPU_OF_PUT = 0.2 / 0.096
CPU_OF_GET = 0.1 / 0.047
P50_OF_PUT = 0.7 / 0.48
P50_OF_LIST = 20 / 54
READY = 0.5 / 0.3


def small(run: Run) -> None:
    """Puts and gets of 4 KiB, readiness and memory."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    bare, durable = place.limit(), place.limit(durable=True)
    peers = [peer for peer in (place.versitygw(), place.minio(), place.rclone()) if peer]
    for peer in peers:
        peer.client.create_bucket(Bucket=BUCKET)
    s3d = place.s3d(remote, None, "s3d", **HELD)
    servers = [bare, durable, s3d, *peers]
    run.add(at_most("ready", "s", s3d.ready, {p.name: p.ready for p in (bare, *peers)}, {"bare": READY}))
    run.add(at_most("resident, idle", "MB", mega(s3d.idle), {p.name: mega(p.idle) for p in (bare, *peers)}, {"": 60}))

    keys = [f"k/{number:05}" for number in range(KEYS)]
    files: dict[tuple[str, str], Path] = {}
    for server in servers:
        for method in ("put_object", "get_object"):
            files[server.name, method] = place.directory / f"{server.name}-{method}"
            files[server.name, method].write_text("\n".join(loads.presign(server, method, keys)))
        fill(server, keys)
    done: dict[tuple[str, str, int], Result] = {}
    for method, connections in (("put_object", 16), ("put_object", 1), ("get_object", 16)):
        for server in servers:
            loads.run(server, files[server.name, method], connections, 1)
        turns: dict[str, list[Result]] = {server.name: [] for server in servers}
        for _ in range(run.rounds):
            for server in servers:
                turns[server.name].append(loads.run(server, files[server.name, method], connections, run.seconds))
        done |= {(name, method, connections): middle(results) for name, results in turns.items()}
    run.figures["small"] = {f"{name} {method} {c}": asdict(result) for (name, method, c), result in done.items()}

    def of(field: str, method: str, connections: int, *names: str, scale: float = 1) -> dict[str, float]:
        return {
            name: getattr(done[name, method, connections], field) * scale
            for name in names
            if (name, method, connections) in done
        }

    others = ("versitygw", "MinIO", "rclone")
    put, get = ("put_object", 16), ("get_object", 16)
    beside = of("rate", *put, "bare durable", *others)
    goals = {"versitygw": 1.5, "MinIO": 6.0, "rclone": 6.0}
    run.add(at_least("durable PUT 4 KiB, 16 connections", "req/s", done["s3d", *put].rate, beside, goals))
    beside = of("cpu", *put, "bare durable", *others, scale=1000)
    used = done["s3d", *put].cpu * 1000
    run.add(at_most("CPU of such a PUT", "ms", used, beside, {"bare durable": CPU_OF_PUT}))
    beside = of("p50", "put_object", 1, "bare durable", *others, scale=1000)
    waited = done["s3d", "put_object", 1].p50 * 1000
    run.add(at_most("durable PUT 4 KiB, 1 connection, p50", "ms", waited, beside, {"bare durable": P50_OF_PUT}))
    beside = of("rate", *get, "bare", *others)
    best = dict.fromkeys(others, 1.3)
    run.add(at_least("GET 4 KiB pending, 16 connections", "req/s", done["s3d", *get].rate, beside, best))
    beside = of("cpu", *get, "bare", *others, scale=1000)
    used = done["s3d", *get].cpu * 1000
    run.add(at_most("CPU of such a GET", "ms", used, beside, {"bare": CPU_OF_GET}))
    beside = {p.name: mega(p.memory("VmHWM")) for p in (bare, *peers)}
    run.add(at_most("resident, most under these loads", "MB", mega(s3d.memory("VmHWM")), beside, {"": 100}))


def telemetry(run: Run) -> None:
    """What telemetry takes of the processor for a durable PUT, sent to a real collector."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    if not (cache_dir() / "bin" / "otelcol").exists():
        raise RuntimeError("there is no otelcol: e2e/cluster/tools.sh otelcol builds it")
    # Its backlog takes connections, and nobody reads them.
    with collector(place.new("collector")) as there, socket.create_server(("127.0.0.1", 0)) as silent:
        often = {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, **often}
        kinds = {
            "off": {},
            "metrics": {**to, "OTEL_TRACES_EXPORTER": "none"},
            "traces of 1 %": {**to, "OTEL_TRACES_SAMPLER_ARG": "0.01"},
            "traces of all": {**to, "OTEL_TRACES_SAMPLER": "always_on"},
            "hanging": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", **often},
            "gone": {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}", **often},
        }
        servers = [place.s3d(remote, None, name, **HELD, **settings) for name, settings in kinds.items()]
        keys = [f"k/{number:05}" for number in range(KEYS)]
        turns: dict[str, list[Result]] = {name: [] for name in kinds}
        for server in servers:
            fill(server, keys)
            (place.directory / server.name).write_text("\n".join(loads.presign(server, "put_object", keys)))
        for turn in range(run.rounds + 1):
            for server in servers:
                result = loads.run(server, place.directory / server.name, 16, run.seconds)
                # The first turn warms up.
                turns[server.name] += [result] if turn else []
        used = {name: middle(results).cpu * 1000 for name, results in turns.items()}
        waited = {name: statistics.median(result.p99 for result in results) * 1000 for name, results in turns.items()}
        idle = {server.name: mega(server.idle) for server in servers}
    off = {"off": used["off"]}
    for name, most in (("metrics", 1.01), ("traces of 1 %", 1.01), ("traces of all", 1.05)):
        run.add(at_most(f"CPU of a durable PUT with {name} by OTLP", "ms", used[name], off, {"off": most}))
    slowest = {"off": waited["off"]}
    for name in ("hanging", "gone"):
        run.add(at_most(f"durable PUT, p99, collector {name}", "ms", waited[name], slowest, {"off": 1.1}))
    run.add(at_most("resident, idle, with OpenTelemetry", "MB", idle["traces of all"], {"off": idle["off"]}, {}))


def listing(run: Run) -> None:
    """Pages of 1,000 keys, every tenth of which is pending."""
    work = "LIST 1,000 keys merged, 4 connections, p50"
    remote = need(run.place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    fill(remote, [f"list/{number:05}" for number in range(LISTED)])
    s3d = run.place.s3d(remote, None, "s3d", S3D_BARRIER_TIMEOUT="1s", **HELD)
    fill(s3d, [f"list/{number:05}" for number in range(0, LISTED, 10)])
    results = {}
    for server in (remote, s3d):
        requests = run.place.directory / f"{server.name}-list"
        requests.write_text("\n".join(loads.presign_list(server)))
        try:
            results[server.name] = loads.run(server, requests, 4, run.seconds).p50 * 1000
        except RuntimeError as error:
            run.add(missing(work, str(error)[:120]))
            return
    run.add(at_most(work, "ms", results["s3d"], {"versitygw": results["versitygw"]}, {"versitygw": P50_OF_LIST}))


def large(run: Run) -> None:
    """One gigabyte queued and read while it is pending."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    bare = place.limit()
    s3d = place.s3d(remote, None, "s3d", **HELD)
    file = make_file(place.directory / "large", LARGE)
    (Path(bare.program.log.parent) / "blob").symlink_to(file)
    puts: dict[str, list[float]] = {"s3d": [], "MD5 alone": [], "bare": []}
    gets: dict[str, list[float]] = {"s3d": [], "bare": []}
    for _ in range(run.rounds):
        puts["MD5 alone"].append(hash_file(file))
        puts["bare"].append(loads.send(bare, "large/blob", file))
        puts["s3d"].append(loads.send(s3d, "large/blob", file))
        gets["bare"].append(loads.fetch(bare, "large/blob"))
        gets["s3d"].append(loads.fetch(s3d, "large/blob"))
    rate = {name: LARGE / min(times) for name, times in puts.items()}
    run.add(at_least("PUT 1 GB queued", "MB/s", rate.pop("s3d"), rate, {"MD5 alone": 550 / 650}))
    rate = {name: LARGE / min(times) for name, times in gets.items()}
    run.add(at_least("GET 1 GB pending", "MB/s", rate.pop("s3d"), rate, {"bare": 1 / 1.2}))
    run.add(at_most("resident, most with 1 GB", "MB", mega(s3d.memory("VmHWM")), {}, {"": 100}))


def forwarded(run: Run) -> None:
    """64 MB put and read through s3d without its queue, and directly."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    s3d = place.s3d(remote, S3D_WRITE_QUEUE="false")
    file = make_file(place.directory / "forwarded", FORWARDED)
    times: dict[str, dict[str, list[float]]] = {"PUT": {"s3d": [], "direct": []}, "GET": {"s3d": [], "direct": []}}
    for _ in range(run.rounds * 3):
        for name, server in (("direct", remote), ("s3d", s3d)):
            times["PUT"][name].append(loads.send(server, "blob", file))
            times["GET"][name].append(loads.fetch(server, "blob"))
    for method, of in times.items():
        took = {name: statistics.median(some) * 1000 for name, some in of.items()}
        run.add(at_most(f"{method} 64 MB forwarded", "ms", took.pop("s3d"), took, {"direct": 1.15}))


def drain(run: Run) -> None:
    """10,000 objects of 4 KiB delivered, and copied by rclone and s5cmd."""
    place = run.place
    work = f"drain of {DRAINED:,} x 4 KiB"
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    files = place.new("files")
    for number in range(DRAINED):
        (files / f"{number:05}").write_bytes(number.to_bytes(4, "big") * (loads.SMALL // 4))
    local = place.new("drained")
    backlog.fill(local, remote.endpoint, DRAINED, lambda number: f"drained/{number:05}")
    s3d = place.s3d(remote, local, S3D_BUCKETS=BUCKET)
    started = time.monotonic()
    before = s3d.cpu
    while (left := pending(s3d)) and time.monotonic() < started + DRAIN_LIMIT:
        time.sleep(0.05)
    rate = {"s3d": (DRAINED - left) / (time.monotonic() - started)}
    used = (s3d.cpu - before) / max(1, DRAINED - left) * 1000
    for name, command, environment in copiers(files, remote):
        started = time.monotonic()
        subprocess.run(
            command, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, timeout=300, check=True
        )
        rate[name] = DRAINED / (time.monotonic() - started)
    run.add(at_least(work, "objects/s", rate.pop("s3d"), rate, dict.fromkeys(rate, 1.0)))
    run.add(at_most("CPU of one delivery", "ms", used, {}, {}))


def copiers(files: Path, remote: Server) -> list[tuple[str, list[str | Path], dict[str, str]]]:
    """The commands that copy the same files, as far as this machine has them."""
    found: list[tuple[str, list[str | Path], dict[str, str]]] = []
    keys = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmarksecret"}
    if program := shutil.which("rclone"):
        there = f":s3,provider=Other,env_auth,endpoint='{remote.endpoint}',no_check_bucket:{BUCKET}/rclone"
        flags: tuple[str, ...] = (
            "--config",
            os.devnull,
            "--transfers",
            "16",
            "--no-traverse",
            "--no-check-dest",
            "--s3-no-head",
        )
        found.append(("rclone copy", [program, "copy", *flags, files, there], keys))
    if program := shutil.which("s5cmd"):
        flags = ("--endpoint-url", remote.endpoint, "--numworkers", "16", "cp")
        found.append(("s5cmd", [program, *flags, f"{files}/", f"s3://{BUCKET}/s5cmd/"], keys))
    return found


def cli(run: Run) -> None:
    """How long a command takes to answer."""
    remote = need(run.place.versitygw(), "versitygw")
    s3d = run.place.s3d(remote)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "sidecar"),
        "S3D_METRICS_ENDPOINT": f"http://127.0.0.1:{s3d.metrics_port}",
    }
    times: dict[str, list[float]] = {"s3d": [], "python -c pass": []}
    for _ in range(7):
        for name, words in (("s3d", ["-m", "s3d.cli", "status"]), ("python -c pass", ["-c", "pass"])):
            started = time.perf_counter()
            subprocess.run([sys.executable, *words], env=environment, capture_output=True, timeout=30, check=True)
            times[name].append((time.perf_counter() - started) * 1000)
    took = {name: statistics.median(some) for name, some in times.items()}
    run.add(at_most("CLI answer", "ms", took.pop("s3d"), took, {"": 150}))


def many(run: Run) -> None:
    """A queue with many changes against one with 1,000."""
    place = run.place
    remote = need(place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    got: dict[int, tuple[Result, int, float]] = {}
    queues: dict[int, Server] = {}
    for number in (1000, run.pending):
        local = place.new("many")
        backlog.fill(local, remote.endpoint, number, lambda number: f"many/{number:08}", held=True)
        queues[number] = place.s3d(remote, local, f"s3d with {number}", S3D_BUCKETS=BUCKET, **HELD)
    for number, server in queues.items():
        requests = place.directory / f"many-{number}"
        requests.write_text("\n".join(loads.presign(server, "put_object", [f"k/{n:05}" for n in range(KEYS)])))
        loads.run(server, requests, 16, 1)
    for _ in range(run.rounds):
        for number, server in queues.items():
            result = loads.run(server, place.directory / f"many-{number}", 16, run.seconds)
            if number not in got or result.rate > got[number][0].rate:
                got[number] = result, server.memory("VmRSS"), server.ready
    (few, few_memory, few_ready), (lots, lots_memory, lots_ready) = got[1000], got[run.pending]
    name = f"with {run.pending:,} pending"
    run.add(at_least(f"PUT rate {name}", "req/s", lots.rate, {"1,000": few.rate}, {"1,000": 1 / 1.2}))
    run.add(at_most(f"resident {name}", "MB", mega(lots_memory), {"1,000": mega(few_memory)}, {"1,000": 1.2}))
    run.add(at_most(f"ready {name}", "s", lots_ready, {"1,000": few_ready}, {"1,000": 1.5}))


PARTS: dict[str, Callable[[Run], None]] = {
    part.__name__: part
    for part in (small, telemetry, listing, large, forwarded, drain, cli, many, policy, cache, sync, mount)
}


def hash_file(path: Path) -> float:
    """Seconds that MD5 takes for the bytes of a file, read beside it as little as can be."""
    taken = 0.0
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            started = time.perf_counter()
            md5.update(block)
            taken += time.perf_counter() - started
    return taken


def main() -> int:
    """Run the parts, print the table, write the figures as JSON."""
    parser = argparse.ArgumentParser(prog="make bench", description="s3d beside its goals, on this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each server at each load")
    parser.add_argument("--seconds", type=float, default=3, help="length of a turn")
    parser.add_argument("--pending", type=int, default=100_000, help="changes in the long queue")
    parser.add_argument("--files", type=int, default=50_000, help="files in the sync folder")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS), help="parts to run")
    parser.add_argument("--json", type=Path, default=cache_dir() / "bench.json", help="where the figures go")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="s3d-bench-") as directory:
        place = Place(Path(directory))
        run = Run(place, options)
        for name in options.only:
            try:
                PARTS[name](run)
            except (RuntimeError, OSError, NotStarted, subprocess.SubprocessError) as error:
                run.add(missing(name, str(error)[:300]))
            finally:
                place.stop()
    load = "by wrk" if shutil.which("wrk") else "by our own client: wrk is not installed"
    print(f"\n{markdown(run.rows)}\n\n{time.monotonic() - started:.0f} s, {os.cpu_count()} cores, load {load}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"rows": [{**asdict(row), "verdict": row.verdict} for row in run.rows], **run.figures}, indent=1)
    )
    print(f"figures: {options.json}")
    return 0
