"""What a person meets in a cluster is in docs/GATEWAYS.md."""

import re
from pathlib import Path

import pytest

from s3d_operator import names
from s3d_operator.gateway_checks import FIELDS
from s3d_operator.gateway_settings import config_map, reloaded
from s3d_operator.metrics import ReconcilerMetrics, WebhookMetrics
from s3d_operator.reasons import Reason
from tests.operator.goldens import gateway
from tests.operator.injections import ANONYMOUS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/GATEWAYS.md").read_text(encoding="utf-8")
NAMES = [
    names.INJECT,
    names.INJECTION,
    names.GATEWAY,
    names.FOLDER,
    names.FOLDER_HASH,
    names.ENDPOINT_ENV,
    names.ON_MISSING,
    names.EXPENDABLE,
    names.INJECTED,
    names.DRAINS,
    names.CONFIG_HASH,
]


@pytest.mark.parametrize("name", [*NAMES, *names.POD_OVERRIDES.values(), names.ORIGINAL_GRACE])
def test_a_label_or_annotation_is_explained(name: str) -> None:
    assert f"`{name}" in PAGE


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_is_explained(reason: Reason) -> None:
    assert re.search(rf"\b{reason}\b", PAGE)


def test_metrics_are_listed() -> None:
    for metrics in (WebhookMetrics(), ReconcilerMetrics()):
        for family in metrics.registry.collect():
            assert f"`{family.name}" in PAGE, family.name


def test_what_reloads_is_listed() -> None:
    spec = gateway(ANONYMOUS).spec
    assert spec
    for setting in reloaded(spec):
        section, _, field = FIELDS[setting].removeprefix("spec.").rpartition(".")
        assert f"`{field}`" in PAGE or f"`{section}.{field}`" in PAGE, setting
    assert f"`{config_map('NAME')}`" in PAGE
