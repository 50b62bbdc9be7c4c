"""The CLI's client of the S3 door, also by TLS, and of the status doors: HTTP, one connection a request.

A key is sent as it was given, percent-encoded and never normalised: `a//b` and `a/../b` are keys like any other. What
the door answers is bounded before it is parsed. Whatever goes wrong is an S3DError: S3Error where the door said so,
NotRunning where nobody listens, Interrupted where the connection broke.
"""

import hashlib
import http.client
import io
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from s3d.cli import settings, signing
from s3d.cli.signing import Key
from s3d.cli.terminal import Progress
from s3d.errors import ConfigError, S3DError, S3Error

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

CONNECT_SECONDS = 5
ANSWER_SECONDS = 300
"""Silence after which a request is given up. The door answers earlier: its own limits are shorter."""
CONTINUE_SECONDS = 5
CONTINUE_SIZE = 1 << 20
"""Bytes from which a body waits for the door's word: it reads this much of a body that it refuses, and no more."""
GO_ON = b"HTTP/1.1 100 "
"""What a door says that wants the body; any other answer is its last one."""
DOCUMENT_LIMIT = 16 << 20
BLOCK = 256 << 10
SOCKET_NAME = "s3d.sock"
SOCKET_PATH_LIMIT = 107

HINTS = {
    "AccessDenied": "s3d asks the remote with the credentials of its own environment, not with yours",
    "BadDigest": "the file changed while it was sent; send it again",
    "EntityTooLarge": "a single put takes at most 5 GiB; an SDK sends more in parts",
    "NoSuchBucket": "`s3d ls` shows the buckets",
    "NoSuchKey": "`s3d ls BUCKET/PREFIX` shows what is there",
    "ServiceUnavailable": "`s3d status` shows whether the remote is away; try again in a moment",
    "SlowDown": "`s3d status` shows what is pending; try again in a moment",
}


class NotRunning(S3DError):
    """Nobody listens where s3d should."""


class Interrupted(S3DError):
    """The connection broke."""


def ask(
    method: str,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    body: IO[bytes] | None = None,
    length: int = 0,
    sha256: str = "",
    key: Key | None = None,
) -> http.client.HTTPResponse:
    """Ask the S3 door. The answer's body is still to be read. Raises S3Error for every status from 300.

    It is signed by `key`, else by the one that is found (`signing.find`), else not at all; then `sha256` is the digest
    of the body in hex.
    """
    url = settings.endpoint()
    search = urlencode(query, quote_via=quote) if query else ""
    headers = signing.sign(key or signing.find(), method, urlsplit(url).netloc, path, search, headers or {}, sha256)
    where = f"{path}?{search}" if search else path
    response = exchange(connect(url), urlsplit(url).netloc, method, where, headers, body, length)
    if response.status >= HTTPStatus.MULTIPLE_CHOICES:
        with response:
            raise refusal(response)
    return response


def ask_document(
    method: str, path: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> "ET.Element":
    """Ask the S3 door for an XML document."""
    with ask(method, path, query, headers=headers) as response:
        return parse(read_bounded(response))


def send_document(path: str, query: Mapping[str, str], headers: Mapping[str, str], document: bytes) -> None:
    """Put an XML document."""
    headers = {"Content-Type": "application/xml", **headers}
    digest = hashlib.sha256(document).hexdigest()
    body = io.BytesIO(document)
    with ask("PUT", path, query, headers=headers, body=body, length=len(document), sha256=digest) as response:
        read_bounded(response)


def exchange(
    sock: socket.socket,
    host: str,
    method: str,
    where: str,
    headers: Mapping[str, str],
    body: IO[bytes] | None,
    length: int,
) -> http.client.HTTPResponse:
    """Send one request over `sock` and read the headers of its answer."""
    connection = http.client.HTTPConnection(host)
    connection.sock = sock
    large = body is not None and length > CONTINUE_SIZE
    # The answer keeps the socket open until it is read.
    with sock:
        try:
            connection.putrequest(method, where, skip_host="Host" in headers, skip_accept_encoding=True)
            connection.putheader("Connection", "close")
            for name, value in headers.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(length))
            if large:
                connection.putheader("Expect", "100-continue")
            connection.endheaders()
            begun = wait_for_word(sock) if large else b""
            if body is not None and (not begun or begun.startswith(GO_ON)):
                send_body(connection, body, length)
            if begun:
                connection.sock = Heard(sock, begun)
            return connection.getresponse()
        except (http.client.HTTPException, OSError) as error:
            raise Interrupted(
                f"the connection broke before s3d answered: {str(error) or type(error).__name__}",
                hint=hint_of(sock, method),
            ) from None


def hint_of(sock: socket.socket, method: str) -> str:
    """What can be done about a broken connection. A door that misses a certificate closes it after the handshake."""
    hints = [] if method == "GET" else ["whether the request was carried out is not known"]
    if isinstance(sock, ssl.SSLSocket) and not settings.find("S3D_TLS_CLIENT_CERT"):
        hints.append("a door with S3D_TLS_CLIENT_CA asks for the certificate that S3D_TLS_CLIENT_CERT names")
    return "; ".join(hints)


class Heard:
    """A socket of whose answer something was read already: TLS lets nobody look without reading."""

    def __init__(self, sock: socket.socket, begun: bytes) -> None:
        """Take the socket, and what was read."""
        self._sock = sock
        self._begun = begun

    def makefile(self, mode: str) -> io.BufferedReader:
        """The answer from its beginning."""
        return io.BufferedReader(Rest(self._begun, self._sock.makefile("rb", buffering=0)))

    def close(self) -> None:
        """Close the socket; what was made of it stays open."""
        self._sock.close()


class Rest(io.RawIOBase):
    """Bytes that are there, and then what comes from a socket."""

    def __init__(self, begun: bytes, more: io.RawIOBase) -> None:
        """Take both."""
        self._begun = begun
        self._more = more

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, into: Any) -> int | None:
        """Read what is there, else what comes."""
        if not self._begun:
            return self._more.readinto(into)
        block = self._begun[: len(into)]
        into[: len(block)] = block
        self._begun = self._begun[len(block) :]
        return len(block)

    def close(self) -> None:
        """Let go of the socket."""
        self._more.close()
        super().close()


def wait_for_word(sock: socket.socket) -> bytes:
    """What the door says before it gets a large body; nothing where it says nothing for a while."""
    sock.settimeout(CONTINUE_SECONDS)
    try:
        return sock.recv(BLOCK)
    except TimeoutError:
        return b""
    finally:
        sock.settimeout(ANSWER_SECONDS)


def send_body(connection: http.client.HTTPConnection, body: IO[bytes], length: int) -> None:
    """Send `length` bytes. A door that closes on the way has answered: the answer says why."""
    left = length
    with Progress(length) as progress:
        while left:
            block = body.read(min(BLOCK, left))
            if not block:
                raise S3DError(f"the file became shorter while it was sent: {left} bytes are missing")
            try:
                connection.send(block)
            except (BrokenPipeError, ConnectionResetError):
                return
            left -= len(block)
            progress.add(len(block))


def read_blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body of an answer. Raises Interrupted where it ends before its length."""
    expected, received = response.length, 0
    try:
        while block := response.read(BLOCK):
            received += len(block)
            yield block
    except (http.client.HTTPException, OSError) as error:
        raise Interrupted(
            f"the answer broke off after {received} bytes: {str(error) or type(error).__name__}"
        ) from None
    if expected is not None and received != expected:
        raise Interrupted(
            f"the answer ended after {received} of {expected} bytes", hint="the remote may be away; try again"
        )


def read_bounded(response: http.client.HTTPResponse) -> bytes:
    """Read a document into memory. Raises S3DError where it is larger than any that we ask for."""
    blocks, size = [], 0
    for block in read_blocks(response):
        size += len(block)
        if size > DOCUMENT_LIMIT:
            raise S3DError(f"the answer is larger than {DOCUMENT_LIMIT} bytes")
        blocks.append(block)
    return b"".join(blocks)


def parse(document: bytes) -> "ET.Element":
    """Parse an XML document of the door's. Most commands see none, and do without the parser."""
    from xml.etree import ElementTree as ET

    try:
        return ET.fromstring(document)  # noqa: S314 -- bounded, and our own door's
    except ET.ParseError as error:
        raise S3DError(f"the answer is not XML: {error}", hint="does S3D_ENDPOINT name an S3 door?") from None


def refusal(response: http.client.HTTPResponse) -> S3Error:
    """What an answer that is no success says."""
    code, message = "", ""
    document = read_bounded(response)
    if document.lstrip().startswith(b"<"):
        with suppress(S3DError):
            error = parse(document)
            code, message = error.findtext("{*}Code") or "", error.findtext("{*}Message") or ""
    code = code or f"HTTP {response.status}"
    # The door says what can be done about it in brackets at the end.
    said = re.fullmatch(r"(?s)(.+?) \(([^()]+)\)", message)
    message, hint = said.groups() if said else (message or response.reason, HINTS.get(code, ""))
    return S3Error(code, message, status=response.status, hint=hint)


def connect(url: str) -> socket.socket:
    """Connect to a door, by TLS where its URL says so. Raises NotRunning."""
    sock = connect_tcp(url)
    return encrypt(sock, url) if url.startswith("https://") else sock


def encrypt(sock: socket.socket, url: str) -> socket.socket:
    """Shake hands with a door. Its certificate is judged by the CAs in the file that S3D_TLS_CA names, else by those of
    AWS_CA_BUNDLE, as with AWS's own clients, else by those of the system or of SSL_CERT_FILE. Raises ConfigError and
    NotRunning."""
    try:
        context = tls_context()
    except ConfigError:
        sock.close()
        raise
    try:
        return context.wrap_socket(sock, server_hostname=urlsplit(url).hostname)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise NotRunning(
            f"the certificate of {url} is not trusted: {error.verify_message}",
            hint="S3D_TLS_CA, AWS_CA_BUNDLE or SSL_CERT_FILE names the PEM file with its CA",
        ) from None
    except OSError as error:
        sock.close()
        said = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise NotRunning(f"cannot speak TLS with {url}: {said}", hint="S3D_ENDPOINT says http:// or https://") from None


def tls_context() -> ssl.SSLContext:
    """Whom to trust, and the certificate of our own where one is set. Raises ConfigError."""
    name = "S3D_TLS_CA" if settings.find("S3D_TLS_CA") else "AWS_CA_BUNDLE"
    bundle = settings.find(name) or None
    try:
        context = ssl.create_default_context(cafile=bundle)
    except OSError as error:
        raise ConfigError(
            f"{name}: {bundle} cannot be used: {error.strerror or error}",
            hint="it names a PEM file of certificates",
        ) from None
    certificate, key = settings.find("S3D_TLS_CLIENT_CERT"), settings.find("S3D_TLS_CLIENT_KEY")
    if key and not certificate:
        raise ConfigError("S3D_TLS_CLIENT_KEY is set, and S3D_TLS_CLIENT_CERT is not", hint="a key has a certificate")
    if certificate:
        try:
            # No password is asked for: a command may have nobody to ask.
            context.load_cert_chain(certificate, key or None, password="")
        except OSError as error:
            named = certificate + (f" with the key in {key}" if key else "")
            raise ConfigError(
                f"S3D_TLS_CLIENT_CERT: {named} cannot be used: {error.strerror or error}",
                hint="they are PEM files of a certificate and of its key, which has no password",
            ) from None
    return context


def connect_tcp(url: str) -> socket.socket:
    """Connect to a host. `localhost` is 127.0.0.1, then ::1, whatever the machine's resolver thinks of it."""
    parts = urlsplit(url)
    hosts = ("127.0.0.1", "::1") if parts.hostname == "localhost" else (parts.hostname or "",)
    failure = OSError("no address")
    for host in hosts:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            sock = socket.create_connection((host, port), timeout=CONNECT_SECONDS)
        except OSError as error:
            failure = failure if isinstance(failure, ConnectionRefusedError) else error
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(ANSWER_SECONDS)
            return sock
    if isinstance(failure, ConnectionRefusedError):
        raise NotRunning(f"s3d is not running at {url}", hint="start it with `s3d run`, or set S3D_ENDPOINT")
    raise NotRunning(f"cannot reach s3d at {url}: {failure}", hint="S3D_ENDPOINT says where it is")


def connect_unix(path: Path) -> socket.socket:
    """Connect to the unix socket of a daemon. Raises NotRunning where none listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(ANSWER_SECONDS)
    directory = -1
    try:
        address = str(path)
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
            directory = os.open(path.parent, os.O_RDONLY)
            address = f"/proc/self/fd/{directory}/{path.name}"
        sock.connect(address)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        raise NotRunning(f"no s3d listens on {path}", hint="start it with `s3d run`, or set S3D_LOCAL_DIR") from None
    except OSError as error:
        sock.close()
        raise NotRunning(
            f"cannot open {path}: {error.strerror}", hint="it is open to the user that s3d runs as"
        ) from None
    finally:
        if directory >= 0:
            os.close(directory)
    return sock
