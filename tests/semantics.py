"""docs/SEMANTICS.md and the tests that quote it, read from their sources."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "SEMANTICS.md"


@functools.cache
def sentences() -> tuple[str, ...]:
    """The numbers of all sentences, in the order of the document."""
    return tuple(re.findall(r"^- ([A-Z]-\d+) ", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))


@functools.cache
def quoted_sentences() -> dict[str, list[str]]:
    """The numbers that tests quote, each with the places (file:line)."""
    places: dict[str, list[str]] = {}
    for folder in ("tests", "e2e"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.semantics":
                    for argument in node.args:
                        place = f"{path.relative_to(ROOT)}:{node.lineno}"
                        places.setdefault(ast.literal_eval(argument), []).append(place)
    return places
