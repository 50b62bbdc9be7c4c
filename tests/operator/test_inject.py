import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d_operator import gateway_settings, layout, mounted
from s3d_operator.choice import Gateway, Skip, overlap, read_gateway, selects, wanted
from s3d_operator.inject import patch, ports_of
from s3d_operator.names import CONFIG_HASH, ENDPOINT_ENV, GATEWAY, INJECT, INJECTED, ORIGINAL_GRACE
from s3d_operator.spec import S3GatewaySpec
from s3d_operator.spec.selector import LabelSelector
from s3d_operator.webhook import decide
from tests.operator.goldens import HERE, IMAGE, gateway, read

ANONYMOUS: dict[str, Any] = {"remote": {"credentials": {"anonymous": {}}}}
GOLDEN = sorted(HERE.glob("*.yaml"))


def pod(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "app:1"}]} | (spec or {})}


def inject(given: dict[str, Any], chosen: Gateway) -> dict[str, Any]:
    injected: dict[str, Any] = jsonpatch.apply_patch(given, patch(given, chosen, IMAGE).operations)
    return injected


def sidecar(given: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in given["spec"]["initContainers"] if c["name"] == layout.NAME)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_pod_gets_its_golden_patch(path: Path) -> None:
    given, spec, operations = read(path)
    assert patch(given, gateway(spec), IMAGE).operations == operations


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_another_implementation_of_json_patch_agrees_that_a_second_injection_is_none(path: Path) -> None:
    given, spec, operations = read(path)
    injected = jsonpatch.apply_patch(given, operations)
    assert patch(injected, gateway(spec), IMAGE).operations == []


names = st.sampled_from(
    "AWS_REGION AWS_ENDPOINT_URL_S3 AWS_PROFILE AWS_CA_BUNDLE NO_PROXY no_proxy HTTP_PROXY https_proxy MODE".split()
)
variables: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names, "value": st.sampled_from(["", "x", "*", "localhost", layout.ENDPOINT, layout.TLS_ENDPOINT])}
)
OF_THE_POD: dict[str, Any] = {"fieldRef": {"fieldPath": "status.podIP"}}
variables |= st.fixed_dictionaries({"name": names, "valueFrom": st.just(OF_THE_POD)})
containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["app", "istio-proxy", "linkerd-proxy", "istio-init", "other"])},
    optional={
        "env": st.none() | st.lists(variables, max_size=4),
        "envFrom": st.just([{"secretRef": {"name": "env"}}]),
        "restartPolicy": st.just("Always"),
        "resources": st.just({"limits": {"ephemeral-storage": "1Gi"}}) | st.just({}) | st.none(),
        "unknown": st.integers(),
        "args": st.lists(
            st.sampled_from(["-d", "15090", "--inbound-ports-to-ignore", "4190, 4191", "33334", ""]), max_size=5
        ),
    },
)
SELF = [
    ("s3d.dev/cpu-limit", "2"),
    ("s3d.dev/memory-request", "100Mi"),
    ("s3d.dev/drain-seconds", "5"),
    ("traffic.sidecar.istio.io/excludeInboundPorts", "8080"),
    ("linkerd.io/inject", "enabled"),
]
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "annotations": st.none()
                | st.dictionaries(
                    st.sampled_from([ORIGINAL_GRACE, ENDPOINT_ENV, "a/b~c"]), st.sampled_from(["7", "false", "²", ""])
                )
                | st.lists(st.sampled_from(SELF)).map(dict),
                "labels": st.none() | st.just({"app": "shop", "sidecar.istio.io/inject": "true"}),
            },
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3)},
            optional={
                "initContainers": st.none() | st.lists(containers, max_size=3),
                "volumes": st.none() | st.just([]) | st.just([{"name": "data", "emptyDir": {}}]),
                "terminationGracePeriodSeconds": st.none() | st.integers(0, 1000),
                "unknown": st.lists(st.integers()),
            },
        ),
    }
)
ROLE = "arn:aws:iam::123456789012:role/photos"
CREDENTIALS: list[dict[str, Any]] = [
    {"anonymous": {}},
    {"secretRef": {"name": "s3-keys"}},
    {"webIdentity": {"roleARN": ROLE}},
    {"podIdentity": {}},
]
VOLUMES: list[dict[str, Any]] = [
    {"emptyDir": {"sizeLimit": "2Gi"}},
    {"persistentVolumeClaim": {"claimName": "queue"}},
    {"ephemeral": {"storageClassName": "fast"}},
]
IDENTITIES: dict[str, Any] = {"identities": {"secretRef": {"name": "accounts"}}}
specs = st.builds(
    lambda credentials, app, drain, volume, bundle, tls: (
        app
        | tls
        | {
            "remote": {"credentials": credentials} | bundle,
            "drain": {"seconds": drain},
            "volume": volume,
        }
    ),
    st.sampled_from(CREDENTIALS),
    st.sampled_from(
        [
            {"appCredentials": "None"},
            {"appCredentials": "Dummy"},
            {"appCredentials": "Generated"},
            {"appCredentials": "Generated", "access": {"keysSecretRef": {"name": "door-keys"}}},
        ]
    ),
    st.integers(0, 300),
    st.sampled_from(VOLUMES),
    st.sampled_from([{}, {"caBundle": {"configMapRef": {"name": "corp-ca"}}}, IDENTITIES]),
    st.sampled_from([{}, {"tls": {"secretName": "door-tls"}}, {"fuseMount": {"enabled": True}}]),
)


@pytest.mark.checklist(7)
@given(pods, specs)
def test_injecting_twice_is_injecting_once(given: dict[str, Any], spec: dict[str, Any]) -> None:
    chosen = gateway(spec)
    injected = inject(given, chosen)
    assert patch(injected, chosen, IMAGE).operations == []


@pytest.mark.checklist(9)
@given(pods, specs)
def test_a_patch_is_made_of_additions_and_leaves_the_pod_that_it_was_made_for_alone(
    given: dict[str, Any], spec: dict[str, Any]
) -> None:
    before = copy.deepcopy(given)
    assert {operation["op"] for operation in patch(given, gateway(spec), IMAGE).operations} == {"add"}
    assert given == before


def assert_kept(before: Any, after: Any, path: str = "") -> None:
    """What was there is there still, in its order; but for the two values that injection may raise."""
    if isinstance(before, dict) and "name" in before and before["name"].lower() == "no_proxy":
        assert (after.get("value") or "").startswith(
            ",".join(h.strip() for h in (before.get("value") or "").split(","))
        )
    elif isinstance(before, dict):
        for key, value in before.items():
            assert_kept(value, after[key], f"{path}/{key}")
    elif isinstance(before, list):
        own = [entry for entry in after if not (isinstance(entry, dict) and entry.get("name") == layout.NAME)]
        for index, (old, new) in enumerate(zip(before, own[: len(before)], strict=True)):
            assert_kept(old, new, f"{path}/{index}")
    elif path.endswith("/excludeInboundPorts"):
        assert ports_of(after)[: len(ports_of(before))] == ports_of(before)
    elif path == "/spec/terminationGracePeriodSeconds":
        assert after >= (30 if before is None else before)
    elif path != f"/metadata/annotations/{ORIGINAL_GRACE}" and before is not None:
        assert after == before


@pytest.mark.checklist(8)
@pytest.mark.checklist(19)
@given(pods, specs)
def test_nothing_that_the_user_has_set_is_overwritten(given: dict[str, Any], spec: dict[str, Any]) -> None:
    assert_kept(given, inject(given, gateway(spec)))


@pytest.mark.checklist(10)
@given(pods, specs)
def test_every_app_container_meets_the_gateway_after_it_has_started(
    given: dict[str, Any], spec: dict[str, Any]
) -> None:
    injected = inject(given, gateway(spec))["spec"]
    index = injected["initContainers"].index(sidecar({"spec": injected}))
    names = [container["name"] for container in injected["initContainers"]]
    assert index == 0 or names[index - 1] in {"istio-proxy", "linkerd-proxy"}
    assert not {"istio-proxy", "linkerd-proxy"} & set(names[index + 1 :])
    assert sidecar({"spec": injected})["restartPolicy"] == "Always"


@pytest.mark.semantics("M-9a")
@given(pods, specs)
def test_no_sidecar_is_privileged_but_one_that_mounts(given: dict[str, Any], spec: dict[str, Any]) -> None:
    chosen = gateway(spec)
    assert chosen.spec is not None
    injected = inject(given, chosen)["spec"]
    security = sidecar({"spec": injected})["securityContext"]
    assert security["privileged"] is security["allowPrivilegeEscalation"] is chosen.spec.fuse_mount.enabled
    assert (security["runAsUser"] == 0) is chosen.spec.fuse_mount.enabled
    propagated = [
        mount["mountPropagation"]
        for container in [*injected["initContainers"], *injected["containers"]]
        for mount in container.get("volumeMounts") or []
        if "mountPropagation" in mount
    ]
    assert propagated.count("Bidirectional") == chosen.spec.fuse_mount.enabled


def test_a_container_that_has_something_else_where_the_mount_is_keeps_it_and_its_author_is_told() -> None:
    app = {"name": "app", "volumeMounts": [{"name": "data", "mountPath": "/s3"}]}
    given = pod({"containers": [app], "volumes": [{"name": "data", "emptyDir": {}}]})
    chosen = gateway(ANONYMOUS | {"fuseMount": {"enabled": True}})
    (warning,) = patch(given, chosen, IMAGE).warnings
    assert "does not see the mount" in warning
    assert inject(given, chosen)["spec"]["containers"][0]["volumeMounts"] == app["volumeMounts"]


@pytest.mark.parametrize("key", sorted(sidecar(inject(pod(), gateway(ANONYMOUS))).keys() - {"name", "env"}))
def test_what_another_webhook_drops_from_the_sidecar_comes_back(key: str) -> None:
    chosen = gateway(ANONYMOUS)
    injected = inject(pod(), chosen)
    damaged = copy.deepcopy(injected)
    del sidecar(damaged)[key]
    assert inject(damaged, chosen) == injected


def test_what_another_webhook_changes_in_the_sidecar_stays() -> None:
    chosen = gateway(ANONYMOUS)
    injected = inject(pod(), chosen)
    sidecar(injected)["image"] = "registry.of.the.owner/s3d:1.2.3"
    sidecar(injected)["volumeMounts"].insert(0, {"name": "token", "mountPath": "/token"})
    assert patch(injected, chosen, IMAGE).operations == []


def test_a_container_without_dummy_keys_says_why() -> None:
    given = pod({"containers": [{"name": "app", "envFrom": [{"secretRef": {"name": "env"}}]}]})
    (warning,) = patch(given, gateway(ANONYMOUS | {"appCredentials": "Dummy"}), IMAGE).warnings
    assert "'app'" in warning
    assert "envFrom" in warning


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (pod(labels={INJECT: "false"}), "OptedOut"),
        (pod(annotations={"kubernetes.io/config.mirror": "x"}), "MirrorPod"),
        (pod({"hostNetwork": True}), "HostNetwork"),
        (pod({"os": {"name": "windows"}}), "Windows"),
        (pod({"nodeSelector": {"kubernetes.io/os": "windows"}}), "Windows"),
        (pod({"containers": [{"name": "app", "ports": [{"containerPort": 33333}]}]}), "PortTaken"),
        (pod({"initContainers": [{"name": "one", "ports": [{"containerPort": 33334}]}]}), "PortTaken"),
        (pod({"containers": [{"name": "s3d"}]}), "NameTaken"),
        (pod({"initContainers": [{"name": "s3d", "env": [{"name": "MODE"}]}]}), "NameTaken"),
        (pod({"volumes": [{"name": "s3d"}]}), "NameTaken"),
        (pod({"volumes": [{"name": "s3d-identity"}]}), "NameTaken"),
        (pod(annotations={"s3d.dev/cpu-limit": "fast"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/cpu-limit": "10m"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/memory-limit": "1GB"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/memory-limit": "63Mi"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/memory-request": "1Gi"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/drain-seconds": "-1"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/drain-seconds": "86401"}), "InvalidAnnotation"),
        (pod(annotations={"s3d.dev/on-missing": "Skip"}), "InvalidAnnotation"),
    ],
)
@pytest.mark.checklist(21)
@pytest.mark.checklist(39)
def test_a_pod_that_cannot_have_a_sidecar_is_skipped(given: dict[str, Any], reason: str) -> None:
    choice = wanted(given, [gateway(ANONYMOUS)])
    assert isinstance(choice, Skip)
    assert choice.reason == reason


def test_a_pod_that_has_its_sidecar_is_not_skipped() -> None:
    chosen = gateway(ANONYMOUS)
    assert wanted(inject(pod(), chosen), [chosen]) == chosen


def selecting(name: str, created: str, selector: dict[str, Any] | None) -> Gateway:
    return gateway(ANONYMOUS | ({"podSelector": selector} if selector is not None else {}), name, created)


OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
ALL = selecting("all", NEW, None)
SHOP = selecting("shop", OLD, {"matchLabels": {"app": "shop"}})
TWIN = selecting("twin", OLD, {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop"]}]})
BROKEN = gateway({"remote": {}}, "broken", OLD)


@pytest.mark.checklist(35)
@pytest.mark.parametrize(
    ("metadata", "gateways", "chosen"),
    [
        ({}, [], "NoGateway"),
        ({}, [ALL, SHOP], "all"),
        ({}, [SHOP], "NotSelected"),
        ({"labels": {"app": "shop"}}, [ALL, SHOP], "shop"),
        ({"labels": {"app": "shop"}}, [TWIN, SHOP], "shop"),
        ({"annotations": {GATEWAY: "shop"}}, [ALL, SHOP], "shop"),
        ({"annotations": {GATEWAY: "gone"}}, [ALL, SHOP], "NoSuchGateway"),
        ({"annotations": {GATEWAY: "broken"}}, [ALL, BROKEN], "InvalidGateway"),
        ({}, [BROKEN], "InvalidGateway"),
        ({}, [BROKEN, ALL], "all"),
    ],
)
def test_a_pod_gets_the_gateway_it_names_else_the_oldest_that_selects_it(
    metadata: dict[str, Any], gateways: list[Gateway], chosen: str
) -> None:
    choice = wanted(pod(**metadata), gateways)
    assert (choice.name if isinstance(choice, Gateway) else choice.reason) == chosen


@pytest.mark.parametrize(
    ("operator", "values", "matching"),
    [
        ("In", ["a", "b"], {"a"}),
        ("NotIn", ["a"], {"c", None}),
        ("Exists", [], {"a", "c"}),
        ("DoesNotExist", [], {None}),
    ],
)
def test_a_selector_means_what_kubernetes_means(operator: str, values: list[str], matching: set[str | None]) -> None:
    chosen = selecting("one", OLD, {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]})
    selected = {
        value
        for value in ("a", "c", None)
        if wanted(pod(labels={} if value is None else {"k": value}), [chosen]) == chosen
    }
    assert selected == matching


def test_a_gateway_that_cannot_be_read_says_where() -> None:
    assert "spec.remote.credentials" in BROKEN.problem
    assert BROKEN.spec is None


def test_the_settings_hold_no_secret_and_nothing_that_kubernetes_would_expand() -> None:
    spec = S3GatewaySpec.model_validate({"remote": {"credentials": {"secretRef": {"name": "s3-keys"}}}})
    text = str(gateway_settings.settings(spec, grace_seconds=30))
    assert "s3-keys" not in text
    assert "$" not in text


def volumes_of(injected: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The volumes of the sidecar by where it sees them."""
    volumes = {volume["name"]: volume for volume in injected["spec"]["volumes"]}
    return {mount["mountPath"]: volumes[mount["name"]] for mount in sidecar(injected)["volumeMounts"]}


def environment(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


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


TLS: dict[str, Any] = {"tls": {"secretName": "door-tls"}}
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


@pytest.mark.checklist(39)
def test_requests_and_a_limit_of_memory_are_always_there() -> None:
    assert sidecar(inject(pod(), gateway(ANONYMOUS)))["resources"] == {
        "requests": {"cpu": "50m", "memory": "64Mi"},
        "limits": {"memory": "256Mi"},
    }


@pytest.mark.checklist(39)
def test_a_guaranteed_sidecar_requests_what_its_limits_are() -> None:
    wanted = {"quality": "Guaranteed", "limits": {"cpu": "200m", "memory": "300Mi"}}
    made = sidecar(inject(pod(), gateway(ANONYMOUS | {"resources": wanted})))["resources"]
    assert made["requests"] == made["limits"] == {"cpu": "200m", "memory": "300Mi"}


@pytest.mark.checklist(39)
@pytest.mark.checklist(14)
def test_a_pod_may_say_otherwise_than_its_gateway() -> None:
    own = {"cpu-request": "1", "cpu-limit": "1500m", "memory-request": "128Mi", "memory-limit": "1Gi"}
    own |= {"drain-seconds": "7"}
    injected = inject(pod(annotations={f"s3d.dev/{name}": value for name, value in own.items()}), gateway(ANONYMOUS))
    assert sidecar(injected)["resources"] == {
        "requests": {"cpu": "1", "memory": "128Mi"},
        "limits": {"cpu": "1500m", "memory": "1Gi"},
    }
    assert json.loads(environment(sidecar(injected))["S3D_CONFIG"])["S3D_DRAIN_SECONDS"] == 7
    assert injected["spec"]["terminationGracePeriodSeconds"] == 30 + 7 + 5
    assert injected["metadata"]["annotations"][ORIGINAL_GRACE] == "30"


@pytest.mark.checklist(32)
@pytest.mark.parametrize("name", ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_PROFILE"])
def test_dummy_keys_never_stand_before_another_identity(name: str) -> None:
    given = pod({"containers": [{"name": "app", "env": [{"name": name, "value": "x"}]}]})
    injected = inject(given, gateway(ANONYMOUS | {"appCredentials": "Dummy"}))
    assert "AWS_ACCESS_KEY_ID" not in environment(injected["spec"]["containers"][0])


ISTIO = [
    {"name": "istio-init", "args": ["istio-iptables", "-p", "15001", "-d", "15090,15021", "--log_as_json"]},
    {"name": "istio-proxy", "restartPolicy": "Always"},
]
LINKERD = [{"name": "linkerd-init", "args": ["--inbound-ports-to-ignore", "4190"]}, {"name": "linkerd-proxy"}]


@pytest.mark.checklist(10)
@pytest.mark.parametrize(
    ("given", "annotation", "option"),
    [
        (pod({"initContainers": ISTIO}), "traffic.sidecar.istio.io/excludeInboundPorts", ["-d", "15090,15021,33334"]),
        (
            pod({"initContainers": LINKERD}),
            "config.linkerd.io/skip-inbound-ports",
            ["--inbound-ports-to-ignore", "4190,33334"],
        ),
        (
            pod(labels={"sidecar.istio.io/inject": "true"}),
            "traffic.sidecar.istio.io/excludeInboundPorts",
            None,
        ),
        (pod(annotations={"linkerd.io/inject": "enabled"}), "config.linkerd.io/skip-inbound-ports", None),
    ],
)
def test_a_mesh_lets_the_kubelets_probes_of_the_sidecar_through(
    given: dict[str, Any], annotation: str, option: list[str] | None
) -> None:
    injected = inject(given, gateway(ANONYMOUS))
    assert injected["metadata"]["annotations"][annotation] == "33334"
    if option:
        assert injected["spec"]["initContainers"][0]["args"][-2:] == option
        assert [each["name"] for each in injected["spec"]["initContainers"]][2] == layout.NAME


@pytest.mark.checklist(10)
def test_ports_that_were_spared_before_still_are_and_without_a_mesh_nothing_is_said() -> None:
    annotation = "traffic.sidecar.istio.io/excludeInboundPorts"
    meshed = pod(labels={"sidecar.istio.io/inject": "true"}, annotations={annotation: "8080, 9090"})
    assert inject(meshed, gateway(ANONYMOUS))["metadata"]["annotations"][annotation] == "8080,9090,33334"
    assert annotation not in inject(pod(), gateway(ANONYMOUS))["metadata"]["annotations"]


@pytest.mark.checklist(37)
def test_a_pod_says_by_which_gateway_and_by_which_of_its_specs_it_was_made() -> None:
    injected = inject(pod(), gateway(ANONYMOUS, "shop"))
    assert injected["metadata"]["labels"][INJECTED] == "shop"
    differing: tuple[dict[str, Any], ...] = (
        {},
        {"writeQueue": {"maxFiles": 7}},
        {"podSelector": {}},
        {"drain": {"seconds": 1}},
    )
    hashes = {inject(pod(), gateway(ANONYMOUS | more))["metadata"]["annotations"][CONFIG_HASH] for more in differing}
    assert hashes == {
        injected["metadata"]["annotations"][CONFIG_HASH],
        gateway_settings.config_hash(S3GatewaySpec.model_validate(ANONYMOUS | {"drain": {"seconds": 1}}), IMAGE),
    }


OF_NEXT = ANONYMOUS | {"signing": "AsBefore", "buckets": [{"name": "photos", "class": "AsBefore"}]}


@pytest.mark.parametrize(
    ("written", "ignored"),
    [
        ({"f:spec": {"f:remote": {}, "f:buckets": {'k:{"name":"photos"}': {".": {}, "f:name": {}}}}}, True),
        ({"f:status": {"f:signing": {}}}, True),
        ({"f:spec": {"f:signing": {}}}, False),
        ({"f:spec": {"f:buckets": {'k:{"name":"photos"}': {"f:class": {}}}}}, False),
        ({"f:spec": {"f:buckets": {}}}, False),
        (None, False),
    ],
)
def test_a_field_that_only_a_newer_release_has_is_ignored_where_nobody_has_written_it(
    written: dict[str, Any] | None, ignored: bool
) -> None:
    managed = [{"manager": "kubectl", "fieldsV1": written}, {"manager": "other"}] if written else None
    read = read_gateway({"metadata": {"name": "next", "managedFields": managed}, "spec": OF_NEXT})
    if ignored:
        assert read.ignored == ("spec.buckets.0.class", "spec.signing")
        assert read.spec == S3GatewaySpec.model_validate(ANONYMOUS | {"buckets": [{"name": "photos"}]})
    else:
        assert read.spec is None
        assert "upgrade both" in read.problem


def test_a_value_that_only_a_newer_release_has_is_never_ignored() -> None:
    managed = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:remote": {}}}}]
    spec = OF_NEXT | {"appCredentials": "Federated"}
    read = read_gateway({"metadata": {"name": "next", "managedFields": managed}, "spec": spec})
    assert read.spec is None
    assert "spec.appCredentials" in read.problem
    assert "spec.signing" not in read.problem


requirements = st.builds(
    lambda key, operator, values: {
        "key": key,
        "operator": operator,
        "values": values if operator in {"In", "NotIn"} else [],
    },
    st.sampled_from(["app", "tier"]),
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2),
)
selectors = st.builds(
    lambda labels, expressions: LabelSelector.model_validate({"matchLabels": labels, "matchExpressions": expressions}),
    st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]), max_size=2),
    st.lists(requirements, max_size=3),
)
every_pod = [
    {key: value for key, value in {"app": app, "tier": tier}.items() if value}
    for app in ("", "a", "b", "c")
    for tier in ("", "a", "b", "c")
]


@pytest.mark.checklist(35)
@given(selectors | st.none(), selectors | st.none())
def test_two_selectors_overlap_where_a_pod_can_have_the_labels_of_both(
    one: LabelSelector | None, other: LabelSelector | None
) -> None:
    assert overlap(one, other) == any(selects(one, labels) and selects(other, labels) for labels in every_pod)


@pytest.mark.checklist(18)
def test_the_app_is_sent_to_the_gateway_by_address_and_for_s3_alone() -> None:
    told = environment(inject(pod(), gateway(ANONYMOUS))["spec"]["containers"][0])
    assert {name: value for name, value in told.items() if "ENDPOINT" in name} == {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:33333"
    }


@pytest.mark.checklist(14)
@pytest.mark.parametrize(("own", "grace"), [(None, 95), (5, 70), (600, 665)])
def test_the_pods_grace_is_its_own_and_the_drain_and_its_own_is_written_down(own: int | None, grace: int) -> None:
    injected = inject(pod({} if own is None else {"terminationGracePeriodSeconds": own}), gateway(ANONYMOUS))
    assert injected["spec"]["terminationGracePeriodSeconds"] == grace
    assert injected["metadata"]["annotations"][ORIGINAL_GRACE] == str(30 if own is None else own)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "env", "args"]), inner),
    max_leaves=5,
)
places = st.sampled_from(
    [
        ("metadata", "labels"),
        ("metadata", "annotations"),
        ("spec", "containers"),
        ("spec", "initContainers"),
        ("spec", "volumes"),
        ("spec", "securityContext"),
        ("spec", "terminationGracePeriodSeconds"),
        ("spec", "nodeSelector"),
    ]
)


@pytest.mark.checklist(6)
@settings(max_examples=50)
@given(pods, st.dictionaries(places, anything, max_size=3))
def test_whatever_a_pod_is_it_is_injected_or_skipped_with_a_reason_or_it_is_an_error_of_ours(
    given: dict[str, Any], damage: dict[tuple[str, str], Any]
) -> None:
    """An error of ours is raised, and becomes an HTTP 500: it never looks like a denial."""
    for (part, name), value in damage.items():
        given[part][name] = value
    chosen = gateway(ANONYMOUS)
    try:
        choice = wanted(given, [chosen])
        verdict = decide(given, choice, IMAGE, denies=True)
    except (TypeError, KeyError, AttributeError, ValueError, IndexError):
        return
    assert verdict["allowed"] is isinstance(choice, Gateway)
    assert isinstance(choice, Gateway) or verdict["status"]["reason"] == choice.reason


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        (
            {"annotations": {"s3d.dev/gateways": "a"}},
            "there is no annotation s3d.dev/gateways: did you mean annotation s3d.dev/gateway?",
        ),
        ({"annotations": {"s3d.dev/drain-second": "7"}}, "did you mean annotation s3d.dev/drain-seconds"),
        ({"annotations": {"s3d.dev/colour": "red"}}, "there are s3d.dev/inject, s3d.dev/gateway,"),
        ({"annotations": {"s3d.dev/inject": "true"}}, "it is a label"),
        ({"labels": {"s3d.dev/gateway": "a"}}, "it is an annotation"),
        ({"labels": {"s3d.dev/injection": "enabled"}}, 'a pod asks by the label s3d.dev/inject: "true"'),
        ({"annotations": {"s3d.dev/endpoint-env": "False"}}, '\'False\' means nothing: write "true" or "false"'),
        ({"annotations": {"s3d.dev/on-missing": "deny"}}, "'deny' means nothing: write \"Deny\""),
    ],
)
def test_a_word_of_ours_that_means_nothing_is_refused_with_what_was_probably_meant(
    metadata: dict[str, Any], words: str
) -> None:
    choice = wanted(pod(**metadata), [gateway(ANONYMOUS)])
    assert isinstance(choice, Skip)
    assert choice.reason == "InvalidAnnotation"
    assert words in choice.message


def test_what_we_and_others_write_at_pods_is_let_through() -> None:
    injected = inject(pod(annotations={"s3d.dev.example/x": "1"}, labels={"app": "shop"}), gateway(ANONYMOUS))
    assert not isinstance(wanted(injected, [gateway(ANONYMOUS)]), Skip)


def test_a_container_with_an_endpoint_of_its_own_is_told_that_it_goes_past_the_gateway() -> None:
    for entry in ({"value": "https://s3.example.com"}, {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}):
        own = {"name": "app", "image": "app:1", "env": [{"name": "AWS_ENDPOINT_URL_S3"} | entry]}
        (warning,) = patch(pod({"containers": [own]}), gateway(ANONYMOUS), IMAGE).warnings
        assert "container 'app' has an AWS_ENDPOINT_URL_S3 of its own" in warning
        left_alone = pod({"containers": [own]}, annotations={"s3d.dev/endpoint-env": "false"})
        assert patch(left_alone, gateway(ANONYMOUS), IMAGE).warnings == [], "that was asked for"


@pytest.mark.parametrize("endpoint", ["http://minio:99999", "http://127.0.0.1:33333"])
def test_a_gateway_that_no_daemon_would_start_with_is_refused_in_the_words_of_its_spec(endpoint: str) -> None:
    spec = {"remote": {"endpoint": endpoint, "credentials": {"anonymous": {}}}}
    raw = {"metadata": {"name": "loop", "namespace": "shop"}, "spec": spec}
    choice = wanted(pod(), [read_gateway(raw)])
    assert isinstance(choice, Skip)
    assert choice.reason == "InvalidGateway"
    assert "spec.remote.endpoint" in choice.message
    assert "S3_ENDPOINT" not in choice.message
