"""A plugin for the suite's own pytest: writes one line per test, and pauses each test before it cleans up.

It runs in the suite's Python and imports nothing of this project. Each test gets a bucket prefix of its own, since a
bucket that one test leaves behind fails the set-up of every later one. In the pause, the runner at the other end of
`S3D_CONFORMANCE_PAUSE` (a unix socket) looks at what the test has written and answers what is wrong.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = "s3d-{random}-"
WIDTH = 300
"""Characters of a failure that are kept."""


class Recorder:
    """What is known of the tests that ran."""

    def __init__(self) -> None:
        self.output = Path(os.environ["S3D_CONFORMANCE_OUTPUT"])
        self.ids = set(Path(os.environ["S3D_CONFORMANCE_IDS"]).read_text(encoding="utf-8").split())
        self.pause = os.environ.get("S3D_CONFORMANCE_PAUSE", "")
        self.outcomes: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the tests that are asked for."""
        left_out = [item for item in items if item.nodeid not in self.ids]
        items[:] = [item for item in items if item.nodeid in self.ids]
        config.hook.pytest_deselected(items=left_out)

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Give the test its own prefix."""
        suite: Any = sys.modules.get("s3tests.functional")
        if suite is not None and suite.prefix:
            suite.prefix = suite.choose_bucket_prefix(TEMPLATE)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Let the runner look before the test's buckets go."""
        suite = sys.modules.get("s3tests.functional")
        if not self.pause or suite is None or not suite.prefix:
            return
        with socket.socket(socket.AF_UNIX) as door, door.makefile("rw", encoding="utf-8") as stream:
            door.settimeout(300)
            door.connect(self.pause)
            stream.write(f"{suite.prefix}\n")
            stream.flush()
            wrong = stream.readline().strip()
        if wrong and self.outcomes.get(item.nodeid) == "passed":
            self.outcomes[item.nodeid], self.reasons[item.nodeid] = "differs", wrong[:WIDTH]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a phase's outcome; the line is written when the last one is over."""
        outcome = self.outcomes.setdefault(report.nodeid, "passed")
        if report.outcome != "passed" and outcome == "passed":
            self.outcomes[report.nodeid] = (
                report.outcome if report.when == "call" else f"{report.outcome} {report.when}"
            )
            self.reasons[report.nodeid] = first_line(report)
        if report.when == "teardown":
            reason = self.reasons.get(report.nodeid, "")
            with self.output.open("a", encoding="utf-8") as lines:
                lines.write(f"{report.nodeid}\t{self.outcomes[report.nodeid]}\t{reason}\n")


def first_line(report: pytest.TestReport) -> str:
    """The first line of what went wrong."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = (
        crash.message if crash else str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    )
    return (text.strip().splitlines() or [""])[0][:WIDTH].replace("\t", " ")


def pytest_configure(config: pytest.Config) -> None:
    """Take part in the run."""
    config.pluginmanager.register(Recorder(), "s3d-recorder")
