"""Looks after uploads: abandoned uploads expire, what the remote holds of a dead
upload is aborted, and what spills is moved (SEMANTICS Q-16).

What is done here on the local dir never waits for what is done at the remote. Nothing of a completed upload is touched.
"""

import asyncio
import contextlib
import functools
import logging
import random
import time
from dataclasses import dataclass

from s3d.background import for_ever
from s3d.clock import Clock
from s3d.errors import S3DError, S3Error
from s3d.layers.health import Health
from s3d.layers.queue.capacity import Capacity
from s3d.layers.queue.garbage import Garbage
from s3d.layers.queue.multipart import assembly, spill
from s3d.layers.queue.rows import uploads
from s3d.layers.queue.rows.states import UploadState
from s3d.layers.queue.rows.uploads import OrphanUpload, Upload
from s3d.layers.queue.rules import retry
from s3d.layers.queue.staging import Staging
from s3d.metrics import Metrics
from s3d.settings import WriteQueue
from s3d.store.db import Database
from s3d.store.failures import StoreFailed

log = logging.getLogger(__name__)

POLL_INTERVAL = 2.0
"""Seconds after which it looks by itself; whatever makes work wakes it."""
ANSWER_SECONDS = 3600.0
"""Seconds for which a client may repeat its Complete after the object was delivered."""
MAX_MOVING = 4
"""Uploads that are spilled or aborted at once."""


@dataclass(frozen=True, slots=True)
class Context:
    """What uploads are looked after with."""

    settings: WriteQueue
    db: Database
    clock: Clock
    health: Health
    metrics: Metrics
    capacity: Capacity
    garbage: Garbage
    staging: Staging
    assembly: assembly.Context
    spill: spill.Context


async def run(context: Context) -> None:
    """Look after uploads until cancelled."""
    far = Far(context)
    async with asyncio.TaskGroup() as tasks:
        await for_ever("uploads", functools.partial(look, context, far, tasks), context.metrics)


async def look(context: Context, far: "Far", tasks: asyncio.TaskGroup) -> None:
    """Do what is due, and rest until there is more."""
    context.staging.work.clear()
    try:
        await tidy(context, context.clock.now())
    except StoreFailed as error:
        log.error("uploads cannot be looked after: %s", error)
    far.start(tasks)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_INTERVAL):
            await context.staging.work.wait()


async def tidy(context: Context, now: float) -> None:
    """Forget what nobody needs on the local dir: expired uploads, answers."""
    for upload_id in uploads.expired(context.db, now - context.settings.max_upload_age):
        log.warning("an abandoned upload has expired: %s", upload_id)
        with contextlib.suppress(uploads.NotOpenError):
            await context.db.write(functools.partial(uploads.abort, upload_id=upload_id, now=now))
        context.capacity.freed()
    context.garbage.wake()
    if uploads.any_finished(context.db, now - ANSWER_SECONDS):
        await context.db.write(lambda db: uploads.forget_finished(db, now - ANSWER_SECONDS, now))


class Far:
    """What is done at the remote for uploads: a task each, tried again later where it fails."""

    def __init__(self, context: Context) -> None:
        """Start with nothing under way."""
        self._context = context
        self._under_way: set[str] = set()
        self._later: dict[str, tuple[float, int]] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start what is due, unless the remote is away."""
        if self._context.health.away:
            return
        now = time.monotonic()
        due: list[tuple[str, Upload | OrphanUpload]] = [
            (one.id, one) for one in uploads.in_state(self._context.db, UploadState.ABORTING)
        ]
        due += [(one.id, one) for one in uploads.in_state(self._context.db, UploadState.SPILLING)]
        due += [(f"{one.bucket} {one.remote}", one) for one in uploads.orphans(self._context.db)]
        self._later = {name: self._later[name] for name, _ in due if name in self._later}
        for name, one in due:
            if len(self._under_way) >= MAX_MOVING:
                return
            if name in self._under_way or self._later.get(name, (0.0, 0))[0] > now:
                continue
            self._under_way.add(name)
            tasks.create_task(self._move(name, one))

    async def _move(self, name: str, what: Upload | OrphanUpload) -> None:
        """Move one. Whatever it meets, also a bug, it is tried again later."""
        context = self._context
        try:
            await self._try(what)
        except Exception as error:
            if not isinstance(error, S3DError):
                log.exception("a bug: the upload %s of %s/%s failed", name, what.bucket, what.key)
                context.metrics.background_failures.labels("uploads at the remote").inc()
            attempts = self._later.get(name, (0.0, 0))[1] + 1
            pause = retry.pause(attempts, random.random())  # noqa: S311 - spreads retries, guards nothing
            self._later[name] = (time.monotonic() + pause, attempts)
            log.warning("the upload %s of %s/%s is tried again: %s", name, what.bucket, what.key, error)
        finally:
            self._under_way.discard(name)
            context.capacity.freed()
            context.staging.wake()

    async def _try(self, what: Upload | OrphanUpload) -> None:
        try:
            if isinstance(what, OrphanUpload):
                await assembly.abort_orphan(self._context.assembly, what)
            elif what.state == UploadState.ABORTING:
                await assembly.abort(self._context.assembly, what)
            else:
                await spill.spill(self._context.spill, what.id)
        except S3Error as error:
            if error.code != "NoSuchUpload" or not isinstance(what, Upload):
                raise
            await self._lose(what)

    async def _lose(self, upload: Upload) -> None:
        """Drop an open upload whose counterpart somebody else ended; its client learns it at the next call."""
        log.error("upload %s of %s/%s is gone at the remote", upload.id, upload.bucket, upload.key)
        with contextlib.suppress(uploads.NotOpenError, StoreFailed):
            await self._context.db.write(lambda db: uploads.abort(db, upload.id, self._context.clock.now()))
