"""Somebody swaps directories and files of the folder for links to what is outside of it, and back, all the time, while
the folder is scanned and changes are applied: nothing outside is read or touched."""

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from s3d.sync.root import EXCHANGE, rename
from tests.queues import until
from tests.sidecar.sync.folders import synced

ROUNDS = 25
SECRET = b"outside"


@contextmanager
def swapping(*pairs: tuple[Path, Path]) -> Iterator[None]:
    """Exchange the names of each pair again and again, in a thread; in the end each has its own."""
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for _ in range(2):
                for one, other in pairs:
                    # The folder may have taken one of them just now.
                    with suppress(FileNotFoundError):
                        rename(-100, str(one), -100, str(other), EXCHANGE)
                is_over.wait(0.0005)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.semantics("S-7")
async def test_links_that_come_and_go_during_scan_and_apply_lead_nowhere(tmp_path: Path) -> None:
    outside, aside = tmp_path / "outside", tmp_path / "aside"
    for directory in (outside, aside):
        directory.mkdir()
    for name in ("x", "y", "f"):
        (outside / name).write_bytes(SECRET)
    (aside / "d").symlink_to(outside)
    (aside / "f").symlink_to(outside / "f")
    before = looks_of(outside)
    async with synced(tmp_path) as world:
        for name in ("d/x", "d/y", "f", "stays"):
            world.write(name, b"base of " + name.encode())
        await world.settle()
        seen: set[bytes] = set()
        with swapping((world.path / "d", aside / "d"), (world.path / "f", aside / "f")):
            for number in range(ROUNDS):
                # All that a plan can do, below the directory and in the place of the file.
                await world.foreign.put("d/x", b"theirs %d" % number)
                await world.foreign.put("f", b"theirs %d" % number)
                await (world.foreign.delete("d/y") if number % 2 else world.foreign.put("d/y", b"back %d" % number))
                await world.foreign.put(f"d/new {number}", b"new %d" % number)
                await world.rounds(1)
                await until(lambda: not world.queue.pending()["changes"])
                seen |= {*(await world.foreign.there()).values()}
        assert looks_of(outside) == before
        assert SECRET not in seen
        for one in ("d", "f"):
            await asyncio.to_thread(put_back, world.path / one, aside / one)
        await world.settle()
        assert (world.here(), looks_of(outside)) == (await world.foreign.there(), before)
        assert SECRET not in world.here().values()


def put_back(path: Path, aside: Path) -> None:
    if path.is_symlink():
        rename(-100, str(path), -100, str(aside), EXCHANGE)


def looks_of(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Each name with its inode, times and bytes."""
    found = {}
    for one in directory.iterdir():
        stat = os.lstat(one)
        found[one.name] = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, one.read_bytes())
    return found
