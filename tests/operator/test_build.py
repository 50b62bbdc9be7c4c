import json
from typing import Any

import pytest

from s3d import config
from s3d_operator import build
from s3d_operator.api import S3GatewaySpec
from tests.operator.goldens import IMAGE

SECRET = {"secretRef": {"name": "s3-keys"}}
FULL = {
    "remote": {"endpoint": "https://s3.example.com", "region": "eu-1", "addressing": "Virtual", "credentials": SECRET},
    "buckets": [{"name": "photos"}, {"name": "logs"}],
    "writeQueue": {"enabled": True, "maxSize": "1.5Gi", "maxFiles": 7, "waitSeconds": 3},
    "drain": {"seconds": 90},
}
LEAST = {"remote": {"credentials": {"anonymous": {}}}}


def spec(raw: dict[str, Any]) -> S3GatewaySpec:
    return S3GatewaySpec.model_validate(raw)


def sidecar(raw: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return build.sidecar(spec(raw), IMAGE, **{"grace_seconds": 125, "bounds_storage": False} | changes)


def loaded(raw: dict[str, Any]) -> config.Settings:
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
    assert settings.write_queue.wait == 3
    assert settings.gateway.drain == 90
    assert settings.gateway.lock_wait == 125
    assert str(settings.gateway.local_dir) == build.LOCAL_DIR


def test_the_least_that_can_be_said_is_enough() -> None:
    settings = loaded(LEAST)
    assert settings.remote.endpoint is None
    assert settings.remote.region == "us-east-1"
    assert settings.remote.anonymous
    assert settings.remote.buckets == ()
    assert settings.write_queue.enabled


def test_every_size_of_the_schema_is_one_that_the_daemon_reads() -> None:
    for size in ("0", "17", "1k", "2.5M", "3Gi", "1Ti", 4096):
        settings = loaded(LEAST | {"writeQueue": {"maxSize": size}})
        assert settings.write_queue.max_size == config.parse_bytes(size)


def test_keys_are_references_to_a_secret_and_the_session_token_may_be_missing() -> None:
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in sidecar(FULL)["env"] if "valueFrom" in entry
    }
    assert references == {
        "AWS_ACCESS_KEY_ID": {"name": "s3-keys", "key": "accessKeyID", "optional": False},
        "AWS_SECRET_ACCESS_KEY": {"name": "s3-keys", "key": "secretAccessKey", "optional": False},
        "AWS_SESSION_TOKEN": {"name": "s3-keys", "key": "sessionToken", "optional": True},
    }


def test_an_anonymous_gateway_has_no_keys() -> None:
    assert not [entry for entry in sidecar(LEAST)["env"] if "valueFrom" in entry]


def test_the_daemon_never_follows_the_endpoint_that_the_apps_get() -> None:
    environment = {entry["name"]: entry.get("value") for entry in sidecar(FULL)["env"]}
    assert environment["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] == "true"
    assert "AWS_ENDPOINT_URL_S3" not in environment


def test_the_sidecar_may_run_where_pod_security_is_restricted() -> None:
    context = sidecar(FULL)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(("bounds", "limits"), [(False, {"memory": "256Mi"}), (True, {"ephemeral-storage": "3Gi"})])
def test_storage_is_limited_only_where_the_pod_limits_it(bounds: bool, limits: dict[str, str]) -> None:
    assert limits.items() <= sidecar(LEAST, bounds_storage=bounds)["resources"]["limits"].items()
    assert ("ephemeral-storage" in sidecar(LEAST, bounds_storage=bounds)["resources"]["limits"]) is bounds


def test_starting_may_take_as_long_as_another_process_may_drain() -> None:
    container = sidecar(LEAST, grace_seconds=600)
    seconds = container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert seconds > json.loads(environment["S3D_CONFIG"])["S3D_LOCK_WAIT"] == 600


def test_only_the_health_door_is_probed_and_it_does_not_ask_the_remote() -> None:
    container = sidecar(FULL)
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {33334}
    assert probes["livenessProbe"]["path"] == "/healthz"
