"""Telemetry of the real daemon, as a real collector receives it."""

import json
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from tests.collectors import CLIENT, CONSUMER, SERVER, Collector, Heard, collector
from tests.constants import changed
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.processes import NotStarted, free_port
from tests.relays import AWAY, Relay
from tests.remotes import Remote, new_client

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SOON = {
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": "200",
    # By itself one of a hundred requests without a parent is recorded: those of a test's preparations, too.
    "OTEL_TRACES_SAMPLER_ARG": "0",
}
TRACES_ONLY = {"OTEL_METRICS_EXPORTER": "none"}

pytestmark = pytest.mark.parametrize("remote", ["moto"], indirect=True)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Collector]:
    with collector(tmp_path / "collector") as running:
        yield running


def sending_to(there: Collector, **settings: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": there.url, **SOON, **settings}


def traced(daemon: Daemon, traceparent: str) -> Any:
    """A client whose requests say that they belong to a trace."""
    s3 = new_client(daemon.endpoint)

    def tell(request: Any, **_: Any) -> None:
        request.headers["traceparent"] = traceparent

    s3.meta.events.register("before-send.s3", tell)
    return s3


def put_traced(daemon: Daemon, bucket: str, key: str, *, trace: str = TRACE, flags: str = "01") -> None:
    traced(daemon, f"00-{trace}-{PARENT}-{flags}").put_object(Bucket=bucket, Key=key, Body=b"data")


def of_kind(there: Collector, kind: int, name: str) -> list[dict[str, Any]]:
    return [span for span in there.spans() if span["kind"] == kind and span["name"] == name]


def delivered(there: Collector, bucket: str, trace: str) -> list[dict[str, Any]]:
    """The pushes to a bucket that have delivered what a request of a trace has written."""
    return [
        push
        for push in of_kind(there, CONSUMER, "push put")
        if (push["attributes"]["s3d.outcome"], push["attributes"]["aws.s3.bucket"]) == ("delivered", bucket)
        and trace in {link["traceId"] for link in push["links"]}
    ]


def at_the_door(there: Collector) -> list[dict[str, Any]]:
    return [span for span in there.spans() if span["kind"] == SERVER]


@pytest.mark.semantics("O-5")
@pytest.mark.semantics("O-6")
def test_a_put_and_its_push_after_a_restart_are_one_story(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, receiver: Collector
) -> None:
    relayed = relay(remote)
    # What has waited for long is looked for, sent on a condition, and followed by a question whether that counts.
    settings = {"S3D_WRITE_QUEUE_CONFLICT_CHECK_AFTER": "1h", **AWAY, **sending_to(receiver, **TRACES_ONLY)}
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **settings)
    daemon.warm(bucket)
    relayed.set(mode="refuse")
    put_traced(daemon, bucket, "k")
    eventually(lambda: bool(of_kind(receiver, SERVER, "PutObject")))
    (change,) = daemon.ask("/queue/under-way")["changes"]
    told_of = json.loads(daemon.cli("trace", str(change["seq"]), "--json").stdout)
    daemon.kill()
    relayed.set(mode="pass")
    daemon.start()
    eventually(lambda: bool(delivered(receiver, bucket, TRACE)))

    (request,) = of_kind(receiver, SERVER, "PutObject")
    assert told_of["requests"] == [f"00-{TRACE}-{request['spanId']}-01"]
    eventually(lambda: b"No pending change has the number" in daemon.cli("trace", str(change["seq"])).stderr)
    assert daemon.cli("trace", str(change["seq"])).returncode == 1
    assert (request["traceId"], request["parentSpanId"]) == (TRACE, PARENT)
    assert [event["name"] for event in request["events"]] == ["queued", "received", "committed"]
    told = request["attributes"]
    assert (told["http.request.method"], told["http.response.status_code"]) == ("PUT", "200")
    assert (told["s3d.source"], told["aws.s3.bucket"]) == ("queue", bucket)

    (push,) = delivered(receiver, bucket, TRACE)
    (link,) = push["links"]
    assert (link["traceId"], link["spanId"]) == (TRACE, request["spanId"])
    assert push["traceId"] != TRACE
    (sent,) = [span for span in of_kind(receiver, CLIENT, "PutObject") if span["parentSpanId"] == push["spanId"]]
    assert sent["attributes"]["http.response.status_code"] == "200"
    assert daemon.terminate() == 0


@pytest.mark.semantics("O-5")
def test_a_request_that_goes_through_has_one_span_at_the_door_and_one_to_the_remote(
    remote: Remote, bucket: str, start_daemon: StartDaemon, receiver: Collector
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **sending_to(receiver, **TRACES_ONLY))
    remote.client().put_object(Bucket=bucket, Key="there", Body=b"data")
    traced(daemon, f"00-{TRACE}-{PARENT}-01").get_object(Bucket=bucket, Key="there")["Body"].read()
    eventually(lambda: len(receiver.spans()) == 2)
    (request,), (sent,) = of_kind(receiver, SERVER, "GetObject"), of_kind(receiver, CLIENT, "GetObject")
    assert (sent["traceId"], sent["parentSpanId"]) == (TRACE, request["spanId"])
    assert request["attributes"]["s3d.source"] == "remote"


@pytest.mark.semantics("O-5")
def test_who_is_recorded_is_said_by_the_parent_and_else_by_the_share(
    remote: Remote, bucket: str, start_daemon: StartDaemon, receiver: Collector
) -> None:
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **sending_to(receiver, **TRACES_ONLY))
    put_traced(daemon, bucket, "unsampled", trace="1" * 32, flags="00")
    traced(daemon, "nonsense").put_object(Bucket=bucket, Key="nonsense", Body=b"")
    daemon.client().put_object(Bucket=bucket, Key="no parent", Body=b"")
    put_traced(daemon, bucket, "sampled")
    eventually(lambda: bool(at_the_door(receiver)) and drained(daemon))
    assert daemon.terminate() == 0
    assert {span["traceId"] for span in at_the_door(receiver)} == {TRACE}
    daemon.settings |= {"OTEL_TRACES_SAMPLER": "always_on"}
    daemon.start()
    put_traced(daemon, bucket, "unsampled", trace="1" * 32, flags="00")
    daemon.client().put_object(Bucket=bucket, Key="no parent", Body=b"")
    eventually(lambda: len(at_the_door(receiver)) == 3)
    assert "1" * 32 in {span["traceId"] for span in at_the_door(receiver)}


@pytest.mark.semantics("O-6")
def test_a_push_links_to_all_that_it_delivers(
    remote: Remote, bucket: str, relay: Relay, start_daemon: StartDaemon, receiver: Collector
) -> None:
    relayed = relay(remote)
    daemon = start_daemon(relayed.remote, S3D_BUCKETS=bucket, **AWAY, **sending_to(receiver, **TRACES_ONLY))
    daemon.warm(bucket)
    relayed.set(mode="refuse")
    # What is under way is not taken the place of.
    daemon.client().put_object(Bucket=bucket, Key="other", Body=b"data")
    eventually(lambda: bool(daemon.status()["remote"]["state"] == "away"))
    traces = [f"{number:032x}" for number in range(1, 7)]
    for trace in traces:
        put_traced(daemon, bucket, "k", trace=trace)
    relayed.set(mode="pass")
    eventually(lambda: bool(delivered(receiver, bucket, traces[-1])))
    (push,) = delivered(receiver, bucket, traces[-1])
    assert [link["traceId"] for link in push["links"]] == traces[-4:]


@pytest.mark.semantics("O-7")
def test_no_key_and_no_secret_is_in_a_span_unless_keys_are_asked_for(
    remote: Remote, bucket: str, start_daemon: StartDaemon, receiver: Collector
) -> None:
    settings = sending_to(receiver, OTEL_TRACES_SAMPLER="always_on")
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **settings)
    s3 = daemon.client()
    customer = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "0123456789abcdef0123456789abcdef"}
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"planted/{number}", Body=b"data")
        s3.get_object(Bucket=bucket, Key=f"planted/{number}")["Body"].read()
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "planted/0"})
    subprocess.run([sys.executable, "-c", FETCH, url], check=True)
    with pytest.raises(ClientError):
        s3.get_object(Bucket=bucket, Key="planted/none", **customer)
    # Three puts, three reads, one by the URL, one that is refused.
    eventually(lambda: len(at_the_door(receiver)) == 8 and drained(daemon))
    assert daemon.terminate() == 0
    text = receiver.received()
    signature = url.rpartition("Signature=")[2].partition("&")[0]
    for secret in ("planted", signature, "0123456789abcdef", "AKIA", remote.secret_key):
        assert secret not in text
    daemon.settings |= {"S3D_OTEL_KEYS": "true"}
    daemon.start()
    daemon.client().put_object(Bucket=bucket, Key="planted/asked", Body=b"data")
    eventually(lambda: len(at_the_door(receiver)) == 9)
    assert at_the_door(receiver)[-1]["attributes"]["aws.s3.key"] == "planted/asked"


FETCH = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1]).read()"


@pytest.mark.semantics("O-8")
def test_the_metrics_are_those_of_the_metrics_door(
    remote: Remote, bucket: str, start_daemon: StartDaemon, receiver: Collector
) -> None:
    daemon = start_daemon(
        remote,
        S3D_BUCKETS=bucket,
        **sending_to(receiver, OTEL_RESOURCE_ATTRIBUTES="team=blue", OTEL_SERVICE_NAME="gate"),
    )
    for number in range(3):
        daemon.client().put_object(Bucket=bucket, Key=f"k{number}", Body=b"data")
    eventually(lambda: drained(daemon))

    def newest() -> dict[str, dict[str, Any]]:
        return {metric["name"]: metric for metric in receiver.metrics()}

    def puts_of(metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        points = flat_points(metrics["s3d_requests_total"]["sum"]) if "s3d_requests_total" in metrics else []
        return [point for point in points if point["attributes"]["operation"] == "PutObject"]

    eventually(lambda: sum(point["asDouble"] for point in puts_of(newest())) == 3)
    eventually(lambda: {*newest()} == names_of(metrics_of(daemon)))
    last = newest()
    puts = puts_of(last)
    (count,) = {
        point["count"]
        for point in flat_points(last["s3d_request_duration_seconds"]["histogram"])
        if point["attributes"] == {"operation": "PutObject", "source": "queue"}
    }
    assert int(count) + sum(point["asDouble"] for point in puts if point["attributes"]["source"] != "queue") == 3
    assert flat_points(last["s3d_remote_up"]["gauge"])[0]["asDouble"] == 1
    assert last["s3d_requests_total"]["sum"]["isMonotonic"]
    resource = receiver.resources()[-1]
    assert (resource["service.name"], resource["team"]) == ("gate", "blue")


def names_of(page: str) -> set[str]:
    """The metrics of a page that have a number, as OTLP names them."""
    found = set()
    for family in text_string_to_metric_families(page):
        numbers = [sample.name for sample in family.samples if not math.isnan(sample.value)]
        found |= {family.name} if family.type == "histogram" and numbers else {*numbers}
    return found


def flat_points(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**point, "attributes": {one["key"]: one["value"]["stringValue"] for one in point.get("attributes", ())}}
        for point in data["dataPoints"]
    ]


@pytest.mark.semantics("O-8")
def test_the_log_is_sent_where_that_is_asked_for_and_names_its_trace(
    remote: Remote, bucket: str, start_daemon: StartDaemon, receiver: Collector
) -> None:
    daemon = start_daemon(
        remote, S3D_BUCKETS=bucket, **sending_to(receiver, OTEL_LOGS_EXPORTER="otlp", S3D_ACCESS_LOG="all")
    )
    put_traced(daemon, bucket, "k")

    def found() -> list[dict[str, Any]]:
        return [entry for entry in receiver.entries() if "PutObject 200" in entry["body"]["stringValue"]]

    eventually(lambda: bool(found()))
    (entry,) = found()
    assert (entry["traceId"], entry["severityText"]) == (TRACE, "INFO")
    assert entry["attributes"]["operation"] == "PutObject"


class Silent:
    """A collector that takes connections and never answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections: list[socket.socket] = []
        self._socket = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                self.connections.append(self._socket.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        # Closed alone, it would go on accepting until somebody comes.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._socket.close()
        for connection in self.connections:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    there = Silent()
    yield there
    there.close()


@pytest.mark.timeout(600)
@pytest.mark.semantics("O-9")
def test_a_collector_that_hangs_is_waited_for_by_nobody(
    remote: Remote, bucket: str, start_daemon: StartDaemon, silent: Silent
) -> None:
    everything = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_LOGS_EXPORTER": "otlp", "S3D_ACCESS_LOG": "all"}
    endpoint = f"http://127.0.0.1:{silent.port}"
    # Longer than the test may last: who waited for it would be seen.
    patience = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    few = changed({"s3d.telemetry.service.MAX_WAITING": 50})
    few |= {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "50", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "50"}
    daemon = start_daemon(remote, S3D_BUCKETS=bucket, **SOON, **everything, **patience, **few)
    s3 = daemon.client()
    for number in range(60):
        s3.head_bucket(Bucket=bucket) if number else s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    eventually(lambda: drained(daemon) and len(silent.connections) >= 3)
    assert 's3d_telemetry_dropped_total{reason="full",signal="spans"}' in metrics_of(daemon)
    assert daemon.terminate() == 0


@pytest.mark.semantics("O-9")
def test_a_collector_that_answers_late_is_not_waited_for_by_the_end(
    remote: Remote, bucket: str, start_daemon: StartDaemon
) -> None:
    everything = {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_LOGS_EXPORTER": "otlp", "S3D_ACCESS_LOG": "all"}
    with Heard(lambda: time.sleep(3)) as there:
        daemon = start_daemon(remote, S3D_BUCKETS=bucket, OTEL_EXPORTER_OTLP_ENDPOINT=there.url, **everything, **SOON)
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"data")
        eventually(lambda: drained(daemon) and there.answered >= 3)
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"data")
        assert daemon.terminate() == 0
        assert remote.client().get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


@pytest.mark.semantics("O-9")
def test_a_collector_that_is_gone_is_said_to_be_so_once_and_taken_up_again(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    port = free_port()
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
    daemon = start_daemon(
        remote, S3D_BUCKETS=bucket, OTEL_TRACES_SAMPLER="always_on", **TRACES_ONLY, **SOON, **settings
    )
    for _ in range(3):
        daemon.client().put_object(Bucket=bucket, Key="k", Body=b"data")
    eventually(lambda: 's3d_telemetry_dropped_total{reason="refused",signal="spans"}' in metrics_of(daemon))
    with collector(tmp_path / "collector", port) as there:

        def is_taken() -> bool:
            daemon.client().put_object(Bucket=bucket, Key="k", Body=b"data")
            return bool(there.spans())

        eventually(is_taken)
        eventually(lambda: "takes spans again" in daemon.output())
        # While it is there: afterwards it is said again.
        assert daemon.output().count("does not take spans") == 1
    daemon.client().put_object(Bucket=bucket, Key="k", Body=b"data")
    assert daemon.terminate() == 0
    assert "Traceback" not in daemon.output()


def metrics_of(daemon: Daemon) -> str:
    with urllib.request.urlopen(f"{daemon.metrics_endpoint}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_without_a_collector_nothing_of_it_is_loaded(remote: Remote) -> None:
    program = """
import sys
from s3d import config, daemon
from s3d.metrics import Metrics
from s3d.telemetry import open_telemetry
assert open_telemetry(config.load({}).telemetry, Metrics()) is None
print([name for name in sys.modules if name.startswith(("opentelemetry", "google", "requests"))])
"""
    words = [sys.executable, "-c", program]
    assert subprocess.run(words, capture_output=True, check=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "no telemetry is sent: OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
        ({"OTEL_SDK_DISABLED": "true"}, ""),
    ],
)
def test_what_cannot_be_sent_stops_no_start(
    remote: Remote, start_daemon: StartDaemon, settings: dict[str, str], said: str
) -> None:
    daemon = start_daemon(remote, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", **settings)
    assert daemon.terminate() == 0
    assert said in daemon.output()
    assert said or "telemetry" not in daemon.output()


def test_headers_for_the_collector_come_from_a_private_file(
    remote: Remote, bucket: str, start_daemon: StartDaemon, tmp_path: Path
) -> None:
    headers = tmp_path / "headers"
    headers.write_text("authorization=Bearer%20abc\nx-tenant=blue\n")
    headers.chmod(0o644)
    settings = {"S3D_OTEL_HEADERS_FILE": str(headers), "OTEL_TRACES_EXPORTER": "none", **SOON}
    with Heard() as there:
        endpoint = there.url
        with pytest.raises(NotStarted, match="opens it to others"):
            start_daemon(remote, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **settings)
        headers.chmod(0o600)
        daemon = start_daemon(remote, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **settings)
        eventually(lambda: bool(there.heads))
        assert daemon.terminate() == 0
    assert {(head["authorization"], head["x-tenant"]) for head in there.heads} == {("Bearer abc", "blue")}
    assert "abc" not in daemon.output()
