"""Sends a stretch of an open file to a socket by the kernel."""

import asyncio
import os

from s3d.errors import CorruptBody
from s3d.store.failures import store_error
from s3d.store.files import BLOCK_BYTES
from s3d.store.threads import OpenFile

STRETCH = 8 * BLOCK_BYTES
"""Most bytes that a thread sends at a time."""


async def send(file: OpenFile, name: str, socket: int, start: int, end: int) -> None:
    """Send the bytes from `start` up to, not including, `end` to a non-blocking socket by sendfile(2).

    Raises ConnectionError when the other side leaves, CorruptBody when the file ends early, and StoreFailed; `name` is
    what they call the file.
    """
    # A number of our own: a thread may still hold it when the connection is gone and its number another's.
    out = os.dup(socket)
    try:
        while start < end:
            try:
                sent = await asyncio.shield(file.start(_send, out, start, end - start))
            except BlockingIOError:
                await _until_writable(out)
                continue
            except ConnectionError:
                raise
            except OSError as error:
                raise store_error(error, f"{name} cannot be read") from error
            if not sent:
                raise CorruptBody(f"{name} ends before byte {end}")
            start += sent
    finally:
        file.start(_close_socket, out)


async def _until_writable(socket: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(socket, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(socket)


def _send(fd: int, socket: int, start: int, size: int) -> int:
    return os.sendfile(socket, fd, start, min(size, STRETCH))


def _close_socket(_: int, socket: int) -> None:
    os.close(socket)
