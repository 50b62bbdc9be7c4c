"""Loads: many small requests over a few connections, and one large transfer.

Requests are presigned URLs, so that one generator serves every server alike. wrk makes them where it is installed, else
a client of our own, which is slower itself: then ratios are flattened, and CPU per request still holds.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from e2e.bench.servers import Server

BUCKET = "bench"
SMALL = 4096
SCRIPT = Path(__file__).with_name("walk.lua")
BLOCK = 1 << 20
ONCE_LIMIT = 120.0
"""Seconds in which requests that are sent once have been answered."""
SILENCE = 60.0
"""Seconds after which a transfer that does not move has failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one server did under one load."""

    rate: float
    """Requests a second."""
    p50: float
    """Seconds."""
    p99: float
    cpu: float
    """Seconds of the server's processor time for a request."""


def presign(server: Server, operation: str, keys: Iterable[str]) -> list[str]:
    """Lines of a method and the path of a presigned URL."""
    method = {"put_object": "PUT", "get_object": "GET", "head_object": "HEAD"}[operation]
    s3 = server.client
    lines = []
    for key in keys:
        url = urlsplit(s3.generate_presigned_url(operation, Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=86400))
        lines.append(f"{method} {url.path}?{url.query}")
    return lines


def presign_list(server: Server) -> list[str]:
    """The line of a listing's first page."""
    url = urlsplit(
        server.client.generate_presigned_url("list_objects_v2", Params={"Bucket": BUCKET, "Prefix": "list/"})
    )
    return [f"GET {url.path}?{url.query}"]


def run(server: Server, requests: Path, connections: int, seconds: float, size: int = SMALL) -> Result:
    """Send the requests of a file again and again. Raises RuntimeError where one is refused."""
    before = server.cpu
    said = (
        run_wrk(server, requests, connections, seconds, size)
        if shutil.which("wrk")
        else asyncio.run(run_own(server, requests.read_text(), connections, seconds, size))
    )
    used = server.cpu - before
    if said["errors"] or not said["requests"]:
        raise RuntimeError(f"{server.name}: {said}")
    return Result(said["requests"] / said["seconds"], said["p50"], said["p99"], used / said["requests"])


def run_wrk(server: Server, requests: Path, connections: int, seconds: float, size: int) -> dict[str, float]:
    """The load by wrk."""
    count = ("-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", "20s")
    finished = subprocess.run(
        ["wrk", *count, "-s", SCRIPT, server.endpoint],
        env={**os.environ, "REQUESTS": str(requests), "SIZE": str(size)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    said: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    if said["errors"]:
        raise RuntimeError(f"{server.name}: {said} {finished.stderr[-500:]}")
    return said


async def run_own(
    server: Server, requests: str, connections: int, seconds: float, size: int, *, once: bool = False
) -> dict[str, float]:
    """The load by a client of our own, in this process; with `once`, each request is sent once."""
    lines = [line.split(" ", 1) for line in requests.splitlines()]
    body = b"s" * size
    head = f"HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    made = [
        f"{method} {path} {head}Content-Length: {size}\r\n\r\n".encode() + body
        if method == "PUT"
        else f"{method} {path} {head}\r\n".encode()
        for method, path in lines
    ]
    started = time.perf_counter()
    times: list[float] = []
    errors = 0

    async def send(first: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        at = first
        while (sent := time.perf_counter()) < started + seconds and not (once and at >= len(made)):
            writer.write(made[at % len(made)])
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or 0) if not made[at % len(made)].startswith(b"HEAD") else 0)
            at += connections
            errors += answer.split(b" ", 2)[1] >= b"300"
            times.append(time.perf_counter() - sent)
        writer.close()

    await asyncio.gather(*(send(first) for first in range(connections)))
    elapsed = time.perf_counter() - started
    times.sort()
    return {
        "requests": len(times),
        "seconds": elapsed,
        "p50": times[len(times) // 2],
        "p99": times[len(times) * 99 // 100],
        "errors": errors,
    }


def once(server: Server, lines: list[str]) -> None:
    """Send each request once. Raises RuntimeError where one is refused, or it takes too long."""
    said = asyncio.run(run_own(server, "\n".join(lines), 8, ONCE_LIMIT, SMALL, once=True))
    if said["errors"] or said["requests"] < len(lines):
        raise RuntimeError(f"{server.name} took {said['requests']} of {len(lines)} requests, {said['errors']} refused")


def send(server: Server, key: str, file: Path) -> float:
    """PUT a file; the seconds it took. Raises RuntimeError where it is refused."""
    request = head(server, presign(server, "put_object", [key])[0], f"Content-Length: {file.stat().st_size}\r\n")
    with connect(server) as sock, file.open("rb") as source:
        started = time.perf_counter()
        sock.sendall(request)
        sock.sendfile(source)
        status, _ = read_head(sock)
        check(server, status)
        return time.perf_counter() - started


def fetch(server: Server, key: str) -> float:
    """GET an object and drop it; the seconds it took. Raises RuntimeError where it is refused or ends early."""
    request = head(server, presign(server, "get_object", [key])[0])
    with connect(server) as sock:
        started = time.perf_counter()
        sock.sendall(request)
        status, left = read_head(sock)
        check(server, status)
        buffer = bytearray(BLOCK)
        while left > 0:
            came = sock.recv_into(buffer)
            if not came:
                raise RuntimeError(f"{server.name} ended a body {left} bytes early")
            left -= came
        return time.perf_counter() - started


def connect(server: Server) -> socket.socket:
    """A connection to a server."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=SILENCE)


def head(server: Server, line: str, more: str = "") -> bytes:
    """The head of a request."""
    return f"{line} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n{more}\r\n".encode()


def read_head(sock: socket.socket) -> tuple[int, int]:
    """The status of an answer, and how many bytes of its body are still to come."""
    data = b""
    while b"\r\n\r\n" not in data:
        came = sock.recv(4096)
        if not came:
            raise RuntimeError(f"the connection ended after {data!r}")
        data += came
    lines, _, begun = data.partition(b"\r\n\r\n")
    length = lines.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return int(lines.split(b" ", 2)[1]), int(length or 0) - len(begun)


def check(server: Server, status: int) -> None:
    """Raise RuntimeError for what is no success."""
    if status >= 300:
        raise RuntimeError(f"{server.name} answered {status}")
