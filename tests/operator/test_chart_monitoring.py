"""The chart: what Prometheus and Grafana get."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from s3d import problems
from s3d.metrics import Metrics
from s3d_operator.__main__ import parser
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics
from s3d_operator.names import INJECTED
from tests.operator.charts import (
    CHART,
    NEEDS_HELM,
    PROMTOOL,
    alerts,
    args_of,
    helm,
    labels_of,
    monitored,
    objects,
    pod_spec,
    refusal,
)

pytestmark = NEEDS_HELM

KINDS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
METRIC = re.compile(r"\bs3d_[a-z0-9_]+\b")


def series() -> set[str]:
    """The names of all time series that daemon, webhook and reconciler show."""
    metrics = Metrics()
    metrics.count_request("PutObject", 200, "queue", first_byte=0.1, last_byte=0.1, bucket="b")
    registries = (metrics.registry, WebhookMetrics().registry, ReconcilerMetrics().registry)
    shown = [line for registry in registries for line in generate_latest(registry).decode().splitlines()]
    families = {line.split(" ")[2] for line in shown if line.startswith("# TYPE")}
    return families | {f"{name}_bucket" for name in families}


@pytest.mark.checklist(58)
@pytest.mark.checklist(61)
def test_what_is_for_prometheus_is_there_when_it_is_asked_for_with_the_labels_it_is_found_by() -> None:
    assert not {kind for kind, name in objects() if kind in KINDS or name in {"s3d-metrics", "s3d-dashboard"}}
    made = monitored()
    for kind, name, interval in (("ServiceMonitor", "s3d", "11s"), ("PodMonitor", "s3d-sidecars", "12s")):
        assert made[kind, name]["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = made[kind, name]["spec"].get("endpoints") or made[kind, name]["spec"]["podMetricsEndpoints"]
        assert (endpoint["path"], endpoint["interval"]) == ("/metrics", interval)
    assert made["PrometheusRule", "s3d"]["metadata"]["labels"]["release"] == "prometheus"
    assert made["ConfigMap", "s3d-dashboard"]["metadata"]["labels"]["grafana"] == "mine"


@pytest.mark.checklist(58)
def test_a_kind_that_the_cluster_does_not_know_is_said_or_left_out_as_told() -> None:
    monitor = "monitoring.podMonitor.enabled=true"
    assert "the cluster knows no PodMonitor" in refusal(monitor)
    assert not KINDS & {kind for kind, _ in objects(monitor, 'monitoring.whenMissing="Skip"')}
    known = ("--set-json", monitor, "--api-versions", "monitoring.coreos.com/v1/PodMonitor")
    done = helm("template", "s3d", str(CHART), *known, "--show-only", "templates/monitors.yaml")
    assert "kind: PodMonitor" in done.stdout


@pytest.mark.checklist(58)
def test_the_service_monitor_finds_webhook_and_reconciler_and_the_pod_monitor_the_sidecars() -> None:
    made = monitored()
    service, monitor = made["Service", "s3d-metrics"], made["ServiceMonitor", "s3d"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["namespaceSelector"] == {"matchNames": [service["metadata"]["namespace"]]}
    (port,), (endpoint,) = service["spec"]["ports"], monitor["endpoints"]
    assert endpoint["port"] == port["name"]
    for name in ("s3d-operator", "s3d-webhook"):
        assert service["spec"]["selector"].items() <= labels_of(name).items()
        ports = {each["name"]: each["containerPort"] for each in pod_spec(name)["containers"][0]["ports"]}
        assert ports[port["targetPort"]] == parser().parse_args(args_of(name)).health_port == port["port"]
    sidecars = made["PodMonitor", "s3d-sidecars"]["spec"]
    assert sidecars["selector"] == {"matchExpressions": [{"key": INJECTED, "operator": "Exists"}]}
    assert sidecars["namespaceSelector"] == {"any": True}
    injected = list(yaml.safe_load_all((Path(__file__).parent / "golden/plain.yaml").read_text()))
    assert f"'name': '{sidecars['podMetricsEndpoints'][0]['port']}', 'containerPort': 33334" in str(injected)


@pytest.mark.checklist(52)
def test_alerts_and_dashboard_ask_for_what_is_measured() -> None:
    asked = {name for rule in alerts().values() for name in METRIC.findall(rule["expr"])}
    dashboard = json.loads(monitored()["ConfigMap", "s3d-dashboard"]["data"]["s3d.json"])
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert all(map(METRIC.findall, shown))
    asked |= {name for expression in shown for name in METRIC.findall(expression)}
    assert asked <= series(), "nobody measures this"


UNITS = {"short", "bytes", "s", "percentunit", "ops", "reqps"}
"""By Grafana's names."""
VARIABLE = re.compile(r"\$\{?(\w+)")


@pytest.mark.checklist(52)
def test_each_panel_has_its_place_and_names_what_its_query_groups_by() -> None:
    dashboard = json.loads(monitored()["ConfigMap", "s3d-dashboard"]["data"]["s3d.json"])
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert places == [(8 * (number % 3), 8 * (number // 3)) for number in range(len(panels))]
    assert {(panel["gridPos"]["w"], panel["gridPos"]["h"]) for panel in panels} == {(8, 8)}
    known = {each["name"] for each in dashboard["templating"]["list"]} | {"__rate_interval"}
    assert set(VARIABLE.findall(json.dumps(dashboard))) - {"__all"} == known
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        (target,) = panel["targets"]
        grouped = re.search(r"\bby \(([^)]+)\)", target["expr"])
        assert grouped
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert shown == set(grouped[1].split(", ")) - {"le"}, panel["title"]


def test_each_kind_of_problem_has_an_alert() -> None:
    of_its_own = {
        "ChangesParked": "S3DChangesParked",
        "ChangesDamaged": "S3DChangesParked",
        "ChangesOld": "S3DChangesOld",
        "RemoteRefuses": "S3DRemoteRefuses",
        "SyncHalted": "S3DSyncHalted",
        "RemoteAway": "S3DRemoteAway",
        "QueueNearlyFull": "S3DQueueAlmostFull",
    }
    assert set(of_its_own.values()) <= alerts().keys()
    others = set(re.findall(r"[A-Z]\w+", alerts()["S3DProblem"]["expr"].partition("=~")[2]))
    assert others | of_its_own.keys() == problems.KINDS.keys()
    assert not others & of_its_own.keys()


@pytest.mark.checklist(52)
def test_thresholds_are_values_and_whoever_scrapes_no_webhook_is_not_told_that_it_is_down() -> None:
    assert "> 77" in alerts()["S3DChangesOld"]["expr"]
    assert "> 66" in alerts()["S3DQueueAlmostFull"]["expr"]
    assert 'job="s3d-metrics"' in alerts()["S3DWebhookDown"]["expr"]
    only = 'monitoring={"whenMissing":"Render","prometheusRule":{"enabled":true}}'
    groups = objects(only)["PrometheusRule", "s3d"]["spec"]["groups"]
    assert "S3DWebhookDown" not in {rule["alert"] for group in groups for rule in group["rules"]}
    for rule in alerts().values():
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


SIDECAR = 'namespace="shop",pod="p"'
WELL = {
    f's3d_queue_pending_changes{{{SIDECAR},state="parked"}}': "0x30",
    f's3d_queue_pending_changes{{{SIDECAR},state="waiting"}}': "7x30",
    f's3d_problem{{{SIDECAR},problem="DiskFull",stake="service"}}': "0x30",
    f"s3d_queue_limit_changes{{{SIDECAR}}}": "100x30",
    f"s3d_queue_disk_bytes{{{SIDECAR}}}": "10x30",
    f"s3d_queue_limit_bytes{{{SIDECAR}}}": "100x30",
    f"s3d_queue_oldest_age_seconds{{{SIDECAR}}}": "5x30",
    f"s3d_queue_paused_lanes{{{SIDECAR}}}": "0x30",
    f"s3d_remote_up{{{SIDECAR}}}": "NaN " * 30,
    f"s3d_sync_halted{{{SIDECAR}}}": "0x30",
    f"s3d_store_failures_total{{{SIDECAR}}}": "3x30",
    f's3d_reload_failed{{{SIDECAR},file="access_keys"}}': "0x30",
    f"s3d_tls_certificate_expiry_timestamp_seconds{{{SIDECAR}}}": f"{8 * 86400}x30",
    's3d_tls_certificate_expiry_timestamp_seconds{namespace="shop",pod="plain"}': "NaN " * 30,
    'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="a"}': "1x30",
    'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="b"}': "0x30",
    'up{namespace="s3d-system",job="s3d-metrics",component="operator",pod="c"}': "1x30",
    's3d_operator_heartbeat_timestamp_seconds{namespace="s3d-system"}': "0+60x30",
    's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="a"}': f"{8 * 86400}x30",
    's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="b"}': "0x30",
    's3d_webhook_admissions_total{namespace="s3d-system",result="error"}': "2x30",
    's3d_operator_data_at_risk{namespace="shop",gateway="default"}': "0x30",
    's3d_operator_data_at_risk{namespace="shop",gateway="unknown"}': "NaN " * 30,
    's3d_operator_lost_changes_total{namespace="shop",gateway="default"}': "5x30",
}
ILL = {
    "S3DChangesParked": {f's3d_queue_pending_changes{{{SIDECAR},state="parked"}}': "1x30"},
    "S3DChangesOld": {f"s3d_queue_oldest_age_seconds{{{SIDECAR}}}": "78x30"},
    "S3DQueueAlmostFull": {f"s3d_queue_disk_bytes{{{SIDECAR}}}": "67x30"},
    "S3DRemoteAway": {f"s3d_remote_up{{{SIDECAR}}}": "0x30"},
    "S3DProblem": {f's3d_problem{{{SIDECAR},problem="DiskFull",stake="service"}}': "1x30"},
    "S3DSyncHalted": {f"s3d_sync_halted{{{SIDECAR}}}": "1x30"},
    "S3DRemoteRefuses": {f"s3d_queue_paused_lanes{{{SIDECAR}}}": "1x30"},
    "S3DDiskFails": {f"s3d_store_failures_total{{{SIDECAR}}}": "3+1x30"},
    "S3DNotTakenOver": {f's3d_reload_failed{{{SIDECAR},file="access_keys"}}': "1x30"},
    "S3DDoorCertificateEnds": {f"s3d_tls_certificate_expiry_timestamp_seconds{{{SIDECAR}}}": f"{7 * 86400}x30"},
    "S3DWebhookDown": {'up{namespace="s3d-system",job="s3d-metrics",component="webhook",pod="a"}': "0x30"},
    "S3DOperatorDown": {'up{namespace="s3d-system",job="s3d-metrics",component="operator",pod="c"}': "0x30"},
    "S3DOperatorStuck": {'s3d_operator_heartbeat_timestamp_seconds{namespace="s3d-system"}': "0x30"},
    "S3DCertificateEnds": {
        's3d_webhook_certificate_expiry_timestamp_seconds{namespace="s3d-system",pod="a"}': f"{7 * 86400}x30"
    },
    "S3DAdmissionErrors": {'s3d_webhook_admissions_total{namespace="s3d-system",result="error"}': "2x20 3x9"},
    "S3DDataAtRisk": {'s3d_operator_data_at_risk{namespace="shop",gateway="default"}': "1x30"},
    "S3DChangesLost": {'s3d_operator_lost_changes_total{namespace="shop",gateway="new"}': "_x20 1x9"},
}
"""What makes each alert fire, where all else is well."""


@pytest.mark.checklist(52)
@pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not here; e2e/cluster/prometheus.sh takes it from Debian's package"
)
def test_each_alert_fires_for_its_cause_alone_and_none_while_all_is_well(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(monitored()["PrometheusRule", "s3d"]["spec"]))
    assert ILL.keys() == alerts().keys()
    tests = []
    for alert, cause in {"": {}, **ILL}.items():
        fires = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if alert else []
        expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
        tests.append(
            {
                "name": alert,
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in {**WELL, **cause}.items()],
                "promql_expr_test": [{"expr": expression, "eval_time": "25m", "exp_samples": fires}],
            }
        )
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": tests}))
    for words in (("check", "rules", "--lint-fatal", "rules.yaml"), ("test", "rules", "tests.yaml")):
        done = subprocess.run(
            [str(PROMTOOL), *words], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
