"""What is wrong is judged at one place, and all who tell of it tell the same."""

import urllib.request
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from s3d import problems
from s3d.problems import KINDS, Problem
from s3d_operator.gateway_facts import GatewayFacts, Seen
from s3d_operator.pods import Report
from s3d_operator.status import status_of
from tests.daemons import ROOT, Daemon, StartDaemon, eventually
from tests.processes import free_port
from tests.remotes import Remote

CASES: list[tuple[str, Iterable[Problem]]] = [
    ("ChangesParked", problems.of_changes({"parked": 1}, None)),
    ("ChangesDamaged", problems.of_changes({"quarantined": 2}, None)),
    ("ChangesOld", problems.of_changes({"waiting": 1}, 300.0)),
    ("", problems.of_changes({"waiting": 1, "held": 1, "superseded": 1}, 299.0)),
    ("RemoteRefuses", problems.of_queue(1, 0.0)),
    ("QueueNearlyFull", problems.of_queue(0, 0.9)),
    ("", problems.of_queue(0, 0.89)),
    ("LocalDirFails", problems.of_local_dir("it cannot be written", is_full=False)),
    ("DiskFull", problems.of_local_dir("", is_full=True)),
    ("", problems.of_local_dir("", is_full=False)),
    ("RemoteAway", problems.of_remote("away", "found", "", {})),
    ("WrongEndpoint", problems.of_remote("reachable", "found", "NotS3", {})),
    ("CredentialsRefused", problems.of_remote("reachable", "refused", "InvalidAccessKeyId", {})),
    ("CredentialsMissing", problems.of_remote("unknown", "failing", "", {})),
    ("IdentityFails", problems.of_remote("reachable", "found", "", {"team": "missing", "other": "found"})),
    ("", problems.of_remote("reachable", "not required", "", {"team": "unknown"})),
    ("FileRefused", problems.of_files({"access_keys": "entry 1: no id", "settings": ""})),
    ("SyncHalted", problems.of_sync({"folder": "every file is gone from the folder at once"})),
    ("", problems.of_sync({"folder": ""})),
    ("FilesUnpublished", problems.of_mount(mounted=True, failing=1)),
    ("MountGone", problems.of_mount(mounted=False, failing=0)),
    ("", problems.of_mount(mounted=True, failing=0)),
    ("CertificateExpires", problems.of_certificate(-1.0)),
    ("CertificateExpires", problems.of_certificate(6 * 86400.0)),
    ("", problems.of_certificate(8 * 86400.0)),
]


@pytest.mark.parametrize("name, found", CASES)
def test_what_is_wrong_has_its_name(name: str, found: Iterable[Problem]) -> None:
    assert [one.name for one in found] == ([name] if name else [])


def test_each_kind_has_a_cause_and_a_place_in_the_guide() -> None:
    assert {name for name, _ in CASES if name} == KINDS.keys()
    guide = (ROOT / "docs" / "OPERATING.md").read_text(encoding="utf-8")
    assert [name for name, kind in KINDS.items() if f"| `{name}` | {kind.stake} |" not in guide] == []


class Views:
    """The names of what is wrong, as each of the places tells it."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def read(self, path: str) -> str:
        with urllib.request.urlopen(f"{self._daemon.metrics_endpoint}/{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def names(self) -> list[str]:
        """By the status."""
        return [one["name"] for one in self._daemon.status()["problems"]]

    def texts(self) -> list[str]:
        """By the status, in words."""
        return [one["text"] for one in self._daemon.status()["problems"]]

    def gauge(self) -> set[str]:
        """By the metric."""
        lines = [line for line in self.read("metrics").splitlines() if line.startswith("s3d_problem{")]
        return {line.split('"')[1] for line in lines if line.endswith(" 1.0")}

    def conditions(self) -> dict[str, str]:
        """By the operator: conditions with their reasons."""
        report = Report.read(self.read("status").encode())
        body: dict[str, Any] = {"metadata": {}, "spec": {"remote": {"credentials": {"anonymous": {}}}}}
        status = status_of(body, GatewayFacts([Seen(report=report)]), datetime.now(UTC))
        return {one["type"]: one["reason"] for one in status["conditions"]}


@pytest.mark.semantics("O-4")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_all_who_tell_of_a_problem_tell_the_same(remote: Remote, bucket: str, start_daemon: StartDaemon) -> None:
    nobody = Remote("away", f"http://127.0.0.1:{free_port()}", "Dummy", "Dummy", remote.program)
    daemon = start_daemon(nobody, S3D_BUCKETS=bucket, S3D_WRITE_QUEUE_MAX_FILES="1")
    views = Views(daemon)
    assert views.names() == []
    assert daemon.cli("status").returncode == 0
    assert views.read("readyz") == "ok\n"
    assert views.gauge() == set()

    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"1")
    wrong = ["RemoteAway", "QueueNearlyFull"]
    eventually(lambda: views.names() == wrong)
    assert views.gauge() == set(wrong)
    assert views.read("readyz").splitlines() == ["ok", *views.texts()]
    assert [text for text in views.texts() if f"Service: {text}." not in views.read("")] == []
    ran = daemon.cli("status")
    assert ran.returncode == 3
    assert b"problems.0.name\tRemoteAway\n" in ran.stdout
    assert views.conditions()["RemoteReachable"] == "RemoteAway"
