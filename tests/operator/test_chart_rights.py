"""The chart: what the accounts of webhook and operator may do."""

from typing import Any

import pytest

from s3d_operator.kube import WEBHOOK_CONFIGURATIONS
from tests.operator.charts import NEEDS_HELM, objects

pytestmark = NEEDS_HELM


def granted(kind: str, name: str) -> set[tuple[str, str, str]]:
    """(resource, verb, name or *) of a role."""
    return {
        (resource, verb, only)
        for rule in objects()[kind, name]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for only in rule.get("resourceNames", ["*"])
    }


@pytest.mark.checklist(28)
@pytest.mark.checklist(29)
def test_nobody_reads_secrets_but_the_one_of_the_certificate_or_writes_pods() -> None:
    reads = {"get", "list", "watch"}
    for name in ("s3d-operator", "s3d-webhook"):
        grants = granted("ClusterRole", name)
        assert not {grant for grant in grants if grant[0] == "secrets"}
        assert not {grant for grant in grants if grant[0].startswith("pods") and grant[1] not in reads}
        assert not {grant for grant in grants if grant[0] in {"jobs", "deployments", "statefulsets", "cronjobs"}}
        assert not {grant for grant in grants if "*" in grant[:2]}
    assert granted("Role", "s3d-webhook") == {("secrets", verb, "s3d-webhook-tls") for verb in ("get", "list", "watch")}
    assert granted("Role", "s3d-operator") == {
        ("secrets", "create", "*"),
        ("secrets", "get", "s3d-webhook-tls"),
        ("secrets", "patch", "s3d-webhook-tls"),
    }


@pytest.mark.checklist(28)
def test_the_webhook_only_reads_gateways_and_sync_folders_and_looks_at_one_namespace_at_a_time() -> None:
    assert granted("ClusterRole", "s3d-webhook") == {("namespaces", "get", "*")} | {
        (kind, verb, "*") for kind in ("s3gateways", "syncfolders") for verb in ("get", "list", "watch")
    }


def test_of_a_sync_folder_the_operator_writes_the_status_alone() -> None:
    grants = {grant for grant in granted("ClusterRole", "s3d-operator") if grant[0].startswith("syncfolders")}
    reads = {("syncfolders", verb, "*") for verb in ("get", "list", "watch")}
    assert grants == reads | {("syncfolders/status", "patch", "*")}


@pytest.mark.checklist(29)
def test_of_admission_the_operator_writes_its_own_configurations_alone() -> None:
    admission = {grant for grant in granted("ClusterRole", "s3d-operator") if "webhook" in grant[0]}
    assert admission == {(kind.plural, verb, "s3d") for kind in WEBHOOK_CONFIGURATIONS for verb in ("get", "patch")}


@pytest.mark.checklist(28)
def test_jobs_may_be_created_in_the_namespaces_that_are_named_and_nowhere_else() -> None:
    def roles(*values: str) -> dict[str, Any]:
        return {
            raw["metadata"]["namespace"]: raw["rules"]
            for (kind, name), raw in objects(*values).items()
            if (kind, name) == ("Role", "s3d-drain")
        }

    assert roles() == {}
    made = roles('drain.jobs.namespaces=["shop"]')
    assert set(made) == {"shop"}
    granted_there = {
        (resource, verb) for rule in made["shop"] for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert granted_there == {("jobs", verb) for verb in ("get", "create", "patch", "delete")}
