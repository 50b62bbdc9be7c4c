import copy
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3d_operator import build
from s3d_operator.api import ENDPOINT_ENV, GATEWAY, INJECT, ORIGINAL_GRACE, S3GatewaySpec
from s3d_operator.inject import Gateway, Skip, patch, wanted
from tests.operator.goldens import HERE, IMAGE, gateway, read

ANONYMOUS = {"remote": {"credentials": {"anonymous": {}}}}
GOLDEN = sorted(HERE.glob("*.yaml"))


def pod(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"containers": [{"name": "app", "image": "app:1"}]} | (spec or {})}


def inject(given: dict[str, Any], chosen: Gateway) -> dict[str, Any]:
    injected: dict[str, Any] = jsonpatch.apply_patch(given, patch(given, chosen, IMAGE).operations)
    return injected


def sidecar(given: dict[str, Any]) -> dict[str, Any]:
    return next(c for c in given["spec"]["initContainers"] if c["name"] == build.NAME)


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
    ["AWS_REGION", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "NO_PROXY", "no_proxy", "HTTP_PROXY", "https_proxy", "MODE"]
)
variables = st.fixed_dictionaries(
    {"name": names, "value": st.sampled_from(["", "x", "*", "localhost", build.ENDPOINT])}
)
variables |= st.fixed_dictionaries({"name": names, "valueFrom": st.just({"fieldRef": {"fieldPath": "status.podIP"}})})
containers = st.fixed_dictionaries(
    {"name": st.sampled_from(["app", "istio-proxy", "linkerd-proxy", "istio-init", "other"])},
    optional={
        "env": st.none() | st.lists(variables, max_size=4),
        "envFrom": st.just([{"secretRef": {"name": "env"}}]),
        "restartPolicy": st.just("Always"),
        "resources": st.just({"limits": {"ephemeral-storage": "1Gi"}}) | st.just({}) | st.none(),
        "unknown": st.integers(),
    },
)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "annotations": st.none()
                | st.dictionaries(
                    st.sampled_from([ORIGINAL_GRACE, ENDPOINT_ENV, "a/b~c"]), st.sampled_from(["7", "false", "²", ""])
                )
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
specs = st.builds(
    lambda credentials, app, drain: {
        "remote": {"credentials": credentials},
        "appCredentials": app,
        "drain": {"seconds": drain},
    },
    st.sampled_from([{"anonymous": {}}, {"secretRef": {"name": "s3-keys"}}]),
    st.sampled_from(["None", "Dummy"]),
    st.integers(0, 300),
)


@given(pods, specs)
def test_injecting_twice_is_injecting_once(given: dict[str, Any], spec: dict[str, Any]) -> None:
    chosen = gateway(spec)
    injected = inject(given, chosen)
    assert patch(injected, chosen, IMAGE).operations == []


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
        own = [entry for entry in after if not (isinstance(entry, dict) and entry.get("name") == build.NAME)]
        for index, (old, new) in enumerate(zip(before, own[: len(before)], strict=True)):
            assert_kept(old, new, f"{path}/{index}")
    elif path == "/spec/terminationGracePeriodSeconds":
        assert after >= (30 if before is None else before)
    elif path != f"/metadata/annotations/{ORIGINAL_GRACE}" and before is not None:
        assert after == before


@given(pods, specs)
def test_nothing_that_the_user_has_set_is_overwritten(given: dict[str, Any], spec: dict[str, Any]) -> None:
    assert_kept(given, inject(given, gateway(spec)))


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
    ],
)
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
    text = str(build.settings(spec, grace_seconds=30))
    assert "s3-keys" not in text
    assert "$" not in text
