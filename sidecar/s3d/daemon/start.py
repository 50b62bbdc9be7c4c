"""The composition root: the only module that names all parts and puts them together.

    door -> Cors(Known(Queue(Names(Cache(Remote)))))

One TaskGroup holds everything that runs until the end. SIGTERM and SIGINT stop the door, let running requests finish,
push what is pending until the deadline, and end with 0 where nothing is left, else with 75 (EX_TEMPFAIL). Without
a door for applications it pushes what is pending, and ends.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from s3d import __version__, config, logs, opa
from s3d.admin.gauges import show
from s3d.admin.server import serve as serve_admin
from s3d.api import S3
from s3d.background import for_ever, watch_loop
from s3d.daemon import heap
from s3d.daemon.daemon import Daemon
from s3d.daemon.directories import forget_elsewhere, locked
from s3d.daemon.drain import deliver, drain
from s3d.daemon.reload import watched_settings
from s3d.door.callers import Callers
from s3d.door.handler import Door
from s3d.door.keys import open_keys
from s3d.door.server import listen
from s3d.door.tls import Tls
from s3d.errors import S3DError
from s3d.history import History
from s3d.layers import remote
from s3d.layers.cache import Cache, open_cache
from s3d.layers.cors import Cors
from s3d.layers.identities import Known
from s3d.layers.names import Names, open_names
from s3d.layers.queue import Origin, Queue, open_queue, text_of, without_queue
from s3d.metrics import Metrics
from s3d.mount import open_mount
from s3d.settings import Settings
from s3d.sync import Folder, open_folder
from s3d.telemetry import open_telemetry
from s3d.watched import Watched

if TYPE_CHECKING:
    from s3d.telemetry.service import Telemetry

log = logging.getLogger(__name__)
Look = Callable[[], Awaitable[object]]
SWEEP_INTERVAL = 3600.0


def main(settings: Settings, *, serves: bool = True) -> int:
    """Run until a signal ends it, or without serving until all is delivered; return the exit code.

    Raises S3DError where it cannot start.
    """
    metrics = Metrics()
    journal = logs.set_up(settings.gateway, metrics.count_dropped_lines)
    telemetry = open_telemetry(settings.telemetry, metrics)
    heap.return_memory()
    leave_out_own_door(os.environ, settings)
    try:
        import uvloop
    except ImportError:
        start = asyncio.run
    else:
        start = uvloop.run
    try:
        return start(run(settings, metrics, telemetry, serves=serves))
    finally:
        if telemetry is not None:
            telemetry.close()
        journal.flush(logs.FLUSH_SECONDS)


def leave_out_own_door(environment: MutableMapping[str, str], settings: Settings) -> None:
    """Take out of the environment what points applications to s3d: it must not follow that itself. Where the user has
    other services, such as the one that gives the keys, stays (AWS_ENDPOINT_URL_STS)."""
    environment.pop("AWS_ENDPOINT_URL_S3", None)
    if config.names_door(environment.get("AWS_ENDPOINT_URL", ""), settings.gateway):
        del environment["AWS_ENDPOINT_URL"]


async def run(
    settings: Settings, metrics: Metrics, telemetry: "Telemetry | None" = None, *, serves: bool = True
) -> int:
    """Open the parts from the inside out, serve if asked to, and drain."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    at_start, policy_at_start, said = str(settings.write_queue.push_filter), text_of(settings.opa), set[str]()
    watched: list[Watched[Any]] = [watched_settings(settings, said)]
    await watched[0].look()
    origin = Origin(at_start, policy_at_start, said, bool(watched[0].error))
    keys = await asyncio.to_thread(open_keys, settings.gateway) if serves else None
    if keys and keys.watched:
        watched.append(keys.watched)
    tls: Tls | None = None
    if serves and urlsplit(settings.gateway.endpoint).scheme == "https":
        tls = await asyncio.to_thread(Tls, settings.gateway, metrics)
        watched.append(tls.watched)
    async with contextlib.AsyncExitStack() as parts:
        locks = parts.enter_context(locked(settings))
        await asyncio.to_thread(forget_elsewhere, settings)
        far = await parts.enter_async_context(remote.connect(settings.remote, metrics))
        if far.identities.watched is not None:
            watched.append(far.identities.watched)
        policy = await parts.enter_async_context(opa.connect(settings.opa, metrics))
        if policy.watched is not None:
            watched.append(policy.watched)
        queue: Queue | None = None
        near: S3 = far
        cache: Cache | None = None
        if settings.read_cache.enabled:
            opened = open_cache(settings, far, far.endpoint, metrics, policy.for_cache)
            near = cache = await parts.enter_async_context(opened)
        names = await parts.enter_async_context(remembering(settings, near, far, metrics))
        near = names or near
        inner: S3 = without_queue(near)
        if settings.write_queue.enabled:
            queue = await parts.enter_async_context(
                open_queue(
                    settings,
                    near,
                    far.health,
                    far.endpoint,
                    far.region,
                    metrics,
                    origin=origin,
                    ask=policy,
                    shed=cache.capacity.shed if cache else None,
                    hand_over=cache.hand_over if cache else None,
                    tracer=telemetry.tracer if telemetry else None,
                )
            )
            inner = queue
        folders: dict[str, Folder] = {}
        if queue is not None and serves:
            for name, kept in settings.folders.items():
                opening = open_folder(name, kept, settings.folder_dir(name), queue, queue, far.endpoint, metrics)
                folders[name] = await parts.enter_async_context(opening)
        history = History(metrics, partial(pending_now, queue))
        daemon = Daemon(settings, far, queue, keys, tls, watched, cache, names, history, folders)
        known = Known(inner, far.identities)
        if serves and settings.fuse_mount.enabled:
            feed = queue.feed if queue else None
            mount = open_mount(known, settings.fuse_mount, settings.stage_dir, daemon.room, metrics, feed)
            daemon.mount = await parts.enter_async_context(mount)
        await parts.enter_async_context(serve_admin(daemon, settings.gateway, metrics))
        sending: Look | None = None
        if telemetry is not None:
            sending = partial(telemetry.send_metrics, partial(show, daemon, metrics))
        async with background(queue, cache, names, [*folders.values()], watched, metrics, history, sending):
            if not serves:
                daemon.draining = True
                await deliver(queue, stop, locks)
                return await drain(settings, daemon, queue, time.monotonic())
            cors = Cors(known, settings.browsers, far.health, queue.cors if queue else None)
            callers = Callers(keys, metrics) if keys else None
            tracer = telemetry.tracer if telemetry else None
            front = Door(cors, settings.gateway, cors.rules_of, metrics, callers, tracer)
            async with listen(front, settings.gateway, metrics, tls, asks_for_keys=keys is not None) as server:
                daemon.listening = True
                heap.settle_memory()
                where = urlsplit(settings.gateway.endpoint).netloc
                by = " by TLS" if tls else ""
                log.info("s3d %s serves S3 on %s%s, remote %s", __version__, where, by, far.endpoint)
                await stop.wait()
                daemon.draining = True
                seconds = daemon.drain_seconds()
                deadline, server.patience = time.monotonic() + seconds, seconds / 2
                changes = daemon.status()["pending"]["changes"]
                log.info("stopping: %d changes are pending, and %.0f s left", changes, seconds)
                if daemon.mount is not None:
                    await daemon.mount.end()
            await asyncio.gather(*(folder.finish(deadline - time.monotonic()) for folder in folders.values()))
            unsent = [folder.unsent for folder in folders.values()]
            return await drain(settings, daemon, queue, deadline, unsent=unsent)


@contextlib.asynccontextmanager
async def background(
    queue: Queue | None,
    cache: Cache | None,
    names: Names | None,
    folders: Sequence[Folder],
    watched: Sequence[Watched[Any]],
    metrics: Metrics,
    history: History,
    sending: Look | None = None,
) -> AsyncIterator[None]:
    """Run what runs until the end."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(for_ever(file.name, file.run, metrics)) for file in watched]
        if cache is not None:
            running.append(tasks.create_task(cache.run()))
        if names is not None:
            running.append(tasks.create_task(for_ever("names in doubt", names.look_after, metrics)))
        if sending is not None:
            running.append(tasks.create_task(for_ever("metrics by OTLP", sending, metrics)))
        running.append(tasks.create_task(for_ever("the counts of a day", history.look, metrics)))
        running.append(tasks.create_task(for_ever("the lag of the loop", partial(watch_loop, metrics), metrics)))
        if queue is not None:
            for folder in folders:
                running.append(tasks.create_task(for_ever("the sync folder", folder.look, metrics)))
                running.append(tasks.create_task(folder.watch()))
                running.append(tasks.create_task(folder.follow(queue.feed.follow())))
            running += [
                tasks.create_task(queue.pusher.run()),
                tasks.create_task(queue.look_after_uploads()),
                tasks.create_task(for_ever("orphaned bodies", partial(sweep, queue), metrics)),
                tasks.create_task(for_ever("damaged rows", queue.look_after_rows, metrics)),
                tasks.create_task(for_ever("the place of the local dir", queue.watch_place, metrics)),
            ]
        yield
        for task in running:
            task.cancel()


@contextlib.asynccontextmanager
async def remembering(
    settings: Settings, near: S3, far: remote.Remote, metrics: Metrics
) -> AsyncIterator[Names | None]:
    """Open what is remembered of names."""
    if not settings.read_cache.enabled:
        yield None
        return
    opened = open_names(near, settings.read_cache, settings.cache_dir, far.endpoint, far.health, metrics)
    async with opened as names:
        yield names


def pending_now(queue: Queue | None) -> tuple[int, int]:
    """Changes and bytes that are pending; none where that cannot be read just now."""
    with contextlib.suppress(S3DError):
        if queue is not None:
            pending = queue.pending()
            return pending["changes"], pending["bytes"]
    return 0, 0


async def sweep(queue: Queue) -> None:
    """Clear orphaned bodies, and rest until the next time."""
    try:
        await queue.sweep()
    except S3DError as error:
        log.error("the sweep of the bodies failed: %s", error)
    await asyncio.sleep(SWEEP_INTERVAL)
