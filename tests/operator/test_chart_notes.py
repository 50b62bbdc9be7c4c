"""The chart: what a person reads after an installation, and `helm test`."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3d_operator.names import EXPENDABLE
from s3d_operator.parse import parse_gateway
from tests.daemons import Daemon
from tests.operator.charts import CHART, NEEDS_HELM, helm, notes, webhooks

pytestmark = NEEDS_HELM


@pytest.mark.checklist(66)
def test_the_notes_say_what_is_left_to_do_and_what_is_risked(tmp_path: Path) -> None:
    said = notes(tmp_path)
    assert "kubectl label namespace NAMESPACE s3d.dev/injection=enabled" in said
    assert "helm test s3d -n s3d-system" in said
    assert "WARNING" not in said
    assert "name no registry" in said
    assert "name no registry" not in notes(tmp_path, 'sidecar.image="r.example/s3d:1"')
    pasted = said[said.index("<<EOF\n") + len("<<EOF\n") : said.index("\nEOF\n")]
    sample = yaml.safe_load(pasted)
    assert parse_gateway(sample)[0].app_credentials == "Dummy", "as it is pasted"
    risky = ("webhook.replicas=1", 'webhook.failurePolicy.podLabel="Ignore"', 'admissionPolicy.podLabel="Warn"')
    said = notes(tmp_path, *risky, "crds.keep=false", 'drain.jobs.namespaces=["shop"]')
    assert said.count("WARNING") == 3
    assert "Jobs in shop" in said


def test_loaded_images_are_never_pulled() -> None:
    preset = ("--values", str(CHART / "presets/loaded.yaml"))
    done = helm("template", "s3d", str(CHART), "--namespace", "s3d-system", "--skip-tests", *preset)
    assert done.returncode == 0, done.stderr
    containers = [
        container
        for raw in yaml.safe_load_all(done.stdout)
        if raw and raw["kind"] == "Deployment"
        for container in raw["spec"]["template"]["spec"]["containers"]
    ]
    assert {container["imagePullPolicy"] for container in containers} == {"Never"}
    assert all("--pull-policy=Never" in container["args"] for container in containers)


@functools.cache
def helm_test(*values: str) -> dict[str, dict[str, Any]]:
    """What `helm test` creates, by kind."""
    sets = [part for value in values for part in ("--set-json", value)]
    shown = ("--namespace", "s3d-system", "--show-only", "templates/test.yaml")
    done = helm("template", "s3d", str(CHART), *shown, *sets)
    assert done.returncode == 0, done.stderr
    return {raw["kind"]: raw for raw in yaml.safe_load_all(done.stdout)}


@pytest.mark.checklist(60)
def test_what_is_tried_opts_in_outside_of_the_releases_namespace_and_goes_when_it_succeeded() -> None:
    made = helm_test()
    assert set(made) == {"Namespace", "S3Gateway", "Pod"}
    namespace = made["Namespace"]["metadata"]["name"]
    assert made["Pod"]["metadata"]["labels"]["s3d.dev/inject"] == "true"
    assert made["Pod"]["metadata"]["annotations"][EXPENDABLE] == "true", "nothing can be delivered: that is no loss"
    order = []
    for kind in ("Namespace", "S3Gateway", "Pod"):
        metadata = made[kind]["metadata"]
        assert kind == "Namespace" or metadata["namespace"] == namespace
        assert metadata["annotations"]["helm.sh/hook"] == "test"
        assert metadata["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        order.append(int(metadata["annotations"]["helm.sh/hook-weight"]))
    assert order == sorted(order)
    excluded = webhooks()["pod"]["namespaceSelector"]["matchExpressions"][0]["values"]
    assert namespace not in excluded


@pytest.mark.checklist(60)
def test_what_is_tried_may_be_a_gateway_that_is_there() -> None:
    made = helm_test('test={"namespace":"shop","bucket":"photos"}', 'sidecar.image="r.example/s3d:9"')
    assert set(made) == {"Pod"}
    assert made["Pod"]["metadata"]["namespace"] == "shop"
    assert EXPENDABLE not in made["Pod"]["metadata"]["annotations"]
    (container,) = made["Pod"]["spec"]["containers"]
    assert container["image"] == "r.example/s3d:9"
    assert container["args"][1] == "photos"


@pytest.mark.checklist(60)
def test_what_is_tried_goes_in_and_comes_out_although_its_remote_is_nowhere(tmp_path: Path) -> None:
    spec = helm_test()["S3Gateway"]["spec"]
    gateway, _ = parse_gateway(helm_test()["S3Gateway"])
    assert gateway.remote.credentials.anonymous is not None
    settings = {"S3_ENDPOINT": spec["remote"]["endpoint"], "S3D_ANONYMOUS": "true"}
    daemon = Daemon(tmp_path, {**settings, "S3D_BUCKETS": gateway.buckets[0].name})
    (container,) = helm_test()["Pod"]["spec"]["containers"]
    command = [sys.executable, *container["command"][1:], *container["args"]]

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)

    try:
        daemon.start()
        done = run(AWS_ENDPOINT_URL_S3=daemon.endpoint)
    finally:
        daemon.kill()
    assert (done.returncode, done.stderr) == (0, "")
    assert "came back the same" in done.stdout
    assert "did not give this pod the gateway" in run().stderr
