"""The connections of a door: how many there are, what each may hold, and how long each may keep us waiting (A-6).

A client costs memory and descriptors before it has said anything that could be judged. So everything that it holds
while we wait for it has a bound, and all of it together too: where one more is too many, the connection that has kept
us waiting for the longest time goes, and the new one is served. Where access keys are asked for, a share of the
connections is kept for those over which a signed request has come: however many there are of the others, they displace
each other.

Waiting is told from working. Only the seconds in which the client owes us something count: the rest of a head, more of
a body, or room for the answer that lies in its socket. Time in which we wait for the disk, for room or for the remote
is not the client's. The kernel says whether an answer moves, so that it does not matter who writes it to the socket.
"""

import asyncio
import contextlib
import fcntl
import resource
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD

LINGER_SECONDS = 2.0
"""Seconds for which what is refused is still read."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at whether what is waited for moves."""
BATCH = 64
"""Connections that are looked at before others have their turn."""
MIN_BYTES_A_SECOND = 1024.0
"""Bytes for which a client gets back a second of our patience."""
MAX_CONNECTIONS = 512
"""Connections at once; fewer where the process may open few files."""
RESERVED_SHARE = 4
"""One of so many connections is kept for clients that have authenticated, where access keys are asked for."""
FILES_PER_CONNECTION = 4
"""Descriptors that a request may need: its socket, its file, the remote's socket, and a pipe between the two."""
MAX_HEAD = 64 << 10
"""Bytes of a request's line and headers; S3 takes 8 KB of headers, and a line of a listing has some tokens."""
MAX_HEADS = 16 << 20
"""Bytes of all heads that are not whole yet."""
MAX_LARGE_BUFFERS = 16
"""The first so many connections get large buffers, which a large body is faster through."""
BUFFER, SMALL_BUFFER = 256 << 10, 16 << 10
"""Bytes of a request that may wait before its connection is read no further."""
SMALL_SOCKET = 32 << 10
"""Bytes that the kernel is asked to keep in either direction for one that gets small buffers."""
END_OF_HEAD = b"\r\n\r\n"
MAX_PIPELINED = 2
"""Requests that are read ahead of the one that is served."""
BYTES_ACKED_OFFSET = 120
"""Where `struct tcp_info` has the count of bytes that the other side has acknowledged."""


class Connection(web.RequestHandler):
    """A connection that knows since when it waits for its client."""

    bounds: "Bounds"
    serving = False
    """Whether a request is being answered."""
    is_authenticated = False
    """Whether a request that came over it was signed with an access key."""
    is_encrypted = False
    """Whether it speaks TLS."""
    head = 0
    """Bytes of a head that is not whole yet."""
    idle_since = 0.0
    _refused = False
    _may_have_more = False
    """Whether bytes may have come behind a request, which are still to be parsed."""
    _raw: Any = None
    """Its socket, under whatever the transport makes of it."""
    _payload: StreamReader = EMPTY_PAYLOAD
    _waiting_since: float | None = None
    _waited = 0.0
    _moved = 0
    _acked = 0
    _left_in = _left_out = 0.0

    def __init__(self, server: web.Server, bounds: "Bounds", **options: Any) -> None:
        """Take the bounds that it shares with the others."""
        self._small = len(bounds.open) >= MAX_LARGE_BUFFERS
        super().__init__(server, read_bufsize=SMALL_BUFFER if self._small else BUFFER, **options)
        self.bounds = bounds
        # A queue of heads is memory that nobody has asked for yet.
        self._max_msg_queue_size = MAX_PIPELINED
        self._msg_queue_resume_size = 0

    def accepted(self, raw: Any) -> None:
        """Begin to wait for what the client says first: a head, or its part of a TLS handshake. From here on it counts
        as one of the connections."""
        self._raw = raw
        self.idle_since = self._loop.time()
        self._left_in, self._left_out = self.bounds.patience, self.bounds.readers_patience
        if self._small:
            with contextlib.suppress(OSError, AttributeError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_SOCKET)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_SOCKET)
        self.bounds.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to read requests. Time that went into a handshake has been waited for already."""
        super().connection_made(transport)
        self.is_encrypted = transport.get_extra_info("ssl_object") is not None
        if self._raw is None:
            self.accepted(transport.get_extra_info("socket"))
        elif self._small:
            # What TLS keeps in either direction counts as well.
            encrypted: Any = transport
            encrypted.set_read_buffer_limits(SMALL_BUFFER)
            encrypted.set_write_buffer_limits(SMALL_SOCKET)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        self.bounds.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes: of a body it is progress, of a head it has a bound."""
        if self._refused:
            return
        size, before = len(data), self._request_count
        self._moved += size
        of_head = size if self._payload.is_eof() else 0
        super().data_received(data)
        if self._request_count > before:
            longest = max(map(size_of, self._messages)) if self.head + of_head > MAX_HEAD else 0
            self._payload = self._messages[-1][1]
            if self.head or not is_whole(data, self._payload):
                self._may_have_more = True
            # Mostly a head comes in one piece, and nothing of it was counted.
            if self.head:
                self._grow(-self.head)
            if longest > MAX_HEAD:
                self._messages.clear()
                self.refuse_head()
            return
        self._may_have_more = self._may_have_more or size > 0
        if of_head:
            self._grow(of_head)
        if self.head > MAX_HEAD:
            self.refuse_head()
        elif self.bounds.heads > MAX_HEADS:
            self.bounds.relieve()

    def resume_reading(self, resume_parser: bool = True) -> None:  # aiohttp's own argument
        """Read on where a full buffer had stopped it. aiohttp would parse at each read of a body, for nothing."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def parse_rest(self) -> None:
        """Have what came behind a request parsed, now that it is served: nothing else may come to set that off."""
        if self._may_have_more:
            self._may_have_more = False
            self.data_received(b"")

    def _grow(self, size: int) -> None:
        self.head += size
        self.bounds.heads += size

    def refuse_head(self) -> None:
        """Refuse a head that is too long, and close; what still comes is read for a while, so that the client meets the
        answer and not a reset."""
        self._refused = True
        self._grow(-self.head)
        if self.serving or self.transport is None:
            self.cut()
            return
        self.transport.write(self.too_long())
        self._loop.call_later(LINGER_SECONDS, self.cut)

    def too_long(self) -> bytes:
        """The answer to a head that is too long, as it goes out."""
        return b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

    def authenticated(self) -> None:
        """Note that a request over it is signed with one of the door's access keys. From now on it is one of those that
        others do not displace."""
        self.is_authenticated = True

    def begin_answer(self) -> None:
        """Note that a request is being answered from now on."""
        self.serving = True

    def end_answer(self) -> None:
        """Note that its answer has left, or that there is none."""
        self.serving = False
        self.idle_since = self._loop.time()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """We wait for the body of the client's request meanwhile."""
        self._waiting_since = began = self._loop.time()
        try:
            yield
        finally:
            self._waiting_since = None
            self._waited += self._loop.time() - began

    def owed(self, now: float) -> float:
        """For how many seconds the client has kept us waiting; 0 where we do not wait for it."""
        if not self.serving:
            return now - self.idle_since
        waits = self._waiting_since
        inward = 0.0 if waits is None else self.bounds.patience - self._left_in + now - waits
        return max(inward, self.bounds.readers_patience - self._left_out)

    def look(self, now: float, passed: float) -> None:
        """See whether what we wait for moves; end what has kept us waiting for too long."""
        patience = self.bounds.patience
        waited = self._waited
        if self._waiting_since is not None:
            # What is left of it counts at its end, or at the next look.
            waited += now - self._waiting_since
            self._waiting_since = now
        self._left_in = min(patience, self._left_in + self._moved / MIN_BYTES_A_SECOND - waited)
        self._waited, self._moved = 0.0, 0
        if self._left_in <= 0 and self._waiting_since is not None and self._current_request is not None:
            self._left_in = patience
            # The handler meets it where it waits, and answers.
            self._current_request.content.set_exception(TimeoutError("the client sends nothing"))
        moved, stuck = self._sent()
        longest = self.bounds.readers_patience
        self._left_out = min(longest, self._left_out + moved / MIN_BYTES_A_SECOND - passed) if stuck else longest
        if self._left_out <= 0:
            self.cut()

    def _sent(self) -> tuple[int, bool]:
        """How many bytes the client has taken since the last look, and whether some wait for it."""
        raw = self._raw if self.transport is not None else None
        try:
            if raw is None or not struct.unpack("i", fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)))[0]:
                return 0, False
            info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED_OFFSET + 8)
            acked: int = struct.unpack_from("<Q", info, BYTES_ACKED_OFFSET)[0]
        except (OSError, ValueError, struct.error):
            # It is gone, it is no TCP, or the kernel does not say.
            return 0, False
        moved, self._acked = acked - self._acked, acked
        return moved, True

    def cut(self) -> None:
        """End it at once, also for whoever writes to the socket under another descriptor."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            number = self._raw.fileno()
            with socket.socket(fileno=fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)) as raw:
                # What the client never took is not kept for it.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.shutdown(socket.SHUT_RDWR)
        if self.transport is not None:
            self.transport.abort()


def of_request(request: web.BaseRequest) -> Connection:
    """The connection that a request came over."""
    connection: Connection = request.protocol  # type: ignore[assignment] # the server makes no others
    return connection


def is_whole(data: bytes, payload: StreamReader) -> bool:
    """Whether what was read is one head, with the bytes of a body that it has given so far, and nothing behind them."""
    return data.find(END_OF_HEAD) + len(END_OF_HEAD) + payload.total_bytes == len(data)


def size_of(message: tuple[Any, Any]) -> int:
    """Bytes of a head that was read, but for what stands between its parts."""
    head = message[0]
    return len(getattr(head, "path", "")) + sum(len(n) + len(v) for n, v in getattr(head, "raw_headers", ()))


class Bounds:
    """What the connections of a door share."""

    def __init__(self, patience: float, readers_patience: float, *, asks_for_keys: bool = False) -> None:
        """Take the seconds for which a client may keep us waiting, for its body and with its answer, and whether
        clients have to authenticate."""
        self.patience = patience
        self.readers_patience = readers_patience
        self.open: dict[Connection, None] = {}
        self.heads = 0
        self._looked = asyncio.get_running_loop().time()
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.most = (
            MAX_CONNECTIONS
            if files == resource.RLIM_INFINITY
            else min(MAX_CONNECTIONS, max(8, files // FILES_PER_CONNECTION))
        )
        self.most_unknown = self.most - self.most // RESERVED_SHARE if asks_for_keys else self.most
        """How many of them may be there without having authenticated."""

    def add(self, one: Connection) -> None:
        """Take one more. Where it is one too many, the one goes that has kept us waiting for the longest time; where
        none of them does, the new one. Where those are too many that have not authenticated, it is one of these."""
        self.open[one] = None
        if len(self.open) <= self.most_unknown:
            return
        rivals = [each for each in self.open if not each.is_authenticated]
        if len(rivals) <= self.most_unknown:
            if len(self.open) <= self.most:
                return
            rivals = [*self.open]
        now = asyncio.get_running_loop().time()
        # Of equals the first: the new one is it where nobody else is waited for.
        longest = max((one, *rivals), key=lambda each: each.owed(now))
        self.remove(longest)
        longest.cut()

    def remove(self, one: Connection) -> None:
        """Let one go."""
        self.open.pop(one, None)
        self.heads -= one.head
        one.head = 0

    def relieve(self) -> None:
        """End the oldest of the heads that are not whole."""
        now = asyncio.get_running_loop().time()
        oldest = max((one for one in self.open if one.head), key=lambda one: one.owed(now))
        self.remove(oldest)
        oldest.cut()

    async def watch(self) -> None:
        """Rest, and look at all of them."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(LOOK_INTERVAL)
        now = loop.time()
        passed, self._looked = now - self._looked, now
        for number, one in enumerate(list(self.open), 1):
            one.look(now, passed)
            if not number % BATCH:
                await asyncio.sleep(0)
