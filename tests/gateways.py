"""A gateway without its door and with all of its wire: a queue over the real remote layer, in front of a store."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from s3d import opa
from s3d.errors import S3Error
from s3d.layers.queue import Queue, open_queue
from s3d.layers.queue.multipart import upkeep
from s3d.layers.queue.push import late_writes
from s3d.layers.queue.remote_facts import bucket_tags
from s3d.layers.queue.rules import retry
from s3d.layers.remote import Remote, connect
from s3d.metrics import Metrics
from s3d.settings import Gateway as GatewaySettings
from s3d.settings import Opa, Settings, WriteQueue
from s3d.settings import Remote as RemoteSettings
from tests.callers import Answer, ask
from tests.remotes import REGION, credentials
from tests.stores import Store


@dataclass(frozen=True, slots=True)
class Gateway:
    """One life of it."""

    queue: Queue
    far: Remote

    async def ask(
        self, operation: str, params: dict[str, Any], data: bytes | None = None, **headers: str
    ) -> Answer | S3Error:
        """Ask as a client: the answer, or the error."""
        spelt = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            return await ask(self.queue, operation, params, data, headers=spelt)
        except S3Error as error:
            return error

    def state(self, bucket: str, key: str) -> str:
        """What the gateway says of a key."""
        return str(self.queue.object_status(bucket, key)["state"])


BALLAST = 64 << 10
"""Bytes."""


@contextlib.asynccontextmanager
async def gateway(
    directory: Path,
    store: Store,
    buckets: tuple[str, ...] = (),
    *,
    request_timeout: float = 120.0,
    policy: Opa | None = None,
    **write_queue: Any,
) -> AsyncIterator[Gateway]:
    """Open one on a directory; what its background raises is raised."""
    settings = Settings(
        gateway=GatewaySettings(local_dir=directory),
        remote=RemoteSettings(endpoint=store.endpoint, region=REGION, buckets=buckets, request_timeout=request_timeout),
        # There are hundreds of these, and each takes the disk for as long as the files of its test are kept.
        write_queue=WriteQueue(dir=directory / "queue", **{"ballast": BALLAST, **write_queue}),
        opa=policy or Opa(),
    )
    metrics = Metrics()
    async with contextlib.AsyncExitStack() as parts:
        far = await parts.enter_async_context(connect(settings.remote, metrics))
        asked = await parts.enter_async_context(opa.connect(settings.opa, metrics))
        queue = await parts.enter_async_context(
            open_queue(settings, far, far.health, far.endpoint, far.region, metrics, ask=asked)
        )
        life = asyncio.gather(queue.pusher.run(), queue.look_after_uploads())
        try:
            yield Gateway(queue, far)
        finally:
            life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await life


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Pauses are short, requests are signed by keys of the environment, and nobody is warned of the faults we make."""
    caplog.set_level(logging.CRITICAL, "s3d")
    for name, seconds in {
        "MIN_BACKOFF": 0.005,
        "MAX_BACKOFF": 0.05,
        "MIN_PROBE_BACKOFF": 0.01,
        "MAX_PROBE_BACKOFF": 0.05,
    }.items():
        monkeypatch.setattr(retry, name, seconds)
    monkeypatch.setattr(retry, "MIN_INTERVAL", 2.0, raising=False)
    monkeypatch.setattr(late_writes, "MAX_INTERVAL", 0.05)
    monkeypatch.setattr(late_writes, "MIN_INTERVAL", 0.01)
    monkeypatch.setattr(bucket_tags, "POLL_INTERVAL", 0.5)
    monkeypatch.setattr(upkeep, "POLL_INTERVAL", 0.05)
    monkeypatch.setattr(upkeep, "MAX_MOVING", 400)
    for name, value in credentials("Dummy", "Dummy").items():
        monkeypatch.setenv(name, value)
