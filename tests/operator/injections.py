"""A pod and a gateway, what the pod is injected with, and what there is of it then."""

from typing import Any

import jsonpatch

from s3d_operator import layout
from s3d_operator.choice import Gateway
from s3d_operator.inject import patch
from tests.operator.goldens import IMAGE

ROLE = "arn:aws:iam::123456789012:role/photos"
IDENTITIES: dict[str, Any] = {"identities": {"secretRef": {"name": "accounts"}}}
TLS: dict[str, Any] = {"tls": {"secretName": "door-tls"}}
ANONYMOUS: dict[str, Any] = {"remote": {"credentials": {"anonymous": {}}}}


def pod(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "app:1"}]} | (spec or {})}


def inject(given: dict[str, Any], chosen: Gateway) -> dict[str, Any]:
    injected: dict[str, Any] = jsonpatch.apply_patch(given, patch(given, chosen, IMAGE).operations)
    return injected


def sidecar(given: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in given["spec"]["initContainers"] if c["name"] == layout.NAME)


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}
