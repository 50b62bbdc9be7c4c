"""Whether a daemon would start with the settings of a gateway's spec, in the words of the spec. Pure."""

import json
import re

from s3d import config
from s3d.errors import ConfigError
from s3d.settings.values import check_http_url
from s3d_operator import fuse
from s3d_operator.gateway_settings import settings
from s3d_operator.spec import S3GatewaySpec

EXPLAIN = "`kubectl explain s3gateway.spec` says what each field takes"
# A label's name, with a domain before it or not (Kubernetes' API conventions).
LABEL_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
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
    "S3D_FUSE_MOUNT": "spec.fuseMount.enabled",
    "S3D_FUSE_MOUNT_READ_ONLY": "spec.fuseMount.readOnly",
    "S3D_FUSE_MOUNT_MAX_SIZE": "spec.fuseMount.maxSize",
    "S3D_FUSE_MOUNT_PUBLISH_AFTER": "spec.fuseMount.publishAfterSeconds",
    "S3D_FUSE_MOUNT_MAX_RENAME": "spec.fuseMount.maxRename",
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
        # The mount is off, so that no directory of this machine is looked at.
        judged = settings(spec, grace_seconds=0) | fuse.settings(spec) | {"S3D_FUSE_MOUNT": False}
        config.load({"S3D_CONFIG": json.dumps(judged)})
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
