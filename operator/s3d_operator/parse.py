"""Reading our resources as the API server gives them, also where their definitions are of a newer release."""

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from s3d.errors import ConfigError
from s3d_operator.schema import Resource
from s3d_operator.spec import S3GatewaySpec

Spec = TypeVar("Spec", bound=Resource)


def parse_gateway(raw: dict[str, Any]) -> tuple[S3GatewaySpec, list[str]]:
    """Read an S3Gateway as the API server gave it, in the same way."""
    return parse_spec(S3GatewaySpec, raw)


def parse_spec(model: type[Spec], raw: dict[str, Any]) -> tuple[Spec, list[str]]:
    """Read a resource as the API server gave it: its spec, and the fields of it that are ignored.

    A newer definition puts the defaults of its new fields into every resource, also while replicas of before serve.
    What such a default says was the case before there was the field, so one that nobody has written is ignored. One
    that somebody has written is not: pods would be made without what was asked for.

    Raises ConfigError naming each field that cannot be used: one whose CRD is of another version of this operator.
    """
    spec = raw.get("spec") or {}
    try:
        return model.model_validate(spec), []
    except ValidationError as error:
        found = error.errors()
    ignored = [e for e in found if e["type"] == "extra_forbidden" and not is_written(raw, ("spec", *e["loc"]))]
    if problems := [e for e in found if e not in ignored]:
        raise ConfigError(
            said_of(problems),
            hint="the CustomResourceDefinition and the operator are of different versions; upgrade both",
        )
    return model.model_validate(spec, extra="ignore"), [field_of(e["loc"]) for e in ignored]


def said_of(errors: list[ErrorDetails]) -> str:
    """What is wrong with a spec, field by field."""
    return "; ".join(f"{field_of(error['loc'])}: {error['msg']}" for error in errors)


def field_of(place: tuple[int | str, ...]) -> str:
    """A field of a spec as a person writes it."""
    return ".".join(("spec", *map(str, place)))


def is_written(raw: dict[str, Any], place: tuple[int | str, ...]) -> bool:
    """Whether somebody has written a field, rather than the API server by a default: by the fields that it says are
    managed. Where it says nothing, that is not known, and taken for yes."""
    managed = raw["metadata"].get("managedFields")
    return not managed or any(holds(fields, place) for each in managed if (fields := each.get("fieldsV1")))


def holds(fields: dict[str, Any], place: tuple[int | str, ...]) -> bool:
    """Whether managed fields (FieldsV1 of the API) hold a place; what is not divided further is held whole.

    Entries of a list go by their keys there and by their number here: any of them will do.
    """
    if not place or not fields:
        return True
    if isinstance(place[0], int):
        return any(holds(child, place[1:]) for name, child in fields.items() if name != ".")
    child = fields.get(f"f:{place[0]}")
    return child is not None and holds(child, place[1:])
