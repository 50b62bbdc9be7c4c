"""What the status of a SyncFolder says of what is known."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s3d_operator.folder_conditions import SeenFolder, status_of
from s3d_operator.pods import FolderReport
from tests.operator.goldens import folder, gateway
from tests.operator.injections import ANONYMOUS
from tests.operator.test_folders import SPEC

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUIET = FolderReport(state="quiet", halt="", since=1, files=7, unsent=0, conflicts=1, left_alone=2)
SEEN = SeenFolder(is_outdated=False, listens=True, answers=True, said=QUIET)
HALTED = replace(SEEN, said=replace(QUIET, state="halted", halt="FolderEmpty", unsent=1))
SILENT = replace(SEEN, answers=False)


def said(state: str, unsent: int = 0) -> SeenFolder:
    return replace(SEEN, said=replace(QUIET, state=state, unsent=unsent))


def judged(*pods: SeenFolder, spec: dict[str, Any] = SPEC, given: dict[str, Any] | None = ANONYMOUS) -> dict[str, Any]:
    body = {"metadata": {"generation": 3}, "spec": spec}
    return status_of(body, folder(spec), gateway(given) if given else None, pods, NOW)


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


ROWS: list[tuple[str, list[SeenFolder], tuple[str, str], tuple[str, str], tuple[str, str]]] = [
    ("equal", [SEEN, SEEN], ("True", "Equal"), ("False", "NotHalted"), ("True", "Ready")),
    ("working", [SEEN, said("working")], ("False", "Working"), ("False", "NotHalted"), ("True", "Working")),
    ("starting", [said("starting")], ("False", "Working"), ("False", "NotHalted"), ("True", "Working")),
    ("unsent", [said("quiet", unsent=1)], ("False", "Working"), ("False", "NotHalted"), ("True", "Working")),
    ("waiting", [said("working"), said("waiting")], ("False", "Waiting"), ("False", "NotHalted"), ("True", "Waiting")),
    ("paused", [said("waiting"), said("paused")], ("False", "Paused"), ("False", "NotHalted"), ("True", "Paused")),
    ("halted", [SEEN, HALTED], ("False", "FolderEmpty"), ("True", "FolderEmpty"), ("False", "FolderEmpty")),
    (
        "silent",
        [SEEN, SILENT],
        ("Unknown", "PodsUnreachable"),
        ("Unknown", "PodsUnreachable"),
        ("True", "PodsUnreachable"),
    ),
    (
        "not started",
        [SEEN, replace(SILENT, listens=False)],
        ("Unknown", "PodsNotStarted"),
        ("Unknown", "PodsNotStarted"),
        ("True", "PodsNotStarted"),
    ),
    ("no pods", [], ("Unknown", "NoPods"), ("Unknown", "NoPods"), ("True", "NoPods")),
]


@pytest.mark.semantics("S-10c")
@pytest.mark.parametrize(("pods", "synced", "halted", "ready"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_pods_say_becomes_conditions(
    pods: list[SeenFolder], synced: tuple[str, str], halted: tuple[str, str], ready: tuple[str, str]
) -> None:
    assert conditions(judged(*pods)) == {"Synced": synced, "Halted": halted, "Ready": ready}


def test_counts_are_those_of_all_pods_and_a_silent_one_keeps_its_last_word() -> None:
    status = judged(SEEN, replace(HALTED, is_outdated=True), replace(SILENT, said=replace(QUIET, files=5)))
    assert status["pods"] == {"synced": 3, "outdated": 1, "halted": 1, "unreachable": 1}
    assert (status["files"], status["unsent"], status["conflicts"], status["leftAlone"]) == (5, 1, 3, 6)
    assert "files" not in judged(replace(SILENT, said=None)), "nobody has said it"


@pytest.mark.parametrize(
    ("spec", "given", "reason", "words"),
    [
        (SPEC | {"filter": ["team["]}, ANONYMOUS, "InvalidSpec", "spec.filter"),
        (SPEC, None, "NoSuchGateway", "no S3Gateway 'default'"),
        (SPEC, {"remote": {}}, "InvalidGateway", "spec.remote.credentials"),
        (SPEC, ANONYMOUS | {"writeQueue": {"enabled": False}}, "InvalidFolder", "set writeQueue.enabled"),
    ],
)
def test_a_folder_that_no_pod_can_get_is_not_ready_with_the_reason(
    spec: dict[str, Any], given: dict[str, Any] | None, reason: str, words: str
) -> None:
    status = judged(SEEN, spec=spec, given=given)
    assert conditions(status)["Ready"] == ("False", reason)
    (message,) = (each["message"] for each in status["conditions"] if each["type"] == "Ready")
    assert words in message


def test_the_time_of_equality_goes_on_by_the_minute_and_stays_when_it_is_over() -> None:
    body: dict[str, Any] = {"metadata": {"generation": 1}, "spec": SPEC}
    known = folder(SPEC), gateway(ANONYMOUS)
    body["status"] = status_of(body, *known, [SEEN], NOW)
    assert body["status"]["equalAt"] == "2026-01-01T12:00:00Z"
    assert status_of(body, *known, [SEEN], NOW + timedelta(seconds=50)) == body["status"], "nothing to write"
    assert status_of(body, *known, [SEEN], NOW + timedelta(seconds=70))["equalAt"] == "2026-01-01T12:01:10Z"
    later = status_of(body, *known, [said("waiting")], NOW + timedelta(hours=1))
    assert (later["equalAt"], later["observedAt"]) == ("2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z")


def test_what_is_not_known_yet_is_unknown_and_the_counts_stay() -> None:
    body = {"metadata": {"generation": 1}, "spec": SPEC, "status": {"files": 7, "pods": {"synced": 1}}}
    status = status_of(body, folder(SPEC), gateway(ANONYMOUS), None, NOW)
    assert set(conditions(status).values()) == {("Unknown", "NotLookedYet")}
    assert (status["files"], status["pods"]) == (7, {"synced": 1})
