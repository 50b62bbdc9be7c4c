"""What the sidecar and the app read from files: keys, certificates, identities; and where the gateway keeps its own."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from s3d_operator import layout, mounted
from s3d_operator.choice import Skip, wanted
from s3d_operator.inject import patch
from tests.operator.goldens import IMAGE, gateway
from tests.operator.injections import ANONYMOUS, IDENTITIES, ROLE, TLS, environment, inject, pod, sidecar


def volumes_of(injected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The volumes of the sidecar by where it sees them."""
    volumes = {volume["name"]: volume for volume in injected["spec"]["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in sidecar(injected)["volumeMounts"]}


def test_who_has_no_aws_identity_reads_the_generated_key_and_cannot_write_it() -> None:
    containers = [{"name": "app"}, {"name": "own", "env": [{"name": "AWS_PROFILE", "value": "own"}]}]
    chosen = gateway(ANONYMOUS | {"appCredentials": "Generated"})
    result = patch(pod({"containers": containers}), chosen, IMAGE)
    injected = jsonpatch.apply_patch(pod({"containers": containers}), result.operations)
    app, own = injected["spec"]["containers"]
    where = environment(app)["AWS_SHARED_CREDENTIALS_FILE"]
    (mount,) = app["volumeMounts"]
    assert Path(where).parent == Path(mount["mountPath"])
    assert mount["readOnly"]
    settings = json.loads(environment(sidecar(injected))["S3D_CONFIG"])
    assert settings["S3D_APP_CREDENTIALS_FILE"] == where
    assert volumes_of(injected)[mount["mountPath"]] == {
        "name": mount["name"],
        "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"},
    }
    assert "volumeMounts" not in own
    assert "AWS_SHARED_CREDENTIALS_FILE" not in environment(own)
    (warning,) = result.warnings
    assert "'own'" in warning


def test_the_keys_of_the_door_are_a_file_that_the_sidecar_alone_can_read() -> None:
    access = {"keysSecretRef": {"name": "door-keys", "key": "mine"}}
    injected = inject(pod(), gateway(ANONYMOUS | {"access": access}))
    secret = volumes_of(injected)[mounted.KEYS_DIR]["secret"]
    assert secret == {
        "secretName": "door-keys",
        "items": [{"key": "mine", "path": mounted.KEYS_FILE}],
        "defaultMode": 0o440,
    }
    assert sidecar(injected)["securityContext"]["runAsGroup"] == 0, "the file belongs to root and its group"
    assert "volumeMounts" not in injected["spec"]["containers"][0]


def test_what_telemetry_is_sent_with_are_files_and_names_of_the_sidecar_alone() -> None:
    collector = {"endpoint": "https://collector:4318", "headersSecretRef": {"name": "collector", "key": "mine"}}
    injected = inject(
        pod(), gateway(ANONYMOUS | {"telemetry": collector | {"caBundle": {"configMapRef": {"name": "ca"}}}})
    )
    assert volumes_of(injected)[mounted.OTEL_DIR]["projected"]["sources"] == [
        {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": mounted.CA_FILE}]}},
        {"secret": {"name": "collector", "items": [{"key": "mine", "path": mounted.HEADERS_FILE}]}},
    ]
    container = sidecar(injected)
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["OTEL_RESOURCE_ATTRIBUTES"] == (
        "k8s.namespace.name=$(K8S_NAMESPACE_NAME),k8s.pod.name=$(K8S_POD_NAME)"
    )
    assert environment["OTEL_EXPORTER_OTLP_CERTIFICATE"] == f"{mounted.OTEL_DIR}/{mounted.CA_FILE}"
    assert container["securityContext"]["runAsGroup"] == 0
    assert "volumeMounts" not in injected["spec"]["containers"][0]


def test_what_opa_is_asked_with_are_files_of_the_sidecar_alone() -> None:
    opa = {"url": "https://opa.opa.svc:8181", "tokenSecretRef": {"name": "opa", "key": "mine"}}
    injected = inject(pod(), gateway(ANONYMOUS | {"opa": opa | {"caBundle": {"configMapRef": {"name": "ca"}}}}))
    projected = volumes_of(injected)[mounted.OPA_DIR]["projected"]
    assert projected == {
        "sources": [
            {"configMap": {"name": "ca", "items": [{"key": "ca.crt", "path": mounted.CA_FILE}]}},
            {"secret": {"name": "opa", "items": [{"key": "mine", "path": mounted.TOKEN_FILE}]}},
        ],
        "defaultMode": 0o440,
    }
    assert sidecar(injected)["securityContext"]["runAsGroup"] == 0
    assert "volumeMounts" not in injected["spec"]["containers"][0]


TRUSTED = f"{mounted.TRUST_DIR}/{mounted.TRUST_FILE}"


def test_the_certificate_and_its_key_are_files_that_the_sidecar_alone_can_read_and_that_change_together() -> None:
    tls = {"secretName": "door-tls", "clientCASecretRef": {"name": "clients", "key": "all.pem"}}
    injected = inject(pod(), gateway(ANONYMOUS | {"tls": tls}))
    projected = volumes_of(injected)[mounted.TLS_DIR]["projected"]
    pair, clients = (source["secret"] for source in projected["sources"])
    assert projected["defaultMode"] == 0o440
    assert pair == {
        "name": "door-tls",
        "items": [{"key": "tls.crt", "path": "tls.crt"}, {"key": "tls.key", "path": "tls.key"}],
    }
    assert clients == {"name": "clients", "items": [{"key": "all.pem", "path": mounted.CLIENT_CA_FILE}]}
    assert sidecar(injected)["securityContext"]["runAsGroup"] == 0, "the files belong to root and its group"
    assert mounted.TLS_DIR not in {mount["mountPath"] for mount in injected["spec"]["containers"][0]["volumeMounts"]}


@pytest.mark.parametrize(
    ("more", "volume"),
    [
        ({}, {"secret": {"secretName": "door-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}),
        (
            {"caBundle": {"configMapRef": {"name": "all-cas", "key": "bundle.pem"}}},
            {"configMap": {"name": "all-cas", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}},
        ),
    ],
)
def test_with_tls_the_app_is_sent_to_https_and_trusts_who_has_signed_the_certificate(
    more: dict[str, Any], volume: dict[str, Any]
) -> None:
    injected = inject(pod(), gateway(ANONYMOUS | {"tls": TLS["tls"] | more}))
    (app,) = injected["spec"]["containers"]
    assert environment(app)["AWS_ENDPOINT_URL_S3"] == "https://127.0.0.1:33333"
    assert environment(app)["AWS_CA_BUNDLE"] == TRUSTED
    (mount,) = app["volumeMounts"]
    assert mount == {"name": mounted.TRUST, "mountPath": mounted.TRUST_DIR, "readOnly": True}
    assert volumes_of(injected)[mounted.TRUST_DIR] == {"name": mounted.TRUST} | volume


def test_a_container_that_trusts_others_already_is_told_what_that_means() -> None:
    own = [{"name": "AWS_CA_BUNDLE", "value": "/etc/own.pem"}]
    given = pod({"containers": [{"name": "app"}, {"name": "own", "env": own}]})
    result = patch(given, gateway(ANONYMOUS | TLS), IMAGE)
    app, other = jsonpatch.apply_patch(given, result.operations)["spec"]["containers"]
    assert environment(app)["AWS_CA_BUNDLE"] == TRUSTED
    assert environment(other)["AWS_CA_BUNDLE"] == "/etc/own.pem"
    assert "volumeMounts" not in other
    (warning,) = result.warnings
    assert "'own'" in warning
    assert TRUSTED in warning


def test_an_app_that_is_sent_to_plain_http_of_a_gateway_with_tls_is_told_so() -> None:
    own = [{"name": "AWS_ENDPOINT_URL_S3", "value": layout.ENDPOINT}]
    (warning,) = patch(pod({"containers": [{"name": "app", "env": own}]}), gateway(ANONYMOUS | TLS), IMAGE).warnings
    assert layout.TLS_ENDPOINT in warning


def test_the_commands_in_the_sidecar_trust_the_certificate_too_whomever_the_remote_is_trusted_by() -> None:
    remote = {"endpoint": "https://s3", "credentials": {"anonymous": {}}}
    remote |= {"caBundle": {"configMapRef": {"name": "corp-ca"}}}
    injected = inject(pod(), gateway(TLS | {"remote": remote}))
    told = environment(sidecar(injected))
    assert told["AWS_CA_BUNDLE"] == f"{mounted.CA_DIR}/{mounted.CA_FILE}"
    settings = json.loads(told["S3D_CONFIG"])
    assert settings["S3D_TLS_CA"] == TRUSTED
    assert settings["S3D_ENDPOINT"] == "https://localhost:33333"
    assert mounted.TRUST_DIR in volumes_of(injected)


def test_identities_are_a_file_that_the_sidecar_alone_can_read() -> None:
    injected = inject(pod(), gateway({"remote": ANONYMOUS["remote"] | IDENTITIES}))
    volume = volumes_of(injected)[mounted.IDENTITIES_DIR]
    assert volume["secret"] == {
        "secretName": "accounts",
        "items": [{"key": "identities.json", "path": mounted.IDENTITIES_FILE}],
        "defaultMode": 0o440,
    }
    assert sidecar(injected)["securityContext"]["runAsGroup"] == 0
    assert "volumeMounts" not in injected["spec"]["containers"][0]


@pytest.mark.checklist(30)
def test_keys_are_files_of_their_secret_and_the_session_token_may_be_missing() -> None:
    injected = inject(pod(), gateway({"remote": {"credentials": {"secretRef": {"name": "s3-keys"}}}}))
    keys, token = volumes_of(injected)[mounted.IDENTITY_DIR]["projected"]["sources"]
    assert keys["secret"]["name"] == token["secret"]["name"] == "s3-keys"
    assert [item["path"] for item in keys["secret"]["items"]] == ["accessKeyID", "secretAccessKey"]
    assert "optional" not in keys["secret"]
    assert token["secret"]["optional"] is True
    assert not [entry for entry in sidecar(injected)["env"] if "valueFrom" in entry]


@pytest.mark.checklist(30)
@pytest.mark.checklist(31)
def test_a_web_identity_needs_no_other_webhook() -> None:
    wanted = {"webIdentity": {"roleARN": ROLE, "audience": "sts.example", "expirationSeconds": 900}}
    injected = inject(pod(), gateway({"remote": {"region": "eu-1", "credentials": wanted}}))
    (source,) = volumes_of(injected)[mounted.IDENTITY_DIR]["projected"]["sources"]
    assert source == {"serviceAccountToken": {"path": "token", "audience": "sts.example", "expirationSeconds": 900}}
    told = environment(sidecar(injected))
    assert told["AWS_ROLE_ARN"] == ROLE
    assert told["AWS_WEB_IDENTITY_TOKEN_FILE"] == f"{mounted.IDENTITY_DIR}/token"
    assert told["AWS_REGION"] == "eu-1"


@pytest.mark.checklist(31)
def test_what_another_webhook_has_given_the_sidecar_of_an_identity_is_completed() -> None:
    chosen = gateway({"remote": {"credentials": {"webIdentity": {"roleARN": ROLE}}}})
    injected = inject(pod(), chosen)
    half = copy.deepcopy(injected)
    sidecar(half)["env"] = [e for e in sidecar(half)["env"] if e["name"] != "AWS_WEB_IDENTITY_TOKEN_FILE"]
    half["spec"]["volumes"] = [v for v in half["spec"]["volumes"] if v["name"] != mounted.IDENTITY]
    assert environment(sidecar(inject(half, chosen))) == environment(sidecar(injected))
    assert volumes_of(inject(half, chosen)) == volumes_of(injected)


@pytest.mark.checklist(31)
def test_pod_identity_is_the_agents_with_a_token_for_it_alone() -> None:
    injected = inject(pod(), gateway({"remote": {"credentials": {"podIdentity": {}}}}))
    (source,) = volumes_of(injected)[mounted.IDENTITY_DIR]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "pods.eks.amazonaws.com"
    told = environment(sidecar(injected))
    assert told["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
    assert told["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == f"{mounted.IDENTITY_DIR}/token"


@pytest.mark.checklist(30)
def test_an_anonymous_gateway_has_no_identity() -> None:
    injected = inject(pod(), gateway(ANONYMOUS))
    assert mounted.IDENTITY_DIR not in volumes_of(injected)
    assert environment(sidecar(injected)).keys() == {"S3D_CONFIG", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"}


def test_an_authority_of_its_own_is_a_file_of_its_config_map() -> None:
    bundle = {"configMapRef": {"name": "corp-ca", "key": "root.pem"}}
    injected = inject(pod(), gateway({"remote": {"caBundle": bundle, "credentials": {"anonymous": {}}}}))
    told = environment(sidecar(injected))["AWS_CA_BUNDLE"]
    volume = volumes_of(injected)[str(Path(told).parent)]
    assert volume["configMap"] == {"name": "corp-ca", "items": [{"key": "root.pem", "path": Path(told).name}]}


@pytest.mark.checklist(36)
def test_settings_are_reloaded_from_a_directory_of_a_config_map_that_may_be_missing() -> None:
    injected = inject(pod(), gateway(ANONYMOUS, "shop"))
    volume = volumes_of(injected)[layout.CONFIG_DIR]
    assert volume["configMap"] == {"name": "shop-s3d", "optional": True}
    assert not [mount for mount in sidecar(injected)["volumeMounts"] if "subPath" in mount]


@pytest.mark.parametrize(
    ("volume", "made"),
    [
        ({"emptyDir": {"sizeLimit": "2Gi"}}, {"emptyDir": {"sizeLimit": "2Gi"}}),
        (
            {"persistentVolumeClaim": {"claimName": "queue"}},
            {"persistentVolumeClaim": {"claimName": "queue"}},
        ),
        (
            {"ephemeral": {"storageClassName": "fast", "size": "5Gi"}},
            {
                "ephemeral": {
                    "volumeClaimTemplate": {
                        "spec": {
                            "accessModes": ["ReadWriteOnce"],
                            "resources": {"requests": {"storage": "5Gi"}},
                            "storageClassName": "fast",
                        }
                    }
                }
            },
        ),
    ],
)
def test_the_local_dir_is_on_the_volume_that_the_gateway_says(volume: dict[str, Any], made: dict[str, Any]) -> None:
    injected = inject(pod(), gateway(ANONYMOUS | {"volume": volume}))
    assert volumes_of(injected)[layout.LOCAL_DIR] == {"name": layout.NAME} | made


def test_a_stateful_sets_own_claim_is_the_volume_of_its_pod() -> None:
    chosen = gateway(ANONYMOUS | {"volume": {"persistentVolumeClaim": {"template": "queue"}}})
    claim = {"name": "queue", "persistentVolumeClaim": {"claimName": "queue-shop-0"}}
    assert volumes_of(inject(pod({"volumes": [claim]}), chosen))[layout.LOCAL_DIR] == claim
    choice = wanted(pod(), [chosen])
    assert isinstance(choice, Skip)
    assert choice.reason == "NoSuchClaim"


@pytest.mark.parametrize(("group", "warned"), [(None, True), (1000, False)])
def test_a_claim_without_a_group_of_the_pods_is_warned_about(group: int | None, warned: bool) -> None:
    chosen = gateway(ANONYMOUS | {"volume": {"persistentVolumeClaim": {"claimName": "queue"}}})
    context = {} if group is None else {"fsGroup": group}
    warnings = patch(pod({"securityContext": context}), chosen, IMAGE).warnings
    assert [("fsGroup" in warning) for warning in warnings] == [True] * warned
