"""From a gateway's spec to what a pod gets: settings, the sidecar container, its volumes. Pure.

Containers and volumes are the API's own JSON, as dicts. Secrets appear as references alone; the settings hold none.
What may change under a running pod comes to it a second time, by a ConfigMap that wins and may be missing.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from s3d import config
from s3d.errors import ConfigError
from s3d.settings import reloadable
from s3d.settings.values import check_http_url
from s3d_operator import mounted
from s3d_operator.schema import Cpu, Size
from s3d_operator.spec import S3GatewaySpec
from s3d_operator.telemetry_spec import SAMPLERS

NAME = "s3d"
WAIT = "s3d-sync-wait"
"""The container that lets an app start when its folder is there."""
DOOR_PORT = 33333
HEALTH_PORT = 33334
# By address and not by name: the SDKs' endpoint rules then put the bucket into the path. `localhost` would become
# `bucket.localhost`, which does not resolve everywhere.
ENDPOINT = f"http://127.0.0.1:{DOOR_PORT}"
TLS_ENDPOINT = f"https://127.0.0.1:{DOOR_PORT}"
LOCAL_DIR = "/var/lib/s3d"
FOLDER_DIR = "/var/lib/s3d-folder"
"""Where the sidecar has the sync folder."""
CONFIG_DIR = "/etc/s3d/config"
CONFIG_FILE = "settings.json"
CONFIG = f"{NAME}-config"
VOLUMES = frozenset({NAME, CONFIG}) | mounted.ALL
USER = 65534
# What the kubelet needs between the end of the drain and the end of the grace period.
MARGIN_SECONDS = 5
# Start-up waits for a lock that another process holds, at most as long as that one may drain.
STARTUP_SECONDS = 60
# A drain job waits so long for the lock of the pod before it, and is given so long to stop: it stops at once.
DRAIN_GRACE_SECONDS = 30
# What may pass until the operator, woken or in its next round, has told a drain job to stop.
NOTICE_SECONDS = 15
DEFAULT_REGION = "us-east-1"
EXPLAIN = "`kubectl explain s3gateway.spec` says what each field takes"
# A label's name, with a domain before it or not (Kubernetes' API conventions).
LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
# The agent of EKS Pod Identity, on every node (EKS user guide, "Pod Identity agent").
POD_IDENTITY_AGENT = "http://169.254.170.23/v1/credentials"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """The sidecar's image; set by the owner of the cluster, never by a gateway's author."""

    name: str
    pull_policy: str = "IfNotPresent"


@dataclass(frozen=True, slots=True)
class Overrides:
    """What a pod asks for itself, by annotations, in place of what its gateway says."""

    cpu_request: Cpu | None = None
    cpu_limit: Cpu | None = None
    memory_request: Size | None = None
    memory_limit: Size | None = None
    drain_seconds: int | None = None


NO_OVERRIDES = Overrides()


def settings(spec: S3GatewaySpec, *, grace_seconds: int, overrides: Overrides = NO_OVERRIDES) -> dict[str, Any]:
    """The daemon's settings by name, for a pod that has `grace_seconds` to end."""
    remote, queue, credentials = spec.remote, spec.write_queue, spec.remote.credentials
    cache = spec.read_cache if spec.read_cache.enabled else None
    values: dict[str, Any] = {
        "S3D_LOCAL_DIR": LOCAL_DIR,
        "S3D_VOLUME_SIZE": spec.volume.size,
        "S3D_CONFIG_DIR": CONFIG_DIR,
        "S3D_ENDPOINT": f"{'https' if spec.tls else 'http'}://localhost:{DOOR_PORT}",
        "S3D_TLS_CERT": f"{mounted.TLS_DIR}/tls.crt" if spec.tls else None,
        "S3D_TLS_KEY": f"{mounted.TLS_DIR}/tls.key" if spec.tls else None,
        "S3D_TLS_CLIENT_CA": (
            f"{mounted.TLS_DIR}/{mounted.CLIENT_CA_FILE}" if spec.tls and spec.tls.client_ca_secret_ref else None
        ),
        "S3D_TLS_CA": f"{mounted.TRUST_DIR}/{mounted.TRUST_FILE}" if spec.tls else None,
        "S3D_METRICS_ENDPOINT": f"http://0.0.0.0:{HEALTH_PORT}",
        "S3D_TERMINATION_LOG": "/dev/termination-log",
        "S3D_LOG_FORMAT": "json",
        "S3D_LOG_LEVEL": spec.log_level.lower(),
        "S3D_ACCESS_LOG": spec.access_log.lower(),
        "S3D_LOCK_WAIT": lock_wait(spec, grace_seconds),
        "S3D_DRAIN_SECONDS": drain_seconds(spec, overrides),
        "S3D_DEADLINE_SECONDS": grace_seconds - MARGIN_SECONDS if grace_seconds > MARGIN_SECONDS else None,
        "S3D_BARRIER_TIMEOUT": queue.barrier_seconds,
        "S3D_ACCESS_KEYS_FILE": f"{mounted.KEYS_DIR}/{mounted.KEYS_FILE}" if spec.access else None,
        "S3D_CORS_ORIGINS": listed(spec.cors.origins) if spec.cors else None,
        "S3D_CORS_METHODS": listed(spec.cors.methods) if spec.cors else None,
        "S3D_CORS_HEADERS": listed(spec.cors.headers) if spec.cors else None,
        "S3D_CORS_EXPOSE": listed(spec.cors.expose) if spec.cors else None,
        "S3D_CORS_MAX_AGE": spec.cors.max_age_seconds if spec.cors else None,
        "S3D_APP_CREDENTIALS_FILE": (
            f"{mounted.APP_DIR}/{mounted.APP_FILE}" if spec.app_credentials == "Generated" else None
        ),
        "S3_ENDPOINT": remote.endpoint,
        "AWS_REGION": region(spec),
        "S3D_ADDRESSING": remote.addressing.lower(),
        "S3D_CHECKSUMS": {"WhenSupported": "when_supported", "WhenRequired": "when_required"}[remote.checksums],
        "S3D_ADMIN_API": remote.admin_api or None,
        "S3D_REMOTE_IDENTITIES_FILE": (
            f"{mounted.IDENTITIES_DIR}/{mounted.IDENTITIES_FILE}" if remote.identities else None
        ),
        "S3D_CREDENTIALS_DIR": mounted.IDENTITY_DIR if credentials.secret_ref else None,
        "S3D_ANONYMOUS": credentials.anonymous is not None,
        "S3D_AWAY_AFTER": remote.away_after_seconds,
        "S3D_REQUEST_TIMEOUT": remote.request_timeout_seconds,
        "S3D_BUCKETS": ",".join(bucket.name for bucket in spec.buckets),
        "S3D_WRITE_QUEUE": queue.enabled,
        "S3D_WRITE_QUEUE_MAX_SIZE": queue.max_size,
        "S3D_WRITE_QUEUE_MAX_FILES": queue.max_files,
        "S3D_WRITE_QUEUE_MAX_AGE": queue.max_age_seconds,
        "S3D_WRITE_QUEUE_BALLAST": queue.ballast,
        "S3D_WRITE_QUEUE_WAIT": queue.wait_seconds,
        "S3D_WRITE_QUEUE_DELAY": queue.delay_seconds,
        "S3D_WRITE_QUEUE_VERSIONED": queue.versioned,
        "S3D_WRITE_QUEUE_UNVERIFIED_WRITES": queue.unverified_writes,
        "S3D_WRITE_QUEUE_CONFLICT": queue.conflict,
        "S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER": queue.conflict_check_after_seconds,
        "S3D_WRITE_QUEUE_LATE_WRITE_WINDOW": queue.late_write_window_seconds,
        "S3D_WRITE_QUEUE_MAX_UPLOAD_AGE": queue.max_upload_age_seconds,
        "S3D_WRITE_QUEUE_MAX_UPLOADS": queue.max_uploads,
        "S3D_WRITE_QUEUE_FILTER": list(queue.filter),
        "S3D_WRITE_QUEUE_PUSH_FILTER": list(queue.push_filter),
        "S3D_WRITE_QUEUE_WORKERS": queue.workers,
        "S3D_READ_CACHE": True if cache else None,
        "S3D_READ_CACHE_FILTER": list(cache.filter) if cache else None,
        "S3D_READ_CACHE_MAX_SIZE": cache.max_size if cache else None,
        "S3D_READ_CACHE_MAX_FILES": cache.max_files if cache else None,
        "S3D_READ_CACHE_MAX_NAMES": cache.max_names if cache else None,
        "S3D_READ_CACHE_MAX_AGE": cache.max_age_seconds if cache else None,
        "S3D_READ_CACHE_FRESH_FOR": cache.fresh_seconds if cache else None,
        "S3D_READ_CACHE_MAX_STALE": cache.max_stale_seconds if cache else None,
        "S3D_READ_CACHE_VALIDATE_TIMEOUT": cache.validate_timeout_seconds if cache else None,
        "S3D_READ_CACHE_PIN_RATE": cache.pin_rate if cache else None,
        # Said where there is none, too: so a running daemon learns that it was removed.
        "S3D_OPA_URL": spec.opa.url if spec.opa else "",
        "S3D_OPA_PATH": spec.opa.path if spec.opa else None,
        "S3D_OPA_TIMEOUT": spec.opa.timeout_seconds if spec.opa else None,
        "S3D_OPA_FAIL_UPLOAD": spec.opa.fail_mode.lower() if spec.opa else None,
        "S3D_OPA_CACHE_PATH": (spec.opa.cache_path or "") if spec.opa else None,
        "S3D_OPA_FAIL_CACHE": spec.opa.cache_fail_mode.lower() if spec.opa else None,
        "S3D_OPA_CA": f"{mounted.OPA_DIR}/{mounted.CA_FILE}" if spec.opa and spec.opa.ca_bundle else None,
        "S3D_OPA_TOKEN_FILE": f"{mounted.OPA_DIR}/{mounted.TOKEN_FILE}"
        if spec.opa and spec.opa.token_secret_ref
        else None,
        **telemetry_settings(spec),
    }
    return {name: value for name, value in values.items() if value is not None}


def telemetry_settings(spec: S3GatewaySpec) -> dict[str, Any]:
    """The settings of telemetry; None for those that are not set."""
    if (telemetry := spec.telemetry) is None:
        return {}
    signals = {"TRACES": telemetry.traces, "METRICS": telemetry.metrics, "LOGS": telemetry.logs}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": telemetry.endpoint,
        **{f"OTEL_{signal}_EXPORTER": "otlp" if is_sent else "none" for signal, is_sent in signals.items()},
        "OTEL_TRACES_SAMPLER": SAMPLERS[telemetry.sampler.type],
        "OTEL_TRACES_SAMPLER_ARG": telemetry.sampler.ratio,
        "S3D_OTEL_KEYS": telemetry.keys or None,
        "S3D_OTEL_HEADERS_FILE": (
            f"{mounted.OTEL_DIR}/{mounted.HEADERS_FILE}" if telemetry.headers_secret_ref else None
        ),
    }


def listed(names: Sequence[str]) -> str | None:
    """A list as a setting has it; None where it is empty, so that the setting's own default holds."""
    return ",".join(names) or None


# The fields of a spec that settings come from, as far as their author can choose them.
FIELDS = {
    "S3D_VOLUME_SIZE": "spec.volume",
    "S3D_LOG_LEVEL": "spec.logLevel",
    "S3D_ACCESS_LOG": "spec.accessLog",
    "S3D_DRAIN_SECONDS": "spec.drain.seconds",
    "S3D_BARRIER_TIMEOUT": "spec.writeQueue.barrierSeconds",
    "S3D_TLS_CERT": "spec.tls.secretName",
    "S3D_TLS_KEY": "spec.tls.secretName",
    "S3D_TLS_CLIENT_CA": "spec.tls.clientCASecretRef",
    "S3D_TLS_CA": "spec.tls.caBundle",
    "S3D_ACCESS_KEYS_FILE": "spec.access.keysSecretRef",
    "S3D_CORS_ORIGINS": "spec.cors.origins",
    "S3D_CORS_METHODS": "spec.cors.methods",
    "S3D_CORS_HEADERS": "spec.cors.headers",
    "S3D_CORS_EXPOSE": "spec.cors.expose",
    "S3D_CORS_MAX_AGE": "spec.cors.maxAgeSeconds",
    "S3D_APP_CREDENTIALS_FILE": "spec.appCredentials",
    "S3_ENDPOINT": "spec.remote.endpoint",
    "AWS_REGION": "spec.remote.region",
    "S3D_ADDRESSING": "spec.remote.addressing",
    "S3D_CHECKSUMS": "spec.remote.checksums",
    "S3D_ADMIN_API": "spec.remote.adminAPI",
    "S3D_REMOTE_IDENTITIES_FILE": "spec.remote.identities.secretRef",
    "S3D_ANONYMOUS": "spec.remote.credentials.anonymous",
    "S3D_AWAY_AFTER": "spec.remote.awayAfterSeconds",
    "S3D_REQUEST_TIMEOUT": "spec.remote.requestTimeoutSeconds",
    "S3D_BUCKETS": "spec.buckets",
    "S3D_WRITE_QUEUE": "spec.writeQueue.enabled",
    "S3D_WRITE_QUEUE_MAX_SIZE": "spec.writeQueue.maxSize",
    "S3D_WRITE_QUEUE_MAX_FILES": "spec.writeQueue.maxFiles",
    "S3D_WRITE_QUEUE_MAX_AGE": "spec.writeQueue.maxAgeSeconds",
    "S3D_WRITE_QUEUE_BALLAST": "spec.writeQueue.ballast",
    "S3D_WRITE_QUEUE_WAIT": "spec.writeQueue.waitSeconds",
    "S3D_WRITE_QUEUE_DELAY": "spec.writeQueue.delaySeconds",
    "S3D_WRITE_QUEUE_VERSIONED": "spec.writeQueue.versioned",
    "S3D_WRITE_QUEUE_UNVERIFIED_WRITES": "spec.writeQueue.unverifiedWrites",
    "S3D_WRITE_QUEUE_CONFLICT": "spec.writeQueue.conflict",
    "S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER": "spec.writeQueue.conflictCheckAfterSeconds",
    "S3D_WRITE_QUEUE_LATE_WRITE_WINDOW": "spec.writeQueue.lateWriteWindowSeconds",
    "S3D_WRITE_QUEUE_MAX_UPLOAD_AGE": "spec.writeQueue.maxUploadAgeSeconds",
    "S3D_WRITE_QUEUE_MAX_UPLOADS": "spec.writeQueue.maxUploads",
    "S3D_WRITE_QUEUE_FILTER": "spec.writeQueue.filter",
    "S3D_WRITE_QUEUE_PUSH_FILTER": "spec.writeQueue.pushFilter",
    "S3D_WRITE_QUEUE_WORKERS": "spec.writeQueue.workers",
    "S3D_READ_CACHE": "spec.readCache.enabled",
    "S3D_READ_CACHE_FILTER": "spec.readCache.filter",
    "S3D_READ_CACHE_MAX_SIZE": "spec.readCache.maxSize",
    "S3D_READ_CACHE_MAX_FILES": "spec.readCache.maxFiles",
    "S3D_READ_CACHE_MAX_NAMES": "spec.readCache.maxNames",
    "S3D_READ_CACHE_MAX_AGE": "spec.readCache.maxAgeSeconds",
    "S3D_READ_CACHE_FRESH_FOR": "spec.readCache.freshSeconds",
    "S3D_READ_CACHE_MAX_STALE": "spec.readCache.maxStaleSeconds",
    "S3D_READ_CACHE_VALIDATE_TIMEOUT": "spec.readCache.validateTimeoutSeconds",
    "S3D_READ_CACHE_PIN_RATE": "spec.readCache.pinRate",
    "S3D_OPA_URL": "spec.opa.url",
    "S3D_OPA_PATH": "spec.opa.path",
    "S3D_OPA_TIMEOUT": "spec.opa.timeoutSeconds",
    "S3D_OPA_FAIL_UPLOAD": "spec.opa.failMode",
    "S3D_OPA_CACHE_PATH": "spec.opa.cachePath",
    "S3D_OPA_FAIL_CACHE": "spec.opa.cacheFailMode",
    "S3D_OPA_CA": "spec.opa.caBundle",
    "S3D_OPA_TOKEN_FILE": "spec.opa.tokenSecretRef",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "spec.telemetry.endpoint",
    "OTEL_TRACES_EXPORTER": "spec.telemetry.traces",
    "OTEL_METRICS_EXPORTER": "spec.telemetry.metrics",
    "OTEL_LOGS_EXPORTER": "spec.telemetry.logs",
    "OTEL_TRACES_SAMPLER": "spec.telemetry.sampler.type",
    "OTEL_TRACES_SAMPLER_ARG": "spec.telemetry.sampler.ratio",
    "S3D_OTEL_KEYS": "spec.telemetry.keys",
    "S3D_OTEL_HEADERS_FILE": "spec.telemetry.headersSecretRef",
}


def check(spec: S3GatewaySpec) -> None:
    """Refuse a spec that no daemon would start with, or that selects nothing. Raises ConfigError in the words of the
    spec."""
    check_sts_endpoint(spec)
    check_selector(spec)
    try:
        config.load({"S3D_CONFIG": json.dumps(settings(spec, grace_seconds=0))})
    except ConfigError as error:
        hint = EXPLAIN
        if "docs/settings.md" not in error.hint:
            hint = in_words_of_the_spec(error.hint)
        raise ConfigError(in_words_of_the_spec(error.message), hint=hint) from None


def check_sts_endpoint(spec: S3GatewaySpec) -> None:
    """Refuse what the schema's pattern lets through and is no URL, such as a port that cannot be."""
    web = spec.remote.credentials.web_identity
    if web and web.sts_endpoint:
        try:
            check_http_url(web.sts_endpoint)
        except ValueError as error:
            field = "spec.remote.credentials.webIdentity.stsEndpoint"
            raise ConfigError(f"{field}: {error}", hint=EXPLAIN) from None


def check_selector(spec: S3GatewaySpec) -> None:
    """Refuse names that no label has: such a selector would match no pod, or each, and say nothing."""
    selector = spec.pod_selector
    names = [*selector.match_labels, *(each.key for each in selector.match_expressions)] if selector else []
    if wrong := next((name for name in names if not LABEL_NAME.fullmatch(name)), None):
        hint = "a label's name is of letters, digits, -, _ and ., as app, with a domain and a slash before it or not"
        raise ConfigError(f"spec.podSelector: no label can have the name {wrong!r}", hint=hint)


def in_words_of_the_spec(text: str) -> str:
    """A text in which settings have the names of the fields that they come from."""
    return re.sub(r"\b[A-Z0-9]+(_[A-Z0-9]+)+\b", lambda found: FIELDS.get(found[0], found[0]), text)


def reloaded(spec: S3GatewaySpec) -> dict[str, Any]:
    """Those of the settings that a running daemon takes over."""
    names = reloadable()
    return {name: value for name, value in settings(spec, grace_seconds=0).items() if name in names}


def config_hash(spec: S3GatewaySpec, image: Image | None) -> str:
    """What tells pods of one spec and image from those of another; what is reloaded is not part of it.

    The image counts by the name that is asked for here: a mirror may write another one into the pod. None is for a
    drain job, which is ended and made again where its hash differs: a new image is no reason for that.
    """
    fixed = {name: value for name, value in settings(spec, grace_seconds=0).items() if name not in reloadable()}
    rest = spec.model_dump(mode="json", include={"remote", "volume", "access", "tls", "app_credentials", "resources"})
    telemetry = [spec.telemetry.model_dump(mode="json")] if spec.telemetry else []
    parts = [fixed, rest, *telemetry, *([image.name] if image else [])]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def config_map(gateway: str) -> str:
    """The name of the ConfigMap of a gateway."""
    return f"{gateway}-s3d"


def region(spec: S3GatewaySpec) -> str:
    """The region that the gateway and its apps sign for."""
    return spec.remote.region or DEFAULT_REGION


def endpoint(spec: S3GatewaySpec) -> str:
    """The URL at which a pod's containers find the gateway."""
    return TLS_ENDPOINT if spec.tls else ENDPOINT


def lock_wait(spec: S3GatewaySpec, grace_seconds: int) -> int:
    """How long start-up may wait for the process before it: as long as that one may take to end (D-8).

    In a pod's own volume, and in the claim of a pod, that is the grace period; a drain job has one of its own.
    """
    return max(grace_seconds, NOTICE_SECONDS + DRAIN_GRACE_SECONDS) if spec.drain.job else grace_seconds


def drain_seconds(spec: S3GatewaySpec, overrides: Overrides) -> int:
    """How long the end of the pod may push."""
    return spec.drain.seconds if overrides.drain_seconds is None else overrides.drain_seconds


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
