"""What a section and its fields are made of."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """The settings of one part. Only `reload` ever changes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
    title: ClassVar[str]


def setting(name: str, default: Any, help_text: str, *, reloads: bool = False, **constraints: Any) -> Any:
    """Declare a field that is set by the variable `name`; `help_text` is its documentation everywhere.

    With `reloads` everybody who uses it looks at it each time, so that `reload` may change it.
    """
    extra: dict[str, Any] = {"setting": name, "reloads": reloads}
    if callable(default):
        return Field(default_factory=default, description=help_text, json_schema_extra=extra, **constraints)
    return Field(default=default, description=help_text, json_schema_extra=extra, **constraints)


def setting_name(field: FieldInfo) -> str:
    """The variable that sets a field."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError("a field of a section is declared with setting()")
    return str(extra["setting"])


def reloads(field: FieldInfo) -> bool:
    """Whether a setting may change while the daemon runs."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra["reloads"])
