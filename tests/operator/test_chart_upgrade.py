"""The chart: an upgrade from an earlier one."""

import functools
from typing import Any

import yaml

from tests.operator.charts import NEEDS_HELM, ROOT, helm, objects

pytestmark = NEEDS_HELM

OLD = ROOT / "e2e/cluster/fixtures/s3d-8e7ca0e.tgz"


@functools.cache
def old_objects() -> dict[tuple[str, str], dict[str, Any]]:
    done = helm("template", "s3d", str(OLD), "--namespace", "s3d-system", "--set=sidecar.image=s:8e7ca0e")
    assert done.returncode == 0, done.stderr
    return {(raw["kind"], raw["metadata"]["name"]): raw for raw in filter(None, yaml.safe_load_all(done.stdout))}


def test_the_chart_that_an_upgrade_starts_from_takes_images_of_ours() -> None:
    args = old_objects()["Deployment", "s3d-webhook"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--image=s:8e7ca0e" in args


def test_an_upgrade_takes_no_object_away_and_changes_nothing_that_the_api_server_holds_unchangeable() -> None:
    old, new = old_objects(), objects()
    assert old.keys() <= new.keys()
    for key, raw in old.items():
        if key[0] == "Deployment":
            assert new[key]["spec"]["selector"] == raw["spec"]["selector"]
        if key[0].endswith("Binding"):
            assert new[key]["roleRef"] == raw["roleRef"]
