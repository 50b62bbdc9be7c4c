"""What the chart makes, in a real API server: it is taken, its policies judge pods, and what is gone blocks nobody.

No replica of the webhook runs here, so that what the policies say is what the API server says alone.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.apiserver.conftest import Kubectl
from e2e.cluster.kube import until
from s3d_operator.kube import Server
from tests.remotes import cache_dir

INSTALL = Path(__file__).parents[2] / "dist/install.yaml"
OBJECTS = [raw for raw in yaml.safe_load_all(INSTALL.read_text()) if raw]
ASKS = {"s3d.dev/inject": "true"}
SIDECAR = {"name": "s3d", "image": "x", "restartPolicy": "Always"}


def words(raw: dict[str, Any]) -> list[str]:
    """How kubectl is told which object."""
    namespace = raw["metadata"].get("namespace")
    return [raw["kind"], raw["metadata"]["name"], *(["--namespace", namespace] if namespace else [])]


@pytest.fixture(scope="module")
def plain(server: Server) -> Iterator[Kubectl]:
    """kubectl, with the plain install applied but for the webhook; afterwards what an uninstallation takes is gone."""
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    for namespace in ("shop", "whole"):
        kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", "whole", "s3d.dev/injection=enabled")
    kubectl("apply", "--server-side", "--filename", str(INSTALL))
    kubectl("delete", "mutatingwebhookconfiguration", "s3d")
    yield kubectl
    uninstall(kubectl)


def uninstall(kubectl: Kubectl) -> None:
    """Delete what `helm uninstall` deletes."""
    for raw in OBJECTS:
        if raw["kind"] not in {"CustomResourceDefinition", "Namespace"}:
            kubectl("delete", "--ignore-not-found", "--wait=false", *words(raw))


def pod(namespace: str, labels: dict[str, str], *init: dict[str, Any]) -> dict[str, Any]:
    """A pod."""
    spec = {"containers": [{"name": "app", "image": "x"}], "initContainers": list(init)}
    metadata = {"name": "app", "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def submit(kubectl: Kubectl, made: dict[str, Any]) -> str:
    """What the API server says to an object, as a dry run; empty where it says nothing."""
    return kubectl.run("create", "--dry-run=server", given=made).stderr


@pytest.mark.checklist(55)
@pytest.mark.checklist(65)
def test_kubectl_alone_applies_it_and_a_second_time_changes_nothing(server: Server) -> None:
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    versions = []
    for _ in range(2):
        kubectl("apply", "--server-side", "--filename", str(INSTALL))
        said = [json.loads(kubectl("get", *words(raw), "--output", "json"))["metadata"] for raw in OBJECTS]
        versions.append([metadata["generation"] if "generation" in metadata else metadata["uid"] for metadata in said])
    assert versions[0] == versions[1]
    uninstall(kubectl)


@pytest.mark.checklist(11)
def test_a_pod_that_asks_is_denied_without_a_native_sidecar(plain: Kubectl) -> None:
    until(lambda: "has no container s3d" in submit(plain, pod("shop", ASKS)), "the policy")
    once = {name: value for name, value in SIDECAR.items() if name != "restartPolicy"}
    for init in ([], [once], [{**SIDECAR, "name": "other"}]):
        assert "s3d: the pod asks for a gateway" in submit(plain, pod("shop", ASKS, *init))
    assert submit(plain, pod("shop", ASKS, SIDECAR)) == ""


@pytest.mark.checklist(11)
def test_a_namespace_that_asks_is_warned_of_a_pod_without_and_nobody_else_is_judged(plain: Kubectl) -> None:
    until(lambda: "Warning" in submit(plain, pod("whole", {})), "the policy")
    assert "s3d: the namespace asks for gateways" in submit(plain, pod("whole", {}))
    assert submit(plain, pod("whole", {}, SIDECAR)) == ""
    assert submit(plain, pod("whole", {"s3d.dev/inject": "false"})) == ""
    assert submit(plain, pod("shop", {})) == ""
    assert submit(plain, pod("kube-system", ASKS)) == ""


@pytest.mark.checklist(22)
def test_the_operators_own_pods_pass_the_profile_restricted(plain: Kubectl) -> None:
    plain("label", "namespace", "shop", "pod-security.kubernetes.io/enforce=restricted", "--overwrite")
    until(lambda: "violates PodSecurity" in submit(plain, pod("shop", {})), "the profile")
    templates = [raw["spec"]["template"] for raw in OBJECTS if raw["kind"] == "Deployment"]
    assert len(templates) == 2
    for template in templates:
        made = pod("shop", template["metadata"]["labels"])
        made["spec"] = template["spec"]
        assert submit(plain, made) == ""
    plain("label", "namespace", "shop", "pod-security.kubernetes.io/enforce-")


@pytest.mark.checklist(64)
def test_pods_that_ask_are_created_once_the_chart_is_gone_and_gateways_stay(plain: Kubectl) -> None:
    until(lambda: "has no container s3d" in submit(plain, pod("shop", ASKS)), "the policy")
    uninstall(plain)
    until(lambda: submit(plain, pod("shop", ASKS)) == "", "a pod that nobody judges")
    assert "s3gateways.s3d.dev" in plain("get", "customresourcedefinitions", "--output", "name")
