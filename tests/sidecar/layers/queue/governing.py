"""A gateway whose policy is asked, by a script of answers."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from s3d import opa
from s3d.layers.queue import asking, judging
from s3d.settings import Opa
from tests.callers import Answer
from tests.fakes.contents import Bucket
from tests.gateways import Gateway, gateway
from tests.policies import Scripted, answering
from tests.stores import Store

LONG = 3600.0
"""Seconds: longer than any test."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rests are short, and no answer is remembered."""
    monkeypatch.setattr(judging, "INTERVAL", 0.02)
    monkeypatch.setattr(asking, "RETRY_INTERVAL", 0.05)
    monkeypatch.setattr(opa, "FRESH_SECONDS", 0.0)


@contextlib.asynccontextmanager
async def governed(
    directory: Path, store: Store, policy: Scripted, *, patience: float = 30.0, fail: str = "closed", **more: Any
) -> AsyncIterator[Gateway]:
    """A gateway that asks a policy."""
    async with answering(policy) as url:
        settings = Opa(url=url, timeout=patience, fail_upload=fail)
        # What waits for long is looked for and asked about at the store before it is pushed.
        limits = {"conflict_check_after": LONG, **more}
        async with gateway(directory, store, policy=settings, **limits) as here:
            store.fake.buckets.setdefault("b", Bucket("b", 0.0))
            await here.ask("HeadObject", {"Bucket": "b", "Key": "k"})
            yield here


def sent(store: Store) -> list[str]:
    """What changes objects and was sent to the remote, in order."""
    return [one.key for one in store.seen if one.operation in ("PutObject", "DeleteObject", "CreateMultipartUpload")]


async def put(here: Gateway, key: str = "k", data: bytes = b"12345", **params: Any) -> None:
    answer = await here.ask("PutObject", {"Bucket": "b", "Key": key, **params}, data)
    assert isinstance(answer, Answer), answer
    assert answer.headers["x-s3d-durability"] == "local"
