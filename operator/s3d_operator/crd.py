"""CustomResourceDefinitions out of the models of specs and status: where Python becomes Kubernetes.

The generated files are kept in the repository, and `make check` holds them equal to what this module makes: `crds/` for
`kubectl apply --server-side -f`, and the chart's template, which keeps them on uninstall.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from s3d_operator.folder_status import SyncFolderStatus
from s3d_operator.gateway_status import S3GatewayStatus
from s3d_operator.names import API_VERSION, GROUP, S3_GATEWAY, SYNC_FOLDER, VERSION
from s3d_operator.schema import MESSAGES, Resource, Rule
from s3d_operator.spec import S3GatewaySpec, SyncFolderSpec

Column = tuple[str, str, str, int]
CONDITION = ".status.conditions[?(@.type=='{}')].{}"
NAME_RULE = Rule(
    "size(self.metadata.name) <= 63", "metadata.name is longer than 63 letters: it is the value of a label of the pods"
)
Schema = dict[str, Any]


def s3gateway() -> dict[str, Any]:
    """The definition of S3Gateway."""
    columns = [
        ("Ready", "string", CONDITION.format("Ready", "status"), 0),
        ("Reason", "string", CONDITION.format("Ready", "reason"), 0),
        ("Pods", "integer", ".status.pods.injected", 0),
        ("Pending", "integer", ".status.pending.changes", 0),
        ("Oldest", "date", ".status.pending.oldestSince", 0),
        ("At-Risk", "string", CONDITION.format("DataAtRisk", "status"), 0),
        ("Lost", "integer", ".status.lost.changes", 0),
        ("Seen", "date", ".status.observedAt", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Parked", "integer", ".status.pending.parked", 1),
        ("Endpoint", "string", ".spec.remote.endpoint", 1),
        ("Message", "string", CONDITION.format("Ready", "message"), 1),
    ]
    return definition("S3Gateway", S3_GATEWAY, "s3gw", columns, (S3GatewaySpec, S3GatewayStatus), [NAME_RULE])


def sync_folder() -> dict[str, Any]:
    """The definition of SyncFolder."""
    columns = [
        ("Synced", "string", CONDITION.format("Synced", "status"), 0),
        ("Reason", "string", CONDITION.format("Ready", "reason"), 0),
        ("Pods", "integer", ".status.pods.synced", 0),
        ("Files", "integer", ".status.files", 0),
        ("Unsent", "integer", ".status.unsent", 0),
        ("Conflicts", "integer", ".status.conflicts", 0),
        ("Equal", "date", ".status.equalAt", 0),
        ("Seen", "date", ".status.observedAt", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Gateway", "string", ".spec.gatewayRef.name", 1),
        ("Bucket", "string", ".spec.bucket", 1),
        ("Prefix", "string", ".spec.prefix", 1),
        ("Message", "string", CONDITION.format("Ready", "message"), 1),
    ]
    return definition("SyncFolder", SYNC_FOLDER, "syncf", columns, (SyncFolderSpec, SyncFolderStatus))


def definition(
    kind: str,
    plural: str,
    short_name: str,
    columns: Sequence[Column],
    models: tuple[type[Resource], type[Resource]],
    rules: Sequence[Rule] = (),
) -> dict[str, Any]:
    """The definition of a kind, by the models of its spec and its status."""
    spec, status = models
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short_name],
                "categories": ["s3d"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": of, "jsonPath": path, "priority": priority}
                        for name, of, path, priority in columns
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": f"{kind} of {API_VERSION}: {spec.__doc__}",
                            "required": ["spec"],
                            **({"x-kubernetes-validations": [rule._asdict() for rule in rules]} if rules else {}),
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": in_words(schema_of(spec)),
                                "status": schema_of(status),
                            },
                        }
                    },
                }
            ],
        },
    }


def schema_of(model: type[Resource]) -> Schema:
    """The structural schema of a model: references inlined, null and titles gone, defaults on the leaves."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})
    return structural(schema, definitions)


def structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """Rewrite one node of pydantic's JSON Schema."""
    if "$ref" in node:
        node = {**definitions[node["$ref"].removeprefix("#/$defs/")], **{k: v for k, v in node.items() if k != "$ref"}}
    if "anyOf" in node:
        (only,) = (choice for choice in node["anyOf"] if choice != {"type": "null"})
        return structural({**only, **{k: v for k, v in node.items() if k != "anyOf"}}, definitions)
    out = {key: value for key, value in node.items() if key not in {"title", "additionalProperties", "default"}}
    if "properties" in node:
        out["properties"] = {name: structural(child, definitions) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = structural(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = structural(node["additionalProperties"], definitions)
    default = node.get("default")
    if "properties" in node and default is not None:
        # In full, since the API server judges a default by the rules before it completes it.
        out["default"] = given(default)
    elif default not in (None, []):
        out["default"] = default
    return out


def in_words(schema: Schema) -> Schema:
    """Put a rule with a message in the place of each pattern: a person would be shown the regular expression alone."""
    out = {key: value for key, value in schema.items() if key != "pattern"}
    if pattern := schema.get("pattern"):
        # Only of a string that is one does the API server know how long it is, and so what the rule costs.
        text = "self" if schema.get("type") == "string" else "string(self)"
        rule = Rule(f"{text}.matches(r'{pattern}')", MESSAGES[pattern])
        out["x-kubernetes-validations"] = [*schema.get("x-kubernetes-validations", []), rule._asdict()]
    if "properties" in schema:
        out["properties"] = {name: in_words(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in schema:
            out[key] = in_words(schema[key])
    return out


def given(default: Any) -> Any:
    """A default without what it leaves unset."""
    if not isinstance(default, dict):
        return default
    return {name: given(value) for name, value in default.items() if value not in (None, [])}


def files() -> dict[Path, str]:
    """What is generated: paths relative to the repository, and their text. The definitions are in `crds/`."""
    made: dict[Path, str] = {}
    for source, crd in (("gateway", s3gateway()), ("folder", sync_folder())):
        plural = crd["spec"]["names"]["plural"]
        head_line = f"# Generated from operator/s3d_operator/spec/{source}.py by `s3d-operator crds`; do not edit.\n"
        plain = yaml.safe_dump(crd, width=120, allow_unicode=True)
        if "{{" in plain:
            raise ValueError("a description would be taken for a template by Helm")
        head, metadata, rest = plain.partition("metadata:\n")
        keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
        template = f"{head_line}{{{{- if .Values.crds.enabled }}}}\n{head}{metadata}{keep}{rest}{{{{- end }}}}\n"
        made[Path(f"crds/{GROUP}_{plural}.yaml")] = head_line + plain
        made[Path(f"charts/s3d/templates/crd-{plural}.yaml")] = template
    return made
