"""The sync folder beside `rclone bisync`: what a quiet look at both sides costs, and how soon a change is seen."""

import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.bench.loads import BUCKET
from e2e.bench.run import Run, mega, need, status
from e2e.bench.servers import KEY, SECRET, Server
from e2e.bench.table import at_most, missing
from tests.daemons import eventually
from tests.remotes import credentials

PREFIX, DIRECTORY = "docs/", 1000
"""Where the objects are, and how many files a directory has."""
POLL = 5.0
"""Seconds between two looks at the remote."""
CHANGES = 5
LIMIT = 900.0
"""Seconds for what has to come, and for one run of rclone."""


def sync(run: Run) -> None:
    """A folder and a prefix with the same files, which nobody has changed; then one file on either side is."""
    remote = need(run.place.versitygw(), "versitygw")
    remote.client.create_bucket(Bucket=BUCKET)
    folder, far = run.place.new("folder"), remote.program.log.parent / "data" / BUCKET / PREFIX
    make(run.files, folder, far)
    s3d = run.place.s3d(
        remote,
        S3D_SYNC_FOLDER="true",
        S3D_SYNC_FOLDER_DIR=str(folder),
        S3D_SYNC_FOLDER_BUCKET=BUCKET,
        S3D_SYNC_FOLDER_PREFIX=PREFIX,
        S3D_SYNC_FOLDER_POLL=f"{POLL:.0f}s",
    )
    eventually(lambda: is_equal(s3d, run.files), LIMIT)
    grown = mega(s3d.memory("VmRSS") - s3d.idle)
    looks = rounds(s3d)
    # The first one may go without a listing, as one that is made for the folder's own sake.
    eventually(lambda: rounds(s3d) > looks + 1, LIMIT)
    looks, before, asked = rounds(s3d), s3d.cpu, requests(s3d)
    eventually(lambda: rounds(s3d) >= looks + run.rounds, LIMIT)
    looks = rounds(s3d) - looks
    used, asked = (s3d.cpu - before) / looks, (requests(s3d) - asked) / looks
    here, there = folder / name_of(0), far / name_of(0)
    up = seconds(here.write_bytes, there)
    key = PREFIX + name_of(0)
    down = seconds(lambda data: remote.client.put_object(Bucket=BUCKET, Key=key, Body=data), here)
    s3d.stop()
    files = f"{run.files:,} files"
    run.add(at_most(f"resident for {files} in a folder, beyond an idle daemon", "MB", grown, {}, {"": 30}))
    run.add(at_most(f"requests of a look at {files}", "", asked, {}, {"": run.files / 1000 + 1}))
    try:
        cpu, took = bisync(run, folder, remote)
        peer, runs = {"rclone bisync": cpu}, {"a run of rclone bisync": took}
    except (OSError, subprocess.SubprocessError) as error:
        peer, runs = {}, {}
        run.add(missing("rclone bisync", str(error)[-300:]))
    run.add(at_most(f"CPU of a look at {files}", "s", used, peer, {"": 1.0}))
    run.add(at_most(f"until a change here is at the remote, {files}", "s", up, runs, {"": 2.0}))
    run.add(
        at_most(f"until a change at the remote is here, polled every {POLL:.0f} s", "s", down, runs, {"": POLL + 2})
    )


def name_of(number: int) -> str:
    """The path of a file."""
    return f"{number // DIRECTORY:03}/{number % DIRECTORY:03}.txt"


def make(number: int, folder: Path, far: Path) -> None:
    """Write the files, and the objects as versitygw keeps them."""
    for which in range(number):
        data, path, there = b"file %d\n" % which, folder / name_of(which), far / name_of(which)
        for one in (path, there):
            one.parent.mkdir(parents=True, exist_ok=True)
            one.write_bytes(data)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        at = path.stat().st_mtime_ns
        os.setxattr(there, "user.etag", f'"{etag}"'.encode())
        os.setxattr(there, "user.metadata", json.dumps({"mtime": f"{at // 10**9}.{at % 10**9:09}"}).encode())


def is_equal(server: Server, files: int) -> bool:
    """Whether it is at rest, and both sides have so many files."""
    said = status(server)["sync_folder"]
    return (said["state"], said["files"]) == ("quiet", files)


def rounds(server: Server) -> int:
    """Looks at both sides that have ended."""
    return int(status(server)["sync_folder"]["ended"])


def requests(server: Server) -> float:
    """Requests that a daemon has sent to the remote."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in re.findall(r"^s3d_remote_requests_total\{.*\} (\S+)$", text, re.MULTILINE))


def seconds(change: Callable[[bytes], Any], seen: Path) -> float:
    """Seconds until a change is seen at the other side, of some in turn the one in the middle."""
    took = []
    for number in range(CHANGES):
        data = b"change %d by %d\n" % (number, id(change))
        started = time.monotonic()
        change(data)
        eventually(lambda data=data: seen.read_bytes() == data, LIMIT)  # type: ignore[misc]  # a lambda with a default
        took.append(time.monotonic() - started)
    return statistics.median(took)


def bisync(run: Run, folder: Path, remote: Server) -> tuple[float, float]:
    """What a run of rclone takes that finds nothing to do: seconds of the processor and of the clock. Raises OSError
    and subprocess.SubprocessError."""
    program = shutil.which("rclone")
    if program is None:
        raise FileNotFoundError("rclone is not installed")
    there = f":s3,provider=Other,env_auth,endpoint='{remote.endpoint}':{BUCKET}/{PREFIX}"
    command: list[str | Path] = [
        program,
        "bisync",
        folder,
        there,
        "--config",
        os.devnull,
        "--workdir",
        run.place.new("bisync"),
    ]
    command += ["--exclude", "/.s3d/**", "--checkers", "16"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **credentials(KEY, SECRET)}
    for more in ("--resync",), ():
        used, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run([*command, *more], env=environment, capture_output=True, timeout=LIMIT, check=True)
    now, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    return now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, took
