"""Bodies on disk: whole or not there, verified, never deleted on suspicion."""

import asyncio
import errno
import hashlib
import os
import resource
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from s3d.api import Body, BytesBody
from s3d.errors import CorruptBody, S3Error
from s3d.store import file_body
from s3d.store.bodies import Bodies
from s3d.store.failures import StoreFailed, StoreFull
from s3d.store.file_body import FileBody
from tests.contracts import BodyCheck, blocks_of, body_contract, pattern

LIMIT = 16 << 10


@pytest.fixture
async def bodies(tmp_path: Path) -> AsyncIterator[Bodies]:
    store = await asyncio.to_thread(Bodies, tmp_path / "bodies")
    yield store
    await store.close()


class Incoming(Body):
    """A request body that gives its chunks once, then raises `end` if there is one."""

    length: int | None = None

    def __init__(self, *chunks: bytes, length: int | None = -1, end: BaseException | None = None) -> None:
        self.given = chunks
        self.length = sum(map(len, chunks)) if length == -1 else length
        self.end = end
        self.closed = 0

    async def chunks(self, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        for chunk in self.given:
            await asyncio.sleep(0)
            yield chunk
        if self.end:
            raise self.end

    async def aclose(self) -> None:
        self.closed += 1


def files(bodies: Bodies) -> list[str]:
    """All names in the directory but the quarantine's."""
    return sorted(path.name for path in bodies.root.iterdir() if path.name != "quarantine")


async def quiet(bodies: Bodies) -> None:
    """Let the threads finish what is left to do."""
    await bodies.close()


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


async def put_file(bodies: Bodies, data: bytes) -> str:
    stored = await bodies.receive(Incoming(data))
    assert stored.id
    return stored.id


async def test_an_open_body_outlives_its_file(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(3 << 20))
    body = bodies.open(name, 3 << 20)
    await bodies.delete(name)
    await bodies.delete(name)
    assert files(bodies) == []
    assert b"".join(await blocks_of(body)) == pattern(3 << 20)
    await body.aclose()


@pytest.mark.semantics("D-4")
@pytest.mark.parametrize("at", [0, (2 << 20) + 9, (3 << 20) - 1])
async def test_a_flipped_bit_is_raised_instead_of_the_last_block(bodies: Bodies, at: int) -> None:
    data = bytearray(pattern(3 << 20))
    name = await put_file(bodies, bytes(data))
    data[at] ^= 1
    (bodies.root / name).write_bytes(data)
    body = bodies.open(name, len(data), hashlib.md5(pattern(3 << 20)).hexdigest())
    blocks = body.chunks()
    assert [len(await anext(blocks)) for _ in range(2)] == [1 << 20, 1 << 20]
    with pytest.raises(CorruptBody, match="MD5"):
        await anext(blocks)
    await body.aclose()


@pytest.mark.semantics("D-11", "D-11a")
async def test_a_body_is_verified_once_a_life_for_all_who_read_it(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pattern((2 << 20) + 5)
    md5 = hashlib.md5(data).hexdigest()
    stored = await bodies.receive(Incoming(data), hashlib.md5().update)
    assert stored.id
    read: list[int] = []
    plain = os.pread

    def pread(fd: int, size: int, at: int) -> bytes:
        read.append(size)
        return plain(fd, size, at)

    monkeypatch.setattr(os, "pread", pread)
    body = bodies.open(stored.id, len(data), md5)
    await body.verify(5, 6)
    assert read == []  # this process wrote it
    await body.aclose()
    next_life = await asyncio.to_thread(Bodies, bodies.root)
    readers = [next_life.open(stored.id, len(data), md5) for _ in range(5)]
    looks = [asyncio.ensure_future(reader.verify(5, 6)) for reader in readers]
    await asyncio.sleep(0)
    looks[0].cancel()
    await readers[0].aclose()
    await asyncio.gather(*looks[1:])
    assert sum(read) == len(data)
    await readers[1].verify()
    assert sum(read) == len(data)
    for reader in readers:
        await reader.aclose()
    await next_life.close()


@pytest.mark.semantics("D-11", "D-11a")
async def test_a_body_that_was_written_to_is_verified_anew(bodies: Bodies) -> None:
    data = pattern(100_000)
    stored = await bodies.receive(Incoming(data), hashlib.md5().update)
    assert stored.id
    (bodies.root / stored.id).write_bytes(data[:-1] + b"?")
    body = bodies.open(stored.id, len(data), hashlib.md5(data).hexdigest())
    await body.verify(7, 7)
    for _ in range(2):
        with pytest.raises(CorruptBody, match="MD5"):
            await body.verify(0, 1)
    await body.aclose()


async def test_of_too_many_verified_bodies_the_oldest_are_forgotten(
    bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_body, "MAX_INTACT", 2)
    monkeypatch.setattr(bodies, "_intact", file_body.Intact())
    for _ in range(5):
        await bodies.receive(Incoming(pattern(LIMIT + 1)), hashlib.md5().update)
    assert len(bodies._intact._stamps) == 2


def receive_slowly(sock: socket.socket) -> bytes:
    """All that comes, in pieces that are smaller than any buffer."""
    pieces = []
    while piece := sock.recv(50_000):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("start, end", [(0, None), (5, None), ((1 << 20) - 1, (9 << 20) + 1), (7, 7)])
async def test_a_stretch_goes_to_a_socket_that_is_slower(bodies: Bodies, start: int, end: int | None) -> None:
    data = pattern(10 << 20)
    body = bodies.open(await put_file(bodies, data), len(data))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    receiving = asyncio.ensure_future(asyncio.to_thread(receive_slowly, theirs))
    await body.send(ours.fileno(), start, end)
    await body.aclose()
    ours.close()
    # The descriptor that the threads used is closed too, else the other side would wait for ever.
    assert await receiving == data[start:end]
    theirs.close()


async def test_sending_ends_when_the_other_side_leaves_or_the_caller_is_cancelled(bodies: Bodies) -> None:
    data = pattern(10 << 20)
    name = await put_file(bodies, data)
    for leave in (True, False):
        body = bodies.open(name, len(data))
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sending = asyncio.ensure_future(body.send(ours.fileno()))
        await asyncio.to_thread(theirs.recv, 1)
        if leave:
            theirs.close()
            with pytest.raises(ConnectionError):
                await sending
        else:
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        await body.aclose()
        ours.close()
        theirs.close()


@pytest.mark.semantics("D-4")
async def test_a_file_that_becomes_shorter_while_it_is_sent_is_corrupt(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(LIMIT + 1))
    body = bodies.open(name, LIMIT + 1)
    os.truncate(bodies.root / name, LIMIT)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with pytest.raises(CorruptBody, match="ends before"):
        await body.send(ours.fileno())
    await body.aclose()
    ours.close()
    theirs.close()


async def test_a_stored_body_is_shared_and_outlives_its_first_name(bodies: Bodies) -> None:
    data = pattern(300_000)
    first = await bodies.receive(Incoming(data))
    assert first.id is not None
    md5 = hashlib.md5()
    second = await bodies.receive(bodies.open(first.id, len(data), hashlib.md5(data).hexdigest()), md5.update)
    assert second.id not in (None, first.id)
    assert md5.hexdigest() == hashlib.md5(data).hexdigest()
    assert (bodies.root / first.id).stat().st_nlink == 2
    await bodies.delete(first.id)
    assert second.id is not None
    assert (bodies.root / second.id).read_bytes() == data


async def test_a_stored_body_whose_name_is_gone_is_copied(bodies: Bodies) -> None:
    data = pattern(300_000)
    first = await bodies.receive(Incoming(data))
    assert first.id is not None
    opened = bodies.open(first.id, len(data))
    await bodies.delete(first.id)
    second = await bodies.receive(opened)
    assert second.id is not None
    assert (bodies.root / second.id).read_bytes() == data


async def test_a_damaged_body_is_not_shared(bodies: Bodies) -> None:
    data = pattern(300_000)
    first = await bodies.receive(Incoming(data))
    assert first.id is not None
    with pytest.raises(CorruptBody):
        await bodies.receive(bodies.open(first.id, len(data), "0" * 32))
    await quiet(bodies)
    assert files(bodies) == [first.id]


@pytest.mark.semantics("D-4")
async def test_a_missing_or_short_file_is_corrupt(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(LIMIT + 1))
    with pytest.raises(CorruptBody, match="missing"):
        bodies.open(name[:-1] + "9", LIMIT + 1)
    with pytest.raises(CorruptBody, match="16385 bytes, not 20000"):
        bodies.open(name, 20_000)
    body = bodies.open(name, LIMIT + 1)
    os.truncate(bodies.root / name, 5)
    with pytest.raises(CorruptBody, match="ends before"):
        await blocks_of(body)
    await body.aclose()


@pytest.mark.semantics("D-4")
async def test_a_quarantined_body_is_kept_with_its_reason(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(LIMIT + 1))
    await bodies.quarantine(name, "the MD5 differs")
    assert files(bodies) == []
    assert (bodies.root / "quarantine" / name).read_bytes() == pattern(LIMIT + 1)
    assert (bodies.root / "quarantine" / f"{name}.reason").read_text() == "the MD5 differs\n"


@pytest.fixture
async def left_behind(bodies: Bodies) -> AsyncIterator[tuple[Bodies, str, str]]:
    """A new process's store over two bodies of an old one: the first has a row, the second none."""
    names = [await put_file(bodies, pattern(LIMIT + 1)) for _ in range(2)]
    await bodies.close()
    store = await asyncio.to_thread(Bodies, bodies.root)
    yield store, names[0], names[1]
    await store.close()


@pytest.mark.semantics("D-2", "D-2a", "D-5")
async def test_a_sweep_removes_what_has_no_row(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind
    (bodies.root / f".draft-{orphan}").write_bytes(b"half")
    swept = await bodies.sweep(lambda names: {wanted} & set(names), grace=-1)
    assert set(swept.removed) == {orphan, f".draft-{orphan}"}
    assert files(bodies) == [wanted]


async def test_a_sweep_leaves_what_is_young(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind
    assert not (await bodies.sweep(lambda _: set(), grace=3600)).removed
    assert files(bodies) == sorted([wanted, orphan])


async def test_a_sweep_leaves_what_this_process_received(bodies: Bodies) -> None:
    name = await put_file(bodies, pattern(LIMIT + 1))
    assert not (await bodies.sweep(lambda _: set(), grace=-1)).removed
    assert files(bodies) == [name]


@pytest.mark.semantics("D-5")
async def test_a_sweep_without_a_healthy_database_removes_nothing(left_behind: tuple[Bodies, str, str]) -> None:
    bodies, wanted, orphan = left_behind

    def fail(_: list[str]) -> set[str]:
        raise StoreFailed

    with pytest.raises(StoreFailed):
        await bodies.sweep(fail, grace=-1)
    assert files(bodies) == sorted([wanted, orphan])


@pytest.mark.semantics("D-4")
async def test_a_sweep_moves_files_that_are_not_ours_aside(bodies: Bodies) -> None:
    (bodies.root / "notes.txt").write_text("mine")
    (bodies.root / "folder").mkdir()
    swept = await bodies.sweep(set, grace=-1)
    assert sorted(swept.quarantined) == ["folder", "notes.txt"]
    assert files(bodies) == []
    assert (bodies.root / "quarantine" / "notes.txt").read_text() == "mine"


async def test_a_sweep_looks_at_any_number_of_files(
    left_behind: tuple[Bodies, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies, wanted, orphan = left_behind
    monkeypatch.setattr("s3d.store.files.SWEEP_BATCH", 1)
    swept = await bodies.sweep(lambda names: {wanted} & set(names), grace=-1)
    assert swept.removed == (orphan,)
