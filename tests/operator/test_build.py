import json
from typing import Any

import pytest

from s3d import config
from s3d.errors import ConfigError
from s3d.settings import Browsers, Opa, Settings, Telemetry, known_settings
from s3d.settings.values import parse_bytes
from s3d_operator import build, gateway_checks, gateway_settings, layout, mounted
from s3d_operator.crd import schema_of
from s3d_operator.spec import S3GatewaySpec
from tests.operator.goldens import IMAGE

SECRET = {"secretRef": {"name": "s3-keys"}}
FULL = {
    "remote": {"endpoint": "https://s3.example.com", "region": "eu-1", "addressing": "Virtual", "credentials": SECRET}
    | {"checksums": "WhenRequired", "awayAfterSeconds": 3, "requestTimeoutSeconds": 60, "adminAPI": True}
    | {"identities": {"secretRef": {"name": "accounts"}}},
    "buckets": [{"name": "photos"}, {"name": "logs"}],
    "writeQueue": {
        "maxSize": "1.5Gi",
        "maxFiles": 7,
        "maxAgeSeconds": 50,
        "waitSeconds": 3,
        "delaySeconds": 2,
        "versioned": "Queue",
        "unverifiedWrites": "Reject",
        "conflict": "Park",
        "conflictCheckAfterSeconds": 9,
        "barrierSeconds": 9,
        "lateWriteWindowSeconds": 60,
        "maxUploadAgeSeconds": 3600,
        "maxUploads": 77,
        "ballast": "8Mi",
        "workers": 4,
        "pushFilter": ["!photos[tag:team=red]"],
        "filter": ["photos", "!photos/'tmp, x'/*"],
    },
    "access": {"keysSecretRef": {"name": "door-keys"}},
    "appCredentials": "Generated",
    "tls": {"secretName": "door-tls", "clientCASecretRef": {"name": "clients"}},
    "cors": {"origins": ["https://*.example", "null"], "methods": ["GET", "PUT"], "headers": ["x-amz-*"]}
    | {"expose": ["ETag"], "maxAgeSeconds": 60},
    "opa": {"url": "https://opa.opa.svc:8181", "path": "a/b", "timeoutSeconds": 2, "failMode": "Open"}
    | {"cachePath": "a/cache", "cacheFailMode": "Closed"}
    | {"caBundle": {"configMapRef": {"name": "opa-ca"}}, "tokenSecretRef": {"name": "opa-token"}},
    "telemetry": {"endpoint": "https://collector.monitoring.svc:4318", "metrics": False, "logs": True, "keys": True}
    | {"sampler": {"type": "TraceIDRatio", "ratio": "0.25"}, "headersSecretRef": {"name": "collector"}}
    | {"caBundle": {"configMapRef": {"name": "collector-ca"}}},
    "logLevel": "Debug",
    "accessLog": "Errors",
    "drain": {"seconds": 90},
}
LEAST: dict[str, Any] = {"remote": {"credentials": {"anonymous": {}}}}


def spec(raw: dict[str, Any]) -> S3GatewaySpec:
    return S3GatewaySpec.model_validate(raw)


def sidecar(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return build.sidecar(spec(raw), IMAGE, **{"grace_seconds": 125, "bounds_storage": False} | changes)


def loaded(raw: dict[str, Any]) -> Settings:
    """The settings as the daemon reads them from the container's environment."""
    environment = {entry["name"]: entry["value"] for entry in sidecar(raw)["env"] if "value" in entry}
    return config.load(environment)


def test_the_daemon_reads_what_the_gateway_says() -> None:
    settings = loaded(FULL)
    assert settings.remote.endpoint == "https://s3.example.com"
    assert settings.remote.region == "eu-1"
    assert settings.remote.addressing == "virtual"
    assert settings.remote.buckets == ("photos", "logs")
    assert not settings.remote.anonymous
    assert settings.write_queue.max_size == 3 << 29
    assert settings.write_queue.max_files == 7
    assert settings.write_queue.max_age == 50
    assert settings.write_queue.wait == 3
    assert settings.write_queue.delay == 2
    assert settings.write_queue.versioned == "Queue"
    assert settings.write_queue.unverified_writes == "Reject"
    assert settings.write_queue.conflict == "Park"
    assert settings.write_queue.conflict_check_after == 9
    assert settings.write_queue.late_write_window == 60
    assert settings.write_queue.max_upload_age == 3600
    assert settings.write_queue.max_uploads == 77
    assert settings.write_queue.ballast == 8 << 20
    assert settings.write_queue.workers == 4
    assert str(settings.write_queue.push_filter) == "!photos[tag:team=red]"
    assert [str(rule) for rule in settings.write_queue.filter.rules] == ["photos", "!photos/'tmp, x/'*"]
    assert settings.remote.checksums == "when_required"
    assert settings.gateway.admin_api
    assert not loaded(LEAST).gateway.admin_api
    assert (settings.remote.away_after, settings.remote.request_timeout) == (3, 60)
    assert str(settings.remote.credentials_dir) == mounted.IDENTITY_DIR
    assert settings.gateway.barrier_timeout == 9
    assert settings.browsers.origins == ("https://*.example", "null")
    assert settings.browsers.methods == ("GET", "PUT")
    assert settings.browsers.headers == ("x-amz-*",)
    assert settings.browsers.expose == ("ETag",)
    assert settings.browsers.max_age == 60
    assert loaded(LEAST | {"cors": {"origins": ["*"]}}).browsers == Browsers(origins=("*",))
    assert str(settings.gateway.access_keys_file) == f"{mounted.KEYS_DIR}/{mounted.KEYS_FILE}"
    assert str(settings.gateway.app_credentials_file) == f"{mounted.APP_DIR}/{mounted.APP_FILE}"
    assert str(settings.remote.identities_file) == f"{mounted.IDENTITIES_DIR}/{mounted.IDENTITIES_FILE}"
    assert str(settings.gateway.tls_cert) == f"{mounted.TLS_DIR}/tls.crt"
    assert str(settings.gateway.tls_key) == f"{mounted.TLS_DIR}/tls.key"
    assert str(settings.gateway.tls_client_ca) == f"{mounted.TLS_DIR}/{mounted.CLIENT_CA_FILE}"
    assert str(settings.gateway.tls_ca) == f"{mounted.TRUST_DIR}/{mounted.TRUST_FILE}"
    assert loaded(LEAST | {"tls": {"secretName": "door-tls"}}).gateway.tls_client_ca is None
    assert loaded(LEAST).gateway.tls_cert is loaded(LEAST).remote.identities_file is None
    assert loaded(LEAST).gateway.access_keys_file is loaded(LEAST).gateway.app_credentials_file is None
    assert (settings.opa.url, settings.opa.path) == ("https://opa.opa.svc:8181", "a/b")
    assert (settings.opa.timeout, settings.opa.fail_upload) == (2, "open")
    assert (settings.opa.cache_path, settings.opa.fail_cache) == ("a/cache", "closed")
    assert str(settings.opa.ca) == f"{mounted.OPA_DIR}/{mounted.CA_FILE}"
    assert str(settings.opa.token_file) == f"{mounted.OPA_DIR}/{mounted.TOKEN_FILE}"
    assert loaded(LEAST).opa == Opa()
    telemetry = settings.telemetry
    assert telemetry.endpoint == "https://collector.monitoring.svc:4318"
    assert (telemetry.traces, telemetry.metrics, telemetry.logs) == ("otlp", "none", "otlp")
    assert (telemetry.sampler, telemetry.sampler_arg, telemetry.keys) == ("traceidratio", 0.25, True)
    assert str(telemetry.headers_file) == f"{mounted.OTEL_DIR}/{mounted.HEADERS_FILE}"
    assert loaded(LEAST | {"telemetry": {"endpoint": "http://collector:4318"}}).telemetry == Telemetry(
        endpoint="http://collector:4318"
    )
    assert loaded(LEAST).telemetry == Telemetry()
    assert settings.gateway.log_level == "debug"
    assert settings.gateway.access_log == "errors"
    assert settings.gateway.volume_size == 3 << 30
    assert settings.gateway.drain == 90
    assert settings.gateway.lock_wait == 125
    assert settings.gateway.deadline == 125 - layout.MARGIN_SECONDS
    assert str(settings.gateway.local_dir) == layout.LOCAL_DIR


def test_every_setting_of_the_daemon_has_a_field_or_a_reason() -> None:
    ours = {"S3D_INSECURE": "the door is the pod's own", "S3D_WRITE_QUEUE_DIR": "one volume holds all"}
    ours |= {"S3D_READ_CACHE_DIR": "one volume holds all"}
    ours |= {"S3D_DOMAINS": "apps address it by 127.0.0.1"}
    ours |= dict.fromkeys(("S3D_CLIENT_TIMEOUT", "S3D_READER_TIMEOUT"), "the bounds of the door suit each pod")
    ours |= {"OTEL_METRIC_EXPORT_INTERVAL": "a minute suits each pod"}
    folder = [name for name, *_ in known_settings() if name.startswith("S3D_SYNC_FOLDER")]
    ours |= dict.fromkeys(folder, "a SyncFolder says them, and what it does not say suits each pod")
    mount = [name for name, *_ in known_settings() if name.startswith("S3D_FUSE_MOUNT")]
    ours |= dict.fromkeys(mount, "a sidecar mounts nothing: that is not built (docs/MOUNT.md)")
    certificate = ("S3D_TLS_CLIENT_CERT", "S3D_TLS_CLIENT_KEY")
    ours |= dict.fromkeys(certificate, "who runs commands shows a certificate, a sidecar does not")
    said = gateway_settings.settings(spec(FULL | {"readCache": {"enabled": True}}), grace_seconds=125).keys()
    assert {name for name, *_ in known_settings()} - said == ours.keys()


@pytest.mark.checklist(36)
def test_what_is_reloaded_is_what_the_daemon_reloads() -> None:
    settings = loaded(FULL)
    assert config.reload(settings, gateway_settings.reloaded(spec(FULL))) == []
    changed = config.reload(settings, gateway_settings.reloaded(spec(FULL | {"writeQueue": {"maxFiles": 8}})))
    assert "S3D_WRITE_QUEUE_MAX_FILES" in changed
    assert settings.write_queue.max_files == 8


def test_the_least_that_can_be_said_is_enough() -> None:
    settings = loaded(LEAST)
    assert settings.remote.endpoint is None
    assert settings.remote.region == "us-east-1"
    assert settings.remote.anonymous
    assert settings.remote.buckets == ()
    assert settings.write_queue.enabled


def test_every_size_of_the_schema_is_one_that_the_daemon_reads() -> None:
    for size in ("0", "17", "1k", "2.5M", "3Gi", "1Ti", 4096):
        settings = loaded(LEAST | {"writeQueue": {"maxSize": size}, "volume": {"emptyDir": {"sizeLimit": "2T"}}})
        assert settings.write_queue.max_size == parse_bytes(size)


def test_a_read_cache_is_off_until_it_is_asked_for_and_has_to_fit_the_volume_beside_the_queue() -> None:
    assert not loaded(LEAST).read_cache.enabled
    cache = {"enabled": True, "maxSize": "1Gi", "freshSeconds": 30, "maxStaleSeconds": 60, "validateTimeoutSeconds": 2}
    cache |= {"filter": ["*", "!logs/tmp/*"]}
    settings = loaded(LEAST | {"readCache": cache}).read_cache
    assert (settings.enabled, settings.max_size, settings.fresh_for) == (True, 1 << 30, 30.0)
    assert (settings.max_stale, settings.validate_timeout, str(settings.filter)) == (60.0, 2.0, "*, !logs/tmp/*")
    spec = S3GatewaySpec.model_validate(LEAST | {"readCache": cache | {"maxSize": "2Gi"}})
    with pytest.raises(ConfigError, match=r"spec.writeQueue.maxSize and spec.readCache.maxSize: .* do not fit"):
        gateway_checks.check(spec)
    names = {"S3D_READ_CACHE_FILTER", "S3D_READ_CACHE_MAX_SIZE", "S3D_READ_CACHE_FRESH_FOR", "S3D_READ_CACHE_MAX_STALE"}
    assert names <= gateway_settings.reloaded(S3GatewaySpec.model_validate(LEAST | {"readCache": cache})).keys()


@pytest.mark.checklist(17)
def test_the_daemon_never_follows_the_endpoint_that_the_apps_get() -> None:
    environment = {entry["name"]: entry.get("value") for entry in sidecar(FULL)["env"]}
    assert environment["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] == "true"
    assert "AWS_ENDPOINT_URL_S3" not in environment


@pytest.mark.checklist(22)
def test_the_sidecar_may_run_where_pod_security_is_restricted() -> None:
    context = sidecar(FULL)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["readOnlyRootFilesystem"] is True


@pytest.mark.checklist(16)
@pytest.mark.parametrize(("bounds", "limits"), [(False, {"memory": "256Mi"}), (True, {"ephemeral-storage": "3Gi"})])
def test_storage_is_limited_only_where_the_pod_limits_it(bounds: bool, limits: dict[str, str]) -> None:
    assert limits.items() <= sidecar(LEAST, bounds_storage=bounds)["resources"]["limits"].items()
    assert ("ephemeral-storage" in sidecar(LEAST, bounds_storage=bounds)["resources"]["limits"]) is bounds


@pytest.mark.semantics("D-8")
@pytest.mark.parametrize(
    ("job", "grace", "wait"),
    [(False, 600, 600), (True, 600, 600), (False, 7, 7), (True, 7, layout.DRAIN_GRACE_SECONDS + layout.NOTICE_SECONDS)],
)
def test_starting_may_take_as_long_as_another_process_or_a_drain_job_may_take_to_end(
    job: bool, grace: int, wait: int
) -> None:
    claim = {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}, "drain": {"job": job}}
    container = sidecar(LEAST | claim, grace_seconds=grace)
    seconds = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert seconds > json.loads(environment["S3D_CONFIG"])["S3D_LOCK_WAIT"] == wait


@pytest.mark.checklist(12)
def test_only_the_health_door_is_probed_and_it_does_not_ask_the_remote() -> None:
    container = sidecar(FULL)
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {33334}
    assert probes["livenessProbe"]["path"] == "/healthz"


@pytest.mark.checklist(20)
def test_the_s3_door_is_on_loopback_and_health_is_elsewhere() -> None:
    gateway = loaded(FULL).gateway
    assert (gateway.endpoint, gateway.insecure) == ("https://localhost:33333", False)
    assert loaded(LEAST).gateway.endpoint == "http://localhost:33333"
    assert gateway.metrics_endpoint == "http://0.0.0.0:33334"


@pytest.mark.checklist(13)
@pytest.mark.checklist(15)
def test_a_hook_says_when_the_grace_period_began_and_the_settings_when_it_ends() -> None:
    """It ends by SIGTERM alone, which a kubelet sends to a native sidecar after the last app container has ended."""
    assert sidecar(FULL)["lifecycle"] == {"preStop": {"exec": {"command": ["s3d", "prestop"]}}}
    assert sidecar(FULL)["restartPolicy"] == "Always"
    assert loaded(FULL).gateway.deadline == 125 - layout.MARGIN_SECONDS


def test_every_setting_that_a_field_becomes_has_the_name_of_that_field() -> None:
    """What the daemon says of a setting is read by somebody who wrote a spec."""
    spec = S3GatewaySpec.model_validate({"remote": FULL["remote"], "readCache": {"enabled": True}})
    ours = {"S3D_LOCAL_DIR", "S3D_CONFIG_DIR", "S3D_ENDPOINT", "S3D_METRICS_ENDPOINT", "S3D_TERMINATION_LOG"}
    ours |= {"S3D_LOG_FORMAT", "S3D_LOCK_WAIT", "S3D_CREDENTIALS_DIR"}
    assert gateway_settings.settings(spec, grace_seconds=0).keys() - gateway_checks.FIELDS.keys() == ours
    schema = schema_of(S3GatewaySpec)
    for field in gateway_checks.FIELDS.values():
        part = schema
        for name in field.split(".")[1:]:
            part = part["properties"][name]
