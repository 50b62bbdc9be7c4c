"""A push filter that flips under load, and many held changes that leave in order."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from s3d.layers.queue import judging
from s3d.layers.queue.rows import holds
from tests.gateways import gateway, quick
from tests.queues import until
from tests.sidecar.layers.queue.filtering import LONG, put, puts, reload, soon, stand_in
from tests.stores import Store

__all__ = ["quick", "soon"]

pytestmark = pytest.mark.usefixtures("quick")

FLIPS = 100
LOAD = 100
"""Changes that are put while the filter flips, at most."""


@pytest.mark.semantics("F-4a")
@pytest.mark.parametrize("batch", [1, 500])
async def test_each_change_obeys_a_filter_that_was_in_force_since_it_was_acknowledged(
    batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model: a change may be pushed if some filter that was in force between its acknowledgement and its push takes
    its kind in."""
    monkeypatch.setattr(judging, "MAX_BATCH", batch)
    monkeypatch.setattr(judging, "INTERVAL", 0.0)
    kinds = ("red", "green", "blue")
    chance = random.Random(batch)
    filters = [[f"!b/{kind}*" for kind in kinds if chance.random() < 0.6] for _ in range(FLIPS)]
    async with Store() as store, gateway(tmp_path, store, workers=2, conflict_check_after=LONG) as here:
        await stand_in(store, here)
        await put(here, "first of its kind")
        said: list[list[str]] = [[]]
        """The filters up to now; the last one may not be in force yet."""
        settled = 0
        """Which of them is in force, or was until the last one took its place."""
        acknowledged: dict[str, int] = {}
        pushed: dict[str, int] = {}

        def look() -> None:
            for key in puts(store)[len(pushed) :]:
                pushed[key] = len(said)

        async def write(kind: str, number: int) -> None:
            key = f"{kind}-{number:04}"
            acknowledged[key] = settled
            await put(here, key)
            look()

        async def load() -> None:
            for number in range(FLIPS, FLIPS + LOAD):
                if len(said) > FLIPS:
                    break
                await write(chance.choice(kinds), number)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load())
            for number, rules in enumerate(filters):
                look()
                said.append(rules)
                reload(here, *rules)
                text = str(here.queue._context.settings.write_queue.push_filter)
                await until(lambda: holds.filter_text(here.queue._context.db) == text)  # noqa: B023
                settled = len(said) - 1
                for kind in kinds:
                    await write(kind, number)
        look()
        for key, first in acknowledged.items():
            since = said[first : pushed.get(key, 0)]
            assert key not in pushed or any(f"!b/{key[:-5]}*" not in rules for rules in since), key
        reload(here)
        await until(lambda: here.queue.pending()["changes"] == 0)
        assert sorted(puts(store)) == sorted(["first of its kind", *acknowledged])


@pytest.mark.semantics("Q-11", "Q-1")
async def test_many_held_changes_leave_in_the_order_in_which_their_tags_let_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "MAX_BATCH", 50)
    settings: dict[str, Any] = {"push_filter": "b/*[tag:class=public]", "workers": 1, "conflict_check_after": LONG}
    async with Store() as store, gateway(tmp_path, store, **settings) as here:
        await stand_in(store, here)
        keys = [f"k-{number:04}" for number in range(120)]
        for key in keys:
            await put(here, key, Tagging="class=secret")
        assert (here.queue.pending()["held"], here.queue.pending()["kept_bytes"]) == (120, 600)
        assert puts(store) == []
        tags = {"TagSet": [{"Key": "class", "Value": "public"}]}
        for key in keys:
            await here.ask("PutObjectTagging", {"Bucket": "b", "Key": key, "Tagging": tags})
        await until(lambda: here.queue.pending()["changes"] == 0)
        assert puts(store) == keys
