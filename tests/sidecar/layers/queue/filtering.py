"""A gateway in front of a store that stands in, and a push filter that changes."""

from typing import Any

import pytest

from s3d import config
from s3d.layers.queue import judging
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import Gateway
from tests.stores import Store

LONG = 1e6
"""Seconds: no change waits so long, so nothing is asked about conflicts."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The filter is looked at often."""
    monkeypatch.setattr(judging, "INTERVAL", 0.02)


async def stand_in(store: Store, here: Gateway, team: str = "blue") -> None:
    """Make a bucket whose tags are known."""
    store.fake.buckets["b"] = Bucket("b", 0.0, tags=(("team", team),))
    await here.ask("HeadObject", {"Bucket": "b", "Key": "k"})


async def put(here: Gateway, key: str, **params: Any) -> None:
    answer = await here.ask("PutObject", {"Bucket": "b", "Key": key, **params}, b"12345")
    assert isinstance(answer, Answer), answer


def puts(store: Store) -> list[str]:
    """The keys of the puts that the remote was asked for, in their order."""
    return [one.key for one in store.seen if one.operation == "PutObject"]


def reload(here: Gateway, *rules: str) -> None:
    config.reload(here.queue._context.settings, {"S3D_WRITE_QUEUE_PUSH_FILTER": list(rules)})
