"""The page of the metrics door in a browser: narrow and wide, light and dark, by keyboard alone, judged by axe-core."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from e2e.compat.browser import PICTURES
from e2e.compat.test_page_in_browsers import SCHEMES, enter, judged, tab_to
from tests.daemons import Daemon, StartDaemon, eventually
from tests.refusals import Refuse
from tests.remotes import Remote

HOSTILE = '"><script>document.title="hit"</script>'

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize("remote", ["minio"], indirect=True),
]


@pytest.fixture
def gateway(refusing: Refuse, remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path) -> Daemon:
    """A gateway that has a cache and a sync folder, and a parked change of a hostile name and of a hostile reason."""
    before = refusing(remote)
    folder = {
        "S3D_SYNC_FOLDER": "true",
        "S3D_SYNC_FOLDER_BUCKET": bucket,
        "S3D_SYNC_FOLDER_PREFIX": "docs/",
        "S3D_SYNC_FOLDER_DIR": str(tmp_path / "docs"),
    }
    daemon = start_daemon(before.remote, S3D_BUCKETS=bucket, S3D_READ_CACHE="true", **folder)
    daemon.warm(bucket)
    wrong = {"path": f"/{bucket}/", "method": "PUT", "status": 400, "code": "EntityTooLarge", "message": HOSTILE}
    before.set(wrong)
    daemon.client().put_object(Bucket=bucket, Key=HOSTILE, Body=b"12345")
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    return daemon


def test_the_page_of_counts_is_read_at_any_width_by_anybody_and_runs_nothing(
    gateway: Daemon, bucket: str, page: Page
) -> None:
    page.goto(f"{gateway.metrics_endpoint}/?{HOSTILE}")
    for width in (360, 1280):
        for scheme in SCHEMES:
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            if PICTURES:
                page.screenshot(path=Path(PICTURES) / f"door-{width}-{scheme}.png", full_page=True)
            assert judged(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == f"s3d: {page.text_content('h1')}"
    assert (page.text_content("h1") or "").startswith("1 change, 5 B, not in the remote yet")
    assert page.locator("svg").count() == 5
    assert page.locator("dt").all_text_contents()[-2:] == ["cache", "folder"]
    assert page.locator("script, img, iframe, form").count() == 0
    assert bucket not in page.content()
    assert "hit" not in page.content()


def test_by_keyboard_alone_the_page_of_counts_is_looked_at_again(gateway: Daemon, page: Page) -> None:
    page.goto(gateway.metrics_endpoint)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    tab_to(page, "Look again")
    enter(page)
    assert page.url == f"{gateway.metrics_endpoint}/"
