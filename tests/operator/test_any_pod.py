"""What holds for whatever pod and whatever gateway: Hypothesis makes them up."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3d_operator import layout
from s3d_operator.choice import Gateway, wanted
from s3d_operator.inject import patch, ports_of
from s3d_operator.names import ENDPOINT_ENV, ORIGINAL_GRACE
from s3d_operator.webhook import decide
from tests.operator.goldens import IMAGE, gateway
from tests.operator.injections import ANONYMOUS, IDENTITIES, ROLE, inject, sidecar

names = st.sampled_from(
    "AWS_REGION AWS_ENDPOINT_URL_S3 AWS_PROFILE AWS_CA_BUNDLE NO_PROXY no_proxy HTTP_PROXY https_proxy MODE".split()
)
OF_THE_POD: dict[str, Any] = {"fieldRef": {"fieldPath": "status.podIP"}}
variables: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names, "value": st.sampled_from(["", "x", "*", "localhost", layout.ENDPOINT, layout.TLS_ENDPOINT])}
)
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
