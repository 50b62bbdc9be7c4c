"""Writes docs/status.md to standard output, from the declarations of s3d.admin.reports. `make generate` runs it."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator

from s3d.admin import reports

INTRODUCTION = """\
# What the status says

Generated from `sidecar/s3d/admin/reports.py` by `make generate`.

`s3d status --json` prints one JSON document on one line, and so does `s3d status --watch --json` every two seconds;
`/status` of the metrics door answers with the same. It is for programs: a member keeps its name, its type and its
meaning, and a newer version may have more of them. What is said of a change to it is in the
[changelog](../CHANGELOG.md). Times are Unix times in seconds, sizes are bytes. Without `--json` and a terminal each
value is a line, its path before it: `pending.changes`, `problems.0.name`.

`s3d status` is the document *Status*; where it is asked over the socket, `lanes` and `tried` are in it too. `s3d
status BUCKET` is a *BucketStatus*, and `s3d status BUCKET/KEY` an *ObjectStatus*. `s3d cache stat --json`, `s3d sync
status --json` and `s3d mount status --json` are the members `read_cache`, `sync_folders` (one a line) and
`mount`, the last one with its `files`. Where the daemon does not answer, `--watch` prints `{"error": ...}` and asks
again.
"""
TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "None": "null",
    "dict": "object",
    "list": "array",
}
"""The words of JSON for those of Python."""
DOCUMENTS = "Status BucketStatus ObjectStatus".split()


def lines() -> Iterator[str]:
    """Yield the document."""
    yield INTRODUCTION
    tree = ast.parse(inspect.getsource(reports))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    named = [*DOCUMENTS, *(name for name in classes if name not in {*DOCUMENTS, "Chosen", "Reports"})]
    for name in named:
        yield f"## {name}\n"
        yield f"{ast.get_docstring(classes[name])}\n"
        yield "| member | type | what it says |"
        yield "|---|---|---|"
        for member, kind, said in members(classes[name], classes):
            yield f"| `{member}` | {kind} | {said} |"
        yield ""


def members(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[tuple[str, str, str]]:
    """The members of a document with their types and what is said of them, those that it inherits first."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from members(classes[base.id], classes)
    for place, part in enumerate(node.body):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            after = node.body[place + 1] if place + 1 < len(node.body) else None
            said = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = " ".join(str(after.value.value).split()).replace("None", "null")
            yield part.target.id, type_of(ast.unparse(part.annotation)), said


def type_of(annotation: str) -> str:
    """A type as a reader of JSON knows it."""
    if literal := re.fullmatch(r"Literal\[(.+)\]", annotation):
        return literal[1].replace("'", "`")
    return re.sub(r"\w+", lambda word: TYPES.get(word[0], word[0]), annotation).replace(" | ", " or ")


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()))
