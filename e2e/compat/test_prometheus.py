"""A real Prometheus scrapes gateways that are ill, by the chart's rule and for the chart's dashboard.

Three gateways have what a gateway can have, and each alert fires for one of them. What waits in the chart for minutes,
so that nobody is woken for a moment, does not wait here. Of the operator the registries are real, and what they count
is set here: its own tests cause it.
"""

import http.client
import json
import re
import resource
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from botocore.exceptions import ClientError
from prometheus_client import start_http_server

from e2e.chaos.authorities import Authority
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics
from tests.daemons import Daemon, StartDaemon, drained, eventually
from tests.operator.charts import HELM, ROOT, alerts
from tests.processes import free_port, running, start, wait_for_http
from tests.refusals import Refuse, Refusing
from tests.remotes import Remote, cache_dir

PROGRAM = cache_dir() / "bin/prometheus"
WANTED = """
monitoring:
  whenMissing: Render
  serviceMonitor: {enabled: true}
  prometheusRule: {enabled: true, oldestSeconds: 1, queuePercent: 40}
"""
LABELS = {"namespace": "shop"}
SYSTEM = {"namespace": "s3d-system", "job": "s3d-metrics"}
LATE = 600
"""Seconds, on a machine that has much to do."""

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.parametrize("remote", ["minio"], indirect=True),
    pytest.mark.skipif(not HELM, reason="helm is not here; e2e/cluster/tools.sh helm builds it"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="no prometheus here; e2e/cluster/prometheus.sh takes Debian's"),
]


@dataclass
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str) -> Any:
        """What its API answers."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=60) as answer:
            return json.load(answer)["data"]

    def find(self, expression: str) -> list[dict[str, str]]:
        """The labels of each series that an expression finds now, where it has a value."""
        found = self.ask(f"query?query={quote(expression, safe='')}")["result"]
        return [each["metric"] for each in found if each["value"][1] != "NaN"]

    def fires(self, alert: str) -> bool:
        """Whether an alert does."""
        return bool(self.find(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))


def without_remote(start_daemon: StartDaemon, remote: Remote) -> Daemon:
    """A gateway whose remote is away, with half of its queue full and reads that fail."""
    nobody = Remote("away", f"http://127.0.0.1:{free_port()}", "Dummy", "Dummy", remote.program)
    daemon = start_daemon(nobody, S3D_BUCKETS="photos", S3D_WRITE_QUEUE_MAX_FILES="2")
    daemon.client().put_object(Bucket="photos", Key="k", Body=b"1")
    with pytest.raises(ClientError):
        daemon.client(retries={"total_max_attempts": 1}).get_object(Bucket="photos", Key="other")
    return daemon


def refused(start_daemon: StartDaemon, before: Refusing, bucket: str) -> Daemon:
    """A gateway with a cache, whose remote refuses an object for good, then its keys."""
    daemon = start_daemon(before.remote, S3D_BUCKETS=bucket, S3D_READ_CACHE="true")
    daemon.warm(bucket)
    s3 = daemon.client()
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    s3.put_object(Bucket=bucket, Key="new", Body=b"1", IfNoneMatch="*")
    eventually(lambda: drained(daemon))
    for _ in range(2):
        s3.get_object(Bucket=bucket, Key="k")["Body"].read()
    before.set({"path": f"/{bucket}/film", "method": "PUT", "status": 400, "code": "EntityTooLarge"})
    s3.put_object(Bucket=bucket, Key="film", Body=b"1")
    eventually(lambda: daemon.status()["pending"]["parked"] == 1)
    before.set({"path": "/", "status": 403, "code": "InvalidAccessKeyId"})
    s3.put_object(Bucket=bucket, Key="late", Body=b"1")
    eventually(lambda: bool(daemon.status()["paused_lanes"]))
    return daemon


def halted(start_daemon: StartDaemon, remote: Remote, bucket: str, directory: Path) -> Daemon:
    """A gateway with a certificate that ends soon, keys that cannot be read, and a sync folder that lost its files."""
    folder, keys = directory / "folder", directory / "keys.json"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text("x")
    keys.touch(mode=0o600)
    keys.write_text(json.dumps([{"id": "app", "secret": "at-least-8-characters"}]))
    certificate, key = Authority(directory / "authority").certify(days=6)
    daemon = start_daemon(
        remote,
        S3D_BUCKETS=bucket,
        S3D_TLS_CERT=str(certificate),
        S3D_TLS_KEY=str(key),
        S3D_ACCESS_KEYS_FILE=str(keys),
        S3D_SYNC_FOLDER="true",
        S3D_SYNC_FOLDER_DIR=str(folder),
        S3D_SYNC_FOLDER_BUCKET=bucket,
        S3D_SYNC_FOLDER_PREFIX="docs/",
        S3D_SYNC_FOLDER_POLL="200ms",
        S3D_SYNC_FOLDER_STABLE_FOR="100ms",
    )
    eventually(lambda: daemon.status()["sync_folder"]["files"] == 3 and drained(daemon), LATE)
    context = ssl._create_unverified_context()
    with closing(http.client.HTTPSConnection("127.0.0.1", daemon.port, context=context, timeout=60)) as stranger:
        stranger.request("GET", "/")
        assert stranger.getresponse().status == 403
    for path in folder.glob("*.txt"):
        path.unlink()
    keys.write_text("nothing of the kind")
    eventually(
        lambda: bool(daemon.status()["sync_folder"]["halt"] and daemon.status()["files"]["access_keys"]["error"])
    )
    return daemon


def ill_operator() -> tuple[ReconcilerMetrics, WebhookMetrics]:
    """The registries of an operator that reached nothing for long, and of a webhook whose certificate ends."""
    reconciler, webhook = ReconcilerMetrics(), WebhookMetrics()
    reconciler.heartbeat.set(time.time() - 3600)
    reconciler.at_risk.labels("shop", "default").set(1)
    webhook.certificate_expiry.set(time.time() + 86400)
    webhook.admissions.labels("pod", "error", "")
    return reconciler, webhook


@pytest.fixture
def prometheus(
    remote: Remote, bucket: str, refusing: Refuse, start_daemon: StartDaemon, tmp_path: Path
) -> Iterator[tuple[Prometheus, Callable[[], None]]]:
    """A Prometheus that scrapes them, and what makes worse what only counts once it has been seen."""
    gateways = {
        "away": without_remote(start_daemon, remote),
        "refused": refused(start_daemon, refusing(remote), bucket),
        "halted": halted(start_daemon, remote, bucket, tmp_path),
    }
    reconciler, webhook = ill_operator()
    with ExitStack() as stack:
        targets = [
            {"targets": [f"127.0.0.1:{daemon.metrics_port}"], "labels": {**LABELS, "pod": name}}
            for name, daemon in gateways.items()
        ]
        for registry in (reconciler.registry, webhook.registry):
            port = free_port()
            server, thread = start_http_server(port, "127.0.0.1", registry)
            stack.callback(thread.join)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            # Neither has the label by which the operator's parts are known to be up.
            targets.append({"targets": [f"127.0.0.1:{port}"], "labels": SYSTEM})
        url = scraping(stack, tmp_path, targets)

        def worsen() -> None:
            """What is an alert where it grows."""
            webhook.admissions.labels("pod", "error", "").inc()
            reconciler.lost.labels("shop", "default").inc()
            daemon = gateways["refused"]
            s3 = daemon.client(retries={"total_max_attempts": 1})
            s3.put_object(Bucket=bucket, Key="more", Body=b"1")
            with pytest.raises(ClientError):
                s3.get_object(Bucket=bucket, Key="other")
            resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (0, 0))
            with pytest.raises(ClientError):
                s3.put_object(Bucket=bucket, Key="x", Body=b"1")

        yield Prometheus(url), worsen


def scraping(stack: ExitStack, directory: Path, targets: list[dict[str, Any]]) -> str:
    """Start a Prometheus with the chart's rule; its address."""
    groups = [{"name": "s3d", "rules": [{**rule, "for": "0s"} for rule in alerts_wanted().values()]}]
    (directory / "rules.yaml").write_text(yaml.safe_dump({"groups": groups}))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "s3d", "honor_labels": True, "static_configs": targets}],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    url = f"127.0.0.1:{free_port()}"
    words = (f"--config.file={directory}/prometheus.yaml", f"--storage.tsdb.path={directory}/tsdb")
    program = start([PROGRAM, *words, f"--web.listen-address={url}"], directory / "prometheus.log", {})
    stack.enter_context(running(program))
    wait_for_http(program, f"http://{url}/-/ready", status=200)
    return f"http://{url}"


def alerts_wanted() -> dict[str, dict[str, Any]]:
    """The chart's alerts, with thresholds that are soon met."""
    return alerts(*(f"{name}={json.dumps(value)}" for name, value in yaml.safe_load(WANTED).items()))


@pytest.mark.checklist(52)
def test_each_alert_fires_and_each_panel_shows_something(
    prometheus: tuple[Prometheus, Callable[[], None]],
) -> None:
    asked, worsen = prometheus
    eventually(lambda: len(asked.find("up == 1")) == 5, LATE)
    worsen()
    wanted = set(alerts_wanted())
    eventually(lambda: all(map(asked.fires, wanted)), LATE)

    dashboard = json.loads((ROOT / "charts/s3d/files/dashboard.json").read_text())
    queries = {panel["title"]: panel["targets"][0]["expr"] for panel in dashboard["panels"]}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            values = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
            assert values
            assert asked.ask(f"label/{values[2]}/values?match[]={values[1]}") == ["shop"]
    empty = [
        title
        for title, query in queries.items()
        if not asked.find(query.replace("$namespace", ".*").replace("$__rate_interval", "5m"))
    ]
    assert empty == []
