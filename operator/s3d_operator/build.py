"""From a gateway's spec to what a pod gets: the sidecar container and its volumes. Pure.

Containers and volumes are the API's own JSON, as dicts. Secrets appear as references alone.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from s3d_operator import fuse, mounted
from s3d_operator.gateway_settings import config_map, lock_wait, region, settings
from s3d_operator.layout import (
    CONFIG,
    CONFIG_DIR,
    ENDPOINT,
    HEALTH_PORT,
    LOCAL_DIR,
    NAME,
    STARTUP_SECONDS,
    TLS_ENDPOINT,
    USER,
    Image,
    Object,
)
from s3d_operator.overrides import NO_OVERRIDES, Overrides
from s3d_operator.spec import S3GatewaySpec

VOLUMES = frozenset({NAME, CONFIG, fuse.VOLUME}) | mounted.ALL
# The agent of EKS Pod Identity, on every node (EKS user guide, "Pod Identity agent").
POD_IDENTITY_AGENT = "http://169.254.170.23/v1/credentials"


def endpoint(spec: S3GatewaySpec) -> str:
    """The URL at which a pod's containers find the gateway."""
    return TLS_ENDPOINT if spec.tls else ENDPOINT


def sidecar(
    spec: S3GatewaySpec,
    image: Image,
    *,
    grace_seconds: int,
    bounds_storage: bool,
    overrides: Overrides = NO_OVERRIDES,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Object:
    """The native sidecar, an entry of `initContainers`; `more` are settings that do not come from its gateway.

    With `bounds_storage` it has a limit on ephemeral storage: where any container of a pod has one, the kubelet evicts
    the pod whose volumes outgrow their sum, and that sum has to hold the queue. Where none has, none is set, since it
    would then bound the app's volumes too.
    """
    said = {**settings(spec, grace_seconds=grace_seconds, overrides=overrides), **more}
    config = json.dumps(said, separators=(",", ":"))
    return {
        "name": NAME,
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "args": ["run"],
        "restartPolicy": "Always",
        "env": [
            {"name": "S3D_CONFIG", "value": config},
            *({"name": name, "value": value} for name, value in endpoint_environment(spec).items()),
            *({"name": name, "value": value} for name, value in identity_environment(spec).items()),
            *({"name": name, "value": value} for name, value in trust_environment(spec).items()),
            *telemetry_environment(spec),
        ],
        "ports": [{"name": "s3d-health", "containerPort": HEALTH_PORT, "protocol": "TCP"}],
        # Called when the pod is deleted, at the same time as the app's hooks; SIGTERM comes after the app has ended.
        "lifecycle": {"preStop": {"exec": {"command": ["s3d", "prestop"]}}},
        "startupProbe": probe("/readyz", period=1, failures=lock_wait(spec, grace_seconds) + STARTUP_SECONDS),
        "readinessProbe": probe("/readyz", period=5, failures=3),
        "livenessProbe": probe("/healthz", period=10, failures=6),
        "resources": resources(spec, bounds_storage=bounds_storage, overrides=overrides),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            # Root's group reads what the kubelet mounts for root, and may do nothing else.
            "runAsGroup": 0 if mounted.has_private(spec) else USER,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts(spec),
    }


def endpoint_environment(spec: S3GatewaySpec) -> Object:
    """Which services the AWS SDK finds elsewhere than at AWS: the token service, where the spec names one.

    The pod's other containers are sent to s3d by AWS_ENDPOINT_URL_S3, and another webhook may set such variables in all
    containers. AWS_IGNORE_CONFIGURED_ENDPOINT_URLS makes the SDK ignore them, but AWS_ENDPOINT_URL_STS as well. Where
    that is set, the SDK has to obey: the daemon looks at no such variable for S3, and for STS this one goes first.
    """
    web = spec.remote.credentials.web_identity
    if web and web.sts_endpoint:
        return {"AWS_ENDPOINT_URL_STS": web.sts_endpoint}
    return {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}


def identity_environment(spec: S3GatewaySpec) -> Object:
    """Where the AWS SDK finds the identity; nothing for keys, which are files that the daemon reads itself.

    The region is beside it because the SDK asks the region's STS.
    """
    credentials = spec.remote.credentials
    if web := credentials.web_identity:
        return {
            "AWS_ROLE_ARN": web.role_arn,
            "AWS_WEB_IDENTITY_TOKEN_FILE": f"{mounted.IDENTITY_DIR}/token",
            "AWS_ROLE_SESSION_NAME": NAME,
            "AWS_REGION": region(spec),
            "AWS_DEFAULT_REGION": region(spec),
        }
    if credentials.pod_identity:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": POD_IDENTITY_AGENT,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{mounted.IDENTITY_DIR}/token",
            "AWS_REGION": region(spec),
            "AWS_DEFAULT_REGION": region(spec),
        }
    return {}


def trust_environment(spec: S3GatewaySpec) -> Object:
    """Whom the daemon and the AWS SDK trust when they ask the remote and its token service."""
    return {"AWS_CA_BUNDLE": f"{mounted.CA_DIR}/{mounted.CA_FILE}"} if spec.remote.ca_bundle else {}


def telemetry_environment(spec: S3GatewaySpec) -> list[Object]:
    """What OpenTelemetry's SDK reads itself: in whose name it sends, and whom it trusts."""
    telemetry = spec.telemetry
    if telemetry is None:
        return []
    said = {"K8S_NAMESPACE_NAME": "metadata.namespace", "K8S_POD_NAME": "metadata.name"}
    names = ",".join(f"{name.lower().replace('_', '.')}=$({name})" for name in said)
    trusted = f"{mounted.OTEL_DIR}/{mounted.CA_FILE}"
    return [
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in said.items()),
        {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": names},
        *([{"name": "OTEL_EXPORTER_OTLP_CERTIFICATE", "value": trusted}] if telemetry.ca_bundle else []),
    ]


def probe(path: str, *, period: int, failures: int) -> Object:
    """A probe of the health door; it never depends on the remote, whose absence must not take the app down."""
    return {
        "httpGet": {"path": path, "port": HEALTH_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def resources(spec: S3GatewaySpec, *, bounds_storage: bool, overrides: Overrides = NO_OVERRIDES) -> Object:
    """Requests and limits of the sidecar."""
    requests, limits = spec.resources.requests, spec.resources.limits
    cpu_limit, memory_limit = overrides.cpu_limit or limits.cpu, overrides.memory_limit or limits.memory
    cpu, memory = overrides.cpu_request or requests.cpu, overrides.memory_request or requests.memory
    if spec.resources.quality == "Guaranteed":
        cpu, memory = overrides.cpu_request or cpu_limit or cpu, overrides.memory_request or memory_limit
    out: Object = {
        "requests": {"cpu": cpu, "memory": memory},
        "limits": {"memory": memory_limit} | ({"cpu": cpu_limit} if cpu_limit is not None else {}),
    }
    if bounds_storage and spec.volume.empty_dir:
        out["limits"]["ephemeral-storage"] = spec.volume.empty_dir.size_limit
    return out


def mounts(spec: S3GatewaySpec) -> list[Object]:
    """Where the sidecar sees its volumes."""
    claim = spec.volume.persistent_volume_claim
    out: list[Object] = [
        {"name": claim.template if claim and claim.template else NAME, "mountPath": LOCAL_DIR},
        {"name": CONFIG, "mountPath": CONFIG_DIR, "readOnly": True},
    ]
    return [*out, *mounted.mounts(spec)]


def volumes(spec: S3GatewaySpec, gateway: str) -> list[Object]:
    """The volumes of the pod that the sidecar needs; a StatefulSet's own claim is there already."""
    config: Object = {"name": CONFIG, "configMap": {"name": config_map(gateway), "optional": True}}
    return [*local_volume(spec), config, *mounted.volumes(spec)]


def local_volume(spec: S3GatewaySpec) -> list[Object]:
    """The volume of the local dir."""
    volume = spec.volume
    if claim := volume.persistent_volume_claim:
        return [{"name": NAME, "persistentVolumeClaim": {"claimName": claim.claim_name}}] if claim.claim_name else []
    if ephemeral := volume.ephemeral:
        wanted: Object = {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": ephemeral.size}},
        }
        if ephemeral.storage_class_name:
            wanted["storageClassName"] = ephemeral.storage_class_name
        return [{"name": NAME, "ephemeral": {"volumeClaimTemplate": {"spec": wanted}}}]
    return [{"name": NAME, "emptyDir": {"sizeLimit": volume.size}}]
