"""TLS on the door: the certificate, its key and the CA of the clients, from files that may change at any time.

What the files hold is read whole and tried before anybody meets it. A start with files that cannot be used fails; while
the daemon runs, such files change nothing: the last certificate stays, and log, status and metrics say why. Each
connection has the certificate that was there when it began, so that none meets half of a change.
"""

import asyncio
import hashlib
import logging
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from s3d import secret_files
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.settings import Gateway

log = logging.getLogger(__name__)

INTERVAL = 2.0
"""Seconds between two looks at the files."""
PROTOCOLS = ["http/1.1"]
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl has no name for."""
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
FLIGHTS = 4
"""How often each side of a handshake has something to say, at most."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the files hold at one moment."""

    certificates: bytes
    key: bytes
    client_ca: bytes | None

    def digest(self) -> bytes:
        """Tells it from other contents; the key need not be kept for that."""
        parts = (self.certificates, self.key, self.client_ca or b"")
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that is served, and until when it is valid (Unix time)."""

    context: ssl.SSLContext
    expires_at: float


class Tls:
    """The certificate that new connections get."""

    def __init__(self, settings: Gateway, metrics: Metrics) -> None:
        """Read the files. Raises ConfigError where they cannot be used."""
        self._settings = settings
        self._metrics = metrics
        self.error = ""
        """Why the files are not taken over; "" where they are what is served."""
        files = read(settings)
        self._seen = files.digest()
        self._certificate = make(files)
        self._show()

    @property
    def context(self) -> ssl.SSLContext:
        """What a connection that begins now is encrypted with."""
        return self._certificate.context

    @property
    def expires_at(self) -> float:
        """Unix time from which on clients refuse the certificate."""
        return self._certificate.expires_at

    async def run(self) -> None:
        """Rest, and look."""
        await asyncio.sleep(INTERVAL)
        await self.look()

    async def look(self) -> None:
        """Take over what the files say now, if they say anything new."""
        try:
            files = await asyncio.to_thread(read, self._settings)
            if files.digest() != self._seen:
                self._certificate = await asyncio.to_thread(make, files)
                self._seen = files.digest()
                log.info("the door has a new certificate, valid until %s", date(self.expires_at))
            self.error = ""
        except ConfigError as error:
            said = f"{error.message} ({error.hint})" if error.hint else error.message
            if said != self.error:
                log.error("the door's certificate is not taken over, the last one stays: %s", said)
            self.error = said
        self._show()

    def _show(self) -> None:
        self._metrics.tls_expiry.set(self.expires_at)
        self._metrics.tls_reload_failed.set(bool(self.error))


def read(settings: Gateway) -> Files:
    """Read the files that the settings name. Raises ConfigError."""
    if settings.tls_cert is None or settings.tls_key is None:
        raise ConfigError("S3D_TLS_CERT and S3D_TLS_KEY are not set")
    # A kubelet changes all files of a volume at once, by the link that the names in it lead through: what is read
    # between two contents does not match, and the next look finds it whole.
    return Files(
        secret_files.read("S3D_TLS_CERT", settings.tls_cert, secret=False),
        secret_files.read("S3D_TLS_KEY", settings.tls_key, secret=True),
        secret_files.read("S3D_TLS_CLIENT_CA", ca, secret=False) if (ca := settings.tls_client_ca) else None,
    )


def make(files: Files) -> Certificate:
    """Make what connections are encrypted with, and try it. Raises ConfigError."""
    first = BLOCK.search(files.certificates.decode("latin-1"))
    if first is None:
        raise ConfigError("S3D_TLS_CERT: there is no PEM certificate in it", hint="it has lines -----BEGIN CERTIFICATE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    load_pair(context, files)
    begins, ends = dates(context, first[0])
    now = time.time()
    if ends <= now:
        raise ConfigError(f"S3D_TLS_CERT: the certificate expired on {date(ends)}", hint="renew it")
    if begins > now:
        log.warning("the door's certificate is valid from %s only: is the clock right?", date(begins))
    if files.client_ca is not None:
        try:
            context.load_verify_locations(cadata=files.client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"S3D_TLS_CLIENT_CA: it holds no usable PEM certificate: {reason(error)}") from None
        # From here on: dates() has no certificate of its own to show.
        context.verify_mode = ssl.CERT_REQUIRED
    return Certificate(context, ends)


def load_pair(context: ssl.SSLContext, files: Files) -> None:
    """Give a context the certificates and their key. Raises ConfigError."""
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        with in_memory(files.certificates) as certificates, in_memory(files.key) as key:
            context.load_cert_chain(certificates, key, password)
    except ssl.SSLError as error:
        if asked:
            raise ConfigError("S3D_TLS_KEY: the key has a password", hint="write it without one") from None
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(
                "S3D_TLS_KEY is not the key of S3D_TLS_CERT",
                hint="the door's own certificate is the first in its file, before those of CAs",
            ) from None
        raise ConfigError(
            f"S3D_TLS_CERT and S3D_TLS_KEY cannot be used: {reason(error)}",
            hint="both are PEM files, the key one of -----BEGIN PRIVATE KEY",
        ) from None


@contextmanager
def in_memory(data: bytes) -> Iterator[str]:
    """A name of a file in memory: OpenSSL reads from files only, and those on the disk may change meanwhile."""
    with ExitStack() as opened:
        fd = os.memfd_create("s3d")
        opened.callback(os.close, fd)
        os.write(fd, data)
        yield str(Path("/proc/self/fd") / str(fd))


def dates(context: ssl.SSLContext, leaf: str) -> tuple[float, float]:
    """From when to when a certificate is valid (Unix time). A client that trusts only it shakes hands with the context,
    in memory: what no client can use is found here. Raises ConfigError."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    to_us, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        client.load_verify_locations(cadata=leaf)
        # The dates are judged by who asks for them.
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
        there = client.wrap_bio(to_client, to_us)
        here = context.wrap_bio(to_us, to_client, server_side=True)
        for _ in range(FLIGHTS):
            for side in (there, here):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
        found = there.getpeercert() or {}
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"S3D_TLS_CERT: no client can use the certificate: {reason(error)}") from None
    return ssl.cert_time_to_seconds(str(found["notBefore"])), ssl.cert_time_to_seconds(str(found["notAfter"]))


def reason(error: Exception) -> str:
    """What OpenSSL says, without the place in its source."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    said = (error.reason if isinstance(error, ssl.SSLError) else "") or str(error)
    return said.replace("_", " ").lower()


def date(seconds: float) -> str:
    """A Unix time for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
