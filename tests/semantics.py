"""docs/SEMANTICS.md and docs/CHECKLIST.md, and the tests that quote them, read from their sources."""

import ast
import functools
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "SEMANTICS.md"
CHECKLIST = ROOT / "docs" / "CHECKLIST.md"
QUOTING = re.compile(r"pytest\.mark\.(semantics|checklist)\(")


@functools.cache
def sentences() -> tuple[str, ...]:
    """The numbers of all sentences, in the order of the document."""
    return tuple(re.findall(r"^- ([A-Z]-\d+[a-z]?) ", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))


def quoted_sentences() -> dict[str, list[str]]:
    """The numbers of sentences that tests quote, each with the places (file:line)."""
    return quoted("semantics")


def quoted(mark: str) -> dict[Any, list[str]]:
    """What the tests' marks of one name quote, each with the places (file:line)."""
    return _quoted().get(mark, {})


@functools.cache
def _quoted() -> dict[str, dict[Any, list[str]]]:
    """All marks with arguments, by name. Sources without one are not parsed: that takes most of the time."""
    found: dict[str, dict[Any, list[str]]] = {}
    for folder in ("tests", "e2e"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not QUOTING.search(text):
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and (mark := QUOTING.fullmatch(f"{_name(node.func)}(")):
                    places = found.setdefault(mark[1], {})
                    for argument in node.args:
                        place = f"{path.relative_to(ROOT)}:{node.lineno}"
                        places.setdefault(ast.literal_eval(argument), []).append(place)
    return found


def _name(called: ast.expr) -> str:
    """What is called, where it is a name with dots: without ast.unparse, which takes ten times as long."""
    if isinstance(called, ast.Attribute):
        return f"{_name(called.value)}.{called.attr}"
    return called.id if isinstance(called, ast.Name) else ""


@functools.cache
def points() -> dict[int, str]:
    """The points of the checklist, by number."""
    found = re.findall(r"^- (\d+) ((?:.*\n)(?:  .*\n)*)", CHECKLIST.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(number): text for number, text in found}
