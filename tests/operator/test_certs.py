import base64
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from s3d.errors import ConfigError
from s3d_operator.certs import (
    CONFIGURATIONS,
    LIFETIME,
    Place,
    ensure,
    keep,
    make_pair,
    publish,
    read_secret,
    serves,
    to_secret,
)
from s3d_operator.kube import Kube, load_cert
from tests.operator.apiserver import ApiServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = Place("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")
SECRET = "/api/v1/namespaces/s3d-system/secrets/s3d-webhook-tls"
CONFIGURATION = f"{CONFIGURATIONS}/s3d"


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


@pytest.mark.parametrize("host", PLACE.hosts)
def test_who_trusts_the_authority_trusts_the_webhook(host: str) -> None:
    pair = make_pair(PLACE.hosts, datetime.now(UTC))
    assert handshake(pair, pair.authority, host).version() == "TLSv1.3"


def test_neither_another_name_nor_another_authority_will_do() -> None:
    pair, other = (make_pair(PLACE.hosts, datetime.now(UTC)) for _ in range(2))
    for authority, host in ((pair.authority, "other.svc"), (other.authority, PLACE.hosts[0])):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(pair, authority, host)


def test_a_name_longer_than_a_common_name_may_be_is_served() -> None:
    host = f"{'s' * 63}.{'n' * 63}.svc"
    pair = make_pair([host], datetime.now(UTC))
    assert handshake(pair, pair.authority, host).version()


def test_a_leaf_can_sign_no_certificate() -> None:
    leaf = x509.load_pem_x509_certificate(make_pair(PLACE.hosts, NOW).certificate)
    assert leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False


@pytest.mark.parametrize(
    ("hosts", "later", "expected"),
    [
        (PLACE.hosts, timedelta(), True),
        (PLACE.hosts[:1], timedelta(days=1), True),
        (PLACE.hosts, LIFETIME, False),
        (("other.svc",), timedelta(), False),
    ],
)
def test_a_pair_serves_its_hosts_for_its_lifetime(hosts: tuple[str, ...], later: timedelta, expected: bool) -> None:
    assert serves(make_pair(PLACE.hosts, NOW), hosts, NOW + later) is expected


async def test_the_first_to_look_makes_the_pair_and_everyone_reads_the_same(api: ApiServer, client: Kube) -> None:
    made = await ensure(client, PLACE, NOW)
    assert await ensure(client, PLACE, NOW) == made
    assert read_secret(api.objects[SECRET]) == made
    assert api.objects[SECRET]["type"] == "kubernetes.io/tls"


async def test_the_authoritys_key_is_kept_nowhere(api: ApiServer, client: Kube) -> None:
    await ensure(client, PLACE, NOW)
    data = api.objects[SECRET]["data"]
    assert sorted(data) == ["ca.crt", "tls.crt", "tls.key"]
    assert b"".join(map(base64.b64decode, data.values())).count(b"PRIVATE KEY") == 2  # begin and end of one


async def test_a_pair_that_is_out_of_date_is_made_anew(api: ApiServer, client: Kube) -> None:
    old = await ensure(client, PLACE, NOW)
    new = await ensure(client, PLACE, NOW + LIFETIME)
    assert new != old
    assert read_secret(api.objects[SECRET]) == new


async def test_a_secret_that_holds_something_else_is_left_alone(api: ApiServer, client: Kube) -> None:
    api.put(SECRET, {"metadata": {"name": "s3d-webhook-tls"}, "data": {"mine": "eA=="}})
    with pytest.raises(ConfigError, match="s3d-webhook-tls"):
        await ensure(client, PLACE, NOW)
    assert api.objects[SECRET]["data"] == {"mine": "eA=="}


@pytest.mark.checklist(59)
async def test_a_certificate_of_others_is_neither_made_nor_published(api: ApiServer, client: Kube) -> None:
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": [{"name": "a", "clientConfig": {}}]})
    before = api.objects.copy()
    await keep(client, replace(PLACE, issued=False))
    assert api.objects == before


@pytest.mark.checklist(59)
def test_a_certificate_of_others_may_come_without_the_authority_that_signed_it() -> None:
    pair = make_pair(PLACE.hosts, NOW)
    secret = to_secret(pair, PLACE)
    del secret["data"]["ca.crt"]
    assert read_secret(secret) == replace(pair, authority=b"")
    assert not serves(read_secret(secret), PLACE.hosts, NOW), "ours has one"


async def test_the_authority_is_published_and_nothing_else_of_the_configuration_changes(
    api: ApiServer, client: Kube
) -> None:
    webhooks = [{"name": f"{n}.s3d.dev", "clientConfig": {"service": {"name": "s3d"}}, "mine": n} for n in (1, 2)]
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": webhooks})
    pair = make_pair(PLACE.hosts, NOW)
    await publish(client, PLACE, pair)
    bundle = base64.b64encode(pair.authority).decode()
    assert api.objects[CONFIGURATION]["webhooks"] == [
        webhook | {"clientConfig": {"service": {"name": "s3d"}, "caBundle": bundle}} for webhook in webhooks
    ]


async def test_what_is_published_already_is_not_written_again(api: ApiServer, client: Kube) -> None:
    api.put(CONFIGURATION, {"metadata": {"name": "s3d"}, "webhooks": [{"name": "a", "clientConfig": {}}]})
    pair = make_pair(PLACE.hosts, NOW)
    for _ in range(2):
        await publish(client, PLACE, pair)
    assert sum(request.startswith("PATCH") for request in api.requests) == 1
