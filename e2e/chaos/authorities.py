"""Certificates for remotes and doors that speak TLS, good ones and bad ones."""

import datetime as dt
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

YEAR = dt.timedelta(days=365)


@dataclass(slots=True)
class Authority:
    """An authority of its own; who trusts `bundle` trusts what it certifies."""

    directory: Path
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.directory.mkdir()
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        signed = self._builder("s3d test authority", self._key, days=30).add_extension(constraints, critical=True)
        self.bundle.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    @property
    def bundle(self) -> Path:
        """Its own certificate."""
        return self.directory / "authority.pem"

    def certify(self, *, days: int) -> tuple[str, str]:
        """Make a certificate for this machine that ends in so many days, which may have passed; its file and its key's,
        which nobody else may read."""
        key = ec.generate_private_key(ec.SECP256R1())
        addresses = [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
        names = x509.SubjectAlternativeName([*addresses, x509.DNSName("localhost")])
        signed = self._builder("127.0.0.1", key, days).add_extension(names, critical=False)
        certificate, key_file = self.directory / f"{days}.pem", self.directory / f"{days}.key"
        certificate.write_bytes(signed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        key_file.touch(0o600)
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return str(certificate), str(key_file)

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "s3d test authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - YEAR)
            .not_valid_after(now + dt.timedelta(days=days))
        )
