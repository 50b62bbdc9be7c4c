"""What the mount shows while objects come by the S3 door at the same moment.

S3D_E2E_SOAK_HOURS makes the rounds many more, and the storm longer.
"""

import mmap
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from tests.mounts import Mounted, errno_of

SOAK_HOURS = float(os.environ.get("S3D_E2E_SOAK_HOURS", "0"))
ROUNDS = int(os.environ.get("S3D_E2E_ROUNDS") or (100_000 if SOAK_HOURS else 100))
STORM_SECONDS = 600 if SOAK_HOURS else 10
LONGEST = 5.0
"""Seconds that an operation takes at most in a storm: far beyond what it does, and far below what a lock-up would."""
SIZE = 300_000
VERSIONS = 50

pytestmark = [
    pytest.mark.parametrize("remote", ["versitygw"], indirect=True),
    pytest.mark.timeout(300 + ROUNDS // 10 + STORM_SECONDS * 2),
]


@contextmanager
def meanwhile(*works: Callable[[], object]) -> Iterator[None]:
    """Do something again and again in threads; what fails there fails the test."""
    over = threading.Event()

    def again(work: Callable[[], object]) -> None:
        while not over.is_set():
            work()

    with ThreadPoolExecutor(len(works)) as pool:
        running = [pool.submit(again, work) for work in works]
        try:
            yield
        finally:
            over.set()
        for one in running:
            one.result()


@pytest.mark.semantics("M-1", "M-2")
def test_what_was_acknowledged_is_there_at_the_next_open_round_after_round(mounted: Mounted) -> None:
    """One thread has both sides in turns, without a pause, while others keep the same names busy."""
    s3, names = mounted.s3, ["a", "b", "c"]
    paths = {name: mounted.dir / "d" / name for name in names}
    for name in names:
        mounted.put(f"d/{name}", b"0")

    def look() -> None:
        for path in paths.values():
            path.stat()
            # Who opens a version and reads it when it has been replaced is told so (M-2a).
            assert errno_of(path.read_bytes) in ("", "ESTALE")

    def listed() -> None:
        assert mounted.names("d") == names

    with meanwhile(look, listed):
        for number in range(ROUNDS):
            name, data = names[number % len(names)], b"%d" % number * (1 + number % 50)
            s3.put_object(Bucket=mounted.bucket, Key=f"d/{name}", Body=data)
            assert paths[name].read_bytes() == data, number
            paths[name].write_bytes(data[::-1])
            assert s3.get_object(Bucket=mounted.bucket, Key=f"d/{name}")["Body"].read() == data[::-1], number


@pytest.mark.semantics("M-2a")
def test_a_map_shows_its_version_while_fifty_others_come(mounted: Mounted) -> None:
    mounted.put("f", versioned(1))
    with (mounted.dir / "f").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
        assert pages[:] == versioned(1)
        for number in range(2, VERSIONS + 1):
            mounted.put("f", versioned(number))
            assert pages[:] == versioned(1), number
            assert (mounted.dir / "f").read_bytes() == versioned(number)
            assert pages[:] == versioned(1), number


@pytest.mark.semantics("M-2a")
def test_a_storm_of_puts_renames_maps_and_writes_holds_nobody_up(mounted: Mounted) -> None:
    """Objects are replaced under those who map and write them: no page of two versions, and no operation for long."""
    names = [f"f{number}" for number in range(4)]
    for name in names:
        mounted.put(name, versioned(1))
    longest: dict[str, float] = {}

    def timed(kind: str, work: Callable[[], object]) -> None:
        started = time.monotonic()
        work()
        longest[kind] = max(longest.get(kind, 0), time.monotonic() - started)

    def put(chance: random.Random) -> None:
        mounted.put(chance.choice(names), versioned(chance.randrange(1, VERSIONS)))

    def map_one(chance: random.Random) -> None:
        path = mounted.dir / chance.choice(names)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages:
            # A page of a version that has gone would be SIGBUS: a read says so as an error.
            if not errno_of(lambda: os.pread(file.fileno(), SIZE, 0)):
                assert len(set(pages[:])) == 1

    def replace(chance: random.Random) -> None:
        part = mounted.dir / "part"
        part.write_bytes(versioned(chance.randrange(1, VERSIONS)))
        part.rename(mounted.dir / chance.choice(names))

    def change(chance: random.Random) -> None:
        path = mounted.dir / "own"
        with path.open("w+b") as file:
            file.write(versioned(1))
            file.flush()
            with mmap.mmap(file.fileno(), 0) as pages:
                pages[: SIZE // 2] = versioned(2)[: SIZE // 2]
                pages.flush()
        assert path.read_bytes() == versioned(2)[: SIZE // 2] + versioned(1)[SIZE // 2 :]

    works = enumerate((put, map_one, map_one, replace, change))
    with meanwhile(*(partial(timed, work.__name__, partial(work, random.Random(seed))) for seed, work in works)):
        time.sleep(STORM_SECONDS)
    print(f"longest in seconds: { {kind: round(seconds, 3) for kind, seconds in longest.items()} }")
    assert max(longest.values()) < LONGEST


def versioned(number: int) -> bytes:
    """The bytes of a version: the same one throughout."""
    return bytes([number]) * SIZE
