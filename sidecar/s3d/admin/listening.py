"""The sockets on which the doors listen."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRNOTAVAIL, EAFNOSUPPORT
from pathlib import Path
from urllib.parse import urlsplit

from s3d.errors import ConfigError

SOCKET_PATH_LIMIT = 107
"""Longest path in bytes that bind(2) takes for a unix socket."""


def listen_tcp(url: str) -> list[socket.socket]:
    """Listen on every address of the URL's host that this machine has (`localhost`: 127.0.0.1 and ::1)."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        raise ConfigError("S3D_METRICS_ENDPOINT: the metrics door speaks plain HTTP", hint="write http://")
    sockets: list[socket.socket] = []
    try:
        port = 80 if parts.port is None else parts.port
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in found:
            both = address[0] == "::" and socket.has_dualstack_ipv6()
            try:
                sockets.append(socket.create_server(address[:2], family=family, dualstack_ipv6=both))
            except OSError as error:
                if error.errno not in {EADDRNOTAVAIL, EAFNOSUPPORT} or len(found) == 1:
                    raise
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ConfigError(
            f"S3D_METRICS_ENDPOINT: cannot listen on {url}: {error.strerror}",
            hint="if another s3d runs, give this one addresses and a local dir of its own",
        ) from None
    return sockets


def listen_unix(path: Path) -> socket.socket:
    """Listen on a unix socket that only its owner may open; a dead one is replaced."""
    if path.exists() and not path.is_socket():
        raise ConfigError(f"{path} is in the way", hint="s3d's socket has this name; move the file away")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        with address_of(path) as address:
            sock.bind(address)
        # Nobody can connect before `listen`, so there is no moment at which the mode is too wide.
        path.chmod(0o600)
        sock.listen()
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"cannot listen on {path}: {error.strerror}", hint="s3d must be able to write to the local dir"
        ) from None
    return sock


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """The address of a unix socket: its path, or a short way to it where the path is longer than the kernel takes."""
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
