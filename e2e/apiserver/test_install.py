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
from s3d_operator.access import Access
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
def plain(server: Access) -> Iterator[Kubectl]:
    """kubectl, with the plain install applied but for the webhook; afterwards what an uninstallation takes is gone."""
    kubectl = Kubectl(max(cache_dir().glob("node-v*/bin/kubectl")), server)
    for namespace in ("shop", "whole"):
        kubectl("create", "namespace", namespace)
    kubectl("label", "namespace", "whole", "s3d.dev/injection=enabled")
    kubectl("apply", "--server-side", "--filename", str(INSTALL))
    for kind in ("mutatingwebhookconfiguration", "validatingwebhookconfiguration"):
        kubectl("delete", kind, "s3d")
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
def test_kubectl_alone_applies_it_and_a_second_time_changes_nothing(server: Access) -> None:
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


@pytest.mark.parametrize(
    ("labels", "annotations", "says"),
    [
        ({"s3d.dev/inject": "True"}, {}, 'the label s3d.dev/inject: "True" means nothing: write "true"'),
        ({"s3d.dev/inject": "yes"}, {}, 'the label s3d.dev/inject: "yes" means nothing: write "true"'),
        ({"s3d.dev/injection": "enabled"}, {}, 'a pod asks by the label s3d.dev/inject: "true"'),
        ({"s3d.dev/Inject": "true"}, {}, "no label of a pod is called s3d.dev/Inject"),
        ({}, {"s3d.dev/gateways": "a"}, "no annotation of a pod is called s3d.dev/gateways: there are"),
        ({}, {"s3d.dev/inject": "true"}, "no annotation of a pod is called s3d.dev/inject"),
    ],
)
def test_a_word_of_ours_that_means_nothing_is_refused_at_a_pod(
    plain: Kubectl, labels: dict[str, str], annotations: dict[str, str], says: str
) -> None:
    made = pod("shop", labels)
    made["metadata"]["annotations"] = annotations
    until(lambda: submit(plain, made), "the policy")
    assert says in submit(plain, made)
    made["metadata"] |= {"labels": {"app.kubernetes.io/name": "x"}, "annotations": {"s3d.dev/gateway": "a"}}
    assert submit(plain, made) == ""


def test_a_word_of_ours_that_means_nothing_is_refused_at_a_namespace_when_it_is_written(plain: Kubectl) -> None:
    def label(*words: str) -> str:
        return plain.run("label", "namespace", "shop", "--dry-run=server", "--overwrite", *words).stderr

    until(lambda: label("s3d.dev/injection=true"), "the policy")
    assert 's3d.dev/injection: "true" means nothing: write enabled' in label("s3d.dev/injection=true")
    assert "it is s3d.dev/injection: enabled" in label("s3d.dev/inject=true")
    for value in ("enabled", "disabled"):
        assert label(f"s3d.dev/injection={value}") == ""
    assert label("theirs=yes") == ""


OPERATOR = "--as=system:serviceaccount:s3d-system:s3d-operator"


def written(kubectl: Kubectl, made: dict[str, Any], *words: str) -> str:
    """What the API server says where the operator's account applies an object, as a dry run."""
    return kubectl.run("apply", "--server-side", "--force-conflicts", "--dry-run=server", *words, given=made).stderr


def test_the_operators_account_writes_config_maps_of_gateways_alone(plain: Kubectl) -> None:
    owner = {"apiVersion": "s3d.dev/v1alpha1", "kind": "S3Gateway", "name": "photos", "uid": "u", "controller": True}
    plain("create", "configmap", "theirs", "--namespace=kube-system")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"Corefile": "evil"}}
    made["metadata"] = {"name": "theirs", "namespace": "kube-system"}
    until(lambda: "S3Gateways alone" in written(plain, made, OPERATOR), "the policy")
    for name, owners in (("new", [owner]), ("photos-s3d", []), ("photos-s3d", [owner | {"kind": "Other"}])):
        made["metadata"] = {"name": name, "namespace": "shop", "ownerReferences": owners}
        assert "S3Gateways alone" in written(plain, made, OPERATOR)
    made["metadata"] = {"name": "photos-s3d", "namespace": "shop", "ownerReferences": [owner]}
    assert "S3Gateways alone" not in written(plain, made, OPERATOR)
    made["metadata"] = {"name": "new", "namespace": "shop"}
    assert "S3Gateways alone" not in written(plain, made), "others are not judged"


@pytest.mark.parametrize("does", ["Mutating", "Validating"])
def test_the_operators_account_changes_nothing_of_a_configuration_but_the_ca(plain: Kubectl, does: str) -> None:
    kind = f"{does}WebhookConfiguration"
    (whole,) = (raw for raw in OBJECTS if raw["kind"] == kind)
    # It asks about nobody here: the policies are tried alone.
    made = json.loads(json.dumps(whole))
    for entry in made["webhooks"]:
        entry |= {"matchConditions": [{"name": "never", "expression": "false"}], "failurePolicy": "Fail"}
        entry |= {"namespaceSelector": {"matchLabels": {"a": "b"}}, "objectSelector": {"matchLabels": {"a": "b"}}}
    plain("apply", "--server-side", "--force-conflicts", given=made)
    try:

        def patched(*operations: dict[str, Any]) -> str:
            change = ("--type=json", "--patch", json.dumps(operations), "--dry-run=server", OPERATOR)
            return plain.run("patch", kind.lower(), "s3d", *change).stderr

        at = "/webhooks/0"
        url = {"op": "replace", "path": f"{at}/clientConfig", "value": {"url": "https://evil.example"}}
        until(lambda: "caBundle" in patched(url), "the policy")
        for operation in (
            {"op": "replace", "path": f"{at}/rules/0/resources", "value": ["*"]},
            {"op": "remove", "path": f"{at}/objectSelector"},
            {"op": "replace", "path": f"{at}/namespaceSelector", "value": {}},
            {"op": "replace", "path": f"{at}/failurePolicy", "value": "Ignore"},
            {"op": "replace", "path": f"{at}/timeoutSeconds", "value": 30},
            {"op": "remove", "path": f"{at}/matchConditions"},
            {"op": "replace", "path": f"{at}/clientConfig/service/namespace", "value": "shop"},
            {"op": "remove", "path": "/webhooks/0"},
        ):
            assert "caBundle of the webhook's configurations, and nothing else" in patched(operation), operation
        ca = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCi0tLS0tRU5EIENFUlRJRklDQVRFLS0tLS0K"
        said = patched({"op": "add", "path": f"{at}/clientConfig/caBundle", "value": ca})
        assert "nothing else" not in said
        assert "forbidden" not in said.lower()
    finally:
        plain("delete", kind.lower(), "s3d")


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


def test_what_was_applied_goes_by_its_labels_and_the_definitions_and_gateways_stay(plain: Kubectl) -> None:
    words = ("--filename", str(INSTALL), "--selector", "app.kubernetes.io/part-of=s3d", "--ignore-not-found")
    gone = plain("delete", *words, "--dry-run=server", "--output", "name").splitlines()
    assert not [name for name in gone if name.startswith(("customresourcedefinition", "namespace/"))]
    ours = [raw for raw in OBJECTS if raw["kind"] not in {"CustomResourceDefinition", "Namespace"}]
    # The fixture has taken the webhook's configurations away.
    assert len(gone) == len(ours) - 2


@pytest.mark.checklist(64)
def test_pods_that_ask_are_created_once_the_chart_is_gone_and_gateways_stay(plain: Kubectl) -> None:
    until(lambda: "has no container s3d" in submit(plain, pod("shop", ASKS)), "the policy")
    uninstall(plain)
    until(lambda: submit(plain, pod("shop", ASKS)) == "", "a pod that nobody judges")
    assert "s3gateways.s3d.dev" in plain("get", "customresourcedefinitions", "--output", "name")
