"""What may leave a pod: a filter that is changed with kubectl, and a policy that is a Service of the cluster."""

import json
from collections.abc import Callable, Iterator

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import APP, Object, Stream, kubectl, until, wait
from e2e.cluster.test_delivery import KIB, MIB, digests, objects, says
from e2e.cluster.test_keys_of_pods import ask, look_at_pod
from tests.remotes import Remote

Gateway = Callable[..., None]
Followed = Callable[[], tuple[Stream, Stream, Stream]]
SIZES = (KIB, 300 * KIB, MIB)
OPA = "opa"
REGO = """package s3d

default allow := false

allow if input.size < 1000000
"""


def patch(namespace: str, **spec: Object) -> kube.Answer:
    """Change the S3Gateway; it may be refused."""
    given = ("patch", "s3gateway", "default", "--type=merge", "-p", json.dumps({"spec": spec}))
    return kube.ask("-n", namespace, *given)


def start(namespace: str, bucket: str, followed: Followed) -> Stream:
    """Create the pod of the test, and wait until its app has written all that it writes; its log."""
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES), terminationGracePeriodSeconds=1))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    app, _, _ = followed()
    app.wait_for(says("done"), "all writes")
    return app


def restarts(namespace: str) -> int:
    """How often the sidecar was started again."""
    (sidecar,) = kube.get("-n", namespace, "pod", APP)["status"]["initContainerStatuses"]
    count: int = sidecar["restartCount"]
    return count


@pytest.mark.semantics("F-2b", "F-4a")
def test_a_filter_that_is_changed_with_kubectl_releases_what_a_running_pod_holds_and_a_bad_one_is_refused(
    gateway: Gateway, namespace: str, bucket: str, remote: Remote, followed: Followed
) -> None:
    gateway(writeQueue={"pushFilter": [f"!{bucket}/00*"]})
    app = start(namespace, bucket, followed)
    until(lambda: kube.pending(namespace)["held"] == len(SIZES), "that all is held")
    assert objects(remote, bucket) == {}

    bad = patch(namespace, writeQueue={"pushFilter": [f"{bucket}[tga:x]"]})
    assert bad.code != 0
    assert "s3d: spec.writeQueue.pushFilter: 'tga' is none of tag, hdr, md and id; did you mean tag?" in bad.err
    assert f"at character {len(bucket) + 2} of " in bad.err

    assert patch(namespace, writeQueue={"pushFilter": [f"!{bucket}/001"]}).code == 0
    wait(namespace, "s3gateway/default", "jsonpath={.status.observedGeneration}=2")
    look_at_pod(namespace)
    until(lambda: kube.pending(namespace)["changes"] == 1, "what the next filter takes in", kube.MOUNTED_SECONDS)
    written = digests(app)
    del written["001"]
    assert objects(remote, bucket) == written
    assert kube.pending(namespace)["held"] == 1
    assert restarts(namespace) == 0


def agent_objects(namespace: str) -> Iterator[Object]:
    """Open Policy Agent as a Service of the cluster."""
    metadata, labels = {"name": OPA, "namespace": namespace}, {"app": OPA}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"s3d.rego": REGO}}
    container = {
        "name": OPA,
        "image": "s3d-e2e/opa:e2e",
        "imagePullPolicy": "Never",
        "args": ["run", "--server", "--disable-telemetry", "--addr=0.0.0.0:8181", "/policy/s3d.rego"],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "policy", "mountPath": "/policy"}],
    }
    volumes = [{"name": "policy", "configMap": {"name": OPA}}]
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [container], "volumes": volumes, "terminationGracePeriodSeconds": 1},
    }
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 8181}]},
    }


def scale(namespace: str, replicas: int) -> None:
    """Take the policy agents away, or bring them back."""
    kubectl("-n", namespace, "scale", f"deployment/{OPA}", f"--replicas={replicas}")
    kubectl("-n", namespace, "rollout", "status", f"deployment/{OPA}", f"--timeout={kube.SECONDS}s")
    if not replicas:
        kubectl("-n", namespace, "wait", "pod", "-l", f"app={OPA}", "--for=delete", f"--timeout={kube.SECONDS}s")


@pytest.mark.semantics("F-3", "F-3b")
def test_an_opa_of_the_cluster_decides_what_leaves_a_pod_and_while_it_is_away_nothing_does(
    gateway: Gateway, namespace: str, bucket: str, remote: Remote, followed: Followed
) -> None:
    for given in agent_objects(namespace):
        kubectl("create", given=given)
    kubectl("-n", namespace, "rollout", "status", f"deployment/{OPA}", f"--timeout={kube.SECONDS}s")
    gateway(opa={"url": f"http://{OPA}.{namespace}:8181"})
    allowed = digests(start(namespace, bucket, followed))
    del allowed["002"]
    until(lambda: kube.pending(namespace)["changes"] == 1, "the delivery of what the policy lets leave")
    until(lambda: kube.pending(namespace)["held"] == 1, "that the rest is held")
    assert objects(remote, bucket) == allowed

    scale(namespace, 0)
    assert ask(namespace, (None, "put_object", {"Bucket": bucket, "Key": "later"})) == ["OK"]
    until(lambda: kube.pending(namespace)["held"] == 2, "that there is no decision")
    assert objects(remote, bucket) == allowed

    scale(namespace, 1)
    until(lambda: objects(remote, bucket).keys() == {*allowed, "later"}, "the delivery of what waited for a decision")
    assert kube.pending(namespace)["held"] == 1
    assert restarts(namespace) == 0
