"""Writes docs/settings.md to standard output, from the fields of s3d.config. `make generate` runs it."""

import sys
import types
import typing
from collections.abc import Iterator

from pydantic_core import PydanticUndefined

from s3d.config import SECTIONS
from s3d.settings.section import reloads, setting_name
from s3d.settings.sync_folder import Folders
from s3d.settings.values import Bytes, Duration, Filter, Names, show_duration

INTRODUCTION = """\
# Settings

Generated from `sidecar/s3d/settings/` by `make generate`.

Every setting is an environment variable, or a member of the file that `S3D_CONFIG` names (`.toml` or `.json`, or a JSON
object in the variable itself); the environment wins. A name that begins with `S3D_` and is not known is refused with a
suggestion. Sizes are written `512Mi`, `10Gi` or `1000`; durations `500ms`, `30s`, `5m`, `24h` or a number of seconds;
lists with commas.

Settings that say *reloads* are taken over while s3d runs from the file `settings.json` in `S3D_CONFIG_DIR`.

Credentials for the remote are not settings: they are found by the AWS credential chain (environment, profile, container
or instance role), unless `S3D_CREDENTIALS_DIR` or `S3D_REMOTE_IDENTITIES_FILE` names files with them. s3d writes them
nowhere. The chain's own services are asked where `AWS_ENDPOINT_URL_STS` and its like say.
Where `HTTP_PROXY` or `HTTPS_PROXY` name a proxy, the remote is reached through it, unless `NO_PROXY` names
the remote's host; what applications are told by `AWS_ENDPOINT_URL_S3` is not meant for s3d.
"""
NAMES = {str: "text", bool: "true or false", int: "number", float: "number"}


def kind(annotation: object, metadata: tuple[object, ...]) -> str:
    """Say in a word what a value looks like."""
    for known, name in (
        (Bytes, "size"),
        (Duration, "duration"),
        (Names, "list"),
        (Filter, "filter"),
        (Folders, "JSON"),
    ):
        if typing.get_args(known)[1] in metadata:
            return name
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return kind(next(a for a in typing.get_args(annotation) if a is not type(None)), ())
    return NAMES.get(annotation, "path")  # type: ignore[call-overload]


def shown(default: object) -> str:
    """Show a default as a person would write it."""
    match default:
        case None | () | "":
            return ""
        case bool():
            return f"`{str(default).lower()}`"
        case tuple():
            return f"`{','.join(default)}`"
        case float():
            return f"`{show_duration(default)}`"
        case _:
            return f"`{default}`"


def lines() -> Iterator[str]:
    """Yield the document."""
    yield INTRODUCTION
    for _, section in SECTIONS:
        yield f"## {section.title}\n"
        yield "| setting | value | default | what it does |"
        yield "|---|---|---|---|"
        for field in section.model_fields.values():
            computed = field.default is PydanticUndefined
            value = kind(field.annotation, tuple(field.metadata))
            default = "`~/.local/state/s3d`" if computed else shown(field.default)
            if value == "number" and field.default is not None:
                default = f"`{field.default}`"
            text = f"{field.description}{' *Reloads.*' * reloads(field)}"
            yield f"| `{setting_name(field)}` | {value} | {default} | {text} |"
        yield ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
