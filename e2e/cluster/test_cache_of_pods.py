"""What is warm is read on in a pod while its remote is gone altogether."""

import secrets
from collections.abc import Iterator

import pytest

from e2e.cluster import kube
from e2e.cluster.conftest import KEEP, delete
from e2e.cluster.kube import APP, SECONDS, ask, kubectl, until, wait

BUCKET = "photos"
SIZES = ("4096", "3000000")
PYTHON = ("-c", APP, "--", "/opt/app/bin/python")


@pytest.fixture
def own_remote(installed: str) -> Iterator[str]:
    """A remote that this test alone uses, and may take away: its namespace."""
    name = f"remote-{secrets.token_hex(4)}"
    for given in kube.remote_objects(name):
        kubectl("apply", given=given)
    kubectl("-n", name, "rollout", "status", "deployment/remote", f"--timeout={SECONDS}s")
    yield name
    if not KEEP:
        delete(name, "--wait=false")


@pytest.mark.semantics("C-3", "C-14")
def test_a_pod_reads_what_is_warm_while_its_remote_is_scaled_to_zero(namespace: str, own_remote: str) -> None:
    at = {"endpoint": f"http://remote.{own_remote}:9000", "credentials": {"secretRef": {"name": "s3-keys"}}}
    cache = {"enabled": True, "maxSize": "64Mi"}
    kubectl("create", given=kube.gateway(namespace, BUCKET, remote=at, readCache=cache))
    wait(namespace, "s3gateway/default", "condition=Accepted")
    kubectl("create", given=kube.pod(namespace, BUCKET))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    pod = ("-n", namespace, "exec", APP)
    s3d = (*pod, "-c", "s3d", "--", "s3d")
    kubectl(*pod, *PYTHON, "-c", f"import boto3; boto3.client('s3').create_bucket(Bucket={BUCKET!r})")
    kubectl(*pod, *PYTHON, "/app.py", BUCKET, *SIZES, "--once")
    until(lambda: kube.pending(namespace)["changes"] == 0, "the delivery")

    kubectl(*s3d, "cache", "drop", "--all")
    read_ahead = [line.split("\t") for line in kubectl(*s3d, "cache", "warm", BUCKET).splitlines()]
    assert sorted(read_ahead) == [[f"{BUCKET}/{number:03}", "fetched", size] for number, size in enumerate(SIZES)]
    kubectl("-n", own_remote, "scale", "deployment/remote", "--replicas=0")
    kubectl("-n", own_remote, "wait", "pod", "-l", "app=remote", "--for=delete", f"--timeout={SECONDS}s")

    kubectl(*pod, *PYTHON, "/app.py", BUCKET, *SIZES, "--read")
    seen = ask(*s3d, "get", f"{BUCKET}/000")
    assert (seen.code, "x-cache: STALE" in seen.err) == (0, True), seen.err
    # What is not cached is not there just now; that says nothing of whether it is.
    assert ask(*s3d, "get", f"{BUCKET}/999").code != 0
    assert kubectl(*s3d, "cache", "verify").split("\t")[3] == "0\n"
