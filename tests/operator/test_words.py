"""What a person meets in a cluster is in docs/GATEWAYS.md."""

import re
from pathlib import Path

import pytest

from s3d_operator import api
from s3d_operator.build import config_map, reloaded
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics
from tests.operator.goldens import gateway
from tests.operator.test_inject import ANONYMOUS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/GATEWAYS.md").read_text(encoding="utf-8")
SOURCE = {
    name: (ROOT / f"operator/s3d_operator/{name}.py").read_text()
    for name in ("inject", "status", "reconcile", "drains")
}
NAMES = [
    api.INJECT,
    api.INJECTION,
    api.GATEWAY,
    api.ENDPOINT_ENV,
    api.ON_MISSING,
    api.EXPENDABLE,
    api.INJECTED,
    api.DRAINS,
    api.CONFIG_HASH,
]
REASONS = re.findall(r'Skip\(\s*"(\w+)"', SOURCE["inject"])
REASONS += re.findall(r'Judgement\(\s*"\w+",\s*"(\w+)"', SOURCE["status"])
REASONS += re.findall(r'_tell\(gateway, "(\w+)"', SOURCE["drains"])
REASONS += re.findall(r'"(Injected|InjectionSkipped|GatewayGone|QueueLost|QueueLeft)"', SOURCE["reconcile"])


@pytest.mark.parametrize("name", [*NAMES, *api.OWN.values(), api.ORIGINAL_GRACE])
def test_a_label_or_annotation_is_explained(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("reason", sorted(set(REASONS)))
def test_a_reason_is_explained(reason: str) -> None:
    assert re.search(rf"\b{reason}\b", PAGE)


def test_metrics_are_listed() -> None:
    for metrics in (WebhookMetrics(), ReconcilerMetrics()):
        for family in metrics.registry.collect():
            assert f"`{family.name}" in PAGE, family.name


def test_what_reloads_is_listed() -> None:
    spec = gateway(ANONYMOUS).spec
    assert spec
    for setting in reloaded(spec):
        words = setting.removeprefix("S3D_WRITE_QUEUE_").removeprefix("S3D_").lower().split("_")
        assert words[0] + "".join(word.capitalize() for word in words[1:]) in PAGE, setting
    assert f"`{config_map('NAME')}`" in PAGE
