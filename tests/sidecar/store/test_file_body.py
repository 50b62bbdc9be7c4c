"""A body that is read: verified, sent to sockets, shared, quarantined."""

import asyncio
import hashlib
import os
import socket

import pytest

from s3d.errors import CorruptBody
from s3d.store import file_body
from s3d.store.bodies import Bodies
from tests.contracts.bodies import blocks_of, pattern
from tests.sidecar.store.incoming import LIMIT, Incoming, files, put_file, quiet


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
