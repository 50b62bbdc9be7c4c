"""The certificate whose rotation is tested, and what believes it."""

from datetime import UTC, datetime

from cryptography import x509

from s3d_operator.certs import CertificateTarget, Pair, authorities
from s3d_operator.rotation import Schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TARGET = CertificateTarget("s3d-system", "s3d-webhook", "s3d-webhook-tls", "s3d")
USUAL = Schedule()


def covers(bundle: bytes, pair: Pair) -> bool:
    """Whether who believes a bundle believes a pair's leaf."""
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    for each in authorities(bundle):
        try:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(each))
        except Exception:  # noqa: BLE001 # not this one
            continue
        return True
    return False
