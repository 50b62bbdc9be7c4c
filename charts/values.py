"""The values of the chart, each once: name, default, what may be given, what it does.

Everything that says something about values comes from here: `make generate` writes charts/s3d/values.yaml (with the
descriptions as comments), values.schema.json (unknown names are refused) and README.md. What values mean together is
checked by the templates (`s3d.check`), since a schema's messages would not say what to do.

Usage: python charts/values.py FOLDER; writes FOLDER/charts/s3d/...
"""

import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

WIDTH = 118
KUBERNETES = "1.31"
IMAGES = "0.1.0"

Filled = Annotated[str, Field(min_length=1)]
Json = dict[str, Any]
PullPolicy = Literal["Always", "IfNotPresent", "Never"]
FailurePolicy = Literal["Fail", "Ignore"]
Validation = Literal["Deny", "Warn", "Off"]


class Section(BaseModel):
    """A part of the values."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        validate_default=True,
        json_schema_serialization_defaults_required=True,
    )


class Resources(Section):
    """Resources of a container."""

    requests: Json = Field(default={}, description="What it is scheduled with.")
    limits: Json = Field(default={}, description="What it may not exceed.")


class Placed(Section):
    """What both Deployments have."""

    affinity: Json = Field(default={}, description="Affinity of its pods.")
    priority_class_name: str = Field(
        default="", description="PriorityClass of its pods, so that others go first where a node is full."
    )
    pod_annotations: dict[str, str] = Field(default={}, description="Annotations of its pods.")
    pod_labels: dict[str, str] = Field(default={}, description="Labels of its pods, besides the chart's.")


class Operator(Placed):
    """What the operator runs from: the reconciler and the webhook are two Deployments of one image."""

    image: Filled = Field(
        default=f"s3d-operator:{IMAGES}",
        description="Image of the reconciler and of the webhook: a name with a tag, a digest or both.",
    )
    pull_policy: PullPolicy = Field(default="IfNotPresent", description="When the image is pulled.")
    resources: Resources = Field(
        default=Resources(requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"}),
        description="Of the reconciler. It has one replica: no admission waits for it.",
    )


class Sidecar(Section):
    """What pods get. Only the owner of the chart chooses images: the author of an S3Gateway cannot."""

    image: Filled = Field(default=f"s3d:{IMAGES}", description="Image of the sidecar, tag or digest included.")
    pull_policy: PullPolicy = Field(default="IfNotPresent", description="When the image is pulled.")


class FailurePolicies(Section):
    """What happens while no replica answers."""

    pod_label: FailurePolicy = Field(
        default="Fail",
        description="Pods that ask by their own label. Fail, since a pod that runs without the gateway it asked for "
        "loses writes.",
    )
    namespace_label: FailurePolicy = Field(default="Ignore", description="Pods of a labelled namespace.")


class Budget(Section):
    """A PodDisruptionBudget."""

    enabled: bool = Field(
        default=True,
        description="A PodDisruptionBudget for the webhook; there is one only where it has two or more replicas, "
        "since it would keep a node from being drained else.",
    )
    max_unavailable: int | Filled = Field(
        default=1, description="How many replicas an eviction may take away at once, as a number or a percentage."
    )


class Webhook(Placed):
    """What gives pods their sidecar."""

    replicas: int = Field(
        default=2, ge=1, description="With two or more replicas, pods are injected also while one is replaced."
    )
    port: int = Field(
        default=10250,
        ge=1024,
        le=65535,
        json_schema_extra={"not": {"const": 8080}},
        description="Port of the container. API servers outside of the cluster's network are often let through to 443 "
        "and 10250 alone. 8080 is the port of health and metrics.",
    )
    timeout_seconds: int = Field(
        default=5, ge=1, le=10, description="How long the API server waits for an answer, in seconds."
    )
    failure_policy: FailurePolicies = Field(
        default=FailurePolicies(), description="What happens while no replica answers."
    )
    excluded_namespaces: list[Filled] = Field(
        default=[],
        description="Namespaces that are never looked at, besides kube-system, kube-public, kube-node-lease and the "
        "release's own.",
    )
    resources: Resources = Field(
        default=Resources(requests={"cpu": "20m", "memory": "96Mi"}, limits={"memory": "256Mi"}),
        description="Of each replica.",
    )
    pod_disruption_budget: Budget = Field(
        default=Budget(), description="What an eviction may do to the webhook: a drained node asks first."
    )
    topology_spread_constraints: list[Json] = Field(
        default=[],
        description="How its pods are spread, in place of the chart's own constraint: over nodes, as far as possible.",
    )


class CertManager(Section):
    """cert-manager issues the webhook's certificate and publishes its CA."""

    enabled: bool = Field(default=False, description="Let cert-manager issue the certificate.")
    issuer_ref: Json = Field(
        default={},
        description="Issuer or ClusterIssuer that signs it, and that says its CA in the Secret. Unset: a CA "
        "of the chart's own, made by cert-manager.",
    )


class Certificate(Section):
    """The webhook's certificate. By default the operator makes one, keeps it in a Secret and replaces it in time."""

    lifetime_hours: int = Field(
        default=2160, ge=1, description="How long a certificate of the operator lives, in hours (90 days)."
    )
    renew_before_hours: int = Field(
        default=720, ge=1, description="How long before its end the operator replaces it, in hours (30 days)."
    )
    settle_seconds: int = Field(
        default=60,
        ge=1,
        le=1800,
        description="How long the CA of the next certificate is published before that is served, in seconds: every API "
        "server has to believe it by then. The former CA stays for ten times as long.",
    )

    cert_manager: CertManager = Field(default=CertManager(), description=CertManager.__doc__)
    existing_secret: str = Field(
        default="",
        description="Secret of the release's namespace with tls.crt and tls.key for SERVICE.NAMESPACE.svc, where the "
        "certificate comes from you. It is loaded anew when it changes.",
    )
    ca_bundle: str = Field(
        default="", description="CA of that certificate, as PEM. While it is replaced, give the old and the new one."
    )


class AdmissionPolicy(Section):
    """A ValidatingAdmissionPolicy: does a pod that opted in have its sidecar, after all webhooks had their turn?"""

    pod_label: Validation = Field(
        default="Deny", description="For pods that ask by their own label: Deny, Warn or Off."
    )
    namespace_label: Validation = Field(
        default="Warn",
        description="For pods of a labelled namespace: Deny, Warn or Off. Deny refuses also those that no S3Gateway "
        "selects.",
    )
    misspelt: Validation = Field(
        default="Deny",
        description="For labels and annotations under s3d.dev/ that mean nothing, at pods and namespaces: Deny, Warn "
        "or Off.",
    )


class NetworkPolicy(Section):
    """What may reach the chart's own pods."""

    enabled: bool = Field(
        default=False,
        description="Let nothing in but reviews, probes and scrapes, from anywhere: neither the API server nor "
        "the kubelet is a pod that a rule could name. What goes out is not limited.",
    )


class Monitor(Section):
    """What Prometheus scrapes."""

    enabled: bool = Field(default=False, description="Make it.")
    interval: Filled = Field(default="30s", description="How often it is scraped.")


class PrometheusRule(Section):
    """Alerts."""

    enabled: bool = Field(default=False, description="Make it.")
    oldest_seconds: int = Field(
        default=900, ge=1, description="Age of the oldest change on its way to a remote that alarms, in seconds."
    )
    queue_percent: int = Field(default=80, ge=1, le=100, description="Filling of a queue that alarms, in percent.")


class Dashboard(Section):
    """A dashboard for Grafana's sidecar, in a ConfigMap."""

    enabled: bool = Field(default=False, description="Make it.")
    labels: dict[str, str] = Field(
        default={"grafana_dashboard": "1"}, description="Labels by which Grafana's sidecar finds it."
    )


class Monitoring(Section):
    """For Prometheus and Grafana. Monitors and rule are of kinds that the Prometheus operator defines."""

    when_missing: Literal["Fail", "Skip", "Render"] = Field(
        default="Fail",
        description="What becomes of a monitor or rule whose kind the cluster does not know: Fail, Skip or Render.",
    )
    labels: dict[str, str] = Field(
        default={}, description="Labels of monitors and rule, by which a Prometheus chooses what is its own."
    )
    service_monitor: Monitor = Field(
        default=Monitor(), description="A ServiceMonitor for webhook and reconciler, and the Service it names."
    )
    pod_monitor: Monitor = Field(default=Monitor(), description="A PodMonitor for the sidecars of all namespaces.")
    prometheus_rule: PrometheusRule = Field(
        default=PrometheusRule(),
        description="A PrometheusRule. Those about webhook and reconciler are in it with the ServiceMonitor alone.",
    )
    dashboard: Dashboard = Field(default=Dashboard(), description=Dashboard.__doc__)


class Jobs(Section):
    """Jobs that deliver what is pending in a claim whose pod is gone."""

    namespaces: list[Filled] = Field(
        default=[],
        description="Namespaces in which the operator may create them. Who creates a Job creates pods, and a pod can "
        "mount any Secret of its namespace: name those alone where that is meant. They have to exist.",
    )


class Drain(Section):
    """What is pending after a pod's end."""

    jobs: Jobs = Field(default=Jobs(), description=Jobs.__doc__)


class Trial(Section):
    """`helm test`: a pod that puts and gets an object through its sidecar."""

    namespace: str = Field(
        default="",
        description="Namespace with an S3Gateway to try, remote included. Unset: one is made for the time of the test, "
        "with a gateway whose remote is nowhere; it shows injection and queue.",
    )
    bucket: Filled = Field(default="helm-test", description="Bucket of the object.")


class Crds(Section):
    """The CustomResourceDefinitions."""

    enabled: bool = Field(default=True, description="Install them with the chart, and upgrade them with it.")
    keep: bool = Field(
        default=True, description="Keep them, and with them every S3Gateway, when the chart is uninstalled."
    )


class PullSecret(Section):
    """A reference to a Secret."""

    name: Filled = Field(description="Its name.")


class Values(Section):
    """Values of the chart s3d."""

    operator: Operator = Field(default=Operator(), description=Operator.__doc__)
    sidecar: Sidecar = Field(default=Sidecar(), description=Sidecar.__doc__)
    webhook: Webhook = Field(default=Webhook(), description=Webhook.__doc__)
    certificate: Certificate = Field(default=Certificate(), description=Certificate.__doc__)
    admission_policy: AdmissionPolicy = Field(default=AdmissionPolicy(), description=AdmissionPolicy.__doc__)
    network_policy: NetworkPolicy = Field(default=NetworkPolicy(), description=NetworkPolicy.__doc__)
    monitoring: Monitoring = Field(default=Monitoring(), description=Monitoring.__doc__)
    drain: Drain = Field(default=Drain(), description=Drain.__doc__)
    test: Trial = Field(default=Trial(), description=Trial.__doc__)
    crds: Crds = Field(default=Crds(), description=Crds.__doc__)
    image_pull_secrets: list[PullSecret] = Field(
        default=[],
        description="Secrets of the release's namespace with which its own images are pulled. A pod that gets a "
        "sidecar pulls with its own.",
    )
    node_selector: dict[str, str] = Field(default={}, description="Nodes that the chart's own pods may run on.")
    pod_security_context: Json = Field(
        default={
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        description="Security context of the chart's own pods, as the profile `restricted` wants it. Where the "
        "platform gives out users itself (OpenShift), set runAsUser and runAsGroup to null.",
    )
    security_context: Json = Field(
        default={
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        description="Security context of their containers.",
    )
    tolerations: list[Json] = Field(default=[], description="Taints that the chart's own pods tolerate.")


def leaves(section: Section, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield the path, default and description of each value."""
    for name, field in type(section).model_fields.items():
        at, value = f"{path}{field.alias}", getattr(section, name)
        if opens(value):
            yield from leaves(value, f"{at}.")
        else:
            yield at, plain(value), field.description or ""


def opens(value: object) -> bool:
    """Whether a value is shown member by member."""
    return isinstance(value, Section) and not isinstance(value, Resources)


def plain(value: Any) -> Any:
    """A default as YAML knows it."""
    return value.model_dump() if isinstance(value, Section) else value


def flow(value: Any) -> str:
    """A default in one line of YAML."""
    if value == "":
        return '""'
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("...\n").strip()


def values_yaml(section: Section, indent: str = "") -> Iterator[str]:
    """Yield the lines of values.yaml."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if not indent and name != next(iter(type(section).model_fields)):
            yield ""
        comment = f"{indent}# "
        yield from textwrap.wrap(
            field.description or "",
            WIDTH,
            initial_indent=comment,
            subsequent_indent=comment,
            break_long_words=False,
            break_on_hyphens=False,
        )
        if opens(value):
            yield f"{indent}{field.alias}:"
            yield from values_yaml(value, f"{indent}  ")
        elif isinstance(value, Resources):
            yield f"{indent}{field.alias}:"
            yield from (f"{indent}  {part}: {flow(given)}" for part, given in value.model_dump().items())
        else:
            yield f"{indent}{field.alias}: {flow(plain(value))}"


def schema() -> Json:
    """The JSON schema, without references: what cannot be meant is refused before anything is rendered."""
    # As it is written, every member is there: a template meets no value that somebody took away with null.
    made = Values.model_json_schema(by_alias=True, mode="serialization")
    definitions = made.pop("$defs", {})

    def inlined(node: Any) -> Any:
        if isinstance(node, list):
            return [inlined(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            rest = {key: value for key, value in node.items() if key != "$ref"}
            node = {**definitions[node["$ref"].removeprefix("#/$defs/")], **rest}
        members = {key: inlined(value) for key, value in node.items() if key not in {"title", "default", "properties"}}
        if "properties" in node:
            # A member may be called title or default.
            members["properties"] = {name: inlined(value) for name, value in node["properties"].items()}
        return members

    out: Json = {"$schema": "http://json-schema.org/draft-07/schema#", **inlined(made)}
    # Helm hands these to every chart.
    out["properties"]["global"] = {"type": "object"}
    return out


README = f"""\
# The chart of s3d

Generated from `charts/values.py` by `make generate`.

    helm install s3d charts/s3d -n s3d-system --create-namespace

What to do next is in the notes that this prints; [docs/KUBERNETES.md](../../docs/KUBERNETES.md) has the rest: the first
gateway, what is promised in a pod, upgrades, uninstalling, and what to look at when something is wrong.

| needs | |
|---|---|
| Kubernetes | {KUBERNETES} or newer: native sidecars that get their SIGTERM, match conditions, admission policies |
| Helm | 3.14 or newer; none with `dist/install.yaml` |

## Values

A name that is not in this table is refused.

| value | default | what it does |
|---|---|---|
"""


def readme() -> str:
    """The chart's README."""
    rows = (f"| `{path}` | `{flow(value)}` | {text} |\n" for path, value, text in leaves(Values()))
    return README + "".join(rows)


def main(folder: Path) -> None:
    """Write all that is generated."""
    chart = folder / "charts/s3d"
    chart.mkdir(parents=True, exist_ok=True)
    head = "# Generated from charts/values.py by `make generate`; do not edit.\n\n"
    (chart / "values.yaml").write_text(head + "\n".join(values_yaml(Values())) + "\n", encoding="utf-8")
    (chart / "values.schema.json").write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")
    (chart / "README.md").write_text(readme(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
