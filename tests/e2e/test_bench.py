"""The benchmark's table, and its own client against the least of all servers."""

import asyncio
from pathlib import Path

import pytest

from e2e.bench import loads
from e2e.bench.servers import Place
from e2e.bench.table import at_least, at_most, markdown, missing


@pytest.mark.parametrize(
    "got, away, verdict",
    [(300.0, 0.5, "reached"), (150.0, 1.0, "reached"), (100.0, 1.5, "1.50 times"), (50.0, 3.0, "3.00 times (!)")],
)
def test_a_rate_is_as_far_from_its_goal_as_it_would_have_to_grow(got: float, away: float, verdict: str) -> None:
    row = at_least("w", "req/s", got, {"peer": 100.0}, {"peer": 1.5, "one that is not here": 9.0})
    assert row.away == pytest.approx(away)
    assert row.verdict == verdict


def test_a_time_is_as_far_from_its_goal_as_it_would_have_to_shrink() -> None:
    assert at_most("w", "ms", 300.0, {}, {"": 150.0}).away == 2.0
    assert at_most("w", "ms", 300.0, {"bare": 100.0}, {"bare": 1.5}).away == 2.0
    assert at_most("w", "ms", 300.0, {"bare": 100.0}, {}).verdict == ""


def test_the_table_has_a_line_for_each_figure() -> None:
    lines = markdown([at_most("w", "ms", 1.0, {}, {"": 2.0}), missing("x", "why")]).splitlines()
    assert lines[2:] == ["| w | 1 ms |  | 2 ms | reached |", "| x | none | why |  |  |"]


@pytest.mark.parametrize("durable", [False, True])
def test_a_load_is_counted_request_by_request_where_wrk_is_missing(tmp_path: Path, durable: bool) -> None:
    place = Place(tmp_path)
    try:
        server = place.limit(durable=durable)
        said = asyncio.run(loads.run_own(server, "PUT /b/k\nGET /b/k", 2, 0.2, loads.SMALL))
        assert (said["errors"], said["requests"] > 0) == (0, True)
        assert server.cpu > 0
        assert server.memory("VmHWM") >= server.memory("VmRSS")
    finally:
        place.stop()
