"""The status page in a browser: narrow and wide, light and dark, by keyboard alone, judged by axe-core."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from e2e.compat.browser import PICTURES
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.processes import running, start
from tests.refusals import Refuse, Refusing
from tests.remotes import Remote

HOSTILE = (
    '"><script>document.title="hit"</script>',
    "'><img src=x onerror=document.title='hit'>",
    "\u202egnp.exe" + "long" * 50,
    "</table><h1>gone</h1>\x7f",
)
STEPS = 60
"""So often Tab is pressed at most to reach something."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize("remote", ["minio"], indirect=True),
]


@pytest.fixture
def gateway(refusing: Refuse, remote: Remote, bucket: str, start_daemon: StartDaemon) -> tuple[Daemon, Refusing]:
    """A gateway with changes that are parked and others that are delivered, some of hostile names."""
    before = refusing(remote)
    daemon = start_daemon(before.remote, S3D_BUCKETS=bucket, S3D_READ_CACHE="true")
    daemon.warm(bucket)
    s3 = daemon.client()
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"reports/{number}.csv", Body=b"x" * 4096)
    eventually(lambda: drained(daemon))
    s3.get_object(Bucket=bucket, Key="reports/1.csv")["Body"].read()
    before.set({"path": f"/{bucket}/", "method": "PUT", "status": 400, "code": "EntityTooLarge"})
    for name in HOSTILE:
        s3.put_object(Bucket=bucket, Key=name, Body=b"12345")
    eventually(lambda: daemon.status()["pending"]["parked"] == len(HOSTILE))
    return daemon, before


@pytest.fixture
def address(gateway: tuple[Daemon, Refusing], tmp_path: Path) -> Iterator[str]:
    """What `s3d ui` has printed."""
    log = tmp_path / "ui.log"
    with running(start([sys.executable, "-m", "s3d.cli", "ui"], log, gateway[0].environment)) as program:
        eventually(lambda: log.read_text().endswith("\n") or not program.running)
        yield log.read_text().strip()


def judged(page: Page) -> list[dict[str, Any]]:
    """What axe-core finds wrong with the page."""
    found = Axe().run(page).response["violations"]
    return [{"rule": one["id"], "where": [node["html"][:200] for node in one["nodes"]]} for one in found]


def tab_to(page: Page, label: str) -> None:
    """Press Tab until something is reached."""
    for _ in range(STEPS):
        page.keyboard.press("Tab")
        said = page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent")
        if said.strip().startswith(label):
            return
    pytest.fail(f"the keyboard does not reach {label}")


def enter(page: Page, key: str = "Enter") -> None:
    """Press a key by which another page comes."""
    with page.expect_navigation():
        page.keyboard.press(key)


def test_the_page_is_read_at_any_width_by_anybody_and_runs_nothing(address: str, page: Page) -> None:
    page.goto(address)
    assert "token" not in page.url, "the secret stays in no address"
    for width in (360, 1280):
        for scheme in SCHEMES:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            if PICTURES:
                page.screenshot(path=Path(PICTURES) / f"ui-{width}-{scheme}.png", full_page=True)
            assert judged(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == f"s3d: {page.text_content('h1')}"
    assert page.locator("script, img, iframe").count() == 0
    assert page.locator("h1").count() == 1
    names = page.locator(".name").all_text_contents()
    assert any(HOSTILE[0] in name for name in names)
    assert any("reports/1.csv" in name for name in names)
    assert any("\\u202egnp.exe" in name for name in names), "the end of a name is where it seems to be"


def test_by_keyboard_alone_a_change_is_tried_again_and_another_one_discarded(
    address: str, gateway: tuple[Daemon, Refusing], page: Page
) -> None:
    daemon, before = gateway
    first, second, *_ = [change["seq"] for change in daemon.ask("/queue")["changes"]]
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    tab_to(page, f"Discard change {first}")
    enter(page)
    assert page.text_content("h1") == f"Discard change {first}?"
    assert judged(page) == []
    tab_to(page, "Discard it for good")
    enter(page)
    assert page.text_content(".said") == "1 change discarded."
    before.set()
    tab_to(page, f"Try change {second} again")
    enter(page, " ")
    assert page.text_content(".said") == "1 change will be tried again."
    assert judged(page) == []
    left = len(HOSTILE) - 2
    eventually(lambda: daemon.status()["pending"]["changes"] == left)
    tab_to(page, "Try all of them again")
    enter(page)
    eventually(lambda: drained(daemon))
    page.goto(address.partition("?")[0])
    assert page.text_content("h1") == "The remote has everything."


def test_another_page_can_neither_read_it_nor_send_its_forms(
    address: str, gateway: tuple[Daemon, Refusing], page: Page
) -> None:
    daemon, _ = gateway
    here = address.partition("?")[0]
    page.goto(address)
    page.goto(daemon.metrics_endpoint + "/healthz")
    assert (
        page.evaluate(f"fetch('{here}', {{credentials: 'include'}}).then(() => 'read', () => 'refused')") == "refused"
    )
    seq = daemon.ask("/queue")["changes"][0]["seq"]
    form = f"new URLSearchParams({{seq: {seq}, form: 'x'}})"
    sent = f"fetch('{here}discard', {{method: 'POST', mode: 'no-cors', credentials: 'include', body: {form}}})"
    assert page.evaluate(f"{sent}.then(() => 'read', () => 'refused')") == "refused"
    assert daemon.status()["pending"]["parked"] == len(HOSTILE)
