import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from s3d_operator.crd import files, s3gateway, sync_folder
from s3d_operator.schema import CPU_PATTERN, MESSAGES, SIZE_PATTERN

ROOT = Path(__file__).parents[2]
VERSION, FOLDER_VERSION = (made["spec"]["versions"][0] for made in (s3gateway(), sync_folder()))
SCHEMA, FOLDER_SCHEMA = (version["schema"]["openAPIV3Schema"] for version in (VERSION, FOLDER_VERSION))
EACH = pytest.mark.parametrize("schema", [SCHEMA, FOLDER_SCHEMA], ids=["s3gateways", "syncfolders"])
SPEC = SCHEMA["properties"]["spec"]["properties"]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node of a schema and where it is."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


@pytest.mark.parametrize("path", list(files()), ids=str)
def test_a_generated_file_is_what_the_models_say(path: Path) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == files()[path], "run `s3d-operator crds`"


@EACH
def test_the_schema_is_structural(schema: dict[str, Any]) -> None:
    """Every node has a type, and nothing in it is what the API server refuses."""
    for path, node in nodes(schema):
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
        assert not node.keys() & {"$ref", "$defs", "title", "anyOf", "const", "nullable"}, path
        assert node.get("additionalProperties") is not False, path


@EACH
def test_every_field_says_what_it_is(schema: dict[str, Any]) -> None:
    undocumented = [path for path, node in nodes(schema) if "description" not in node and "properties" not in node]
    assert [path for path in undocumented if path.startswith(".spec") and not path.endswith("[]")] == []


@EACH
def test_names_are_camel_case(schema: dict[str, Any]) -> None:
    names = [name for _, node in nodes(schema) for name in node.get("properties", {})]
    assert [name for name in names if "_" in name or name[0].isupper()] == []


@EACH
def test_what_rules_and_selectors_walk_is_bounded(schema: dict[str, Any]) -> None:
    """The API server refuses a rule whose cost it cannot bound."""
    for path, node in nodes(schema):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "object" and "additionalProperties" in node:
            assert "maxProperties" in node, path
        if node.get("type") == "string" and path.startswith(".spec"):
            assert node.keys() & {"maxLength", "enum"}, path


def test_an_absent_object_has_the_defaults_of_its_members() -> None:
    queue = {name: child["default"] for name, child in SPEC["writeQueue"]["properties"].items() if "ilter" not in name}
    assert SPEC["writeQueue"]["default"] == queue
    assert SPEC["volume"]["default"] == {"emptyDir": {"sizeLimit": "3Gi"}}
    assert "default" not in SPEC["volume"]["properties"]["emptyDir"]
    assert SPEC["resources"]["default"]["limits"] == {"memory": "256Mi"}
    assert "default" not in SPEC["remote"]


def test_status_is_a_subresource_with_conditions_by_type() -> None:
    conditions = SCHEMA["properties"]["status"]["properties"]["conditions"]
    assert VERSION["subresources"] == {"status": {}}
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]
    assert set(conditions["items"]["required"]) == {
        "type",
        "status",
        "observedGeneration",
        "lastTransitionTime",
        "reason",
        "message",
    }


def test_a_person_finds_it_by_short_name_and_category() -> None:
    names = s3gateway()["spec"]["names"]
    assert names["shortNames"] == ["s3gw"]
    assert names["categories"] == ["s3d"]


def test_quantities_are_numbers_or_text() -> None:
    said = {node["x-kubernetes-validations"][0]["message"] for _, node in nodes(SCHEMA) if is_quantity(node)}
    assert said == {MESSAGES[SIZE_PATTERN], MESSAGES[CPU_PATTERN]}


def is_quantity(node: dict[str, Any]) -> bool:
    return bool(node.get("x-kubernetes-int-or-string"))


@EACH
def test_no_person_is_shown_a_regular_expression(schema: dict[str, Any]) -> None:
    assert [path for path, node in nodes(schema) if path.startswith(".spec") and "pattern" in node] == []


@pytest.mark.parametrize("plural", ["s3gateways", "syncfolders"])
def test_the_chart_keeps_the_definitions_on_uninstall_if_told_so(plural: str) -> None:
    made = files()
    plain = made[Path(f"crds/s3d.dev_{plural}.yaml")]
    template = made[Path(f"charts/s3d/templates/crd-{plural}.yaml")]
    lines = itertools.filterfalse(lambda line: "{{" in line, template.splitlines())
    definition = yaml.safe_load("\n".join(lines))
    assert definition["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert definition == yaml.safe_load(plain)


def test_a_row_of_a_sync_folder_says_first_whether_it_is_equal() -> None:
    """What `kubectl get syncfolders` shows, without -o wide."""
    shown = [column["name"] for column in FOLDER_VERSION["additionalPrinterColumns"] if not column["priority"]]
    assert shown == ["Synced", "Reason", "Pods", "Files", "Unsent", "Conflicts", "Equal", "Seen", "Age"]
    assert sync_folder()["spec"]["names"]["shortNames"] == ["syncf"]
