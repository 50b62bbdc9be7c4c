"""Makes the pictures of the README: the status page, and `s3d status` on a terminal, of a gateway that is worth a look.

They lie in docs/pictures. S3D_E2E_PICTURES=docs/pictures with this test makes them anew.
"""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from e2e.compat.browser import PICTURES
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.processes import running, start
from tests.refusals import Refuse, Refusing
from tests.remotes import Remote

BUCKET = "photos"
WIDTH = 100
"""Columns of the terminal."""
SHEET = """<!doctype html><style>
body {{ margin: 0; background: #0d1117 }}
pre {{ margin: 0; padding: 16px 20px; font: 14px/1.45 monospace; color: #e6edf3; width: max-content }}
{stylesheet}
</style><body><pre>{code}</pre>"""

pytestmark = [pytest.mark.timeout(600), pytest.mark.parametrize("remote", ["minio"], indirect=True)]


@pytest.fixture
def gateway(refusing: Refuse, remote: Remote, start_daemon: StartDaemon) -> Iterator[Daemon]:
    """A gateway that has delivered some objects, has some cached, waits for the remote, and needs a person for one."""
    store = remote.client()
    store.create_bucket(Bucket=BUCKET)
    try:
        before = refusing(remote)
        cache = {"S3D_READ_CACHE": "true", "S3D_READ_CACHE_MAX_SIZE": "1Gi"}
        daemon = start_daemon(before.remote, S3D_BUCKETS=BUCKET, **cache)
        daemon.warm(BUCKET)
        fill(daemon, before)
        yield daemon
        daemon.kill()
    finally:
        for entry in store.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            store.delete_object(Bucket=BUCKET, Key=entry["Key"])
        store.delete_bucket(Bucket=BUCKET)


def fill(daemon: Daemon, before: Refusing) -> None:
    """Put objects that are delivered, one that is refused for good, and some that the remote is too busy for."""
    through = daemon.client()
    for number in range(12):
        through.put_object(Bucket=BUCKET, Key=f"2026/{number:04}.jpg", Body=os.urandom(400_000))
    eventually(lambda: drained(daemon))
    for number in (0, 1, 2, 0, 1):
        through.get_object(Bucket=BUCKET, Key=f"2026/{number:04}.jpg")["Body"].read()
    too_large = {"path": f"/{BUCKET}/film", "method": "PUT", "status": 400, "code": "EntityTooLarge"}
    too_large["message"] = "this store takes no object of that size"
    before.set(too_large)
    through.put_object(Bucket=BUCKET, Key="film.mov", Body=os.urandom(2_000_000))
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    busy = {"path": f"/{BUCKET}/", "method": "PUT", "status": 503, "code": "SlowDown", "message": "too many requests"}
    before.set(too_large, busy)
    for number in range(12, 17):
        through.put_object(Bucket=BUCKET, Key=f"2026/{number:04}.jpg", Body=os.urandom(400_000))
    eventually(lambda: daemon.status()["pending"]["changes"] == 6)


def on_a_terminal(daemon: Daemon, *words: str) -> str:
    """What a command prints on a terminal, with its colours."""
    ours, theirs = pty.openpty()
    environment = {**daemon.environment, "TERM": "xterm-256color", "COLUMNS": str(WIDTH)}
    with subprocess.Popen([sys.executable, "-m", "s3d.cli", *words], stdout=theirs, env=environment) as command:
        os.close(theirs)
        said = bytearray()
        try:
            while data := os.read(ours, 65_536):
                said += data
        except OSError:
            pass  # this is how a terminal says that nobody is there any more
        finally:
            os.close(ours)
        command.wait(60)
    return said.decode()


def kept(name: str, tmp_path: Path) -> Path:
    """Where a picture goes."""
    return Path(PICTURES or tmp_path) / name


def test_a_picture_of_the_status_page(gateway: Daemon, page: Page, tmp_path: Path) -> None:
    log = tmp_path / "ui.log"
    with running(start([sys.executable, "-m", "s3d.cli", "ui"], log, gateway.environment)) as program:
        eventually(lambda: log.read_text().endswith("\n") or not program.running)
        page.set_viewport_size({"width": 1000, "height": 800})
        page.goto(log.read_text().strip())
        page.screenshot(path=kept("ui.png", tmp_path), full_page=True)
    assert "film.mov" in page.content()


def test_a_picture_of_the_status_on_a_terminal(gateway: Daemon, page: Page, tmp_path: Path) -> None:
    said = on_a_terminal(gateway, "status")
    assert "6 changes" in said
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True)
    for line in ["$ s3d status", *said.splitlines()]:
        console.print(Text.from_ansi(line))
    page.set_content(console.export_html(theme=SVG_EXPORT_THEME, code_format=SHEET))
    page.locator("pre").screenshot(path=kept("status.png", tmp_path))
