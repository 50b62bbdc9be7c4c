"""From one socket to another inside the kernel, by splice(2) through a pipe: no byte passes through the process.

Both sockets stay their owners', who neither read nor write them meanwhile. They are used by numbers of our own: an
owner may close its number at any time, and the system give it to another. What was taken and not yet sent on is bounded
by the pipe.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
from collections.abc import Awaitable, Callable

PIPE_BYTES = 1 << 20
"""Bytes that a pipe holds. Through one of 64 KiB, bytes take as long as through the process."""

Wait = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
"""Awaits what it is given, for as long as the source may be silent; then it raises TimeoutError."""


class SourceFailed(Exception):
    """The source failed, ended too soon or was silent for too long."""


class Pipe:
    """A pipe that bytes are moved through, empty."""

    def __init__(self) -> None:
        """Open it. Raises OSError where the system has no number or no room for another, or lets nobody splice."""
        check()
        with contextlib.ExitStack() as opened:
            self._outlet, self._inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            opened.callback(os.close, self._outlet)
            opened.callback(os.close, self._inlet)
            fcntl.fcntl(self._inlet, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Let go of it, and of what is in it. Safe to call twice."""
        self._opened.close()

    async def splice(self, source: int, sink: int, held: bytes, count: int, wait: Wait) -> None:
        """Write `held` to the sink, then move `count` bytes from the source; both are non-blocking sockets.

        Raises SourceFailed, and the OSError of the sink; what is left in the pipe then is for nobody.
        """
        with contextlib.ExitStack() as ours:
            source = os.dup(source)
            ours.callback(os.close, source)
            sink = os.dup(sink)
            ours.callback(os.close, sink)
            rest = memoryview(held)
            while rest:
                try:
                    rest = rest[os.write(sink, rest) :]
                except BlockingIOError:
                    await _until_writable(sink)
            while count:
                moved = await _fill(self._inlet, source, count, wait)
                count -= moved
                while moved:
                    try:
                        moved -= os.splice(self._outlet, sink, moved, flags=os.SPLICE_F_NONBLOCK)
                    except BlockingIOError:
                        await _until_writable(sink)
                # Where both sides are faster than we are, the others still have their turns.
                await asyncio.sleep(0)


@functools.cache
def check() -> None:
    """Move a byte. Raises OSError where a sandbox forbids it: under way it would be too late to find that out."""
    with contextlib.ExitStack() as opened:
        ends = [*os.pipe(), *os.pipe()]
        for end in ends:
            opened.callback(os.close, end)
        os.write(ends[1], b"x")
        os.splice(ends[0], ends[3], 1)


async def _fill(inlet: int, source: int, count: int, wait: Wait) -> int:
    """Take what has come, at least a byte, into the pipe, which is empty."""
    try:
        while True:
            try:
                taken = os.splice(source, inlet, count, flags=os.SPLICE_F_NONBLOCK)
                break
            except BlockingIOError:
                await wait(functools.partial(_until_readable, source))
    except OSError as error:
        raise SourceFailed(str(error) or type(error).__name__) from error
    if not taken:
        raise SourceFailed(f"it ended {count} bytes early")
    return taken


async def _until_readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(fd, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(fd)


async def _until_writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    loop.add_writer(fd, writable.set)
    try:
        await writable.wait()
    finally:
        loop.remove_writer(fd)
