"""The queue of a local dir in this process, without a door, in front of a remote in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from s3d.api import S3
from s3d.layers.health import Health
from s3d.layers.queue import Queue, open_queue
from s3d.metrics import Metrics
from s3d.settings import Gateway, Remote, Settings, WriteQueue

BUCKET = "bucket"
ENDPOINT = "http://remote.test"


@contextlib.asynccontextmanager
async def opened(
    directory: Path, remote: S3, endpoint: str = ENDPOINT, limits: WriteQueue | None = None
) -> AsyncIterator[Queue]:
    """The queue, at rest."""
    gateway, far = Gateway(local_dir=directory), Remote(buckets=(BUCKET,))
    settings = Settings(gateway=gateway, remote=far, write_queue=limits or WriteQueue())

    async def probe() -> None:
        """The remote is there."""

    async with open_queue(settings, remote, Health(5.0, 30.0, probe), endpoint, "eu", Metrics()) as queue:
        yield queue


@contextlib.asynccontextmanager
async def at_work(directory: Path, remote: S3, limits: WriteQueue | None = None) -> AsyncIterator[Queue]:
    """The queue with all that runs until the end; what ends there fails the test."""
    async with opened(directory, remote, limits=limits) as queue, asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(one)
            for one in (
                queue.pusher.run(),
                queue.look_after_rows(),
                queue.look_after_uploads(),
                queue.watch_place(),
                queue.sweep(),
            )
        ]
        yield queue
        for task in running:
            task.cancel()


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that is promised to come."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.01)
