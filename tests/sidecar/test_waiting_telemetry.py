"""How much waits for a collector that is slow: a number of spans, whatever comes (SEMANTICS O-9)."""

import threading

import pytest

from s3d.metrics import Metrics
from s3d.settings import Telemetry as Settings
from s3d.telemetry.service import MAX_WAITING, Telemetry
from tests.collectors import Heard
from tests.daemons import eventually

pytestmark = pytest.mark.semantics("O-9")


def record(telemetry: Telemetry, number: int) -> None:
    """Record requests that are over at once."""
    assert telemetry.tracer is not None
    for _ in range(number):
        span = telemetry.tracer.request({})
        assert span is not None
        span.end()


def dropped(metrics: Metrics, reason: str) -> float:
    labels = {"signal": "spans", "reason": reason}
    return metrics.registry.get_sample_value("s3d_telemetry_dropped_total", labels) or 0.0


def test_so_many_spans_wait_for_a_slow_collector_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    answers, metrics = threading.Semaphore(0), Metrics()
    with Heard(answers.acquire) as there:
        settings = Settings(endpoint=there.url, sampler="always_on", metrics="none")
        telemetry = Telemetry(settings, there.url, metrics)
        record(telemetry, MAX_WAITING + 1000)
        assert dropped(metrics, "full") == 1000
        answers.release()

        def is_room() -> bool:
            before = dropped(metrics, "full")
            record(telemetry, 1)
            return dropped(metrics, "full") == before

        eventually(is_room)
        before = dropped(metrics, "full")
        record(telemetry, MAX_WAITING)
        assert dropped(metrics, "full") > before, "what was answered made room for itself alone"
        # It ends although most of them are not sent, and will not be.
        telemetry.close()
        assert there.answered == 1
        answers.release(100)
    assert dropped(metrics, "refused") == 0
