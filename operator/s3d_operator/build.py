"""From a gateway's spec to what a pod gets: settings, the sidecar container, its volume. Pure.

Containers and volumes are the API's own JSON, as dicts. Secrets appear as references alone; the settings hold none.
"""

import json
from dataclasses import dataclass
from typing import Any

from s3d_operator.api import S3GatewaySpec

NAME = "s3d"
DOOR_PORT = 33333
HEALTH_PORT = 33334
# By address and not by name: the SDKs' endpoint rules then put the bucket into the path. `localhost` would become
# `bucket.localhost`, which does not resolve everywhere.
ENDPOINT = f"http://127.0.0.1:{DOOR_PORT}"
LOCAL_DIR = "/var/lib/s3d"
USER = 65534
# What the kubelet needs between the end of the drain and the end of the grace period.
MARGIN_SECONDS = 5
# Start-up waits for a lock that another process holds, at most as long as that one may drain.
STARTUP_SECONDS = 60
DEFAULT_REGION = "us-east-1"
SECRET_KEYS = (
    ("AWS_ACCESS_KEY_ID", "accessKeyID", False),
    ("AWS_SECRET_ACCESS_KEY", "secretAccessKey", False),
    ("AWS_SESSION_TOKEN", "sessionToken", True),
)

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """The sidecar's image; set by the owner of the cluster, never by a gateway's author."""

    name: str
    pull_policy: str = "IfNotPresent"


def settings(spec: S3GatewaySpec, *, grace_seconds: int) -> dict[str, Any]:
    """The daemon's settings by name, for a pod that has `grace_seconds` to end."""
    remote, queue = spec.remote, spec.write_queue
    values: dict[str, Any] = {
        "S3D_LOCAL_DIR": LOCAL_DIR,
        "S3D_ENDPOINT": f"http://localhost:{DOOR_PORT}",
        "S3D_METRICS_ENDPOINT": f"http://0.0.0.0:{HEALTH_PORT}",
        "S3D_TERMINATION_LOG": "/dev/termination-log",
        "S3D_LOG_FORMAT": "json",
        "S3D_LOCK_WAIT": grace_seconds,
        "S3D_DRAIN_SECONDS": spec.drain.seconds,
        "S3_ENDPOINT": remote.endpoint,
        "AWS_REGION": region(spec),
        "S3D_ADDRESSING": remote.addressing.lower(),
        "S3D_ANONYMOUS": remote.credentials.anonymous is not None,
        "S3D_BUCKETS": ",".join(bucket.name for bucket in spec.buckets),
        "S3D_WRITE_QUEUE": queue.enabled,
        "S3D_WRITE_QUEUE_MAX_SIZE": queue.max_size,
        "S3D_WRITE_QUEUE_MAX_FILES": queue.max_files,
        "S3D_WRITE_QUEUE_WAIT": queue.wait_seconds,
    }
    return {name: value for name, value in values.items() if value is not None}


def region(spec: S3GatewaySpec) -> str:
    """The region that the gateway and its apps sign for."""
    return spec.remote.region or DEFAULT_REGION


def sidecar(spec: S3GatewaySpec, image: Image, *, grace_seconds: int, bounds_storage: bool) -> Object:
    """The native sidecar, an entry of `initContainers`.

    With `bounds_storage` it has a limit on ephemeral storage: where any container of a pod has one, the kubelet evicts
    the pod whose volumes outgrow their sum, and that sum has to hold the queue. Where none has, none is set, since it
    would then bound the app's volumes too.
    """
    config = json.dumps(settings(spec, grace_seconds=grace_seconds), separators=(",", ":"))
    environment: list[Object] = [
        {"name": "S3D_CONFIG", "value": config},
        # The pod's other containers are sent to s3d by AWS_ENDPOINT_URL_S3; s3d itself must never be.
        {"name": "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "value": "true"},
    ]
    if secret := spec.remote.credentials.secret_ref:
        environment += [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret.name, "key": key, "optional": optional}}}
            for name, key, optional in SECRET_KEYS
        ]
    return {
        "name": NAME,
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "args": ["run"],
        "restartPolicy": "Always",
        "env": environment,
        "ports": [{"name": "s3d-health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        "startupProbe": probe("/readyz", period=1, failures=grace_seconds + STARTUP_SECONDS),
        "readinessProbe": probe("/readyz", period=5, failures=3),
        "livenessProbe": probe("/healthz", period=10, failures=6),
        "resources": resources(spec, bounds_storage=bounds_storage),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": NAME, "mountPath": LOCAL_DIR}],
    }


def probe(path: str, *, period: int, failures: int) -> Object:
    """A probe of the health door; it never depends on the remote, whose absence must not take the app down."""
    return {
        "httpGet": {"path": path, "port": HEALTH_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def resources(spec: S3GatewaySpec, *, bounds_storage: bool) -> Object:
    """Requests and limits of the sidecar."""
    requests, limits = spec.resources.requests, spec.resources.limits
    out: Object = {
        "requests": {"cpu": requests.cpu, "memory": requests.memory},
        "limits": {"memory": limits.memory} | ({"cpu": limits.cpu} if limits.cpu is not None else {}),
    }
    if bounds_storage:
        out["limits"]["ephemeral-storage"] = spec.volume.empty_dir.size_limit
    return out


def volume(spec: S3GatewaySpec) -> Object:
    """The volume of the local dir."""
    return {"name": NAME, "emptyDir": {"sizeLimit": spec.volume.empty_dir.size_limit}}
