"""What goes on while a part of s3d is away: the reconciler, or one of the webhooks."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import SYSTEM
from e2e.cluster.kube import APP, kubectl, wait

PODS = 200
AT_ONCE = 4


@pytest.fixture
def without_reconciler(installed: str) -> Iterator[None]:
    """The reconciler at zero replicas."""
    scale = ("-n", SYSTEM, "scale", "deployment/s3d-operator")
    kubectl(*scale, "--replicas=0")
    kubectl("-n", SYSTEM, "wait", "pod", "-l", "app.kubernetes.io/component=operator", "--for=delete", "--timeout=90s")
    yield
    kubectl(*scale, "--replicas=1")
    kubectl("-n", SYSTEM, "rollout", "status", "deployment/s3d-operator", "--timeout=90s")


@pytest.mark.checklist(26)
@pytest.mark.checklist(27)
def test_without_the_reconciler_a_new_gateway_gives_a_new_pod_its_sidecar_and_can_be_deleted(
    without_reconciler: None, namespace: str, bucket: str
) -> None:
    kubectl("create", given=kube.gateway(namespace, bucket))
    kubectl("create", given=kube.pod(namespace, bucket, "4096"))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    assert kube.pending(namespace)["parked"] == 0
    kubectl("-n", namespace, "delete", "s3gateway", "default", "--timeout=30s")
    assert kube.ask("-n", namespace, "get", "s3gateway", "default").code != 0


@pytest.mark.checklist(1)
def test_while_webhooks_are_replaced_no_pod_is_missed_and_none_refused(
    gateway: Callable[..., None], namespace: str
) -> None:
    gateway()
    nowhere = {"nodeSelector": {"nowhere": "true"}}

    def create(numbers: range) -> None:
        pods = [kube.pod(namespace, "bucket", **nowhere) for _ in numbers]
        for number, pod in zip(numbers, pods, strict=True):
            pod["metadata"]["name"] = f"pod-{number}"
        kubectl("create", given={"apiVersion": "v1", "kind": "List", "items": pods})

    with ThreadPoolExecutor(AT_ONCE) as threads:
        share = PODS // AT_ONCE
        creating = [threads.submit(create, range(n * share, (n + 1) * share)) for n in range(AT_ONCE)]
        while not all(each.done() for each in creating):
            replicas = kubectl("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=webhook", "-o", "name")
            kubectl("-n", SYSTEM, "delete", *replicas.split()[:1], "--ignore-not-found", "--wait=false")
            kubectl("-n", SYSTEM, "rollout", "status", "deployment/s3d-webhook", "--timeout=90s")
        for each in creating:
            each.result()
    made = json.loads(kubectl("-n", namespace, "get", "pods", "-o", "json"))["items"]
    assert len(made) == PODS
    assert all(pod["spec"]["initContainers"][0]["name"] == "s3d" for pod in made)
