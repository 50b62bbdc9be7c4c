import base64
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from s3d.metrics import Metrics
from s3d_operator import build, inject
from s3d_operator.__main__ import parser
from s3d_operator.api import EXPENDABLE, INJECT, INJECTED, INJECTION, parse_gateway
from s3d_operator.build import Image
from s3d_operator.certs import CertificateTarget
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics
from s3d_operator.rotation import Schedule
from tests.daemons import Daemon

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/s3d"
CACHE = Path(os.environ.get("S3D_E2E_CACHE") or Path.home() / ".cache/s3d-e2e")
PROGRAMS = f"{CACHE / 'bin'}:{os.environ['PATH']}"
HELM, PROMTOOL, KUBECONFORM, KUBE_SCORE = (
    shutil.which(name, path=PROGRAMS) for name in ("helm", "promtool", "kubeconform", "kube-score")
)
pytestmark = pytest.mark.skipif(not HELM, reason="helm is not here; e2e/cluster/tools.sh helm builds it")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HELM), *arguments, "--kube-version", "1.31.0"], check=False, capture_output=True, text=True, timeout=60
    )


@functools.cache
def rendered(*values: str) -> str:
    sets = [part for value in values for part in ("--set-json", value)]
    done = helm("template", "s3d", str(CHART), "--namespace", "s3d-system", "--skip-tests", *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    documents = filter(None, yaml.safe_load_all(rendered(*values)))
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Deployment", name]["spec"]["template"]["spec"]
    return spec


def test_it_lints() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


@pytest.mark.checklist(25)
def test_nothing_is_generated_while_it_is_rendered() -> None:
    assert rendered() == rendered.__wrapped__()


def refusal(*values: str) -> str:
    """What helm says to values that it must refuse."""
    done = helm("template", "s3d", str(CHART), *(part for value in values for part in ("--set-json", value)))
    assert done.returncode != 0
    return done.stderr


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
    cluster_wide = {"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
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
    for entry in objects()["MutatingWebhookConfiguration", target.configuration]["webhooks"]:
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


PLACED = """
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}
  priorityClassName: high
  podAnnotations: {a.example/b: c}
  podLabels: {team: storage}
"""
ZONE = "topology.kubernetes.io/zone"
EVERYTHING = f"""
operator: {PLACED}
  pullPolicy: Always
  resources: {{limits: {{memory: 301Mi}}}}
webhook: {PLACED}
  timeoutSeconds: 3
  failurePolicy: {{podLabel: Ignore, namespaceLabel: Fail}}
  resources: {{limits: {{memory: 302Mi}}}}
  topologySpreadConstraints: [{{maxSkew: 2, topologyKey: {ZONE}, whenUnsatisfiable: DoNotSchedule}}]
  podDisruptionBudget: {{maxUnavailable: 50%}}
imagePullSecrets: [{{name: registry}}]
nodeSelector: {{disk: fast}}
tolerations: [{{key: dedicated, operator: Exists}}]
podSecurityContext: {{runAsUser: 1234}}
securityContext: {{readOnlyRootFilesystem: false}}
"""
"""Values that change all that can be changed beside the rest; one rendering for many tests."""


DEFAULTS = "{}"
OTHERS = """
certificate: {certManager: {enabled: true}}
networkPolicy: {enabled: true}
drain: {jobs: {namespaces: [shop]}}
"""


def given(values: str) -> tuple[str, ...]:
    """Values as helm takes them, a member each."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in yaml.safe_load(values).items())


def everything() -> dict[tuple[str, str], dict[str, Any]]:
    return objects(*given(EVERYTHING))


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


def labels_of(name: str) -> dict[str, str]:
    """Labels of a Deployment's pods."""
    labels: dict[str, str] = objects()["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    return labels


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
def test_the_webhook_only_reads_and_only_gateways() -> None:
    assert granted("ClusterRole", "s3d-webhook") == {("s3gateways", verb, "*") for verb in ("get", "list", "watch")}


@pytest.mark.checklist(29)
def test_of_admission_the_operator_writes_its_own_configuration_alone() -> None:
    admission = {grant for grant in granted("ClusterRole", "s3d-operator") if "webhook" in grant[0]}
    assert admission == {("mutatingwebhookconfigurations", verb, "s3d") for verb in ("get", "patch")}


PEM = "-----BEGIN CERTIFICATE-----\\nQQ==\\n-----END CERTIFICATE-----"
BY_CERT_MANAGER = "certificate.certManager.enabled=true"
BY_US = ('certificate.existingSecret="mine"', f'certificate.caBundle="{PEM}"')


def args_of(name: str, *values: str) -> list[str]:
    args: list[str] = objects(*values)["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


@pytest.mark.checklist(59)
def test_by_default_the_operator_issues_the_certificate() -> None:
    assert not parser().parse_args(args_of("s3d-operator")).no_certificate
    assert not [kind for kind, _ in objects() if kind in {"Certificate", "Issuer"}]


def schedule_of(*values: str) -> Schedule:
    said = parser().parse_args(args_of("s3d-operator", *values))
    lifetime, renew_before = said.certificate_lifetime, said.certificate_renew_before
    return Schedule(timedelta(seconds=lifetime), timedelta(seconds=renew_before), said.certificate_settle)


@pytest.mark.checklist(61)
def test_how_long_a_certificate_lives_is_a_value_and_by_default_what_the_program_says() -> None:
    assert schedule_of() == Schedule()
    changed = schedule_of('certificate={"lifetimeHours":48,"renewBeforeHours":12,"settleSeconds":5}')
    assert changed == Schedule(timedelta(days=2), timedelta(hours=12), 5)
    assert "certificate.renewBeforeHours" in refusal('certificate={"lifetimeHours":12,"renewBeforeHours":12}')


@pytest.mark.checklist(52)
@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ((), 7 * 86400),
        (('certificate={"lifetimeHours":48,"renewBeforeHours":12}',), 6 * 3600),
        ((BY_CERT_MANAGER, "certificate.renewBeforeHours=12"), 7 * 86400),
    ],
)
def test_a_certificate_that_lives_for_days_alarms_when_half_of_the_time_for_its_renewal_is_gone(
    values: tuple[str, ...], seconds: int
) -> None:
    assert alerts(*values)["S3DCertificateEnds"]["expr"].endswith(f"- time() < {seconds}")


@pytest.mark.checklist(59)
@pytest.mark.parametrize("values", [(BY_CERT_MANAGER,), BY_US])
def test_where_others_issue_the_certificate_the_operator_does_not_and_may_not(values: tuple[str, ...]) -> None:
    made = objects(*values)
    assert parser().parse_args(args_of("s3d-operator", *values)).no_certificate
    assert ("Role", "s3d-operator") not in made
    assert ("RoleBinding", "s3d-operator") not in made
    rules = made["ClusterRole", "s3d-operator"]["rules"]
    assert not [rule for rule in rules if "mutatingwebhookconfigurations" in rule["resources"]]


@pytest.mark.checklist(59)
def test_cert_manager_issues_for_the_name_that_is_called_and_publishes_the_authority() -> None:
    made = objects(BY_CERT_MANAGER)
    leaf, authority = (made["Certificate", name]["spec"] for name in ("s3d-webhook-tls", "s3d-webhook-tls-ca"))
    target = CertificateTarget("s3d-system", "s3d-webhook", leaf["secretName"], "s3d")
    assert set(leaf["dnsNames"]) == set(target.hosts)
    assert made["Issuer", leaf["issuerRef"]["name"]]["spec"] == {"ca": {"secretName": authority["secretName"]}}
    assert made["Issuer", authority["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}
    annotations = made["MutatingWebhookConfiguration", "s3d"]["metadata"]["annotations"]
    assert annotations == {"cert-manager.io/inject-ca-from": "s3d-system/s3d-webhook-tls"}
    assert parser().parse_args(args_of("s3d-webhook", BY_CERT_MANAGER)).secret == leaf["secretName"]


@pytest.mark.checklist(59)
def test_cert_manager_issues_from_an_issuer_that_is_there() -> None:
    issuer = 'certificate.certManager={"enabled":true,"issuerRef":{"kind":"ClusterIssuer","name":"corp"}}'
    made = objects(issuer)
    assert made["Certificate", "s3d-webhook-tls"]["spec"]["issuerRef"] == {"kind": "ClusterIssuer", "name": "corp"}
    assert not [name for kind, name in made if kind == "Issuer" or name.endswith("-ca")]


@pytest.mark.checklist(59)
def test_a_certificate_of_ones_own_is_read_from_its_secret_and_its_authority_is_in_the_configuration() -> None:
    made = objects(*BY_US)
    assert parser().parse_args(args_of("s3d-webhook", *BY_US)).secret == "mine"
    assert made["Role", "s3d-webhook"]["rules"][0]["resourceNames"] == ["mine"]
    for entry in made["MutatingWebhookConfiguration", "s3d"]["webhooks"]:
        assert base64.b64decode(entry["clientConfig"]["caBundle"]).startswith(b"-----BEGIN CERTIFICATE-----\n")


@pytest.mark.checklist(59)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((BY_CERT_MANAGER, *BY_US), "exclude each other"),
        (BY_US[:1], "needs certificate.caBundle"),
        (BY_US[1:], "needs certificate.existingSecret"),
        ((BY_US[0], 'certificate.caBundle="QUJD"'), "has to be PEM"),
        (('certificate.certManager.issuerRef={"name":"x"}',), "needs certificate.certManager.enabled"),
    ],
)
def test_a_certificate_comes_from_one_place_and_whole(values: tuple[str, ...], said: str) -> None:
    assert said in refusal(*values)


def webhooks(*values: str) -> dict[str, dict[str, Any]]:
    entries = objects(*values)["MutatingWebhookConfiguration", "s3d"]["webhooks"]
    return {entry["name"].split(".")[0]: entry for entry in entries}


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
    assert build.NAME == "s3d"


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
    assert set(re.findall(r"s3d\.dev/[\w-]+", labels["expression"])) == inject.LABELS | {INJECTION}
    assert set(re.findall(r"s3d\.dev/[\w-]+", notes["expression"])) == inject.ANNOTATIONS
    assert f"there are {', '.join(name for name in inject.WRITTEN if name != INJECT)}'" in notes["messageExpression"]
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
    for name, wanted in (("s3d-webhook", {"reviews", "health"}), ("s3d-operator", {"health"})):
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


MONITORED = """
monitoring:
  whenMissing: Render
  labels: {release: prometheus}
  serviceMonitor: {enabled: true, interval: 11s}
  podMonitor: {enabled: true, interval: 12s}
  prometheusRule: {enabled: true, oldestSeconds: 77, queuePercent: 66}
  dashboard: {enabled: true, labels: {grafana: mine}}
"""
KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
METRIC = re.compile(r"\bs3d_[a-z0-9_]+\b")


def monitored(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    return objects(*given(MONITORED), *values)


def alerts(*values: str) -> dict[str, dict[str, Any]]:
    groups = monitored(*values)["PrometheusRule", "s3d"]["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def series() -> set[str]:
    """The names of all time series that daemon, webhook and reconciler show."""
    metrics = Metrics()
    metrics.count_request("PutObject", 200, 0.1)
    registries = (metrics.registry, WebhookMetrics().registry, ReconcilerMetrics().registry)
    shown = [line for registry in registries for line in generate_latest(registry).decode().splitlines()]
    families = {line.split(" ")[2] for line in shown if line.startswith("# TYPE")}
    return families | {f"{name}_bucket" for name in families}


@pytest.mark.checklist(58)
@pytest.mark.checklist(61)
def test_what_is_for_prometheus_is_there_when_it_is_asked_for_with_the_labels_it_is_found_by() -> None:
    assert not {kind for kind, name in objects() if kind in KINDS or name in {"s3d-metrics", "s3d-dashboard"}}
    made = monitored()
    for kind, name, interval in (("ServiceMonitor", "s3d", "11s"), ("PodMonitor", "s3d-sidecars", "12s")):
        assert made[kind, name]["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = made[kind, name]["spec"].get("endpoints") or made[kind, name]["spec"]["podMetricsEndpoints"]
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", interval)
    assert made["PrometheusRule", "s3d"]["metadata"]["labels"]["release"] == "prometheus"
    assert made["ConfigMap", "s3d-dashboard"]["metadata"]["labels"]["grafana"] == "mine"


@pytest.mark.checklist(58)
def test_a_kind_that_the_cluster_does_not_know_is_said_or_left_out_as_told() -> None:
    monitor = "monitoring.podMonitor.enabled=true"
    assert "the cluster knows no PodMonitor" in refusal(monitor)
    assert not KINDS & {kind for kind, _ in objects(monitor, 'monitoring.whenMissing="Skip"')}
    known = ("--set-json", monitor, "--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    done = helm("template", "s3d", str(CHART), *known, "--show-only", "templates/monitors.yaml")
    assert "kind: PodMonitor" in done.stdout


@pytest.mark.checklist(58)
def test_the_service_monitor_finds_webhook_and_reconciler_and_the_pod_monitor_the_sidecars() -> None:
    made = monitored()
    service, monitor = made["Service", "s3d-metrics"], made["ServiceMonitor", "s3d"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    (port,), (endpoint,) = service["spec"]["ports"], monitor["endpoints"]
    assert endpoint["port"] == port["name"]
    for name in ("s3d-operator", "s3d-webhook"):
        assert service["spec"]["selector"].items() <= labels_of(name).items()
        ports = {each["name"]: each["containerPort"] for each in pod_spec(name)["containers"][0]["ports"]}
        assert ports[port["targetPort"]] == parser().parse_args(args_of(name)).health_port == port["port"]
    sidecars = made["PodMonitor", "s3d-sidecars"]["spec"]
    assert sidecars["selector"] == {"matchExpressions": [{"key": INJECTED, "operator": "Exists"}]}
    assert sidecars["namespaceSelector"] == {"any": True}
    injected = list(yaml.safe_load_all((Path(__file__).parent / "golden/plain.yaml").read_text()))
    assert f"'name': '{sidecars['podMetricsEndpoints'][0]['port']}', 'containerPort': 33334" in str(injected)


@pytest.mark.checklist(52)
def test_alerts_and_dashboard_ask_for_what_is_measured() -> None:
    asked = {name for rule in alerts().values() for name in METRIC.findall(rule["expr"])}
    dashboard = json.loads(monitored()["ConfigMap", "s3d-dashboard"]["data"]["s3d.json"])
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(map(METRIC.findall, shown))
    asked |= {name for expression in shown for name in METRIC.findall(expression)}
    assert asked <= series(), "nobody measures this"


@pytest.mark.checklist(52)
def test_thresholds_are_values_and_whoever_scrapes_no_webhook_is_not_told_that_it_is_down() -> None:
    assert "> 77" in alerts()["S3DChangesOld"]["expr"]
    assert "> 66" in alerts()["S3DQueueAlmostFull"]["expr"]
    assert 'job="s3d-metrics"' in alerts()["S3DWebhookDown"]["expr"]
    only = 'monitoring={"whenMissing":"Render","prometheusRule":{"enabled":true}}'
    groups = objects(only)["PrometheusRule", "s3d"]["spec"]["groups"]
    assert "S3DWebhookDown" not in {rule["alert"] for group in groups for rule in group["rules"]}
    for rule in alerts().values():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


SIDECAR = 'namespace="shop",pod="p"'
WELL = {
    f's3d_queue_pending_changes{{{SIDECAR},state="parked"}}': "0x30",
    f's3d_queue_pending_changes{{{SIDECAR},state="waiting"}}': "7x30",
    f"s3d_queue_limit_changes{{{SIDECAR}}}": "100x30",
    f"s3d_queue_pending_bytes{{{SIDECAR}}}": "10x30",
    f"s3d_queue_limit_bytes{{{SIDECAR}}}": "100x30",
    f"s3d_queue_oldest_age_seconds{{{SIDECAR}}}": "5x30",
    f"s3d_queue_paused_lanes{{{SIDECAR}}}": "0x30",
    f"s3d_remote_up{{{SIDECAR}}}": "NaN " * 30,
    f"s3d_store_failures_total{{{SIDECAR}}}": "3x30",
    'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="a"}': "1x30",
    'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="b"}': "0x30",
    'up{namespace="s3d-system",job="s3d-metrics",component="operator",pod="c"}': "1x30",
    's3d_operator_heartbeat_timestamp_seconds{namespace="s3d-system"}': "0+60x30",
    's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="a"}': f"{8 * 86400}x30",
    's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="b"}': "0x30",
    's3d_webhook_admissions_total{namespace="s3d-system",result="error"}': "2x30",
    's3d_operator_data_at_risk{namespace="shop",gateway="default"}': "0x30",
    's3d_operator_data_at_risk{namespace="shop",gateway="unknown"}': "NaN " * 30,
    's3d_operator_lost_changes_total{namespace="shop",gateway="default"}': "5x30",
}
ILL = {
    "S3DChangesParked": {f's3d_queue_pending_changes{{{SIDECAR},state="parked"}}': "1x30"},
    "S3DChangesOld": {f"s3d_queue_oldest_age_seconds{{{SIDECAR}}}": "78x30"},
    "S3DQueueAlmostFull": {f"s3d_queue_pending_bytes{{{SIDECAR}}}": "67x30"},
    "S3DRemoteAway": {f"s3d_remote_up{{{SIDECAR}}}": "0x30"},
    "S3DRemoteRefuses": {f"s3d_queue_paused_lanes{{{SIDECAR}}}": "1x30"},
    "S3DDiskFails": {f"s3d_store_failures_total{{{SIDECAR}}}": "3+1x30"},
    "S3DWebhookDown": {'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="a"}': "0x30"},
    "S3DOperatorDown": {'up{namespace="s3d-system",job="s3d-metrics",component="operator",pod="c"}': "0x30"},
    "S3DOperatorStuck": {'s3d_operator_heartbeat_timestamp_seconds{namespace="s3d-system"}': "0x30"},
    "S3DCertificateEnds": {
        's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="a"}': f"{7 * 86400}x30"
    },
    "S3DAdmissionErrors": {'s3d_webhook_admissions_total{namespace="s3d-system",result="error"}': "2x20 3x9"},
    "S3DDataAtRisk": {'s3d_operator_data_at_risk{namespace="shop",gateway="default"}': "1x30"},
    "S3DChangesLost": {'s3d_operator_lost_changes_total{namespace="shop",gateway="new"}': "_x20 1x9"},
}
"""What makes each alert fire, where all else is well."""


@pytest.mark.checklist(52)
@pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not here; e2e/cluster/prometheus.sh takes it from Debian's package"
)
def test_each_alert_fires_for_its_cause_alone_and_none_while_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(monitored()["PrometheusRule", "s3d"]["spec"]))
    assert ILL.keys() == alerts().keys()
    tests = []
    for alert, cause in {"": {}, **ILL}.items():
        fires = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
        expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
        tests.append(
            {
                "name": alert,
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in {**WELL, **cause}.items()],
                "promql_expr_test": [{"expr": expression, "eval_time": "25m", "exp_samples": fires}],
            }
        )
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    for words in (("check", "rules", "--lint-fatal", "rules.yaml"), ("test", "rules", "tests.yaml")):
        done = subprocess.run(
            [str(PROMTOOL), *words], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr


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
    (crd,) = yaml.safe_load(annotations["crds"])
    definition = objects()["CustomResourceDefinition", crd["name"]]["spec"]
    assert (crd["kind"], crd["version"]) == (definition["names"]["kind"], definition["versions"][0]["name"])
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
        ("MutatingWebhookConfiguration", "s3d", [".webhooks[].clientConfig.caBundle"])
    ]
    for entry in webhooks().values():
        assert "caBundle" not in entry["clientConfig"]


SHOWN = """
kind: Notes
text: |
  {{- tpl (.Files.Get "NOTES.txt") . | nindent 2 }}
"""


def notes(directory: Path, *values: str) -> str:
    """What is printed after an installation; without a cluster helm shows it as an object only."""
    copy = directory / "s3d"
    if not copy.exists():
        shutil.copytree(CHART, copy)
        (copy / "templates/NOTES.txt").rename(copy / "NOTES.txt")
        (copy / "templates/shown.yaml").write_text(SHOWN)
    sets = [part for value in values for part in ("--set-json", value)]
    shown = ("--namespace", "s3d-system", "--show-only", "templates/shown.yaml")
    done = helm("template", "s3d", str(copy), *shown, *sets)
    assert done.returncode == 0, done.stderr
    text: str = yaml.safe_load(done.stdout)["text"]
    return text


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
