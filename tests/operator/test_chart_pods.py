"""The chart: where, as whom and with what its own pods run."""

import pytest

from tests.operator.charts import NEEDS_HELM, ZONE, everything, labels_of, objects, pod_spec

pytestmark = NEEDS_HELM


@pytest.mark.checklist(56)
@pytest.mark.checklist(61)
@pytest.mark.parametrize("name", ["s3d-operator", "s3d-webhook"])
def test_where_and_as_whom_our_own_pods_run_are_values(name: str) -> None:
    template = everything()["Deployment", name]["spec"]["template"]
    spec, metadata = template["spec"], template["metadata"]
    assert "nodeAffinity" in spec["affinity"]
    assert spec["priorityClassName"] == "high"
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "disk": "fast"}
    assert spec["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    assert spec["imagePullSecrets"] == [{"name": "registry"}]
    assert spec["securityContext"]["runAsUser"] == 1234
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is False
    assert metadata["annotations"] == {"a.example/b": "c"}
    assert metadata["labels"]["team"] == "storage"
    plain = pod_spec(name)
    assert not {"affinity", "priorityClassName", "tolerations", "imagePullSecrets"} & plain.keys()


@pytest.mark.checklist(61)
def test_resources_pull_policy_and_what_becomes_of_a_review_are_values() -> None:
    made = everything()
    for name, memory in (("s3d-operator", "301Mi"), ("s3d-webhook", "302Mi")):
        (container,) = made["Deployment", name]["spec"]["template"]["spec"]["containers"]
        assert container["imagePullPolicy"] == "Always"
        assert container["resources"]["limits"]["memory"] == memory
        assert container["resources"]["requests"]["memory"], "the rest of it stays"
    entries = {entry["name"].split(".")[0]: entry for entry in made["MutatingWebhookConfiguration", "s3d"]["webhooks"]}
    assert {name: entry["failurePolicy"] for name, entry in entries.items()} == {
        "pod": "Ignore",
        "pod-again": "Ignore",
        "namespace": "Fail",
    }
    assert {entry["timeoutSeconds"] for entry in entries.values()} == {3}


@pytest.mark.checklist(56)
def test_replicas_are_spread_over_nodes_unless_told_otherwise() -> None:
    (ours,) = pod_spec("s3d-webhook")["topologySpreadConstraints"]
    assert (ours["topologyKey"], ours["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    (given,) = everything()["Deployment", "s3d-webhook"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert given["topologyKey"] == ZONE


@pytest.mark.checklist(56)
def test_a_drained_node_takes_one_replica_at_a_time_but_never_waits_for_the_only_one() -> None:
    budget = objects()["PodDisruptionBudget", "s3d-webhook"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"]["matchLabels"].items() <= labels_of("s3d-webhook").items()
    assert everything()["PodDisruptionBudget", "s3d-webhook"]["spec"]["maxUnavailable"] == "50%"
    assert not [kind for kind, _ in objects("webhook.replicas=1") if kind == "PodDisruptionBudget"]
    assert not [
        kind for kind, _ in objects("webhook.podDisruptionBudget.enabled=false") if kind == "PodDisruptionBudget"
    ]


@pytest.mark.checklist(30)
def test_a_token_is_mounted_where_it_is_used_and_nowhere_else() -> None:
    for name in ("s3d-operator", "s3d-webhook"):
        assert objects()["ServiceAccount", name]["automountServiceAccountToken"] is False
        assert pod_spec(name)["automountServiceAccountToken"] is True


@pytest.mark.checklist(22)
@pytest.mark.parametrize("name", ["s3d-operator", "s3d-webhook"])
def test_our_own_pods_may_run_where_pod_security_is_restricted(name: str) -> None:
    spec = pod_spec(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["requests"]
        assert container["resources"]["limits"]["memory"]
