"""The buckets are directories in a pod, where its namespace lets in the privileged sidecar that mounts them."""

import subprocess
from collections.abc import Callable

import pytest

from e2e.cluster import kube
from e2e.cluster.kube import APP, ask, get, kubectl, until, wait
from tests.remotes import Remote

USER = {"runAsUser": 1000, "runAsGroup": 1000}
ENFORCE = "pod-security.kubernetes.io/enforce"
KILL = """
for process in /proc/[0-9]*; do
  grep -qs pod{uid} $process/cgroup && tr '\\0' ' ' <$process/cmdline | grep -q 's3d run' && kill -9 ${{process#/proc/}}
done
true
"""
"""Kills the gateway of a pod on its node."""


def pod_that_stays(namespace: str) -> kube.Object:
    """A pod of the test's app, as a user who is not root."""
    app = kube.app_container("-c", "import signal; signal.sigwait([15])")
    app |= {"command": ["/opt/app/bin/python"], "securityContext": USER}
    return kube.pod(namespace, containers=[app], terminationGracePeriodSeconds=1)


def on_node(node: str, *words: str) -> str:
    """Run a program on a node; its output."""
    return subprocess.run(["docker", "exec", node, *words], capture_output=True, text=True, check=True).stdout


@pytest.mark.semantics("M-9", "M-9b")
def test_a_pod_reads_and_writes_objects_as_files_and_leaves_no_mount(
    namespace: str, gateway: Callable[..., None], remote: Remote, bucket: str
) -> None:
    far = remote.client()
    gateway(fuseMount={"enabled": True})
    kubectl("create", given=pod_that_stays(namespace))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    pod = get("-n", namespace, "pod", APP)
    node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
    here = ("-n", namespace, "exec", APP, "-c", APP, "--", "sh", "-c")
    place = f"/s3/buckets/{bucket}"

    kubectl(*here, f"mkdir {place}/docs && echo mine >{place}/docs/mine.txt")
    until(lambda: "Contents" in far.list_objects_v2(Bucket=bucket, Prefix="docs/mine"), "the delivery")
    assert far.get_object(Bucket=bucket, Key="docs/mine.txt")["Body"].read() == b"mine\n"
    far.put_object(Bucket=bucket, Key="docs/theirs.txt", Body=b"theirs")
    assert kubectl(*here, f"cat {place}/docs/theirs.txt; stat -c ' %u:%g' {place}/docs/theirs.txt") == (
        "theirs 1000:1000\n"
    )
    wait(namespace, "s3gateway/default", "condition=Mounted")

    # The gateway alone is killed, and mounts again where the app sees it.
    on_node(node, "sh", "-c", KILL.format(uid=uid.replace("-", "_")))
    restarted = "jsonpath={.status.initContainerStatuses[0].restartCount}=1"
    wait(namespace, f"pod/{APP}", restarted, "jsonpath={.status.initContainerStatuses[0].started}=true")
    assert kubectl(*here, f"ls {place}/docs") == "mine.txt\ntheirs.txt\n"

    assert f"{uid}/volumes/kubernetes.io~empty-dir/s3d-mount/buckets" in on_node(node, "cat", "/proc/mounts")
    kubectl("-n", namespace, "delete", "pod", APP, "--timeout=120s")
    assert uid not in on_node(node, "cat", "/proc/mounts")
    until(lambda: not on_node(node, "find", "/var/lib/kubelet/pods", "-maxdepth", "1", "-name", uid), "its volumes")
    assert len(far.list_objects_v2(Bucket=bucket)["Contents"]) == 3


@pytest.mark.semantics("M-9c")
def test_a_namespace_that_lets_in_no_privileged_pod_gets_the_reason(
    namespace: str, gateway: Callable[..., None]
) -> None:
    gateway(fuseMount={"enabled": True})
    for level in ("baseline", "restricted"):
        kubectl("label", "namespace", namespace, f"{ENFORCE}={level}", "--overwrite")
        refused = ask("create", given=pod_that_stays(namespace))
        assert refused.code != 0
        assert f"{ENFORCE} says {level}" in refused.err
