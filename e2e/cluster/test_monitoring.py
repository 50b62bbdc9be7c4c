"""A real Prometheus scrapes s3d as the chart's monitors say, and the chart's rule alarms where data is at risk."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
import yaml

from e2e.cluster import kube, prometheus
from e2e.cluster.conftest import CHART, KEEP, SYSTEM, Helm, delete
from e2e.cluster.kube import APP, Object, kubectl, until, wait
from e2e.cluster.test_delivery import SIZES, condition
from tests.relays import Relayed
from tests.remotes import cache_dir

VALUES = """
monitoring:
  whenMissing: Render
  serviceMonitor: {enabled: true, interval: 1s}
  podMonitor: {enabled: true, interval: 1s}
  prometheusRule: {enabled: true}
"""
METRIC = re.compile(r"\bs3d_[a-z0-9_]+\b")
WELL = {"S3DWebhookDown", "S3DOperatorDown", "S3DOperatorStuck", "S3DCertificateEnds"}
"""Alerts about all of s3d, for which there is no cause."""


@pytest.fixture(scope="module")
def rule(installed: str, helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Object]:
    """The chart's rule, loaded into a Prometheus that scrapes as the chart's monitors say."""
    if not (cache_dir() / "bin/prometheus").exists():
        pytest.skip("there is no prometheus here; e2e/cluster/prometheus.sh takes it from Debian's package")
    values = tmp_path_factory.mktemp("monitoring") / "values.yaml"
    values.write_text(VALUES)
    rendered = list(yaml.safe_load_all(helm("template", "s3d", CHART, "--values", values, "--kube-version=1.31.0")))
    made = {kind: raw for raw in rendered if (kind := raw["kind"]).endswith("Monitor") or kind == "PrometheusRule"}
    (service,) = (raw for raw in rendered if (raw["kind"], raw["metadata"]["name"]) == ("Service", "s3d-metrics"))
    delete(prometheus.NAMESPACE)
    for given in (service, *prometheus.objects([made["ServiceMonitor"], made["PodMonitor"]], made["PrometheusRule"])):
        kubectl("apply", given=given)
    wait(prometheus.NAMESPACE, f"pod/{prometheus.NAME}", "condition=Ready")
    yield made["PrometheusRule"]
    if not KEEP:
        kubectl("-n", SYSTEM, "delete", "service", "s3d-metrics")
        delete(prometheus.NAMESPACE, "--wait=false")


def active(**labels: str) -> dict[str, str]:
    """The state of each alert that is pending or fires, by its name."""
    chosen = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return {each["alertname"]: each["alertstate"] for each in prometheus.query(f"ALERTS{{{chosen}}}")}


@pytest.mark.checklist(51)
@pytest.mark.checklist(58)
def test_each_part_of_s3d_is_scraped_and_all_that_an_alert_asks_for_is_measured(
    rule: Object, gateway: Callable[..., None], namespace: str
) -> None:
    gateway()
    kubectl("create", given=kube.pod(namespace, "bucket"))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    prometheus.discover()

    def scraped() -> list[tuple[str, str]]:
        found = prometheus.query("up == 1")
        return sorted((each["job"], each.get("component", each["pod"])) for each in found if each["namespace"] in ours)

    ours = {SYSTEM, namespace}
    parts = [("s3d-metrics", "operator"), ("s3d-metrics", "webhook"), ("s3d-metrics", "webhook")]
    until(lambda: scraped() == [*parts, (f"{SYSTEM}/s3d-sidecars", APP)], "what is scraped")
    asked = {
        name for group in rule["spec"]["groups"] for each in group["rules"] for name in METRIC.findall(each["expr"])
    }
    assert asked
    until(lambda: asked <= prometheus.measured(), f"{asked}")
    until(lambda: not WELL & active().keys(), "that the alerts know what they are about by its labels")


@pytest.mark.checklist(52)
def test_the_alert_of_data_at_risk_fires_where_the_remote_refuses_what_was_taken_while_it_was_away(
    rule: Object, gateway: Callable[..., None], namespace: str, bucket: str, relay: Relayed
) -> None:
    wrong = json.dumps({"stringData": {"secretAccessKey": "wrong"}})
    kubectl("-n", namespace, "patch", "secret", "s3-keys", "--type=merge", "-p", wrong)
    relay.set(mode="refuse")
    gateway()
    kubectl("create", given=kube.pod(namespace, bucket, *map(str, SIZES)))
    wait(namespace, f"pod/{APP}", "condition=Ready")
    prometheus.discover()
    until(lambda: active(namespace=namespace) == {"S3DRemoteAway": "pending"}, "that the remote is away")
    until(lambda: condition(namespace, "DataAtRisk") == "OnTheWay", "that it is known what is pending")

    relay.set(mode="pass")
    until(lambda: active(namespace=namespace, gateway="default") == {"S3DDataAtRisk": "firing"}, "the alert")
    until(
        lambda: condition(namespace, "DataAtRisk") == "RemoteRefuses", "the status, which is written after the metric"
    )
