"""The real doors on a free port and on a unix socket, asked by the standard library's client."""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvloop

from s3d.admin import server
from s3d.admin.reports import BucketStatus, Chosen, LaneStatus, ObjectStatus, Status, TriedStatus
from s3d.admin.server import Doors
from s3d.api import Body, BytesBody
from s3d.errors import ConfigError, S3DError, S3Error
from s3d.history import Sample
from s3d.metrics import Metrics
from s3d.problems import CHANGES_PARKED, Problem
from s3d.settings import Gateway
from tests.daemons import StartDaemon
from tests.processes import free_port
from tests.remotes import Remote

SECRET = "clinic/patient-4711.pdf"


@dataclass
class Told:
    """Reports with fixed answers."""

    reasons: list[str] = field(default_factory=list)
    broken: bool = False
    refusal: str = ""
    chosen: list[Chosen] = field(default_factory=list)
    wrong: list[Problem] = field(default_factory=list)

    def ready(self) -> list[str]:
        return self.reasons

    def problems(self) -> list[Problem]:
        return self.wrong

    def status(self) -> Status:
        if self.broken:
            raise S3DError(f"cannot read {SECRET}", hint="look at the disk")
        return {
            "version": "1",
            "started_at": 1.0,
            "problems": [],
            "remote": {
                "endpoint": "http://127.0.0.1:9000",
                "state": "away",
                "since": 2.0,
                "credentials": "found",
                "refusal": self.refusal,
                "identities": [],
            },
            "pending": {
                "changes": 3,
                "bytes": 42,
                "oldest_age_seconds": 1.5,
                "parked": 1,
                "held": 0,
                "unjudged": 2,
                "kept_bytes": 7,
            },
            "states": {"waiting": 2, "parked": 1},
            "paused_lanes": 1,
            "keeps_push_filter": False,
            "read_cache": {
                "entries": 4,
                "bytes": 5,
                "usable": True,
                "decided": True,
                "pins": {"kept": 1, "waiting": 0, "over": 0},
            },
            "access_keys": 2,
            "files": {"settings": {"loaded_at": 1.0, "error": ""}, "access_keys": {"loaded_at": 1.0, "error": "wrong"}},
            "draining": False,
            "tls": None,
            "sync_folder": None,
            "mount": None,
        }

    def bucket_status(self, bucket: str) -> BucketStatus:
        return {"bucket": bucket, "known": True, "writes": "queued", "pending": {"changes": 0, "bytes": 0}}

    def object_status(self, bucket: str, key: str) -> ObjectStatus:
        if self.broken:
            raise S3DError(f"cannot read {key}", hint="look at the disk")
        return {"bucket": bucket, "key": key, "state": "delivered", "changes": []}

    def lanes(self) -> list[LaneStatus]:
        return []

    def tried(self) -> list[TriedStatus]:
        return []

    def under_way(self) -> list[dict[str, Any]]:
        return [{"seq": 3, "key": SECRET}]

    def history(self) -> list[Sample]:
        return [{"at": 1.0, "changes": 2, "bytes": 3, "requests": 4, "failed": 5, "delivered": 6}]

    def kept(self, chosen: Chosen) -> list[dict[str, Any]]:
        self.chosen.append(chosen)
        return [{"seq": 1, "key": SECRET}]

    def why(self, seq: int) -> dict[str, Any]:
        return {"change": {"seq": seq, "key": SECRET}, "rule": "", "asked": []}

    def body(self, seq: int) -> Body | None:
        if seq != 1:
            raise S3Error("NoSuchChange", status=404)
        return BytesBody(b"body")

    async def retry(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 1}

    async def discard(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 2}

    async def sync_look(self, what: str, path: str, after: str) -> dict[str, Any]:
        return {"differences": []}

    def sync_lists(self) -> dict[str, Any]:
        return {"left": [{"path": SECRET, "reason": ""}], "trash": []}

    async def sync(self, what: str) -> dict[str, Any]:
        return {"what": what}

    async def sync_restore(self, id: str) -> dict[str, Any]:  # noqa: A002
        return {"id": id}

    async def flush(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"changes": 3}

    def cached(self, chosen: Chosen) -> list[dict[str, Any]]:
        return [{"id": 1, "bucket": chosen.bucket, "key": chosen.prefix}]

    async def verify_cached(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"entries": 1, "blocks": 2, "bytes": 3, "damaged": [], "after": 1, "block": 0, "done": True}

    async def drop_cached(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"entries": 1, "bytes": 2}

    def unpublished(self, chosen: Chosen) -> list[dict[str, Any]]:
        return [{"key": SECRET}]

    async def publish(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {"published": 1, "left": []}

    def set_log_level(self, level: str) -> dict[str, Any]:
        if level == "loud":
            raise S3DError("there is no such level")
        return {"level": level}

    async def prestop(self, chosen: Chosen) -> dict[str, Any]:
        self.chosen.append(chosen)
        return {}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.path)


@dataclass
class Client:
    doors: Doors

    async def tcp(self, path: str, method: str = "GET", **headers: str) -> Answer:
        host, port = self.doors.addresses[0]
        return await asyncio.to_thread(ask, http.client.HTTPConnection(host, port, timeout=60), method, path, headers)

    async def unix(self, path: str, method: str = "GET") -> Answer:
        return await asyncio.to_thread(ask, UnixConnection(str(self.doors.path)), method, path, {})


def ask(connection: http.client.HTTPConnection, method: str, path: str, headers: dict[str, str]) -> Answer:
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@asynccontextmanager
async def doors(local_dir: Path, reports: Told | None = None, metrics: Metrics | None = None) -> AsyncIterator[Client]:
    gateway = Gateway(local_dir=local_dir, metrics_endpoint="http://127.0.0.1:0")
    async with server.serve(reports or Told(), gateway, metrics or Metrics()) as opened:
        yield Client(opened)


@contextmanager
def in_directory(path: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


async def test_healthz_is_ok_while_the_process_lives(tmp_path: Path) -> None:
    async with doors(tmp_path, Told(reasons=["the store is closed"])) as client:
        for answer in (await client.tcp("/healthz"), await client.unix("/healthz")):
            assert (answer.status, answer.body) == (200, b"ok\n")


async def test_readyz_gives_each_reason_a_line(tmp_path: Path) -> None:
    reports = Told(reasons=["the queue is being opened", "draining"])
    async with doors(tmp_path, reports) as client:
        answer = await client.tcp("/readyz")
        assert (answer.status, answer.body) == (503, b"the queue is being opened\ndraining\n")
        reports.reasons = []
        answer = await client.tcp("/readyz")
        assert (answer.status, answer.body) == (200, b"ok\n")


async def test_what_is_wrong_is_in_the_readiness_and_in_the_metrics(tmp_path: Path) -> None:
    reports = Told(wrong=[Problem(CHANGES_PARKED, "1 change refused")])
    async with doors(tmp_path, reports) as client:
        answer = await client.tcp("/readyz")
        assert (answer.status, answer.body) == (200, b"ok\n1 change refused\n")
        shown = (await client.tcp("/metrics")).body.decode()
        assert 's3d_problem{problem="ChangesParked",stake="data"} 1.0' in shown
        assert 's3d_problem{problem="RemoteAway",stake="service"} 0.0' in shown


async def test_metrics_show_what_the_reports_say_at_that_moment(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.count_request("PutObject", 200, "queue", first_byte=0.01, last_byte=0.01)
    async with doors(tmp_path, metrics=metrics) as client:
        answer = await client.tcp("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    for line in (
        's3d_requests_total{code="200",operation="PutObject",source="queue"} 1.0',
        's3d_queue_pending_changes{state="waiting"} 2.0',
        "s3d_queue_pending_bytes 42.0",
        "s3d_queue_oldest_age_seconds 1.5",
        "s3d_remote_up 0.0",
    ):
        assert line in answer.body.decode().splitlines()


async def test_the_level_of_the_log_is_set_over_the_socket_alone(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        assert (await client.unix("/log?level=debug", "POST")).json == {"level": "debug"}
        assert (await client.unix("/log?level=loud", "POST")).status == 400
        assert (await client.unix("/log?level=debug")).status == 405
        assert (await client.tcp("/log?level=debug", "POST")).status == 405


async def test_metrics_come_as_openmetrics_to_who_asks_for_it(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        answer = await client.tcp("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.body.endswith(b"# EOF\n")


async def test_metrics_are_served_while_the_status_cannot_be_read(tmp_path: Path) -> None:
    async with doors(tmp_path, Told(broken=True)) as client:
        answer = await client.tcp("/metrics")
    assert answer.status == 200
    assert b"s3d_build_info" in answer.body


async def test_status_is_json_on_both_doors(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        more: dict[str, Any]
        for answer, more in (
            (await client.tcp("/status"), {}),
            (await client.unix("/status"), {"lanes": [], "tried": []}),
        ):
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("application/json")
            assert answer.json == {**Told().status(), **more}


@pytest.mark.semantics("O-11")
async def test_the_page_of_the_metrics_door_has_counts_and_runs_nothing(tmp_path: Path) -> None:
    reports = Told(wrong=[Problem(CHANGES_PARKED, "1 change refused")])
    async with doors(tmp_path, reports) as client:
        page, style, head = await client.tcp("/"), await client.tcp("/style.css"), await client.tcp("/", "HEAD")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    text = page.body.decode()
    for shown in ("3 changes, 42 B, not in the remote yet", "http://127.0.0.1:9000: away", "4 objects", "1 kept"):
        assert shown in text
    assert "<script" not in text
    assert "<form" not in text
    assert (style.status, style.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    for answer in (page, style, head):
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
    assert head.body == b""


@pytest.mark.semantics("O-11")
async def test_what_others_say_is_text_on_the_page(tmp_path: Path) -> None:
    async with doors(tmp_path, Told(refusal='<script>alert("hit")</script>\u202egnp.exe\x1b')) as client:
        text = (await client.tcp("/?<b>")).body.decode()
    assert "&lt;script&gt;" in text
    assert "\\u202egnp.exe\\x1b" in text
    assert [word for word in ("<script", "<b>", "\u202e", "\x1b") if word in text] == []


@pytest.mark.semantics("A-7")
async def test_a_page_that_cannot_be_made_says_no_more_than_that(tmp_path: Path) -> None:
    async with doors(tmp_path, Told(broken=True)) as client:
        answer = await client.tcp("/")
    assert (answer.status, answer.json) == (503, {"error": "the status cannot be read"})


@pytest.mark.semantics("A-7")
@pytest.mark.parametrize("query", ["bucket=clinic", "bucket=clinic&key=patient", "key=patient&bucket=clinic"])
async def test_the_metrics_door_answers_no_question_about_a_bucket_or_a_key(tmp_path: Path, query: str) -> None:
    async with doors(tmp_path) as client:
        answer = await client.tcp(f"/status?{query}")
    assert answer.status == 403
    assert "unix socket" in answer.json["hint"]
    assert b"clinic" not in answer.body


@pytest.mark.semantics("A-7")
async def test_an_error_shows_its_words_on_the_unix_socket_only(tmp_path: Path) -> None:
    async with doors(tmp_path, Told(broken=True)) as client:
        over_tcp, over_unix = await client.tcp("/status"), await client.unix("/status")
    assert (over_tcp.status, over_unix.status) == (503, 503)
    assert SECRET not in over_tcp.body.decode()
    assert over_unix.json == {"error": f"cannot read {SECRET}", "hint": "look at the disk"}


@pytest.mark.semantics("A-4")
@pytest.mark.parametrize(
    "key", ["a//b", "a/../b", "./x", "d/", "a b", "a+b", "a%2Fb", "e\u0301", "\u00e9", "a&key=b", "\x00"]
)
async def test_the_unix_socket_takes_a_key_as_it_is(tmp_path: Path, key: str) -> None:
    async with doors(tmp_path) as client:
        answer = await client.unix(f"/status?bucket=photos&key={quote(key, safe='')}")
    assert answer.json == {"bucket": "photos", "key": key, "state": "delivered", "changes": []}


async def test_the_unix_socket_shows_a_bucket(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        answer = await client.unix("/status?bucket=photos")
    assert answer.json["bucket"] == "photos"


@pytest.mark.parametrize("query", ["key=a", "nonsense", "bucket=a&key=b&more=c", "other=1", "bucket=%FF"])
async def test_a_question_that_is_not_understood_is_refused(tmp_path: Path, query: str) -> None:
    async with doors(tmp_path) as client:
        answer = await client.unix(f"/status?{query}")
    assert answer.status == 400
    assert answer.json["hint"]


@pytest.mark.semantics("A-7")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_the_doors_are_read_only(tmp_path: Path, method: str) -> None:
    async with doors(tmp_path) as client:
        for answer in (await client.tcp("/status", method), await client.unix("/status", method)):
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_head_has_the_headers_of_get_and_no_body(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        got, headed = await client.tcp("/status"), await client.tcp("/status", "HEAD")
    assert headed.body == b""
    assert headed.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.body))


@pytest.mark.parametrize("path", ["/statu", "/status/", "/style.css/", "//status", "/../status", "/metrics/x"])
async def test_other_paths_are_not_found(tmp_path: Path, path: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp(path)).status == 404


@pytest.mark.semantics("A-7")
async def test_only_the_owner_may_open_the_unix_socket(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with doors(tmp_path) as client:
            assert stat.S_IMODE(client.doors.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


async def test_a_socket_that_a_dead_process_left_is_replaced_and_ours_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s3d.sock"
    with socket.socket(socket.AF_UNIX) as dead, in_directory(tmp_path):
        dead.bind("s3d.sock")
    async with doors(tmp_path) as client:
        assert (await client.unix("/healthz")).status == 200
    assert not path.exists()


async def test_a_file_in_the_place_of_the_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s3d.sock"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="in the way"):
        async with doors(tmp_path):
            pass
    assert path.read_text() == "mine"


async def test_a_local_dir_with_a_path_longer_than_the_kernel_takes_has_its_socket(tmp_path: Path) -> None:
    long = tmp_path.joinpath(*["d" * 60] * 3)
    long.mkdir(parents=True)
    async with doors(long) as client:
        assert client.doors.path.is_socket()
        with in_directory(long):
            assert (await asyncio.to_thread(ask, UnixConnection("s3d.sock"), "GET", "/healthz", {})).status == 200
    assert not (long / "s3d.sock").exists()


async def test_an_address_that_is_taken_is_an_error_for_the_person(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match="S3D_METRICS_ENDPOINT: cannot listen on") as caught:
            async with server.serve(Told(), Gateway(local_dir=tmp_path, metrics_endpoint=endpoint), Metrics()):
                pass
    assert caught.value.hint
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240


async def test_localhost_is_every_loopback_address_that_the_machine_has(tmp_path: Path) -> None:
    gateway = Gateway(local_dir=tmp_path, metrics_endpoint="http://localhost:0")
    async with server.serve(Told(), gateway, Metrics()) as opened:
        assert {host for host, _ in opened.addresses} <= {"127.0.0.1", "::1"}
        assert "127.0.0.1" in {host for host, _ in opened.addresses}


async def test_a_client_that_sends_nothing_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTION_SECONDS", 0.05)
    async with doors(tmp_path) as client:
        reader, writer = await asyncio.open_connection(*client.doors.addresses[0])
        writer.write(b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()


async def test_of_too_many_connections_the_oldest_without_a_request_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    async with doors(tmp_path) as client:
        address = client.doors.addresses[0]
        first, second = await asyncio.open_connection(*address), await asyncio.open_connection(*address)
        third = await asyncio.open_connection(*address)
        with contextlib.suppress(ConnectionError):
            assert await first[0].read() == b""
        for reader, writer in (second, third):
            writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b"ok" in await reader.read()
        for _, writer in (first, second, third):
            writer.close()


@pytest.mark.semantics("A-6a")
async def test_whoever_holds_connections_keeps_no_probe_out(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        held = [await asyncio.open_connection(*client.doors.addresses[0]) for _ in range(3 * server.CONNECTIONS)]
        for _ in range(20):
            assert (await client.tcp("/healthz")).status == 200
        for _, writer in held:
            writer.close()


@pytest.mark.semantics("A-3b")
@pytest.mark.parametrize("host", ["evil.example", "evil.example:33334", "localhost.evil.example"])
async def test_the_metrics_door_refuses_names_that_are_not_its_own(tmp_path: Path, host: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp("/status", Host=host)).status == 403


@pytest.mark.semantics("A-3b")
@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3:33334", "[::1]:33334", "LOCALHOST", socket.gethostname()])
async def test_the_metrics_door_answers_to_addresses_and_to_its_own_names(tmp_path: Path, host: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp("/status", Host=host)).status == 200


async def test_a_target_in_absolute_form_is_answered(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp("http://127.0.0.1:33334/healthz")).status == 200
        assert (await client.tcp("http://evil.example/healthz")).status == 403


async def test_a_request_line_beyond_every_key_is_refused(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        longest = await client.unix(f"/status?bucket={'b' * 63}&key={quote(chr(0x10FFFF) * 256, safe='')}")
        beyond = await client.unix(f"/status?bucket=b&key={'k' * 9000}")
    assert (longest.status, beyond.status) == (200, 400)


def test_the_doors_open_and_close_on_uvloop(tmp_path: Path) -> None:
    async def visit() -> tuple[int, int]:
        async with doors(tmp_path) as client:
            return (await client.tcp("/healthz")).status, (await client.unix("/status?bucket=b&key=k")).status

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(visit()) == (200, 200)
    assert not (tmp_path / "s3d.sock").exists()


CHANGING = ["/queue/retry", "/queue/discard", "/flush", "/prestop", "/cache/drop", "/cache/verify", "/mount/publish"]


@pytest.mark.semantics("A-7")
@pytest.mark.parametrize("path", CHANGING)
async def test_what_changes_anything_is_a_post_over_the_socket(tmp_path: Path, path: str) -> None:
    told = Told()
    async with doors(tmp_path, told) as client:
        assert (await client.tcp(path, "POST")).status == 405
        assert (await client.tcp(path)).status == 404
        assert (await client.unix(path)).status == 405
        assert told.chosen == []
        assert (await client.unix(f"{path}?bucket=b&prefix=a%2Fb%2520", "POST")).status == 200
        assert told.chosen == [Chosen("b", "a/b%20")]


@pytest.mark.semantics("A-7")
@pytest.mark.parametrize(("path", "said"), [("/sync/do", "what"), ("/sync/restore", "id")])
async def test_what_the_sync_folder_is_told_is_a_post_over_the_socket(tmp_path: Path, path: str, said: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp(path, "POST")).status == 405
        assert (await client.unix(path)).status == 405
        answer = await client.unix(f"{path}?{said}=x", "POST")
        assert json.loads(answer.body) == {said: "x"}


@pytest.mark.semantics("A-7")
@pytest.mark.parametrize(
    "path",
    [
        "/queue",
        "/queue/body?seq=1",
        "/queue/under-way",
        "/history",
        "/cache",
        "/sync",
        "/sync/why",
        "/sync/check",
        "/mount",
    ],
)
async def test_what_names_keys_is_not_on_the_metrics_door(tmp_path: Path, path: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.tcp(path)).status == 404
        assert (await client.unix(path)).status == 200


async def test_the_body_of_a_change_comes_as_it_is(tmp_path: Path) -> None:
    async with doors(tmp_path) as client:
        assert (await client.unix("/queue/body?seq=1")).body == b"body"
        assert (await client.unix("/queue/body?seq=2")).status == 404


@pytest.mark.parametrize("query", ["seq=x", "nonsense=1", "prefix=p", "%"])
async def test_a_choice_that_is_not_understood_is_refused(tmp_path: Path, query: str) -> None:
    async with doors(tmp_path) as client:
        assert (await client.unix(f"/queue?{query}")).status == 400
        assert (await client.unix(f"/queue/discard?{query}", "POST")).status == 400


PATHS = (
    "/ /style.css /metrics /status /readyz /healthz /queue /queue/body?seq=1 /queue/retry /queue/discard /flush "
    "/prestop /log?level=debug /nowhere"
).split()


@pytest.mark.semantics("A-7", "O-3")
@pytest.mark.parametrize("remote", ["moto"], indirect=True)
def test_no_key_comes_out_of_the_metrics_door_whatever_is_asked(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    nobody = Remote("away", f"http://127.0.0.1:{free_port()}", "Dummy", "Dummy", remote.program)
    daemon = start_daemon(nobody, S3D_BUCKETS=bucket, S3D_ACCESS_LOG="all")
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)) as client:
        for number in range(1000):
            client.request("PUT", f"/{bucket}/planted-{number}", body=b"x")
            answer = client.getresponse()
            assert (answer.status, answer.read()) == (200, b"")
    asked = [f"{path}{'&' if '?' in path else '?'}bucket={bucket}" for path in PATHS]
    shown = b""
    for path in (*PATHS, *asked, f"/status?bucket={bucket}&key=", f"/queue?bucket={bucket}&prefix=", f"/{bucket}"):
        for method in ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"):
            shown += ask(
                http.client.HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=60), method, path, {}
            ).body
    assert f's3d_bucket_requests_total{{bucket="{bucket}"}} 1000.0'.encode() in shown
    assert b"planted" not in shown
    assert daemon.status()["pending"]["changes"] == 1000
