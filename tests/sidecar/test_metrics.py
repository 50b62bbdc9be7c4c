import asyncio
import re
import subprocess
import time

import pytest
from prometheus_client import generate_latest

from s3d.background import watch_loop
from s3d.metrics import STATES, Metrics
from s3d.series import MAX_BUCKETS
from tests.operator.charts import PROMTOOL

BASE_UNITS = (
    "_total",
    "_seconds",
    "_bytes",
    "_changes",
    "_files",
    "_lanes",
    "_keys",
    "_objects",
    "_up",
    "_failed",
    "_files",
    "_halted",
    "_info",
    "_problem",
)


def count(metrics: Metrics, operation: str, code: int, bucket: str = "") -> None:
    metrics.count_request(operation, code, "remote", first_byte=0.1, last_byte=0.1, bucket=bucket)


def samples(metrics: Metrics) -> dict[str, float]:
    lines = generate_latest(metrics.registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_names_follow_the_conventions_of_prometheus() -> None:
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        name = f"{name}_info" if family.type == "info" else name
        if name.startswith("process_"):
            continue
        assert re.fullmatch(r"s3d_[a-z_]+", name)
        assert name.endswith(BASE_UNITS), name
        assert family.documentation.endswith("."), name


def test_the_table_has_each_metric() -> None:
    metrics = Metrics()
    shown = {
        {"counter": f"{family.name}_total", "info": f"{family.name}_info"}.get(family.type, family.name): family.type
        for family in metrics.registry.collect()
        if not family.name.startswith("process_")
    }
    assert shown == {row.name: row.kind for row in metrics.table.rows}


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not here")
def test_promtool_finds_no_fault() -> None:
    metrics = Metrics()
    count(metrics, "GetObject", 200, bucket="b")
    metrics.show_problems([])
    metrics.show({}, 0, None, remote_up=None)
    page = generate_latest(metrics.registry)
    done = subprocess.run([str(PROMTOOL), "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


async def test_a_loop_that_is_kept_busy_shows_its_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3d.background.LAG_INTERVAL", 0.01)
    metrics = Metrics()
    look = asyncio.ensure_future(watch_loop(metrics))
    await asyncio.sleep(0)
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        pass
    await look
    assert samples(metrics)["s3d_loop_lag_seconds_sum"] > 0.25


def test_two_daemons_in_one_process_do_not_share_counts() -> None:
    first, second = Metrics(), Metrics()
    count(first, "GetObject", 200)
    name = 's3d_requests_total{code="200",operation="GetObject",source="remote"}'
    assert name in samples(first)
    assert name not in samples(second)


def test_a_request_is_counted_once_with_its_bytes_and_duration() -> None:
    metrics = Metrics()
    for received in (10, 5):
        metrics.count_request("PutObject", 200, "queue", first_byte=0.004, last_byte=0.2, bucket="b", received=received)
    metrics.count_request("", 501, "remote", first_byte=0.001, last_byte=0.001, sent=7)
    shown = samples(metrics)
    assert shown['s3d_requests_total{code="200",operation="PutObject",source="queue"}'] == 2
    assert shown['s3d_requests_total{code="501",operation="unknown",source="remote"}'] == 1
    labels = 'operation="PutObject",source="queue"'
    assert shown[f"s3d_request_duration_seconds_count{{{labels}}}"] == 2
    assert shown[f"s3d_request_duration_seconds_sum{{{labels}}}"] == 0.4
    assert shown[f's3d_request_first_byte_seconds_bucket{{le="0.005",{labels}}}'] == 2
    assert shown["s3d_request_bytes_total"] == shown['s3d_bucket_request_bytes_total{bucket="b"}'] == 15
    assert shown["s3d_response_bytes_total"] == 7


@pytest.mark.semantics("O-3")
def test_a_client_cannot_make_series_by_naming_buckets() -> None:
    metrics = Metrics()
    for number in range(100_000):
        count(metrics, "GetObject", 404, bucket=f"random-{number}")
    count(metrics, "GetObject", 200, bucket="there")
    named = [name for name in samples(metrics) if name.startswith("s3d_bucket_requests_total")]
    assert named == ['s3d_bucket_requests_total{bucket="_other"}', 's3d_bucket_requests_total{bucket="there"}']
    for number in range(1000):
        count(metrics, "CreateBucket", 200, bucket=f"made-{number}")
    shown = samples(metrics)
    assert len([name for name in shown if name.startswith("s3d_bucket_requests_total")]) == MAX_BUCKETS
    assert shown['s3d_bucket_requests_total{bucket="there"}'] == 1


def test_every_state_is_shown_also_when_it_counts_nothing() -> None:
    metrics = Metrics()
    metrics.show({"waiting": 3}, 42, 1.5, remote_up=True)
    metrics.show({"parked": 1}, 7, None, remote_up=False)
    shown = samples(metrics)
    assert {state: shown[f's3d_queue_pending_changes{{state="{state}"}}'] for state in STATES} == {
        **dict.fromkeys(STATES, 0),
        "parked": 1,
    }
    assert shown["s3d_queue_pending_bytes"] == 7
    assert shown["s3d_queue_oldest_age_seconds"] == 0
    assert shown["s3d_remote_up"] == 0


def test_a_remote_that_was_not_asked_is_neither_up_nor_down() -> None:
    assert samples(Metrics())["s3d_remote_up"] == pytest.approx(float("nan"), nan_ok=True)


def test_a_commit_is_counted_with_its_size() -> None:
    metrics = Metrics()
    metrics.count_commit(3, 0.002)
    shown = samples(metrics)
    assert shown["s3d_store_commits_total"] == 1
    assert shown["s3d_store_commit_changes_sum"] == 3


def test_what_comes_of_a_signature_is_counted_by_few_names() -> None:
    metrics = Metrics()
    for result in ("accepted", "accepted", "SignatureDoesNotMatch", "InvalidRequest", "a client's own words"):
        metrics.count_caller(result)
    shown = samples(metrics)
    assert {name: shown[name] for name in shown if name.startswith("s3d_auth_total")} == {
        's3d_auth_total{result="accepted"}': 2,
        's3d_auth_total{result="SignatureDoesNotMatch"}': 1,
        's3d_auth_total{result="other"}': 2,
    }


def test_a_file_that_is_wrong_is_shown_until_it_is_right() -> None:
    metrics = Metrics()
    for error, value in (("entry 1: no id", 1), ("", 0)):
        metrics.show({}, 0, None, remote_up=None, access_keys=3, files={"access_keys": error, "settings": ""})
        shown = samples(metrics)
        assert shown['s3d_reload_failed{file="access_keys"}'] == value
        assert shown['s3d_reload_failed{file="settings"}'] == 0
        assert shown["s3d_access_keys"] == 3
