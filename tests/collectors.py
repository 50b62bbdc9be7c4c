"""A real OpenTelemetry Collector, as built by e2e/cluster/tools.sh, and what it has received; one that answers late."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from tests.processes import Program, free_port, running, start, wait_for_http
from tests.remotes import find_program

CONFIG = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:%d"}}}}
exporters: {file: {path: "%s", flush_interval: 50ms}}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
    metrics: {receivers: [otlp], exporters: [file]}
    logs: {receivers: [otlp], exporters: [file]}
"""
SERVER, CLIENT, CONSUMER = 2, 3, 5
"""Kinds of spans, as OTLP numbers them."""


@dataclass(frozen=True, slots=True)
class Collector:
    """A running collector."""

    url: str
    file: Path
    program: Program

    def received(self) -> str:
        """All that it has received, as JSON, a batch a line."""
        return self.file.read_text() if self.file.exists() else ""

    def spans(self) -> list[dict[str, Any]]:
        """All spans, with their attributes as a dict."""
        return [flat(span) for span in self._all("resourceSpans", "scopeSpans", "spans")]

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics, again and again."""
        return self._all("resourceMetrics", "scopeMetrics", "metrics")

    def entries(self) -> list[dict[str, Any]]:
        """All entries of the log, with their attributes as a dict."""
        return [flat(entry) for entry in self._all("resourceLogs", "scopeLogs", "logRecords")]

    def resources(self) -> list[dict[str, Any]]:
        """In whose name each batch was sent."""
        batches = [json.loads(line) for line in whole_lines(self.received())]
        return [flat(part["resource"])["attributes"] for batch in batches for parts in batch.values() for part in parts]

    def _all(self, *path: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in whole_lines(self.received())]
        for name in path:
            found = [one for part in found for one in part.get(name, ())]
        return found


def whole_lines(text: str) -> list[str]:
    """The lines that are there to their end."""
    return text.split("\n")[:-1]


def flat(thing: dict[str, Any]) -> dict[str, Any]:
    """A span, an entry or a resource whose attributes are a dict."""
    attributes = {one["key"]: next(iter(one["value"].values()), None) for one in thing.get("attributes", ())}
    return {**thing, "attributes": attributes}


@contextlib.contextmanager
def collector(directory: Path, port: int = 0) -> Iterator[Collector]:
    """A collector that keeps what it gets in a file."""
    program, port = find_program("otelcol"), port or free_port()
    directory.mkdir(exist_ok=True)
    file = directory / "received.json"
    (directory / "collector.yaml").write_text(CONFIG % (port, file))
    command: list[str | Path] = [program, "--config", directory / "collector.yaml"]
    with running(start(command, directory / "collector.log", {})) as running_one:
        wait_for_http(running_one, f"http://127.0.0.1:{port}/v1/traces")
        yield Collector(f"http://127.0.0.1:{port}", file, running_one)


class Heard(http.server.ThreadingHTTPServer):
    """A collector that notes the heads of what it is sent, and answers each when `wait` is over."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.heads: list[Message] = []
        self.answered = 0
        heard = self

        class Noting(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.heads.append(self.headers)
                self.rfile.read(int(self.headers["Content-Length"]))
                wait()
                with contextlib.suppress(ConnectionError):  # who sent it may have ended
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                heard.answered += 1

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Noting)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
