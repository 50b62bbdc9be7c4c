"""The webhook's certificate: a CA and a leaf made once, kept in a Secret, published in the webhook configuration.

The CA signs its one leaf and its key is forgotten, so no object can sign another. The operator alone writes the Secret;
every replica of the webhook reads it. The configuration is the chart's: nothing but `caBundle` is ever written to it.
"""

import asyncio
import base64
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from s3d.errors import ConfigError, S3DError
from s3d_operator.kube import ApiError, Kube, Object

LIFETIME = timedelta(days=3650)
CLOCK_SKEW = timedelta(hours=1)
CHECK_SECONDS = 10
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pair:
    """A leaf, its key and the CA that signed it, as PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class Place:
    """What the certificate is for and where it is kept; `issued` by us, or by somebody who also publishes the CA."""

    namespace: str
    service: str
    secret: str
    configuration: str
    issued: bool = True

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names by which the API server calls the Service."""
        return f"{self.service}.{self.namespace}.svc", f"{self.service}.{self.namespace}.svc.cluster.local"


def secrets_path(namespace: str) -> str:
    """The Secrets of a namespace."""
    return f"/api/v1/namespaces/{namespace}/secrets"


def make_pair(hosts: Sequence[str], now: datetime) -> Pair:
    """Make a CA and a leaf for `hosts`; the CA's key is gone when this returns."""
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s3d webhook CA")])
    authority = (
        unsigned(authority_name, authority_name, authority_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        unsigned(x509.Name([]), authority_name, leaf_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        # The subject is empty and a common name would end at 64 letters: the names are all here (RFC 5280, 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return Pair(
        certificate=leaf.public_bytes(serialization.Encoding.PEM),
        key=leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        authority=authority.public_bytes(serialization.Encoding.PEM),
    )


def unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    """What a CA and its leaf have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """What a key is for: certificates, or a TLS server."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def to_secret(pair: Pair, place: Place) -> Object:
    """The Secret that keeps a pair."""
    data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": pair.authority}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": place.secret,
            "namespace": place.namespace,
            "labels": {"app.kubernetes.io/name": "s3d", "app.kubernetes.io/managed-by": "s3d-operator"},
        },
        "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
    }


def read_secret(secret: Object) -> Pair:
    """The pair that a Secret keeps; one that is not ours may lack the CA. Raises ConfigError where it keeps none."""
    data = {"ca.crt": "", **(secret.get("data") or {})}
    try:
        return Pair(*(base64.b64decode(data[name]) for name in ("tls.crt", "tls.key", "ca.crt")))
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"Secret {secret['metadata']['name']} lacks a usable {error}",
            hint="delete it and the operator makes it anew",
        ) from None


def expiry(pair: Pair) -> datetime:
    """When a pair runs out."""
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc


def serves(pair: Pair, hosts: Sequence[str], now: datetime) -> bool:
    """Whether a pair can be used now, and for `hosts`."""
    try:
        leaf = x509.load_pem_x509_certificate(pair.certificate)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(pair.authority))
    except Exception:  # noqa: BLE001 # whatever is wrong with it, a new one is the answer
        return False
    in_time = leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc
    return in_time and set(hosts) <= set(names.get_values_for_type(x509.DNSName))


async def keep(kube: Kube, place: Place) -> None:
    """See to it for ever that the Secret holds a pair and the webhook configuration its CA, where both are ours."""
    while place.issued:
        try:
            await publish(kube, place, await ensure(kube, place, datetime.now(UTC)))
        except S3DError as error:
            log.warning("certificate of the webhook: %s. %s", error, error.hint)
        except (OSError, TimeoutError, aiohttp.ClientError) as error:
            log.warning("certificate of the webhook: %r", error)
        await asyncio.sleep(CHECK_SECONDS)


async def ensure(kube: Kube, place: Place, now: datetime) -> Pair:
    """Answer the pair that the Secret keeps, after making it where there is none or none that can be used."""
    path = secrets_path(place.namespace)
    try:
        secret = await kube.request("GET", f"{path}/{place.secret}")
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        pair = make_pair(place.hosts, now)
        await kube.request("POST", path, to_secret(pair, place))
        log.info("made the webhook's certificate, Secret %s/%s", place.namespace, place.secret)
        return pair
    kept = read_secret(secret)
    if serves(kept, place.hosts, now):
        return kept
    pair = make_pair(place.hosts, now)
    version = {"resourceVersion": secret["metadata"]["resourceVersion"]}
    renewed = {"metadata": version, "data": to_secret(pair, place)["data"]}
    await kube.request("PATCH", f"{path}/{place.secret}", renewed)
    log.warning("the webhook's certificate was out of date or for other names: made anew")
    return pair


async def publish(kube: Kube, place: Place, pair: Pair) -> None:
    """Write the CA into every webhook of the configuration that lacks it, and nothing else."""
    path = f"{CONFIGURATIONS}/{place.configuration}"
    bundle = base64.b64encode(pair.authority).decode()
    operations: list[Object] = []
    for index, webhook in enumerate((await kube.request("GET", path)).get("webhooks") or []):
        if webhook["clientConfig"].get("caBundle") != bundle:
            at = f"/webhooks/{index}"
            operations += [
                {"op": "test", "path": f"{at}/name", "value": webhook["name"]},
                {"op": "add", "path": f"{at}/clientConfig/caBundle", "value": bundle},
            ]
    if operations:
        await kube.request("PATCH", path, operations)
        log.info("published the webhook's CA in %s", place.configuration)
