"""A day of counts."""

import pytest

from s3d import history
from s3d.history import MAX_SAMPLES, History
from s3d.metrics import Metrics


async def test_a_sample_says_what_happened_since_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    pending = [(2, 20)]
    kept = History(metrics, lambda: pending[0])
    monkeypatch.setattr(history, "INTERVAL", 0)
    metrics.count_request("PutObject", 200, "queue", first_byte=0.1, last_byte=0.1)
    metrics.count_request("PutObject", 503, "door", first_byte=0.1, last_byte=0.1)
    metrics.pushes.labels("delivered").inc(3)
    metrics.pushes.labels("retried").inc()
    await kept.look()
    pending[0] = (1, 10)
    metrics.count_request("GetObject", 404, "remote", first_byte=0.1, last_byte=0.1)
    said = [{name: value for name, value in one.items() if name != "at"} for one in kept.samples()]
    assert said == [
        {"changes": 2, "bytes": 20, "requests": 2, "failed": 1, "delivered": 3},
        {"changes": 1, "bytes": 10, "requests": 1, "failed": 0, "delivered": 0},
    ]


async def test_a_day_is_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = History(Metrics(), lambda: (0, 0))
    monkeypatch.setattr(history, "INTERVAL", 0)
    for _ in range(MAX_SAMPLES + 5):
        await kept.look()
    assert len(kept.samples()) == MAX_SAMPLES + 1
