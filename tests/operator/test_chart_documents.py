"""The chart beside the schemas of Kubernetes, a linter, and its documentation."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from s3d_operator.kube import WEBHOOK_CONFIGURATIONS
from s3d_operator.parse import parse_gateway
from tests.operator.charts import (
    CACHE,
    CHART,
    DEFAULTS,
    EVERYTHING,
    KUBE_SCORE,
    KUBECONFORM,
    MONITORED,
    NEEDS_HELM,
    OTHERS,
    ROOT,
    alerts,
    everything,
    given,
    monitored,
    objects,
    rendered,
    webhooks,
)

pytestmark = NEEDS_HELM

SCHEMAS = sorted(path for path in CACHE.glob("schemas/v*") if path.is_dir())


@pytest.mark.checklist(48)
@pytest.mark.checklist(61)
@pytest.mark.skipif(
    not (KUBECONFORM and SCHEMAS), reason="kubeconform or its schemas are not here; make test gets them"
)
@pytest.mark.parametrize("values", [DEFAULTS, EVERYTHING + MONITORED + OTHERS])
def test_every_object_is_one_that_the_oldest_and_the_newest_kubernetes_know(values: str) -> None:
    text = rendered(*given(values))
    assert len(SCHEMAS) == 2
    for schemas in SCHEMAS:
        location = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
        command = [str(KUBECONFORM), "-strict", "-summary", "-schema-location", location]
        done = subprocess.run(command, input=text, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
        assert "Errors: 0, Skipped: 0" in done.stdout


WAIVED = {
    "container-image-pull-policy": "a value; images are named by version or digest, which do not change",
    "container-ephemeral-storage-request-and-limit": "the root file systems are read-only and there is no volume",
    "pod-networkpolicy": "a value, since a policy needs to know the cluster's network",
    "deployment-has-host-podantiaffinity": "a topology spread does the same without leaving a replica unscheduled",
}
"""What is found of the chart with its default values and is meant, by the linter's name of the check."""


@pytest.mark.checklist(61)
@pytest.mark.skipif(not KUBE_SCORE, reason="kube-score is not here; make test gets it")
def test_a_linter_finds_nothing_but_what_is_waived_with_a_reason() -> None:
    waived = (part for name in WAIVED for part in ("--ignore-test", name))
    # A limit of processor time slows an admission down when it is needed most; memory is limited.
    command = [str(KUBE_SCORE), "score", "-", "--output-format", "ci", "--ignore-container-cpu-limit", *waived]
    done = subprocess.run(command, input=rendered(), check=False, capture_output=True, text=True, timeout=60)
    assert [line for line in done.stdout.splitlines() if not line.startswith(("[OK]", "[SKIPPED]"))] == []
    assert done.returncode == 0, done.stderr


GUIDE = (ROOT / "docs/KUBERNETES.md").read_text()
METADATA = yaml.safe_load((CHART / "Chart.yaml").read_text())


def properties(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The names of all values, dotted."""
    for name, member in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from properties(member, f"{path}{name}.")


@pytest.mark.checklist(66)
def test_what_the_guide_names_is_there() -> None:
    known = set(properties(json.loads((CHART / "values.schema.json").read_text())))
    sections = {name.split(".")[0] for name in known}
    dotted = re.findall(r"[`\s]([a-z][A-Za-z]+(?:\.[A-Za-z]+)+)[`=]", GUIDE)
    named = {name for name in dotted if name.split(".")[0] in sections} - {"drain.seconds", "drain.job"}
    assert named
    assert named <= known
    assert set(re.findall(r"\bS3D[A-Z][A-Za-z]+\b", GUIDE)) == set(alerts())


@pytest.mark.checklist(66)
def test_the_examples_are_gateways() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    examples = [raw for block in blocks for raw in yaml.safe_load_all(block) if isinstance(raw, dict)]
    examples += yaml.safe_load(METADATA["annotations"]["artifacthub.io/crdsExamples"])
    gateways = [raw for raw in examples if raw.get("kind") == "S3Gateway"]
    assert len(gateways) == 2
    for raw in gateways:
        assert parse_gateway(raw)[0].buckets[0].name == "photos"


@pytest.mark.checklist(66)
def test_the_catalogues_entry_is_that_of_the_chart() -> None:
    annotations = {name.removeprefix("artifacthub.io/"): text for name, text in METADATA["annotations"].items()}
    images = {each["name"]: each["image"] for each in yaml.safe_load(annotations["images"])}
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert images == {name: values[name]["image"] for name in ("operator", "sidecar")}
    told = {crd["name"]: (crd["kind"], crd["version"]) for crd in yaml.safe_load(annotations["crds"])}
    definitions = {name: raw["spec"] for (kind, name), raw in objects().items() if kind == "CustomResourceDefinition"}
    assert told == {name: (each["names"]["kind"], each["versions"][0]["name"]) for name, each in definitions.items()}
    assert METADATA["kubeVersion"] == ">=1.31.0-0"
    assert "| Kubernetes | 1.31 or newer" in GUIDE
    for heading in ("## What it runs on", "## Upgrade", "## Uninstall"):
        assert f"\n{heading}\n" in GUIDE


@pytest.mark.checklist(64)
def test_nothing_that_stays_after_an_uninstallation_can_block_a_pod() -> None:
    annotated = [(kind, raw["metadata"].get("annotations") or {}) for (kind, _), raw in objects().items()]
    kept = {kind for kind, annotations in annotated if "helm.sh/resource-policy" in annotations}
    assert kept == {"CustomResourceDefinition"}
    for raw in {**objects(), **everything(), **monitored()}.values():
        assert "finalizers" not in raw["metadata"]
        assert "helm.sh/hook" not in (raw["metadata"].get("annotations") or {})


@pytest.mark.checklist(65)
def test_what_is_written_into_the_charts_objects_by_others_is_what_argo_cd_is_told() -> None:
    (told,) = (
        raw["spec"]["ignoreDifferences"]
        for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
        for raw in yaml.safe_load_all(block)
        if "ignoreDifferences" in str(raw)
    )
    assert [(each["kind"], each["name"], each["jqPathExpressions"]) for each in told] == [
        (kind.name, "s3d", [".webhooks[].clientConfig.caBundle"]) for kind in WEBHOOK_CONFIGURATIONS
    ]
    for entry in webhooks().values():
        assert "caBundle" not in entry["clientConfig"]
