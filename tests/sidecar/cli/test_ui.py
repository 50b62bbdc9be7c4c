"""The status page, as `s3d ui` serves it beside a real daemon."""

import http.client
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.processes import running, start
from tests.refusals import Refuse, Refusing
from tests.remotes import Remote

HOSTILE = '"><script>document.title="hit"</script>\u202egnp.exe'
FORM = "application/x-www-form-urlencoded"


@dataclass
class Page:
    """What was answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def form(self) -> str:
        """The secret of its forms."""
        found = re.search(r'name="form" value="([^"]+)"', self.text)
        assert found
        return found[1]


@dataclass
class Reader:
    """A browser, as far as it matters here."""

    address: str
    cookie: str = ""
    host: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, data: str | None = None, method: str = "") -> Page:
        """Ask for a page, or send a form."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        headers = {"Host": self.host or parts.netloc, **self.headers}
        if self.cookie:
            headers["Cookie"] = self.cookie
        if data is not None:
            headers["Content-Type"] = FORM
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, headers)
            answer = connection.getresponse()
            return Page(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
        finally:
            connection.close()


@pytest.fixture
def refused(refusing: Refuse, remote: Remote, bucket: str, start_daemon: StartDaemon) -> tuple[Daemon, Refusing]:
    """A daemon with a parked change of a hostile name, and what refuses it."""
    before = refusing(remote)
    daemon = start_daemon(before.remote, S3D_BUCKETS=bucket)
    daemon.warm(bucket)
    name = quote(f"/{bucket}/{HOSTILE}", safe="/")
    before.set({"path": name, "method": "PUT", "status": 400, "code": "EntityTooLarge"})
    daemon.client().put_object(Bucket=bucket, Key=HOSTILE, Body=b"12345")
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    return daemon, before


@pytest.fixture
def reader(refused: tuple[Daemon, Refusing], tmp_path: Path) -> Iterator[Reader]:
    """Somebody who has opened the address that was printed."""
    daemon, _ = refused
    log = tmp_path / "ui.log"
    command = [sys.executable, "-m", "s3d.cli", "ui"]
    with running(start(command, log, daemon.environment)) as program:
        eventually(lambda: log.read_text().endswith("\n") or not program.running)
        opened = Reader(log.read_text().strip())
        first = opened.ask(f"/?{urlsplit(opened.address).query}")
        assert (first.status, first.headers["location"]) == (303, "/"), first.text
        assert {"HttpOnly", "SameSite=Strict"} <= set(first.headers["set-cookie"].split("; "))
        opened.cookie = first.headers["set-cookie"].partition(";")[0]
        yield opened


@pytest.fixture
def remote(moto: Remote) -> Remote:
    """It keeps every key byte for byte."""
    return moto


def test_what_waits_for_a_person_is_seen_tried_again_and_discarded(
    reader: Reader, refused: tuple[Daemon, Refusing], bucket: str
) -> None:
    daemon, before = refused
    page = reader.ask("/")
    assert page.status == 200
    assert "1 change, 5 B, not in the remote yet" in page.text
    assert "Data at risk: " in page.text
    assert "EntityTooLarge" in page.text
    again = reader.ask("/retry", f"form={page.form}")
    assert "1 change will be tried again." in again.text
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    seq = daemon.ask("/queue")["changes"][0]["seq"]
    asked = reader.ask(f"/discard?seq={seq}")
    assert f"Discard change {seq}?" in asked.text
    assert daemon.status()["pending"]["parked"] == 1, "asking does nothing"
    before.set()
    assert "1 change will be tried again." in reader.ask("/retry", f"form={page.form}&seq={seq}").text
    eventually(lambda: drained(daemon))
    assert "The remote has everything." in reader.ask("/").text
    assert daemon.client().get_object(Bucket=bucket, Key=HOSTILE)["Body"].read() == b"12345"
    assert reader.ask(f"/discard?seq={seq}").status == 404


def test_what_is_discarded_on_the_page_is_gone(reader: Reader, refused: tuple[Daemon, Refusing]) -> None:
    daemon, _ = refused
    seq = daemon.ask("/queue")["changes"][0]["seq"]
    form = reader.ask(f"/discard?seq={seq}").form
    assert "1 change discarded." in reader.ask("/discard", f"form={form}&seq={seq}").text
    assert daemon.status()["pending"]["changes"] == 0


@pytest.mark.semantics("O-10")
def test_a_name_is_text_and_nothing_else_on_a_page_that_runs_no_script(reader: Reader) -> None:
    page = reader.ask("/")
    assert "<script" not in page.text
    assert "&#34;&gt;&lt;script&gt;" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.semantics("O-10")
def test_nobody_without_the_address_sees_or_does_anything(reader: Reader, refused: tuple[Daemon, Refusing]) -> None:
    daemon, _ = refused
    form = reader.ask("/").form
    seq = daemon.ask("/queue")["changes"][0]["seq"]
    done = f"form={form}&seq={seq}"
    cookie, reader.cookie = reader.cookie, ""
    for stranger in ("", "s3d-ui=", "s3d-ui=" + "x" * 43):
        reader.cookie = stranger
        assert reader.ask("/").status == 403
        assert reader.ask("/?token=x").status == 403
        assert reader.ask("/discard", done).status == 403
    reader.cookie = cookie
    for wrong in (f"seq={seq}", f"form=&seq={seq}", f"form={cookie.partition('=')[2]}&seq={seq}"):
        assert reader.ask("/discard", wrong).status == 403
    reader.host = "rebound.example:80"
    assert reader.ask("/").status == 421
    assert reader.ask("/discard", done).status == 421
    reader.host = ""
    assert daemon.status()["pending"]["parked"] == 1
    assert HOSTILE not in reader.ask("/nowhere").text


def test_what_is_not_understood_is_a_page_that_says_so(reader: Reader) -> None:
    form = reader.ask("/").form
    for path, data, status in (
        ("/discard?seq=x", None, 400),
        ("/discard?seq=99999999999999999999999", None, 400),
        ("/discard?seq=7777", None, 404),
        ("/discard", "seq=-1", 400),
        ("/discard", "seq=", 400),
        ("/retry", "seq=" + "1" * 5000, 413),
        ("/nowhere", None, 404),
        ("/nowhere/<script>", None, 404),
    ):
        page = reader.ask(path.replace("<", "%3C"), None if data is None else f"form={form}&{data}")
        assert page.status == status, (path, data)
        assert "Traceback" not in page.text
        assert "To the status page" in page.text, (path, data)


def test_without_a_daemon_the_page_says_so(reader: Reader, refused: tuple[Daemon, Refusing]) -> None:
    refused[0].kill()
    page = reader.ask("/")
    assert page.status == 503
    assert "s3d run" in page.text


def test_the_form_of_another_run_does_nothing(reader: Reader, refused: tuple[Daemon, Refusing]) -> None:
    assert reader.ask("/retry", f"form={'x' * 43}").status == 403
    assert reader.ask("/retry", "", method="PUT").status == 405


def test_a_taken_port_is_said(refused: tuple[Daemon, Refusing]) -> None:
    daemon, _ = refused
    ran = daemon.cli("ui", "--port", str(daemon.port))
    assert ran.returncode == 2
    assert b"cannot listen on 127.0.0.1:" in ran.stderr
    assert b"--port names another one" in ran.stderr
