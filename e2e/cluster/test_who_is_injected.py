"""Who gets the gateway and who is left alone, and what the API server and kubectl say about an S3Gateway."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import SYSTEM
from e2e.cluster.kube import APP, Object, ask, get, kubectl, until, wait

Gateway = Callable[..., None]

ASKS, REFUSES = {"s3d.dev/inject": "true"}, {"s3d.dev/inject": "false"}
NOTHING: dict[str, str] = {}


def submit(made: Object) -> Object:
    """What the API server makes of an object; nothing is created."""
    admitted: Object = json.loads(kubectl("create", "--dry-run=server", "-o", "json", given=made))
    return admitted


def label(namespace: str) -> None:
    """Opt the whole namespace in, which has no gateway yet."""
    kubectl("label", "namespace", namespace, "s3d.dev/injection=enabled")
    plain = kube.pod(namespace, "bucket", labels={})
    until(
        lambda: "the pod runs without a gateway" in ask("create", "--dry-run=server", given=plain).err,
        "that the API server knows the label",
    )


def test_two_webhooks_are_ready_where_the_chart_says_so_and_the_person_is_told_what_to_do_next(installed: str) -> None:
    # Helm waits for new replicas, and not until those of an upgrade are gone.
    for name, replicas in (("s3d-webhook", 2), ("s3d-operator", 1)):
        ready, there = (f"jsonpath={{.status.{counted}}}={replicas}" for counted in ("readyReplicas", "replicas"))
        wait(SYSTEM, f"deployment/{name}", ready, there)
    assert "kubectl label namespace NAMESPACE s3d.dev/injection=enabled" in installed


@pytest.mark.parametrize(
    ("whole_namespace", "labels", "is_injected"),
    [
        (False, NOTHING, False),
        (False, ASKS, True),
        (False, REFUSES, False),
        (True, NOTHING, True),
        (True, ASKS, True),
        (True, REFUSES, False),
    ],
)
def test_a_pod_gets_the_gateway_by_its_label_or_by_its_namespace(
    gateway: Gateway, namespace: str, whole_namespace: bool, labels: dict[str, str], is_injected: bool
) -> None:
    if whole_namespace:
        label(namespace)
    gateway()
    spec = submit(kube.pod(namespace, "bucket", labels=labels))["spec"]
    names = [container["name"] for container in spec.get("initContainers", [])]
    environment = {each["name"]: each["value"] for each in spec["containers"][0].get("env", [])}
    assert names == ["s3d"] * is_injected
    assert environment.get("AWS_ENDPOINT_URL_S3") == ("http://127.0.0.1:33333" if is_injected else None)


def test_a_pod_that_did_not_opt_in_is_what_it_would_be_without_s3d(gateway: Gateway, namespace: str) -> None:
    gateway()
    admitted = submit(kube.pod(namespace, "bucket", labels={}))
    elsewhere = submit(kube.pod("default", "bucket", labels={}))
    for each in (admitted, elsewhere):
        for mount in each["spec"]["containers"][0]["volumeMounts"]:
            mount["name"] = ""
        each["spec"]["volumes"][0]["name"] = ""
    assert admitted["spec"] == elsewhere["spec"]
    assert "annotations" not in admitted["metadata"]


@pytest.mark.checklist(34)
def test_a_pod_that_asks_where_there_is_no_gateway_is_refused_with_what_to_do(namespace: str) -> None:
    answer = ask("create", given=kube.pod(namespace, "bucket"))
    assert answer.code != 0
    assert "there is no S3Gateway in this namespace: create one, or remove the label" in answer.err


def test_a_pod_of_a_namespace_that_asks_where_there_is_no_gateway_is_let_in_with_a_warning(namespace: str) -> None:
    label(namespace)
    answer = ask("create", "--dry-run=server", given=kube.pod(namespace, "bucket", labels={}))
    assert answer.code == 0
    assert "Warning: s3d: the pod runs without a gateway: there is no S3Gateway in this namespace" in answer.err


def test_a_gateway_is_accepted_and_each_change_of_it_is_looked_at(gateway: Gateway, namespace: str) -> None:
    gateway()
    first = get("-n", namespace, "s3gateway", "default")
    kubectl(
        "-n", namespace, "patch", "s3gateway", "default", "--type=merge", "-p", '{"spec": {"drain": {"seconds": 7}}}'
    )
    wait(namespace, "s3gateway/default", "jsonpath={.status.observedGeneration}=2")
    second = get("-n", namespace, "s3gateway", "default")

    times = set()
    for generation, seen in enumerate((first, second), start=1):
        (accepted,) = (each for each in seen["status"]["conditions"] if each["type"] == "Accepted")
        times.add(accepted["lastTransitionTime"])
        assert seen["metadata"]["generation"] == seen["status"]["observedGeneration"] == generation
        assert (accepted["type"], accepted["status"], accepted["reason"]) == ("Accepted", "True", "Accepted")
        assert accepted["observedGeneration"] == generation
    assert len(times) == 1, "what did not change keeps the time of its last change"


def test_a_person_reads_what_a_field_means(cluster: Path, installed: str) -> None:
    assert "durable write queue" in kubectl("explain", "s3gateway.spec.writeQueue")


@pytest.mark.checklist(40)
def test_a_dry_run_shows_the_sidecar_and_leaves_no_object_behind(gateway: Gateway, namespace: str) -> None:
    gateway()
    before = objects_of(namespace)
    shown = submit(kube.pod(namespace, "bucket"))
    assert [container["name"] for container in shown["spec"]["initContainers"]] == ["s3d"]
    assert objects_of(namespace) == before


RESTRICTED = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


@pytest.mark.checklist(22)
@pytest.mark.checklist(30)
@pytest.mark.checklist(31)
@pytest.mark.parametrize(
    ("credentials", "audience"),
    [
        ({"webIdentity": {"roleARN": "arn:aws:iam::123456789012:role/photos"}}, "sts.amazonaws.com"),
        ({"podIdentity": {}}, "pods.eks.amazonaws.com"),
    ],
)
def test_a_pod_starts_in_a_restricted_namespace_with_a_token_for_its_audience_alone(
    gateway: Gateway, namespace: str, credentials: Object, audience: str
) -> None:
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    gateway(remote={"endpoint": kube.ENDPOINT, "credentials": credentials})
    made = kube.pod(namespace, "bucket")
    made["spec"]["containers"][0]["securityContext"] = RESTRICTED
    kubectl("create", given=made)
    wait(namespace, f"pod/{APP}", "condition=Ready")
    read = ("-c", "s3d", "--", "cat", "/var/run/secrets/s3d.dev/identity/token")
    payload = kubectl("-n", namespace, "exec", APP, *read).split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["aud"] == [audience]


def objects_of(namespace: str) -> set[str]:
    """What a namespace holds, but for events."""
    kinds = "pods,configmaps,secrets,persistentvolumeclaims,serviceaccounts,s3gateways"
    return kube.names(namespace, kinds)


def test_a_gateway_for_some_pods_leaves_the_others_alone(gateway: Gateway, namespace: str) -> None:
    label(namespace)
    gateway(podSelector={"matchLabels": {"tier": "front"}})
    chosen = submit(kube.pod(namespace, "bucket", labels={"tier": "front"}))
    other = submit(kube.pod(namespace, "bucket", labels={"tier": "back"}))
    assert [each["name"] for each in chosen["spec"]["initContainers"]] == ["s3d"]
    assert "initContainers" not in other["spec"]
    refused = ask("create", "--dry-run=server", given=kube.pod(namespace, "bucket", labels={"tier": "back", **ASKS}))
    assert "no S3Gateway of this namespace selects the pod" in refused.err
    assert ask("-n", namespace, "get", "pod", APP).code != 0
