"""An upgrade from an earlier release, kept in fixtures/, to the chart of this working copy, while changes are pending.

It comes first: `installed` upgrades what is there, so that all other tests run on a release that was upgraded.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import SCRIPTS, Helm, new_namespace
from e2e.cluster.kube import APP, Object, ask, get, kubectl, until, wait
from e2e.cluster.test_delivery import SIZES, condition, objects, status, told
from s3d_operator.layout import HEALTH_PORT, LOCAL_DIR
from tests.relays import Relayed
from tests.remotes import Remote

(EARLIER,) = (SCRIPTS / "fixtures").glob("s3d-*.tgz")
COMMIT = EARLIER.stem.removeprefix("s3d-")
IMAGES = {part: f"s3d-e2e/{part}:{COMMIT}" for part in ("operator", "sidecar")}
KEPT = "kept"
"""A pod, its claim and its gateway."""


@pytest.fixture
def earlier(helm: Helm, tmp_path: Path) -> None:
    """The earlier release, with each of its values given, so that the chart of now has to accept them."""
    known = subprocess.run(["git", "-C", SCRIPTS, "cat-file", "-e", f"{COMMIT}^{{commit}}"], check=False)
    if known.returncode:
        pytest.skip(f"this clone lacks the commit {COMMIT}, of which the images are that an upgrade starts from")
    values = tmp_path / "values.yaml"
    values.write_text(helm("show", "values", EARLIER))
    images = [f"--set={part}.image={image}" for part, image in IMAGES.items()]
    helm("install", "s3d", EARLIER, "--values", values, *images, "--create-namespace", "--wait", "--timeout=3m")


@pytest.fixture
def namespace(earlier: None) -> Iterator[str]:
    """A new namespace, beside the earlier release."""
    with new_namespace() as name:
        yield name


def claim(namespace: str) -> Object:
    """A claim."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": KEPT, "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def pod_with_the_earlier_sidecar_on_a_claim(namespace: str, bucket: str) -> Object:
    """A pod as a person writes it by hand: the earlier release knows no claims."""
    mounts = [{"name": KEPT, "mountPath": LOCAL_DIR}]
    keys = {"AWS_ACCESS_KEY_ID": kube.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": kube.SECRET_KEY}
    settings = {
        "S3_ENDPOINT": kube.ENDPOINT,
        "S3D_BUCKETS": bucket,
        "S3D_LOCAL_DIR": LOCAL_DIR,
        "S3D_METRICS_ENDPOINT": f"http://0.0.0.0:{HEALTH_PORT}",
        "S3D_DRAIN_SECONDS": "1",
    }
    # The storage of this cluster belongs to root, and host paths know no fsGroup.
    opening = kube.app_container(name="opening") | {
        "command": ["chmod", "0777", LOCAL_DIR],
        "securityContext": {"runAsUser": 0},
        "volumeMounts": mounts,
    }
    sidecar = {
        "name": "s3d",
        "image": IMAGES["sidecar"],
        "imagePullPolicy": "Never",
        "restartPolicy": "Always",
        "env": environment(**settings, **keys),
        "startupProbe": {
            "httpGet": {"path": "/readyz", "port": HEALTH_PORT},
            "periodSeconds": 1,
            "failureThreshold": 90,
        },
        "securityContext": {"readOnlyRootFilesystem": True},
        "volumeMounts": mounts,
    }
    made = kube.pod(
        namespace,
        labels={},
        initContainers=[opening, sidecar],
        volumes=[{"name": KEPT, "persistentVolumeClaim": {"claimName": KEPT}}],
        terminationGracePeriodSeconds=3,
    )
    made["metadata"]["name"] = KEPT
    made["spec"]["containers"] = [
        kube.app_container(bucket, *map(str, SIZES))
        | {"env": environment(AWS_ENDPOINT_URL_S3="http://127.0.0.1:33333", AWS_REGION="us-east-1", **keys)}
    ]
    return made


def environment(**variables: str) -> list[Object]:
    """The environment of a container."""
    return [{"name": name, "value": value} for name, value in variables.items()]


def sidecar_of(namespace: str, pod: str) -> Object:
    """What the API server says of the sidecar of a pod."""
    (said,) = (
        each for each in get("-n", namespace, "pod", pod)["status"]["initContainerStatuses"] if each["name"] == "s3d"
    )
    return {name: said[name] for name in ("image", "containerID", "restartCount", "ready")}


def wrote(namespace: str, pod: str) -> dict[str, str]:
    """The SHA-256 of what the app of a pod has written, by key; waits until it has written all."""

    def lines() -> list[Object]:
        return [json.loads(line) for line in kubectl("-n", namespace, "logs", pod, "-c", APP).splitlines()]

    until(lambda: {"event": "done"} in lines(), f"all writes of {pod}")
    return {line["key"]: line["sha256"] for line in lines() if line["event"] == "wrote"}


@pytest.mark.checklist(54)
@pytest.mark.checklist(63)
def test_an_upgrade_takes_no_change_from_running_pods_nor_from_a_claim_and_new_pods_get_the_new_sidecar(
    gateway: Callable[..., None],
    namespace: str,
    bucket: str,
    relay: Relayed,
    remote: Remote,
    request: pytest.FixtureRequest,
) -> None:
    relay.set(mode="refuse")
    other = f"{bucket}-kept"
    remote.client().create_bucket(Bucket=other)
    gateway()
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    kubectl("create", given=claim(namespace))
    kubectl("create", given=pod_with_the_earlier_sidecar_on_a_claim(namespace, other))
    for pod in (APP, KEPT):
        wait(namespace, f"pod/{pod}", "condition=Ready")
    here, kept = wrote(namespace, APP), wrote(namespace, KEPT)
    assert len(here) == len(kept) == len(SIZES)
    kubectl("-n", namespace, "delete", "pod", KEPT)
    before = sidecar_of(namespace, APP)
    assert before["image"].endswith(IMAGES["sidecar"])

    request.getfixturevalue("installed")

    assert sidecar_of(namespace, APP) == before, "a running pod is left alone"
    until(lambda: status(namespace).get("pods", {}).get("outdated") == 1, "that the older pod is counted")
    seen = status(namespace)
    assert seen["pods"] == {"injected": 1, "outdated": 1, "uninjected": 0, "unreachable": 0}
    assert (seen["pending"]["changes"], condition(namespace, "Accepted")) == (len(SIZES), "Accepted")
    assert told(namespace, "Pod", "InjectionSkipped") == []
    assert objects(remote, bucket) == objects(remote, other) == {}

    made = kube.gateway(namespace, other, volume={"persistentVolumeClaim": {"claimName": KEPT}})
    made["metadata"]["name"] = KEPT
    kubectl("create", given=made)
    again = kube.pod(namespace, other)
    again["metadata"] |= {"name": KEPT, "annotations": {"s3d.dev/gateway": KEPT}}
    # Replicas of both releases serve for a while, and older ones refuse a gateway with fields that they do not know.
    until(lambda: ask("create", given=again).code == 0, "a replica of now")
    wait(namespace, f"pod/{KEPT}", "condition=Ready")
    assert sidecar_of(namespace, KEPT)["image"].endswith("s3d-e2e/sidecar:e2e")
    relay.set(mode="pass")
    # The app had a last word, which nobody read from its log.
    until(lambda: kept.items() <= objects(remote, other).items(), "what the claim held")
    until(lambda: objects(remote, bucket) == here, "what the older pod held")
    until(lambda: condition(namespace, "DataAtRisk") == "AllDelivered", "that the status says so")
    assert sidecar_of(namespace, APP) == before
