"""The documents say what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from s3d.cli.commands import QUEUE_ACTIONS
from s3d.settings import known_settings
from tests.daemons import ROOT

DOCUMENTS = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("variable", [variable for variable, *_ in known_settings()])
def test_a_setting_is_in_the_reference(variable: str) -> None:
    assert f"| `{variable}` |" in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_reference_is_what_the_settings_say() -> None:
    written = subprocess.run(
        [sys.executable, ROOT / "docs" / "settings.py"],
        env={"PYTHONPATH": str(ROOT / "sidecar")},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert written == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


def test_the_reference_of_the_metrics_is_what_they_say() -> None:
    written = subprocess.run(
        [sys.executable, ROOT / "docs" / "metrics.py"],
        env={"PYTHONPATH": str(ROOT / "sidecar")},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert written == (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_readme_names_every_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "s3d", "--help"],
        env={"PYTHONPATH": str(ROOT / "sidecar")},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    commands = re.findall(
        r"^    (\w+) {2,}\w", shown.partition("\ncommands:")[2].partition("\nexamples:")[0], re.MULTILINE
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(commands) > 1
    assert [command for command in commands if f"| `s3d {command}" not in readme] == []


@pytest.mark.parametrize("action", list(QUEUE_ACTIONS))
def test_the_operating_guide_names_every_queue_command(action: str) -> None:
    assert f"    s3d queue {action} " in (ROOT / "docs" / "OPERATING.md").read_text(encoding="utf-8")


def test_each_alert_has_a_section() -> None:
    rules = (ROOT / "charts" / "s3d" / "templates" / "alerts.yaml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "ALERTS.md").read_text(encoding="utf-8")
    sections = page.split("\n## ")[1:]
    assert sorted(section.partition("\n")[0] for section in sections) == sorted(re.findall(r"- alert: (\w+)", rules))
    for section in sections:
        assert [word for word in ("**Means**", "**Check**", "**Cure**") if word not in section] == []


def test_the_operating_guide_names_metrics_that_are_there() -> None:
    guide = (ROOT / "docs" / "OPERATING.md").read_text(encoding="utf-8")
    source = (ROOT / "sidecar" / "s3d" / "metrics.py").read_text(encoding="utf-8")
    named = set(re.findall(r"`(s3d_\w+?)[`{]", guide))
    assert named
    assert [name for name in named if f'"{name}"' not in source] == []


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))


@pytest.mark.parametrize("record", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_a_number_a_date_and_a_place_in_the_index(record: Path) -> None:
    title, _, stand, *_ = record.read_text(encoding="utf-8").splitlines()
    number, _, said = title.removeprefix("# ").partition(". ")
    assert record.name.startswith(f"{int(number):04d}-")
    date = re.fullmatch(r"Date: (\d{4}-\d\d-\d\d)\. Status: (accepted|replaced by decision \d+)\.", stand)
    assert date
    assert f"| [{number}](decisions/{record.name}) | {said} | {date[1]} |" in (ROOT / "docs" / "README.md").read_text(
        encoding="utf-8"
    )


def test_decisions_are_numbered_without_gaps() -> None:
    assert [int(record.name[:4]) for record in DECISIONS] == list(range(1, len(DECISIONS) + 1))


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_a_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / document).read_text(encoding="utf-8"))
    missing = [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()]
    assert not missing


ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
HOMES = [
    ROOT,
    *(path.parent for package in ("sidecar", "operator") for path in (ROOT / package).rglob("__init__.py")),
]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w./-]+(?:\.(?:py|sql|yaml|md)|/))`", ARCHITECTURE))))
def test_what_the_architecture_names_is_there(name: str) -> None:
    assert any((home / name).exists() for home in HOMES)


@pytest.mark.parametrize("package", ["sidecar/s3d", "operator/s3d_operator"])
def test_the_architecture_names_each_module(package: str) -> None:
    modules = {path.name for path in (ROOT / package).rglob("*.py") if not path.name.startswith("__")}
    spoken = set(re.findall(r"(\w+\.py)`", ARCHITECTURE))
    commands = {path.name for path in (ROOT / "sidecar" / "s3d" / "cli").glob("*.py")}
    assert modules - spoken - commands == set()


@pytest.mark.checklist(62)
def test_both_images_have_the_same_base_by_its_digest() -> None:
    bases = [
        re.findall(r"(?m)^ARG BASE_IMAGE=(.+)$", (ROOT / part / "Dockerfile").read_text(encoding="utf-8"))
        for part in ("sidecar", "operator")
    ]
    assert bases[0] == bases[1]
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", *bases[0])
    for part in ("sidecar", "operator"):
        stages = re.findall(r"(?m)^FROM (\S+)", (ROOT / part / "Dockerfile").read_text(encoding="utf-8"))
        assert set(stages) == {"${BASE_IMAGE}"}
