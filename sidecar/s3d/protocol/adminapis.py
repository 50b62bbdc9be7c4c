"""Administration APIs that stores serve on their S3 port: which requests are for one of them (SEMANTICS A-9).

A gateway signs whatever it forwards by its own keys, which may be an administrator's. So a request for such an API must
not leave because somebody reaches the door. Pure; what it knows of stores is below.
"""

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from s3d.errors import S3Error

METHODS = frozenset(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"])
"""The methods of S3. By others stores are administered: versitygw has its users under PATCH."""
PLACES = re.compile(
    # MinIO, which lets no bucket have this name.
    "minio/(admin|bootstrap|grid|health|kms|lock|metrics|peer|prometheus|storage|v2|v3)(/.*)?"
    # Ceph's RGW, where a bucket may have it: the names of its resources, and nothing under them.
    "|admin/(account|bucket|config|info|log|metadata(/[^/]+)?|opstate|ratelimit|realm(/period)?|replica_log|usage|user)",
    re.IGNORECASE | re.DOTALL,
)
"""Paths, from where a bucket stands in S3."""
NAMES = re.compile("(minio|admin)/", re.IGNORECASE)
"""What each of them begins with."""


def is_meant(method: str, params: Mapping[str, Any]) -> bool:
    """Whether a store may take a request for one of administration; `params` are its members as S3 reads it."""
    bucket, key = params.get("Bucket", ""), params.get("Key", "")
    # Actions of IAM and STS are posted to the root, where S3 has nothing to post.
    if method not in METHODS or (method == "POST" and not bucket):
        return True
    path = f"{bucket}/{key}"
    # A proxy before the store may clean the path, which brings no new name into it.
    return NAMES.search(path) is not None and PLACES.fullmatch(posixpath.normpath(path)) is not None


def check_allowed(allowed: bool) -> None:
    """Refuse a request for administration unless the settings let it through. Raises S3Error AccessDenied (403)."""
    if not allowed:
        raise S3Error(
            "AccessDenied",
            "This request is for the administration of a store, and the gateway would sign it by its own keys",
            status=403,
            hint="S3D_ADMIN_API=true lets such requests through",
        )
