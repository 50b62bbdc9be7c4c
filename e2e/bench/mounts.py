"""Files on the mount, beside other programs that mount a bucket: each on the same remote, in a directory of its own."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.bench.files import make_file
from e2e.bench.loads import BLOCK, SMALL
from e2e.bench.run import Run, mega, need
from e2e.bench.servers import KEY, SECRET, Server
from e2e.bench.table import at_least, at_most
from tests.mounts import end, require_mount
from tests.processes import start
from tests.remotes import REGION

LARGE = 1000
"""In MB."""
FILES, LOOKS = 1000, 5
"""Small files, and how often each is looked at."""
READY_LIMIT = 30.0
"""Seconds in which something is mounted."""
GOAL = 1 / 1.2


@dataclass(frozen=True, slots=True)
class There:
    """A bucket that is mounted."""

    server: Server
    dir: Path


def mount(run: Run) -> None:
    """One gigabyte and a thousand small files, written, read and looked at."""
    require_mount()
    remote = need(run.place.versitygw(), "versitygw")
    file = make_file(run.place.directory / "large", LARGE)
    with ExitStack() as mounts:
        there = {name: mounts.enter_context(program(run, remote)) for name, program in PROGRAMS.items() if found(name)}
        for name, one in there.items():
            remote.client.upload_file(str(file), name.lower(), "large")
            one.dir.joinpath("small").mkdir()
        for work, unit, amount, load in (
            (f"write {LARGE} MB", "MB/s", LARGE, lambda one: write(one.dir / "written", file)),
            (f"read {LARGE} MB", "MB/s", LARGE, lambda one: read(one.dir / "large")),
            (f"make {FILES:,} files of 4 KiB", "files/s", FILES, lambda one: make(one.dir / "small")),
            (f"look at each of them {LOOKS} times", "stat/s", FILES * LOOKS, lambda one: look(one.dir / "small")),
        ):
            compare(run, work, unit, amount, there, load)
        memory = {name: mega(one.server.memory("VmHWM")) for name, one in there.items()}
    run.add(at_most("resident, most under these", "MB", memory.pop("s3d"), memory, {"": 150}))


def compare(
    run: Run, work: str, unit: str, amount: int, there: dict[str, There], load: Callable[[There], None]
) -> None:
    """One load on each of them, by the clock and by what it takes of the program's processor time."""
    rate, used = {}, {}
    for name, one in there.items():
        started, before = time.perf_counter(), one.server.cpu
        load(one)
        rate[name] = amount / (time.perf_counter() - started)
        used[name] = one.server.cpu - before
    run.figures[work] = {"rate": dict(rate), "cpu": dict(used)}
    run.add(at_least(f"mount: {work}", unit, rate.pop("s3d"), rate, dict.fromkeys(rate, GOAL)))
    run.add(at_most("CPU of that", "s", used.pop("s3d"), {name: max(some, 0.01) for name, some in used.items()}, {}))


def write(path: Path, source: Path) -> None:
    """Write a file in blocks, and close it."""
    with source.open("rb") as data, path.open("wb", buffering=0) as file:
        while block := data.read(BLOCK):
            file.write(block)


def read(path: Path) -> None:
    """Read a file in blocks."""
    with path.open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def make(directory: Path) -> None:
    """Make small files."""
    for number in range(FILES):
        (directory / f"{number:04}").write_bytes(b"s" * SMALL)


def look(directory: Path) -> None:
    """Look at each of them, one after another."""
    for _ in range(LOOKS):
        for number in range(FILES):
            (directory / f"{number:04}").stat()


Opened = Callable[[Run, Server], AbstractContextManager[There]]


@contextmanager
def s3d(run: Run, remote: Server) -> Iterator[There]:
    """The mount itself."""
    remote.client.create_bucket(Bucket="s3d")
    directory = run.place.new("mount")
    server = run.place.s3d(remote, S3D_FUSE_MOUNT="true", S3D_FUSE_MOUNT_DIR=str(directory))
    try:
        yield There(server, directory / "s3d")
    finally:
        end(directory)


def other(name: str, *command: str, **environment: str) -> Opened:
    """Another program, with {bucket}, {dir}, {url} and {work} in its command and environment."""

    @contextmanager
    def mounted(run: Run, remote: Server) -> Iterator[There]:
        bucket, directory, work = name.lower(), run.place.new("mount"), run.place.new(name)
        remote.client.create_bucket(Bucket=bucket)
        words = {"bucket": bucket, "dir": directory, "url": remote.endpoint, "work": work}
        (work / "keys").write_text(f"{KEY}:{SECRET}")
        (work / "keys").chmod(0o600)
        program = start(
            [one.format(**words) for one in (found(name), *command)],
            work / "log",
            {key: value.format(**words) for key, value in environment.items()},
            work,
        )
        try:
            limit = time.monotonic() + READY_LIMIT
            while not directory.is_mount():
                if time.monotonic() > limit or not program.running:
                    raise RuntimeError(f"{name} is not mounted: {program.output()[-500:]}")
                time.sleep(0.05)
            yield There(Server(name, program, 0), directory)
        finally:
            end(directory)
            program.kill()

    return mounted


def found(name: str) -> str:
    """Where a program is; "" where it is not installed."""
    return "s3d" if name == "s3d" else shutil.which(name) or ""


PROGRAMS: dict[str, Opened] = {
    "s3d": s3d,
    "rclone": other(
        "rclone",
        *("mount", "bench:{bucket}", "{dir}", "--vfs-cache-mode", "full", "--cache-dir", "{work}"),
        RCLONE_CONFIG_BENCH_TYPE="s3",
        RCLONE_CONFIG_BENCH_PROVIDER="Other",
        RCLONE_CONFIG_BENCH_ENDPOINT="{url}",
        RCLONE_CONFIG_BENCH_ACCESS_KEY_ID=KEY,
        RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY=SECRET,
        RCLONE_CONFIG_BENCH_REGION=REGION,
    ),
    "s3fs": other(
        "s3fs",
        *("{bucket}", "{dir}", "-f", "-o", "url={url},use_path_request_style,passwd_file={work}/keys"),
        *("-o", f"endpoint={REGION}"),
    ),
    "geesefs": other(
        "geesefs",
        *("-f", "--endpoint", "{url}", "--region", REGION, "{bucket}", "{dir}"),
        AWS_ACCESS_KEY_ID=KEY,
        AWS_SECRET_ACCESS_KEY=SECRET,
    ),
}
