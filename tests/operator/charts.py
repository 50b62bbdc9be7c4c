"""The chart as helm renders it."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/s3d"
CACHE = Path(os.environ.get("S3D_E2E_CACHE") or Path.home() / ".cache/s3d-e2e")
PROGRAMS = f"{CACHE / 'bin'}:{os.environ['PATH']}"
HELM, PROMTOOL, KUBECONFORM, KUBE_SCORE = (
    shutil.which(name, path=PROGRAMS) for name in ("helm", "promtool", "kubeconform", "kube-score")
)
NEEDS_HELM = pytest.mark.skipif(not HELM, reason="helm is not here; e2e/cluster/tools.sh helm builds it")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HELM), *arguments, "--kube-version", "1.31.0"], check=False, capture_output=True, text=True, timeout=60
    )


@functools.cache
def rendered(*values: str) -> str:
    sets = [part for value in values for part in ("--set-json", value)]
    done = helm("template", "s3d", str(CHART), "--namespace", "s3d-system", "--skip-tests", *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    documents = filter(None, yaml.safe_load_all(rendered(*values)))
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def pod_spec(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = objects()["Deployment", name]["spec"]["template"]["spec"]
    return spec


def refusal(*values: str) -> str:
    """What helm says to values that it must refuse."""
    done = helm("template", "s3d", str(CHART), *(part for value in values for part in ("--set-json", value)))
    assert done.returncode != 0
    return done.stderr


PLACED = """
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}
  priorityClassName: high
  podAnnotations: {a.example/b: c}
  podLabels: {team: storage}
"""
ZONE = "topology.kubernetes.io/zone"
EVERYTHING = f"""
operator: {PLACED}
  pullPolicy: Always
  resources: {{limits: {{memory: 301Mi}}}}
webhook: {PLACED}
  timeoutSeconds: 3
  failurePolicy: {{podLabel: Ignore, namespaceLabel: Fail}}
  resources: {{limits: {{memory: 302Mi}}}}
  topologySpreadConstraints: [{{maxSkew: 2, topologyKey: {ZONE}, whenUnsatisfiable: DoNotSchedule}}]
  podDisruptionBudget: {{maxUnavailable: 50%}}
imagePullSecrets: [{{name: registry}}]
nodeSelector: {{disk: fast}}
tolerations: [{{key: dedicated, operator: Exists}}]
podSecurityContext: {{runAsUser: 1234}}
securityContext: {{readOnlyRootFilesystem: false}}
"""
"""Values that change all that can be changed beside the rest; one rendering for many tests."""
DEFAULTS = "{}"
OTHERS = """
certificate: {certManager: {enabled: true}}
networkPolicy: {enabled: true}
drain: {jobs: {namespaces: [shop]}}
"""


def given(values: str) -> tuple[str, ...]:
    """Values as helm takes them, a member each."""
    return tuple(f"{name}={json.dumps(value)}" for name, value in yaml.safe_load(values).items())


def everything() -> dict[tuple[str, str], dict[str, Any]]:
    return objects(*given(EVERYTHING))


def labels_of(name: str) -> dict[str, str]:
    """Labels of a Deployment's pods."""
    labels: dict[str, str] = objects()["Deployment", name]["spec"]["template"]["metadata"]["labels"]
    return labels


def args_of(name: str, *values: str) -> list[str]:
    args: list[str] = objects(*values)["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def webhooks(*values: str) -> dict[str, dict[str, Any]]:
    entries = objects(*values)["MutatingWebhookConfiguration", "s3d"]["webhooks"]
    return {entry["name"].split(".")[0]: entry for entry in entries}


MONITORED = """
monitoring:
  whenMissing: Render
  labels: {release: prometheus}
  serviceMonitor: {enabled: true, interval: 11s}
  podMonitor: {enabled: true, interval: 12s}
  prometheusRule: {enabled: true, oldestSeconds: 77, queuePercent: 66}
  dashboard: {enabled: true, labels: {grafana: mine}}
"""


def monitored(*values: str) -> dict[tuple[str, str], dict[str, Any]]:
    return objects(*given(MONITORED), *values)


def alerts(*values: str) -> dict[str, dict[str, Any]]:
    groups = monitored(*values)["PrometheusRule", "s3d"]["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


SHOWN = """
kind: Notes
text: |
  {{- tpl (.Files.Get "NOTES.txt") . | nindent 2 }}
"""


def notes(directory: Path, *values: str) -> str:
    """What is printed after an installation; without a cluster helm shows it as an object only."""
    copy = directory / "s3d"
    if not copy.exists():
        shutil.copytree(CHART, copy)
        (copy / "templates/NOTES.txt").rename(copy / "NOTES.txt")
        (copy / "templates/shown.yaml").write_text(SHOWN)
    sets = [part for value in values for part in ("--set-json", value)]
    shown = ("--namespace", "s3d-system", "--show-only", "templates/shown.yaml")
    done = helm("template", "s3d", str(copy), *shown, *sets)
    assert done.returncode == 0, done.stderr
    text: str = yaml.safe_load(done.stdout)["text"]
    return text
