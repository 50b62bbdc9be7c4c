"""From a gateway's spec to the settings of the daemon in its pods. Pure.

The settings hold no secret, only where it is. What may change under a running pod comes to it a second time, by a
ConfigMap that wins and may be missing.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from s3d.settings import reloadable
from s3d_operator import mounted
from s3d_operator.layout import (
    CONFIG_DIR,
    DEFAULT_REGION,
    DOOR_PORT,
    DRAIN_GRACE_SECONDS,
    HEALTH_PORT,
    LOCAL_DIR,
    MARGIN_SECONDS,
    NOTICE_SECONDS,
    Image,
)
from s3d_operator.overrides import NO_OVERRIDES, Overrides
from s3d_operator.spec import S3GatewaySpec
from s3d_operator.spec.telemetry import SAMPLERS


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
    mount = [spec.fuse_mount.model_dump(mode="json")] if spec.fuse_mount.enabled else []
    parts = [fixed, rest, *telemetry, *mount, *([image.name] if image else [])]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def config_map(gateway: str) -> str:
    """The name of the ConfigMap of a gateway."""
    return f"{gateway}-s3d"


def region(spec: S3GatewaySpec) -> str:
    """The region that the gateway and its apps sign for."""
    return spec.remote.region or DEFAULT_REGION


def lock_wait(spec: S3GatewaySpec, grace_seconds: int) -> int:
    """How long start-up may wait for the process before it: as long as that one may take to end (D-8).

    In a pod's own volume, and in the claim of a pod, that is the grace period; a drain job has one of its own.
    """
    return max(grace_seconds, NOTICE_SECONDS + DRAIN_GRACE_SECONDS) if spec.drain.job else grace_seconds


def drain_seconds(spec: S3GatewaySpec, overrides: Overrides) -> int:
    """How long the end of the pod may push."""
    return spec.drain.seconds if overrides.drain_seconds is None else overrides.drain_seconds
