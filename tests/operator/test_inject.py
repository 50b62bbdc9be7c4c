"""What a pod gets: the sidecar, what its containers are told, and what it is refused for."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest

from s3d_operator import gateway_settings, layout
from s3d_operator.choice import Skip, read_gateway, wanted
from s3d_operator.inject import patch
from s3d_operator.names import CONFIG_HASH, INJECT, INJECTED, ORIGINAL_GRACE
from s3d_operator.spec import S3GatewaySpec
from tests.operator.goldens import HERE, IMAGE, gateway, read
from tests.operator.injections import ANONYMOUS, environment, inject, pod, sidecar

GOLDEN = sorted(HERE.glob("*.yaml"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_pod_gets_its_golden_patch(path: Path) -> None:
    given, spec, operations = read(path)
    assert patch(given, gateway(spec), IMAGE).operations == operations


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_another_implementation_of_json_patch_agrees_that_a_second_injection_is_none(path: Path) -> None:
    given, spec, operations = read(path)
    injected = jsonpatch.apply_patch(given, operations)
    assert patch(injected, gateway(spec), IMAGE).operations == []


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


def test_the_settings_hold_no_secret_and_nothing_that_kubernetes_would_expand() -> None:
    spec = S3GatewaySpec.model_validate({"remote": {"credentials": {"secretRef": {"name": "s3-keys"}}}})
    text = str(gateway_settings.settings(spec, grace_seconds=30))
    assert "s3-keys" not in text
    assert "$" not in text


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
