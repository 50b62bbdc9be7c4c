"""A headless Chromium on a page of another origin than the door's, which runs the scripts that tests give it.

The page asks the server that it came from for a script, runs it, and says there what came of it, again and again. So a
script is a page's as any other: nothing but the browser decides what it may send and read.
"""

import contextlib
import http.server
import json
import os
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.processes import running, start

PROGRAM = Path("/usr/lib/chromium/chromium-headless-shell")
"""Debian's. What is on the PATH is a script around it, which would be ended in its place and leave it running."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0")
"""The last one lets it stay when the page is loaded."""
PICTURES = os.environ.get("S3D_E2E_PICTURES", "")
"""Where pictures of pages are kept; nowhere where it is not set."""
SECONDS = 120
"""For a script, on a machine that has much to do."""
PAGE = b"""<!doctype html><meta charset="utf-8"><title>a page</title><script>
const Run = Object.getPrototypeOf(async () => {}).constructor;
(async () => {
  for (;;) {
    const script = await (await fetch("/script")).text();
    let said;
    try { said = {value: await new Run(script)()}; } catch (error) { said = {error: String(error)}; }
    await fetch("/said", {method: "POST", body: JSON.stringify(said)});
  }
})();
</script>"""


class Refused(Exception):
    """The script has thrown."""


@dataclass(slots=True)
class Browser:
    """A page that is open."""

    origin: str
    scripts: "queue.Queue[str]" = field(default_factory=queue.Queue)
    said: "queue.Queue[dict[str, Any]]" = field(default_factory=queue.Queue)

    def run(self, script: str, **values: Any) -> Any:
        """Run the body of an async function; what it returns. Raises Refused with what it throws."""
        given = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in values.items())
        self.scripts.put(given + script)
        said = self.said.get(timeout=SECONDS)
        if "error" in said:
            raise Refused(said["error"])
        return said.get("value")


@contextlib.contextmanager
def opened(directory: Path, host: str, trusted: str = "") -> Iterator[Browser]:
    """Open a page of that host, on a port of its own; `trusted` is the digest of a key of whom the browser takes any
    certificate. Skips where there is no Chromium."""
    if not PROGRAM.exists():
        pytest.skip(f"no {PROGRAM} here; e2e/cluster/chromium.sh installs it (root, Debian)")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    browser = server.browser = Browser(f"http://{host}:{server.server_port}")  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    try:
        flags = [*FLAGS, f"--ignore-certificate-errors-spki-list={trusted}"] if trusted else FLAGS
        command: list[str | Path] = [PROGRAM, *flags, f"--user-data-dir={directory / 'profile'}", f"{browser.origin}/"]
        with running(start(command, directory / "chromium.log", {"HOME": str(directory)})):
            yield browser
    finally:
        browser.scripts.put("")
        server.shutdown()
        server.server_close()
        serving.join()


@pytest.fixture
def page() -> Iterator[Page]:
    """An empty tab, of another Chromium: one that playwright has started."""
    if not PROGRAM.exists():
        pytest.skip(f"no {PROGRAM} here; e2e/cluster/chromium.sh installs it (root, Debian)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        # A script of a test runs whatever the page's own policy is, as an extension's would.
        page = browser.new_context(bypass_csp=True).new_page()
        page.set_default_timeout(120_000)
        yield page
        browser.close()


class Handler(http.server.BaseHTTPRequestHandler):
    """The server of the page."""

    @property
    def browser(self) -> Browser:
        """The page that is served."""
        browser: Browser = self.server.browser  # type: ignore[attr-defined]
        return browser

    def do_GET(self) -> None:
        """Give the page, or the next script when there is one."""
        self.answer(self.browser.scripts.get().encode() if self.path == "/script" else PAGE)

    def do_POST(self) -> None:
        """Take what a script has said."""
        self.browser.said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(b"")

    def answer(self, data: bytes) -> None:
        """Answer with a document."""
        with contextlib.suppress(ConnectionError):  # the browser is ended while it waits for a script
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
