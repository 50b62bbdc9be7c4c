"""`run`: read the settings and become the daemon. The only command that loads its parts."""

import argparse
import json
import os
import textwrap
from typing import TYPE_CHECKING, get_args

from s3d.cli import terminal
from s3d.secrecy import hide_memory

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

WIDTH, INDENT = 100, " " * 6


def run(options: argparse.Namespace) -> int:
    """Run until a signal ends it; with --drain, until all is delivered; with --check, only show the settings.

    Raises ConfigError where the settings, or the files that they name, are wrong.
    """
    from s3d import config
    from s3d.settings import known_settings

    insecure = {"S3D_INSECURE": "true"} if options.insecure else {}
    settings = config.load({**os.environ, **insecure})
    if not options.check:
        from s3d import daemon

        hide_memory()
        return daemon.main(settings, serves=not options.drain)
    if settings.gateway.access_keys_file:
        from s3d.door.keys import DoorKeys

        DoorKeys(settings.gateway.access_keys_file)
    values = {
        variable: show(getattr(getattr(settings, section), name), field)
        for variable, section, name, field in known_settings()
    }
    if options.json:
        terminal.print_json(values)
    elif terminal.is_terminal():
        for name, value in values.items():
            print(f"{terminal.paint(f'{name:<26}', 'bold')}{value}")
    else:
        for name, value in values.items():
            terminal.print_fields(name, value)
    return 0


def show(value: object, field: "FieldInfo") -> str:
    """A setting's value in the form in which it can be set."""
    from s3d.settings.sync_folder import NamedFolder
    from s3d.settings.values import Duration, show_duration

    match value:
        case float() if get_args(Duration)[1] in field.metadata:
            return show_duration(value)
        case None:
            return ""
        case tuple() if value and isinstance(value[0], NamedFolder):
            fields = NamedFolder.model_fields
            given = [{name: getattr(one, name) for name in fields if name in one.model_fields_set} for one in value]
            return json.dumps(given, default=str)
        case tuple():
            return ",".join(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def reference() -> str:
    """The settings with their defaults and their help, for `s3d run --help`."""
    from s3d.settings import SECTIONS, known_settings

    lines: list[str] = []
    titles = {section: model.title for section, model in SECTIONS}
    for variable, section, _, field in known_settings():
        if section in titles:
            lines += ["", f"{titles.pop(section)}:"]
        default = show(field.get_default(call_default_factory=True, validated_data={}), field)
        lines.append(f"  {variable}" + (f"={default}" if default else ""))
        lines += textwrap.wrap(field.description or "", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    return "\n".join(lines)
