"""Rows say what is there; what S3 answers to it is said by the floors above."""

import ast
from pathlib import Path

import pytest

from s3d.layers.queue import rows

MODULES = sorted(Path(next(iter(rows.__path__))).glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_rows_know_no_error_but_that_of_a_bad_body(module: Path) -> None:
    """import-linter holds whole modules; of this one a part may be known."""
    imports = [node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.ImportFrom)]
    known = {name.name for one in imports if one.module == "s3d.errors" for name in one.names}
    assert known <= {"CorruptBody"}
