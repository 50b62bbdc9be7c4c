import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from s3d_operator.certs import CertificateTarget, authorities, make_pair, read_secret, serves, to_secret
from s3d_operator.kube import load_cert

LIFETIME = timedelta(days=90)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = CertificateTarget("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")


def handshake(pair: Any, authority: bytes, host: str) -> ssl.SSLObject:
    """A TLS connection in memory: a server with the pair, a client that trusts the authority and asks for the host."""
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    load_cert(server, pair.certificate, pair.key)
    client.load_verify_locations(cadata=authority.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


@pytest.mark.parametrize("host", TARGET.hosts)
def test_who_trusts_the_authority_trusts_the_webhook(host: str) -> None:
    pair = make_pair(TARGET.hosts, datetime.now(UTC), LIFETIME)
    assert handshake(pair, pair.authority, host).version() == "TLSv1.3"


def test_neither_another_name_nor_another_authority_will_do() -> None:
    pair, other = (make_pair(TARGET.hosts, datetime.now(UTC), LIFETIME) for _ in range(2))
    for authority, host in ((pair.authority, "other.svc"), (other.authority, TARGET.hosts[0])):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(pair, authority, host)


def test_a_name_longer_than_a_common_name_may_be_is_served() -> None:
    host = f"{'s' * 63}.{'n' * 63}.svc"
    pair = make_pair([host], datetime.now(UTC), LIFETIME)
    assert handshake(pair, pair.authority, host).version()


def test_a_leaf_can_sign_no_certificate() -> None:
    leaf = x509.load_pem_x509_certificate(make_pair(TARGET.hosts, NOW, LIFETIME).certificate)
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


@pytest.mark.parametrize(
    ("hosts", "later", "expected"),
    [
        (TARGET.hosts, timedelta(), True),
        (TARGET.hosts[:1], timedelta(days=1), True),
        (TARGET.hosts, LIFETIME, False),
        (("other.svc",), timedelta(), False),
    ],
)
def test_a_pair_serves_its_hosts_for_its_lifetime(hosts: tuple[str, ...], later: timedelta, expected: bool) -> None:
    assert serves(make_pair(TARGET.hosts, NOW, LIFETIME), hosts, NOW + later) is expected


def test_a_leaf_with_the_key_of_another_serves_nobody() -> None:
    one, other = (make_pair(TARGET.hosts, NOW, LIFETIME) for _ in range(2))
    assert not serves(replace(one, key=other.key), TARGET.hosts, NOW)


def test_a_bundle_is_read_as_its_certificates_and_one_that_cannot_be_read_has_none() -> None:
    one, other = (make_pair(TARGET.hosts, NOW, LIFETIME).authority for _ in range(2))
    assert authorities(one + b"\n" + other + one) == (one, other)
    assert authorities(b"nonsense") == authorities(b"") == ()


@pytest.mark.checklist(59)
def test_a_certificate_of_others_may_come_without_the_authority_that_signed_it() -> None:
    pair = make_pair(TARGET.hosts, NOW, LIFETIME)
    secret = to_secret(pair, TARGET)
    del secret["data"]["ca.crt"]
    assert read_secret(secret) == replace(pair, authority=b"")
    assert not serves(read_secret(secret), TARGET.hosts, NOW), "ours has one"
