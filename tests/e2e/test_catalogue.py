"""Every fault of the catalogue has a test that makes it happen."""

import ast
import functools

from e2e.chaos.catalogue import FAULTS
from tests.daemons import ROOT


@functools.cache
def faults_found() -> dict[int, list[str]]:
    """The numbers that tests are marked with, each with the places (file:line)."""
    places: dict[int, list[str]] = {}
    for folder in ("tests", "e2e"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                    place = f"{path.relative_to(ROOT)}:{node.lineno}"
                    places.setdefault(ast.literal_eval(node.args[0]), []).append(place)
    return places


def test_no_fault_of_the_catalogue_goes_without_a_test() -> None:
    assert set(FAULTS) <= set(faults_found())


def test_no_test_claims_a_fault_that_the_catalogue_does_not_have() -> None:
    assert set(faults_found()) <= set(FAULTS)
