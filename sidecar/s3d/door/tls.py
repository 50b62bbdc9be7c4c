"""TLS on the door: the certificate, its key and the CA of the clients, from files that may change at any time.

What the files hold is read whole and tried before anybody meets it. A start with files that cannot be used fails; while
the daemon runs, such files change nothing: the last certificate stays, and log, status and metrics say why. Each
connection has the certificate that was there when it began, so that none meets half of a change.
"""

import logging
import os
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from s3d import files
from s3d.errors import ConfigError
from s3d.metrics import Metrics
from s3d.settings import Gateway
from s3d.watched import Watched

log = logging.getLogger(__name__)

MAX_BYTES = 1 << 20
"""Bytes of a file; a Secret of Kubernetes holds no more."""
PROTOCOLS = ["http/1.1"]
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python's ssl has no name for."""
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
MAX_FLIGHTS = 4
"""How often each side of a handshake has something to say, at most."""


@dataclass(frozen=True, slots=True)
class Files:
    """What the files hold at one moment."""

    certificates: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that is served, and until when it is valid (Unix time)."""

    context: ssl.SSLContext
    expires_at: float


class Tls:
    """The certificate that new connections get."""

    def __init__(self, settings: Gateway, metrics: Metrics) -> None:
        """Read the files. Raises ConfigError where they cannot be used."""
        if settings.tls_cert is None or settings.tls_key is None:
            raise ConfigError("S3D_TLS_CERT and S3D_TLS_KEY are not set")
        self._paths = settings.tls_cert, settings.tls_key, settings.tls_client_ca
        self._metrics = metrics
        found = self._read()
        self._use(make(found))
        self.watched = Watched("certificates", settings.tls_cert, self._read, self._take, seen=found)

    @property
    def context(self) -> ssl.SSLContext:
        """What a connection that begins now is encrypted with."""
        return self._certificate.context

    @property
    def expires_at(self) -> float:
        """Unix time from which on clients refuse the certificate."""
        return self._certificate.expires_at

    def _read(self) -> Files:
        """What the files hold. Where they change meanwhile it does not match, and the next look finds all of it."""
        certificates, key, client_ca = self._paths
        return Files(
            files.read(certificates, MAX_BYTES),
            files.read_secret(key, MAX_BYTES),
            files.read(client_ca, MAX_BYTES) if client_ca is not None else None,
        )

    def _take(self, found: Files) -> str:
        self._use(make(found))
        return f"valid until {date(self.expires_at)}"

    def _use(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._metrics.tls_expiry.set(certificate.expires_at)


def make(found: Files) -> Certificate:
    """Make what connections are encrypted with, and try it. Raises ConfigError."""
    first = BLOCK.search(found.certificates.decode("latin-1"))
    if first is None:
        raise ConfigError("S3D_TLS_CERT: there is no PEM certificate in it", hint="it has lines -----BEGIN CERTIFICATE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(PROTOCOLS)
    load_pair(context, found)
    begins, ends = dates(context, first[0])
    now = time.time()
    if ends <= now:
        raise ConfigError(f"S3D_TLS_CERT: the certificate expired on {date(ends)}", hint="renew it")
    if begins > now:
        log.warning("the door's certificate is valid from %s only: is the clock right?", date(begins))
    if found.client_ca is not None:
        try:
            context.load_verify_locations(cadata=found.client_ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"S3D_TLS_CLIENT_CA: it holds no usable PEM certificate: {reason(error)}") from None
        # From here on: dates() has no certificate of its own to show.
        context.verify_mode = ssl.CERT_REQUIRED
    return Certificate(context, ends)


def load_pair(context: ssl.SSLContext, found: Files) -> None:
    """Give a context the certificates and their key. Raises ConfigError."""
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        with in_memory(found.certificates) as certificates, in_memory(found.key) as key:
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
        for _ in range(MAX_FLIGHTS):
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
