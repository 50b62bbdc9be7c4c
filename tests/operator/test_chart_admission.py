"""The chart: what the API server asks about, what policies it holds, and what may reach the pods."""

import json
import re
from typing import Any

import pytest

from s3d_operator import choice, layout
from s3d_operator.__main__ import parser
from s3d_operator.kube import FOLDERS, GATEWAYS, Kind
from s3d_operator.names import INJECT, INJECTION
from tests.operator.charts import CHART, NEEDS_HELM, args_of, labels_of, objects, pod_spec, webhooks

pytestmark = NEEDS_HELM


@pytest.mark.checklist(3)
@pytest.mark.checklist(5)
def test_only_new_pods_that_opted_in_are_asked_about_and_each_by_the_way_it_asked() -> None:
    pod, namespace = webhooks()["pod"], webhooks()["namespace"]
    assert pod["objectSelector"] == {"matchLabels": {"s3d.dev/inject": "true"}}
    assert namespace["objectSelector"] == {
        "matchExpressions": [{"key": "s3d.dev/inject", "operator": "NotIn", "values": ["true", "false"]}]
    }
    assert namespace["namespaceSelector"]["matchLabels"] == {"s3d.dev/injection": "enabled"}
    for entry in (pod, namespace):
        assert entry["rules"] == [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
                "operations": ["CREATE"],
                "scope": "Namespaced",
            }
        ]
        assert entry["sideEffects"] == "None"
        assert entry["reinvocationPolicy"] == "IfNeeded"
        assert entry["timeoutSeconds"] <= 5
        assert "caBundle" not in entry["clientConfig"]


@pytest.mark.checklist(3)
def test_who_asks_by_a_pods_label_fails_without_us_and_a_namespace_does_not() -> None:
    assert {name: entry["failurePolicy"] for name, entry in webhooks().items()} == {
        "pod": "Fail",
        "namespace": "Ignore",
        "namespace-again": "Ignore",
    }


@pytest.mark.checklist(1)
@pytest.mark.parametrize(
    ("policies", "again"),
    [
        ({"podLabel": "Fail", "namespaceLabel": "Fail"}, set()),
        ({"podLabel": "Fail", "namespaceLabel": "Ignore"}, {"namespace"}),
        ({"podLabel": "Ignore", "namespaceLabel": "Ignore"}, {"pod", "namespace"}),
    ],
)
def test_who_may_start_without_is_asked_about_once_more_while_it_has_no_sidecar(
    policies: dict[str, str], again: set[str]
) -> None:
    entries = webhooks(f"webhook.failurePolicy={json.dumps(policies)}")
    assert entries.keys() == {"pod", "namespace", *(f"{asker}-again" for asker in again)}
    order = list(entries)
    for asker in again:
        first, second = entries[asker], entries[f"{asker}-again"]
        assert order.index(f"{asker}-again") > order.index(asker), "they are called in this order"
        *conditions, missing = second["matchConditions"]
        assert second == first | {"name": f"{asker}-again.inject.s3d.dev", "matchConditions": [*conditions, missing]}
        assert conditions == first["matchConditions"]
        policy = objects()["ValidatingAdmissionPolicy", f"s3d-{asker}"]["spec"]
        assert missing["expression"] == f"!({policy['validations'][0]['expression']})"


@pytest.mark.checklist(4)
def test_the_clusters_own_namespaces_and_ours_are_never_asked_about() -> None:
    for entry in webhooks('webhook.excludedNamespaces=["mine"]').values():
        (expression,) = entry["namespaceSelector"]["matchExpressions"]
        assert expression["key"] == "kubernetes.io/metadata.name"
        assert set(expression["values"]) == {"kube-system", "kube-public", "kube-node-lease", "s3d-system", "mine"}


@pytest.mark.semantics("F-2b")
@pytest.mark.parametrize(("what", "kind"), [("gateway", GATEWAYS), ("folder", FOLDERS)])
def test_what_is_ours_is_asked_about_when_it_is_written_and_nobody_waits_for_a_webhook_that_is_away(
    what: str, kind: Kind
) -> None:
    entries = objects()["ValidatingWebhookConfiguration", "s3d"]["webhooks"]
    (entry,) = (each for each in entries if each["name"] == f"{what}.validate.s3d.dev")
    assert len(entries) == 2
    group, _, version = kind.api_version.partition("/")
    assert entry["rules"] == [
        {
            "apiGroups": [group],
            "apiVersions": [version],
            "resources": [kind.plural],
            "operations": ["CREATE", "UPDATE"],
            "scope": "Namespaced",
        }
    ]
    assert (entry["failurePolicy"], entry["sideEffects"], entry["matchPolicy"]) == ("Ignore", "None", "Equivalent")
    pods = webhooks()["pod"]
    assert entry["timeoutSeconds"] == pods["timeoutSeconds"]
    service = pods["clientConfig"]["service"]
    assert entry["clientConfig"] == {"service": service | {"path": f"/validate/{what}"}}
    assert not {"namespaceSelector", "objectSelector"} & entry.keys(), "each is judged"


@pytest.mark.checklist(11)
def test_a_pod_that_lost_its_sidecar_is_denied_where_it_asked_and_warned_of_where_its_namespace_did() -> None:
    for asker, action in (("pod", "Deny"), ("namespace", "Warn")):
        binding = objects()["ValidatingAdmissionPolicyBinding", f"s3d-{asker}"]["spec"]
        assert binding == {"policyName": f"s3d-{asker}", "validationActions": [action]}
        policy = objects()["ValidatingAdmissionPolicy", f"s3d-{asker}"]["spec"]
        asked, constraints = webhooks()[asker], policy["matchConstraints"]
        for member in ("namespaceSelector", "objectSelector", "matchPolicy"):
            assert constraints[member] == asked[member], "the policy judges those that the webhook is asked about"
        assert constraints["resourceRules"] == asked["rules"]
        assert policy["matchConditions"] == asked["matchConditions"]
        assert policy["failurePolicy"] == asked["failurePolicy"]
        (validation,) = policy["validations"]
        assert validation["expression"] == (
            "has(object.spec.initContainers) && object.spec.initContainers.exists(c,"
            " c.name == 's3d' && has(c.restartPolicy) && c.restartPolicy == 'Always')"
        )
    assert layout.NAME == "s3d"


@pytest.mark.checklist(11)
@pytest.mark.checklist(61)
def test_what_the_policy_does_is_a_value_for_either_way_to_ask() -> None:
    made = objects('admissionPolicy.podLabel="Warn"', 'admissionPolicy.namespaceLabel="Off"')
    policies = {name for kind, name in made if kind.startswith("ValidatingAdmissionPolicy")}
    assert policies & {"s3d-pod", "s3d-namespace"} == {"s3d-pod"}
    assert made["ValidatingAdmissionPolicyBinding", "s3d-pod"]["spec"]["validationActions"] == ["Warn"]


def test_a_word_that_means_nothing_is_refused_by_the_words_that_the_webhook_knows() -> None:
    policy = objects()["ValidatingAdmissionPolicy", "s3d-misspelt-pod"]["spec"]
    *_, labels, notes = policy["validations"]
    assert set(re.findall(r"s3d\.dev/[\w-]+", labels["expression"])) == choice.LABELS | {INJECTION}
    assert set(re.findall(r"s3d\.dev/[\w-]+", notes["expression"])) == choice.ANNOTATIONS
    assert f"there are {', '.join(name for name in choice.WRITTEN if name != INJECT)}'" in notes["messageExpression"]
    asked = webhooks()["pod"]["namespaceSelector"]
    assert policy["matchConstraints"]["namespaceSelector"] == asked
    for action in ("Deny", "Warn"):
        made = objects(f'admissionPolicy.misspelt="{action}"')
        for what in ("pod", "namespace"):
            binding = made["ValidatingAdmissionPolicyBinding", f"s3d-misspelt-{what}"]
            assert binding["spec"]["validationActions"] == [action]
    assert not [name for _, name in objects('admissionPolicy.misspelt="Off"') if "misspelt" in name]


def test_the_account_of_the_operator_is_fenced_where_its_role_knows_no_names() -> None:
    ours = "request.userInfo.username == 'system:serviceaccount:s3d-system:s3d-operator'"
    for what in ("configmaps", "webhook"):
        policy = objects()["ValidatingAdmissionPolicy", f"s3d-account-{what}"]["spec"]
        assert [each["expression"] for each in policy["matchConditions"]] == [ours]
        assert policy["failurePolicy"] == "Fail"
        binding = objects()["ValidatingAdmissionPolicyBinding", f"s3d-account-{what}"]["spec"]
        assert binding["validationActions"] == ["Deny"]
    elsewhere = {name for _, name in objects("certificate.certManager.enabled=true")}
    assert "s3d-account-configmaps" in elsewhere
    assert "s3d-account-webhook" not in elsewhere, "there it may not change it at all"


@pytest.mark.checklist(57)
def test_reviews_come_in_at_10250_unless_told_otherwise() -> None:
    (port,) = (each for each in pod_spec("s3d-webhook")["containers"][0]["ports"] if each["name"] == "reviews")
    assert port["containerPort"] == parser().parse_args(args_of("s3d-webhook")).port == 10250
    moved = objects("webhook.port=9443")["Deployment", "s3d-webhook"]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "reviews", "containerPort": 9443} in moved["ports"]
    assert parser().parse_args(args_of("s3d-webhook", "webhook.port=9443")).port == 9443
    (service_port,) = objects()["Service", "s3d-webhook"]["spec"]["ports"]
    assert (service_port["port"], service_port["targetPort"]) == (443, "reviews")


@pytest.mark.checklist(57)
def test_a_network_policy_lets_in_what_has_to_come_from_anywhere() -> None:
    assert not [name for kind, name in objects() if kind == "NetworkPolicy"]
    made = objects("networkPolicy.enabled=true")
    for name, wanted in (("s3d-webhook", {"reviews", "health"}), ("s3d-operator", {"health", "liveness"})):
        spec = made["NetworkPolicy", name]["spec"]
        (rule,) = spec["ingress"]
        assert "from" not in rule
        ports = {each["name"] for each in pod_spec(name)["containers"][0]["ports"]}
        assert {each["port"] for each in rule["ports"]} == ports == wanted
        assert spec["policyTypes"] == ["Ingress"]
        assert spec["podSelector"]["matchLabels"].items() <= labels_of(name).items()


@pytest.mark.checklist(1)
def test_the_webhook_is_never_absent_and_the_operator_never_twice_there() -> None:
    webhook, operator = (objects()["Deployment", name]["spec"] for name in ("s3d-webhook", "s3d-operator"))
    assert webhook["replicas"] >= 2
    assert webhook["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert (operator["replicas"], operator["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.checklist(54)
@pytest.mark.parametrize(
    ("value", "annotations"),
    [("crds.keep=true", {"helm.sh/resource-policy": "keep"}), ("crds.keep=false", None)],
)
def test_the_definitions_stay_when_the_chart_goes_if_told_so(value: str, annotations: Any) -> None:
    definition = objects(value)["CustomResourceDefinition", "s3gateways.s3d.dev"]
    assert definition["metadata"].get("annotations") == annotations


@pytest.mark.checklist(54)
def test_the_definitions_are_templates_so_that_an_upgrade_changes_them() -> None:
    assert not (CHART / "crds").exists(), "what is in there, helm installs and never looks at again"


@pytest.mark.checklist(54)
def test_the_definitions_may_come_from_elsewhere() -> None:
    assert ("CustomResourceDefinition", "s3gateways.s3d.dev") not in objects("crds.enabled=false")
