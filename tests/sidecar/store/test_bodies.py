"""Bodies on disk: whole or not there."""

import asyncio
import errno
import hashlib
import os
import resource
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from s3d.api import BytesBody
from s3d.errors import S3Error
from s3d.store.bodies import Bodies
from s3d.store.failures import StoreFailed, StoreFull
from s3d.store.file_body import FileBody
from tests.contracts.bodies import BodyCheck, body_contract, pattern
from tests.sidecar.store.incoming import LIMIT, Incoming, files, quiet


@body_contract
async def test_file_bodies_keep_the_contract(check: BodyCheck, bodies: Bodies) -> None:
    async def make(data: bytes) -> FileBody:
        bodies.inline_limit = -1
        stored = await bodies.receive(BytesBody(data))
        assert stored.id
        return bodies.open(stored.id, stored.size, hashlib.md5(data).hexdigest())

    await check(make)


@body_contract
async def test_bytes_bodies_keep_the_contract(check: BodyCheck) -> None:
    async def make(data: bytes) -> BytesBody:
        return BytesBody(data)

    await check(make)


@pytest.mark.parametrize("size", [0, 1, LIMIT])
async def test_a_small_body_stays_in_memory(bodies: Bodies, size: int) -> None:
    stored = await bodies.receive(Incoming(pattern(size)))
    assert (stored.inline, stored.id, stored.size) == (pattern(size), None, size)
    assert files(bodies) == []


@pytest.mark.semantics("D-2")
@pytest.mark.parametrize("length", [-1, None])
async def test_a_larger_body_becomes_a_file_of_its_bytes(bodies: Bodies, length: int | None) -> None:
    data = pattern((3 << 20) + 5)
    chunks = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    stored = await bodies.receive(Incoming(*chunks, length=length))
    assert stored.id
    assert (stored.inline, stored.size) == (None, len(data))
    assert (bodies.root / stored.id).read_bytes() == data


async def test_many_tiny_chunks_are_gathered(bodies: Bodies) -> None:
    data = pattern(50_000)
    stored = await bodies.receive(Incoming(*(data[at : at + 7] for at in range(0, len(data), 7))))
    assert stored.id
    assert (bodies.root / stored.id).read_bytes() == data


@pytest.mark.parametrize("size", [10, LIMIT + 1, (5 << 20) + 3])
async def test_the_hasher_sees_every_byte_in_order(bodies: Bodies, size: int) -> None:
    digest = hashlib.md5()
    data = pattern(size)
    await bodies.receive(Incoming(*(data[at : at + 9999] for at in range(0, size, 9999))), digest.update)
    assert digest.digest() == hashlib.md5(data).digest()


REFUSAL = S3Error("BadDigest", "no")
FAILURES = {
    "short": (Incoming(bytes(2 << 20), length=(2 << 20) + 1), S3Error),
    "short and small": (Incoming(b"x", length=2), S3Error),
    "long": (Incoming(bytes(2 << 20), length=(2 << 20) - 1), S3Error),
    "refused": (Incoming(bytes(2 << 20), length=3 << 20, end=REFUSAL), S3Error),
    "refused and small": (Incoming(b"x", length=2, end=REFUSAL), S3Error),
    "gone": (Incoming(bytes(2 << 20), length=3 << 20, end=ConnectionResetError()), ConnectionResetError),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_body_that_fails_leaves_nothing_and_is_closed(bodies: Bodies, case: str) -> None:
    body, error = FAILURES[case]
    with pytest.raises(error) as raised:
        await bodies.receive(body)
    assert raised.value is body.end or getattr(raised.value, "code", "") == "IncompleteBody"
    await quiet(bodies)
    assert body.closed
    assert files(bodies) == []


async def test_a_cancelled_body_leaves_nothing_and_is_closed(bodies: Bodies) -> None:
    class Stalling(Incoming):
        async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            yield bytes(2 << 20)
            stalled.set()
            await asyncio.Event().wait()

    stalled = asyncio.Event()
    body = Stalling(length=3 << 20)
    receiving = asyncio.ensure_future(bodies.receive(body))
    await stalled.wait()
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await quiet(bodies)
    assert body.closed
    assert files(bodies) == []


async def test_a_caller_that_leaves_while_the_file_is_published_gets_none(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(fd: int) -> None:
        entered.set()
        go.wait()
        fsync(fd)

    monkeypatch.setattr(os, "fsync", slow)
    receiving = asyncio.ensure_future(bodies.receive(Incoming(bytes(LIMIT + 1))))
    await asyncio.to_thread(entered.wait)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    go.set()
    await quiet(bodies)
    assert files(bodies) == []


@pytest.mark.semantics("D-3")
async def test_a_failed_sync_of_the_file_abandons_it(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def fail(fd: int) -> None:
        synced.append(fd)
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreFailed, match="the disk is broken"):
        await bodies.receive(Incoming(bytes(LIMIT + 1)))
    await quiet(bodies)
    assert len(synced) == 1
    assert files(bodies) == []


@pytest.mark.semantics("D-3")
async def test_a_failed_sync_of_the_directory_fails_all_who_share_it(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fail(fd: int) -> None:
        if fd == bodies._dir:
            raise OSError(errno.EIO, "the disk is broken")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fail)
    receiving = [bodies.receive(Incoming(bytes(LIMIT + 1))) for _ in range(8)]
    results = await asyncio.gather(*receiving, return_exceptions=True)
    assert {type(result) for result in results} == {StoreFailed}
    await quiet(bodies)
    assert files(bodies) == []


async def test_one_sync_of_the_directory_serves_all_who_wait(bodies: Bodies, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sync is held until every file has been linked: the others share the second."""
    all_wait, go = asyncio.Event(), threading.Event()
    asked: list[asyncio.Future[None]] = []
    syncs: list[int] = []
    fsync, sync = os.fsync, bodies._syncs.sync

    def counting_fsync(fd: int) -> None:
        if fd == bodies._dir:
            syncs.append(fd)
            go.wait()
        fsync(fd)

    def counting_sync() -> asyncio.Future[None]:
        asked.append(sync())
        if len(asked) == 20:
            all_wait.set()
        return asked[-1]

    monkeypatch.setattr(os, "fsync", counting_fsync)
    monkeypatch.setattr(bodies._syncs, "sync", counting_sync)
    receiving = asyncio.gather(*(bodies.receive(Incoming(bytes(LIMIT + 1))) for _ in range(20)))
    await all_wait.wait()
    go.set()
    await receiving
    assert len(syncs) == 2


async def test_a_file_system_without_nameless_files_serves_as_well(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.open

    def without(path: str, flags: int, *args: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return plain(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", without)
    with pytest.raises(S3Error):
        await bodies.receive(Incoming(bytes(2 << 20), length=3 << 20))
    stored = await bodies.receive(Incoming(pattern(2 << 20)))
    assert stored.id
    await quiet(bodies)
    assert files(bodies) == [stored.id]
    assert (bodies.root / stored.id).read_bytes() == pattern(2 << 20)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid():
        pytest.skip("only root may mount a small file system")
    mount = tmp_path / "small"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mount], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", "-l", mount], check=True)


async def test_a_full_disk_is_found_before_the_first_byte(small_disk: Path) -> None:
    class Untouched(Incoming):
        async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
            pytest.fail("the client was asked for its bytes")
            yield b""

    bodies = await asyncio.to_thread(Bodies, small_disk / "bodies")
    with pytest.raises(StoreFull):
        await bodies.receive(Untouched(length=20 << 20))
    await quiet(bodies)
    assert files(bodies) == []


async def test_a_body_of_unknown_length_that_fills_the_disk_leaves_it_empty(small_disk: Path) -> None:
    bodies = await asyncio.to_thread(Bodies, small_disk / "bodies")
    with pytest.raises(StoreFull):
        await bodies.receive(Incoming(*[bytes(1 << 20)] * 20, length=None))
    await quiet(bodies)
    assert os.statvfs(small_disk).f_bfree * 4096 > 7 << 20


async def test_a_write_that_the_system_refuses_is_a_failure_of_the_store(bodies: Bodies) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(StoreFailed, match="File too large"):
            await bodies.receive(Incoming(bytes(2 << 20), length=None))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    await quiet(bodies)
    assert files(bodies) == []
