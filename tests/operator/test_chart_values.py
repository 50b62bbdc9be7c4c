"""The chart: what its values mean, and which are refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from s3d_operator.__main__ import parser
from s3d_operator.certs import CertificateTarget
from s3d_operator.kube import WEBHOOK_CONFIGURATIONS
from s3d_operator.layout import Image
from tests.operator.charts import CHART, NEEDS_HELM, ROOT, helm, objects, pod_spec, refusal, rendered

pytestmark = NEEDS_HELM


def test_it_lints() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.checklist(25)
def test_nothing_is_generated_while_it_is_rendered() -> None:
    assert rendered() == rendered.__wrapped__()


@pytest.mark.checklist(53)
@pytest.mark.parametrize(
    "value",
    [
        'operatr={"image":"x"}',
        "webhook.replica=3",
        'sidecar.image=""',
        "sidecar.image=null",
        "webhook.replicas=0",
        "webhook.port=80",
        "webhook.port=8080",
    ],
)
def test_values_that_cannot_be_meant_are_refused(value: str) -> None:
    said = refusal(value)
    assert "values don't meet the specifications of the schema" in said
    assert value.split("=", maxsplit=1)[0].rsplit(".", maxsplit=1)[-1] in said


@pytest.mark.checklist(53)
def test_the_schema_is_that_of_the_values(tmp_path: Path) -> None:
    subprocess.run([sys.executable, CHART.parent / "values.py", tmp_path], check=True)
    for name in ("values.yaml", "values.schema.json", "README.md"):
        assert (CHART / name).read_text() == (tmp_path / "charts/s3d" / name).read_text(), "make generate writes it"


@pytest.mark.checklist(55)
def test_the_plain_install_is_the_chart_with_its_default_values() -> None:
    said = (ROOT / "dist/install.yaml").read_text()
    head, _, rest = said.partition("---\n")
    namespace = yaml.safe_load(head)
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "s3d-system")
    assert f"---\n{rest}" == rendered(), "make generate writes it"


def test_every_object_that_can_says_the_releases_namespace() -> None:
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
    cluster_wide |= {"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}
    for (kind, _), raw in objects().items():
        assert (kind in cluster_wide or kind.startswith("ValidatingAdmissionPolicy")) != (
            raw["metadata"].get("namespace") == "s3d-system"
        )


@pytest.mark.parametrize("name", ["s3d-operator", "s3d-webhook"])
def test_a_container_starts_with_arguments_that_the_program_takes(name: str) -> None:
    options = parser().parse_args(pod_spec(name)["containers"][0]["args"])
    assert options.command == {"s3d-operator": "reconcile", "s3d-webhook": "webhook"}[name]
    assert options.namespace == "s3d-system"


def test_the_parts_call_each_other_by_the_same_names() -> None:
    reconcile = parser().parse_args(pod_spec("s3d-operator")["containers"][0]["args"])
    webhook = parser().parse_args(pod_spec("s3d-webhook")["containers"][0]["args"])
    target = CertificateTarget(reconcile.namespace, reconcile.service, reconcile.secret, reconcile.configuration)
    service = objects()["Service", target.service]
    labels = objects()["Deployment", "s3d-webhook"]["spec"]["template"]["metadata"]["labels"]
    assert webhook.secret == target.secret
    assert service["spec"]["selector"].items() <= labels.items()
    for kind in WEBHOOK_CONFIGURATIONS:
        for entry in objects()[kind.name, target.configuration]["webhooks"]:
            called = entry["clientConfig"]["service"]
            assert f"{called['name']}.{called['namespace']}.svc" in target.hosts


@pytest.mark.checklist(61)
def test_images_are_values() -> None:
    changed = ('operator.image="r.example/operator:9"', 'sidecar={"image":"r.example/s3d:9","pullPolicy":"Never"}')
    deployments = [raw for (kind, _), raw in objects(*changed).items() if kind == "Deployment"]
    containers = [raw["spec"]["template"]["spec"]["containers"][0] for raw in deployments]
    assert {container["image"] for container in containers} == {"r.example/operator:9"}
    options = parser().parse_args(next(c["args"] for c in containers if c["name"] == "webhook"))
    assert Image(options.image, options.pull_policy) == Image("r.example/s3d:9", "Never")
