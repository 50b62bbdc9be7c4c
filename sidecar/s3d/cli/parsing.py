"""How the command line is parsed, and how its help is set out."""

import argparse
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

MAX_NAMES = 28
"""Columns of the names of arguments; what is longer has a line of its own."""


class Help(argparse.RawDescriptionHelpFormatter):
    """Help as wide as the terminal. argparse makes one for every argument that it learns of, and asks for the width by
    a module that takes longer to load than all of them."""

    def __init__(self, prog: str) -> None:
        """Take the name of the command."""
        super().__init__(prog, width=columns() - 2, max_help_position=MAX_NAMES)

    def add_argument(self, action: argparse.Action) -> None:
        """Take an argument. Commands stand further in than their list, which argparse does not reckon with."""
        super().add_argument(action)
        if action.nargs == argparse.PARSER:
            self._action_max_length += self._indent_increment


def columns() -> int:
    """The width that COLUMNS or the terminal has; 80 where there is neither."""
    with suppress(ValueError):
        if (told := int(os.environ.get("COLUMNS", ""))) > 0:
            return told
    with suppress(OSError):
        return os.get_terminal_size().columns or 80
    return 80


class Parser(argparse.ArgumentParser):
    """A parser that leaves its epilog as it is written, and can make it when somebody reads it."""

    def __init__(
        self,
        prog: str | None = None,
        *,
        late_epilog: Callable[[], str] | None = None,
        mixed: bool = False,
        **options: Any,
    ) -> None:
        """Take what ArgumentParser takes, what makes the epilog, and whether options may stand between arguments of
        which one may be left out."""
        super().__init__(prog, formatter_class=Help, allow_abbrev=False, **options)
        self.late_epilog = late_epilog
        self._mixed = mixed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse. What argparse has for options between arguments parses twice, by this method."""
        if not self._mixed:
            return super().parse_known_args(args, namespace)
        self._mixed = False
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixed = True

    def format_help(self) -> str:
        """The help in full."""
        if self.late_epilog:
            self.epilog = self.late_epilog()
        return super().format_help()
