"""What a pod leaves in its claim is delivered by the next pod, or by the drain job, and by one of them at a time."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from e2e.cluster import kube
from e2e.cluster.conftest import CHART, SYSTEM, run
from e2e.cluster.kube import APP, SECONDS, Object, ask, kubectl, until, wait
from e2e.cluster.test_delivery import SIZES, Followed, Gateway, condition, digests, ended, objects, says, status, told
from tests.relays import Relayed
from tests.remotes import Remote

CLAIM = {"persistentVolumeClaim": {"claimName": "queue"}}

Leave = Callable[..., dict[str, str]]


@pytest.fixture
def claim(namespace: str) -> None:
    """A claim that the gateway can write to."""
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    head = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "queue", "namespace": namespace}}
    kubectl("create", given={**head, "spec": wanted})
    # The storage of this cluster belongs to root, and host paths know no fsGroup.
    opening = kube.pod(namespace, labels={}, volumes=[{"name": "queue", **CLAIM}])
    opening["spec"]["containers"][0] |= {
        "command": ["chmod", "0777", "/queue"],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": [{"name": "queue", "mountPath": "/queue"}],
    }
    kubectl("create", given=opening)
    wait(namespace, f"pod/{APP}", "jsonpath={.status.phase}=Succeeded")
    kubectl("-n", namespace, "delete", "pod", APP)


@pytest.fixture
def granted(namespace: str) -> None:
    """Drain jobs are granted in the namespace, as the chart grants them."""
    shown = ("--namespace", SYSTEM, "--kube-version=1.36.0", "--show-only=templates/operator.yaml")
    rendered = run("helm", "template", "s3d", CHART, *shown, f"--set=drain.jobs.namespaces={{{namespace}}}")
    for raw in yaml.safe_load_all(rendered):
        if raw and raw["metadata"]["name"] == "s3d-drain":
            kubectl("create", given=raw)


def pod(namespace: str, bucket: str, *sizes: int) -> Object:
    """A pod that writes, and has the time for its last words; the drain has a second by its gateway."""
    return kube.pod(namespace, bucket, *map(str, sizes), terminationGracePeriodSeconds=30)


@pytest.fixture
def leave(
    namespace: str, bucket: str, gateway: Gateway, relay: Relayed, remote: Remote, followed: Followed, claim: None
) -> Leave:
    """Let a pod write while the remote is away, and end with all of it in its claim; what it wrote."""

    def leave(**drain: Any) -> dict[str, str]:
        relay.set(mode="refuse")
        gateway(volume=CLAIM, drain={"seconds": 1, **drain})
        kubectl("create", given=pod(namespace, bucket, *SIZES))
        wait(namespace, f"pod/{APP}", "condition=Ready")
        app, _, changes = followed()
        app.wait_for(says("done"), "all writes")
        kubectl("-n", namespace, "delete", "pod", APP, "--wait=false")
        ended(changes)
        # A log may come later than the news that its pod is gone.
        app.wait_for(says("end"), "the app's last words")
        until(lambda: told(namespace, "S3Gateway", "QueueLeft"), "that something is left")
        assert objects(remote, bucket) == {}
        return digests(app)

    return leave


def drain_job(namespace: str) -> str:
    """The drain job, once the status names it and it runs."""
    name: str = until(lambda: next((each.get("job") for each in status(namespace).get("claims", [])), None), "a job")
    wait(namespace, f"job/{name}", "jsonpath={.status.active}=1")
    kubectl("-n", namespace, "wait", "pod", f"-l=job-name={name}", "--for=condition=Ready", f"--timeout={SECONDS}s")
    return name


def test_what_a_pod_left_in_a_claim_is_delivered_by_the_next_pod(
    leave: Leave, namespace: str, bucket: str, relay: Relayed, remote: Remote
) -> None:
    wrote = leave()
    until(lambda: condition(namespace, "DataAtRisk") == "ChangesLeft", "the risk")

    kubectl("create", given=pod(namespace, bucket))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    relay.set(mode="pass")
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")
    assert objects(remote, bucket) == wrote
    until(lambda: condition(namespace, "DataAtRisk") == "AllDelivered", "the end of the risk")


@pytest.mark.usefixtures("granted")
def test_what_a_pod_left_in_a_claim_is_delivered_by_the_drain_job_where_pods_are_restricted(
    leave: Leave, namespace: str, bucket: str, relay: Relayed, remote: Remote
) -> None:
    kubectl("label", "namespace", namespace, "s3d.dev/injection=enabled")
    wrote = leave(job=True)
    # The app of the test is not what the profile wants, and has gone.
    kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")

    job = drain_job(namespace)
    assert condition(namespace, "DataAtRisk") == "ChangesLeft"
    assert told(namespace, "S3Gateway", "DrainJobStarted")
    relay.set(mode="pass")
    wait(namespace, f"job/{job}", "condition=Complete")

    assert objects(remote, bucket) == wrote
    # The pod of the job says that nothing is left before the job is complete.
    until(lambda: "claims" not in status(namespace), "that the claim is done with")
    assert condition(namespace, "DataAtRisk") == "AllDelivered"
    assert status(namespace)["pending"]["changes"] == 0
    (said,) = told(namespace, "S3Gateway", "DrainJobFinished")
    assert job in said


@pytest.mark.usefixtures("granted")
def test_a_pod_that_comes_while_the_drain_job_runs_has_the_claim_and_delivers(
    leave: Leave, namespace: str, bucket: str, relay: Relayed, remote: Remote
) -> None:
    wrote = leave(job=True)
    job = drain_job(namespace)

    kubectl("create", given=pod(namespace, bucket))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    until(lambda: ask("-n", namespace, "get", "job", job).code, "that the job goes")
    relay.set(mode="pass")
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")
    assert objects(remote, bucket) == wrote
    (sidecar,) = kube.get("-n", namespace, "pod", APP)["status"]["initContainerStatuses"]
    assert sidecar["restartCount"] == 0
