"""The webhook's certificate: a CA and the one leaf that it signs, and how a Secret keeps them. Pure.

The CA's key is forgotten when the leaf is signed, so no object can sign another: a new leaf comes with a new CA. When a
pair is made, published and served is `rotation`'s; every replica of the webhook reads what is served from the Secret.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from s3d.errors import ConfigError
from s3d_operator.kube import Object

CLOCK_SKEW = timedelta(hours=1)
"""By how much the clocks of API servers may differ."""
SERVED = ("tls.crt", "tls.key", "ca.crt")
"""Where a Secret keeps the parts of the pair that is served: the names that everybody gives them."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A leaf, its key and the CA that signed it, as PEM."""

    certificate: bytes
    key: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class CertificateTarget:
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


def make_pair(hosts: Sequence[str], now: datetime, lifetime: timedelta) -> Pair:
    """Make a CA and a leaf for `hosts`; the CA's key is gone when this returns."""
    start, end = now - CLOCK_SKEW, now + lifetime
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "s3d webhook CA")])
    authority = (
        unsigned(authority_name, authority_name, authority_key.public_key(), start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        unsigned(x509.Name([]), authority_name, leaf_key.public_key(), start, end)
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
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    """What a CA and its leaf have in common."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
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


def to_secret(pair: Pair, target: CertificateTarget) -> Object:
    """A Secret that keeps a pair as the one that is served."""
    return new_secret(target, dict(zip(SERVED, (pair.certificate, pair.key, pair.authority), strict=True)))


def new_secret(target: CertificateTarget, data: dict[str, bytes]) -> Object:
    """A Secret for a target; the API server wants a leaf and a key in it, which may be empty."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {
            "name": target.secret,
            "namespace": target.namespace,
            "labels": {"app.kubernetes.io/name": "s3d", "app.kubernetes.io/managed-by": "s3d-operator"},
        },
        "data": encode({"tls.crt": b"", "tls.key": b"", **data}),
    }


def encode(data: dict[str, bytes]) -> dict[str, str]:
    """The data of a Secret as the API has it."""
    return {name: base64.b64encode(value).decode() for name, value in data.items()}


def read_secret(secret: Object) -> Pair:
    """The pair that a Secret says is served; one that is not ours may lack the CA.

    Raises ConfigError where it keeps none.
    """
    data = {"ca.crt": "", **(secret.get("data") or {})}
    try:
        return Pair(*(base64.b64decode(data[name]) for name in SERVED))
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
        fits = serialization.load_pem_private_key(pair.key, None).public_key() == leaf.public_key()
    except Exception:  # noqa: BLE001 # whatever is wrong with it, a new one is the answer
        return False
    in_time = leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc
    return fits and in_time and set(hosts) <= set(names.get_values_for_type(x509.DNSName))


def authorities(bundle: bytes) -> tuple[bytes, ...]:
    """The certificates of a bundle, each as PEM; none of one that cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(bundle)
    except ValueError:
        return ()
    return tuple(dict.fromkeys(each.public_bytes(serialization.Encoding.PEM) for each in found))
