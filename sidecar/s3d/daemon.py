"""The daemon: the only module that names all parts and puts them together.

    door -> Cors(Known(Queue(Names(Cache(Remote)))))

One TaskGroup holds everything that runs for life. SIGTERM and SIGINT stop the door, let running requests finish, push
what is pending until the deadline, and end with 0 where nothing is left, else with 75 (EX_TEMPFAIL). Without a door for
applications it pushes what is pending, and ends.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from s3d import __version__, config, documents, files, logs, opa, problems
from s3d.admin.gauges import show
from s3d.admin.reports import (
    BucketStatus,
    CacheStatus,
    Chosen,
    IdentityStatus,
    LaneStatus,
    MountStatus,
    ObjectStatus,
    Pending,
    Status,
    SyncStatus,
    TriedStatus,
)
from s3d.admin.server import serve as serve_admin
from s3d.api import S3, Body
from s3d.background import for_ever, watch_loop
from s3d.clock import tick, time_of
from s3d.door.callers import Callers
from s3d.door.handler import Door
from s3d.door.keys import DoorKeys, open_keys
from s3d.door.server import listen
from s3d.door.tls import Tls
from s3d.errors import S3DError, S3Error
from s3d.history import History, Sample
from s3d.layers import remote
from s3d.layers.cache import Cache, open_cache
from s3d.layers.cache import forget as forget_cache
from s3d.layers.cors import Cors
from s3d.layers.identities import Known
from s3d.layers.names import Names, open_names
from s3d.layers.names import forget as forget_names
from s3d.layers.queue import ON_THE_WAY, Origin, Queue, open_queue, text_of, without_queue
from s3d.metrics import Metrics
from s3d.mount import open_mount
from s3d.problems import Problem
from s3d.settings import Settings
from s3d.store.earlier import forget_earlier
from s3d.store.lock import LockFile, lock_dir, make_private
from s3d.sync import Folder, comparison, open_folder
from s3d.telemetry import open_telemetry
from s3d.watched import Watched

if TYPE_CHECKING:
    from s3d.mount import Mount
    from s3d.telemetry.service import Telemetry

log = logging.getLogger(__name__)
Look = Callable[[], Awaitable[object]]

LEFT_BEHIND = 75
"""Exit code where changes are left on the local dir (EX_TEMPFAIL): the next process pushes them."""
SWEEP_INTERVAL = 3600.0
CACHE_MARKER = "cache.dirs"
"""The file in the local dir that says where a read cache was kept."""
ASKED_INTERVAL = 1.0
"""Seconds between two looks, while nothing but a drain is done, at whether another process waits for the local dir."""
MAX_SETTINGS = 1 << 20
"""Bytes of settings.json; a ConfigMap holds no more."""
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
"""Of mallopt(3)."""
LARGE_BLOCK = 128 << 10
"""Bytes of memory from which on a block is the system's own."""
HEAPS = 2
GARBAGE = 5000
"""Objects made and not freed since the last look for cycles that make the next one due."""
MUCH = 1 << 50
"""Bytes that are said to be free where nothing bounds them."""
NOTHING: Pending = {
    "changes": 0,
    "bytes": 0,
    "oldest_age_seconds": None,
    "parked": 0,
    "held": 0,
    "unjudged": 0,
    "kept_bytes": 0,
}


class Daemon:
    """What the status doors ask about."""

    def __init__(
        self,
        settings: Settings,
        far: remote.Remote,
        queue: Queue | None,
        keys: DoorKeys | None = None,
        tls: Tls | None = None,
        watched: Sequence[Watched[Any]] = (),
        cache: Cache | None = None,
        names: Names | None = None,
        history: History | None = None,
        folder: Folder | None = None,
    ) -> None:
        """Take the parts that know."""
        self._history = history
        self._keys = keys
        self._watched = watched
        self._settings = settings
        self._far = far
        self._queue = queue
        self._cache = cache
        self._names = names
        self._folder = folder
        self._tls = tls
        self._started_at = tick()
        self.listening = False
        self.draining = False
        self.mount: Mount | None = None
        self._prestop_at: float | None = None

    def problems(self) -> list[Problem]:
        """What is wrong, the gravest first: each part says it, and all that tells of it asks here."""
        remote, queue = self._far.health, self._queue
        own, others = self._far.identities.own, self._far.identities.shown()
        found = [
            *problems.of_remote(
                remote.state, own.state, own.standing.refusal, {one["name"]: one["credentials"] for one in others}
            ),
            *problems.of_files({file.name: file.error for file in self._watched}),
        ]
        if queue is not None:
            found += problems.of_local_dir(queue.failure, is_full=queue.disk_is_full)
            # Of tables that cannot be read, the local dir says so.
            with contextlib.suppress(S3DError):
                found += problems.of_changes(queue.states(), queue.pending()["oldest_age_seconds"])
                found += problems.of_queue(queue.paused_lanes(), queue.fullness())
        if self._folder is not None:
            found += problems.of_sync(self._folder.reason if self._folder.halt else "")
        if self.mount is not None:
            said = self.mount.status()
            found += problems.of_mount(mounted=said["mounted"] or self.draining, failing=said["failing"])
        if self._tls is not None:
            found += problems.of_certificate(self._tls.expires_at - time.time())
        order = [*problems.KINDS]
        return sorted(found, key=lambda problem: order.index(problem.name))

    def ready(self) -> list[str]:
        """Why requests are not taken; [] when they are. The remote has no say in it."""
        reasons = []
        if not self.listening:
            reasons.append("the S3 door is not open")
        if self.draining:
            reasons.append("draining: no new requests are taken")
        return reasons + [one.text for one in self.problems() if one.name == problems.LOCAL_DIR_FAILS]

    def status(self) -> Status:
        """Counts of everything."""
        health, own = self._far.health, self._far.identities.own
        if self._names is not None:
            self._names.show()
        return {
            "version": __version__,
            "started_at": time_of(self._started_at),
            "problems": [
                {"name": one.name, "stake": one.stake, "text": one.text, "hint": one.hint} for one in self.problems()
            ],
            "remote": {
                "endpoint": self._far.endpoint,
                "state": health.state,
                "since": health.since,
                "credentials": own.state,
                "refusal": own.standing.refusal,
                "identities": [cast(IdentityStatus, one) for one in self._far.identities.shown()],
            },
            "pending": cast(Pending, self._queue.pending()) if self._queue else NOTHING,
            "states": self._queue.states() if self._queue else {},
            "paused_lanes": self._queue.paused_lanes() if self._queue else 0,
            "keeps_push_filter": self._queue is not None and self._queue.judging.keeps,
            "access_keys": self._keys.count if self._keys else None,
            "files": {file.name: {"loaded_at": file.loaded_at, "error": file.error} for file in self._watched},
            "draining": self.draining,
            "read_cache": cast(CacheStatus, self._cache.status()) if self._cache else None,
            "sync_folder": cast(SyncStatus, self._folder.status()) if self._folder else None,
            "tls": {"expires_at": self._tls.expires_at} if self._tls else None,
            "mount": cast(MountStatus, self.mount.status()) if self.mount else None,
        }

    def bucket_status(self, bucket: str) -> BucketStatus:
        """What is known of a bucket."""
        if self._queue is None:
            return {"bucket": bucket, "known": False, "writes": "through: the write queue is off", "pending": NOTHING}
        return cast(BucketStatus, self._queue.bucket_status(bucket))

    def object_status(self, bucket: str, key: str) -> ObjectStatus:
        """What is pending for a key."""
        if self._queue is None:
            return {"bucket": bucket, "key": key, "state": "delivered", "changes": []}
        return cast(ObjectStatus, self._queue.object_status(bucket, key))

    def lanes(self) -> list[LaneStatus]:
        """The lanes that the remote refuses."""
        return cast(list[LaneStatus], self._queue.lanes()) if self._queue else []

    def tried(self) -> list[TriedStatus]:
        """Changes that were tried again and again."""
        return cast(list[TriedStatus], self._queue.tried()) if self._queue else []

    def under_way(self) -> list[dict[str, Any]]:
        """The oldest changes that are to be pushed."""
        return self._queue.under_way() if self._queue else []

    def history(self) -> list[Sample]:
        """The counts of the last day."""
        return self._history.samples() if self._history else []

    def kept(self, chosen: Chosen) -> list[dict[str, Any]]:
        """A page of the changes that wait for a person."""
        return self._queue.kept(chosen.bucket, chosen.prefix, chosen.seq, chosen.after) if self._queue else []

    def why(self, seq: int) -> dict[str, Any]:
        """What each rule says of a pending change. Raises S3Error where there is no such change."""
        if self._queue is None:
            raise S3Error("NoSuchChange", "The write queue is off", status=404)
        return self._queue.why(seq)

    def body(self, seq: int) -> Body | None:
        """The body of one of them. Raises S3Error where there is no such change."""
        if self._queue is None:
            raise S3Error("NoSuchChange", "The write queue is off", status=404)
        return self._queue.body(seq)

    async def retry(self, chosen: Chosen) -> dict[str, Any]:
        """Try parked changes again."""
        if self._queue is None:
            return {"changes": 0, "left": []}
        return await self._queue.retry(chosen.bucket, chosen.prefix, chosen.seq)

    async def discard(self, chosen: Chosen) -> dict[str, Any]:
        """Drop changes that wait for a person."""
        if self._queue is None:
            return {"changes": 0, "bytes": 0}
        return await self._queue.discard(chosen.bucket, chosen.prefix, chosen.seq)

    def cached(self, chosen: Chosen) -> list[dict[str, Any]]:
        """A page of what is in the read cache. Raises S3Error where there is none."""
        return self._there().listed(chosen.bucket, chosen.prefix, chosen.after)

    async def drop_cached(self, chosen: Chosen) -> dict[str, Any]:
        """Drop what is in the read cache. Raises S3Error where there is none, and StoreFailed."""
        return await self._there().discard(chosen.bucket, chosen.prefix)

    async def verify_cached(self, chosen: Chosen) -> dict[str, Any]:
        """Compare a page of what is in the read cache with its checksums. Raises S3Error where there is none, and
        StoreFailed."""
        return await self._there().verify(chosen.bucket, chosen.prefix, chosen.after, chosen.block)

    def sync_lists(self) -> dict[str, Any]:
        """What the sync folder leaves alone, and what is in its trash. Raises S3Error where there is none."""
        folder = self._synced()
        return {"left": folder.left_alone(), "trash": folder.trash()}

    async def sync_look(self, what: str, path: str, after: str) -> dict[str, Any]:
        """What both sides of the sync folder have, and what would be done now. Raises S3Error where there is none, or
        nobody can tell."""
        folder = self._synced()
        match what:
            case "diff":
                return {"differences": await comparison.differences(folder)}
            case "conflicts":
                return {"conflicts": await comparison.conflicts(folder, after)}
            case "check":
                return (await comparison.compared(folder, after)).as_json()
            case _:
                return await comparison.why(folder, path)

    async def sync(self, what: str) -> dict[str, Any]:
        """Have the sync folder do something. Raises S3Error."""
        folder = self._synced()
        match what:
            case "now":
                folder.wake()
            case "pause":
                await folder.pause()
            case "resume" | "as-new" | "accept-deletes":
                await folder.resume(as_new=what == "as-new", accepts=what == "accept-deletes")
            case _:
                raise S3Error("InvalidRequest", f"There is nothing called {what[:40]!r} to do", status=400)
        return dict(folder.status())

    async def sync_restore(self, id: str) -> dict[str, Any]:  # noqa: A002 (as the trash calls it)
        """Give back a file of the sync folder's trash. Raises S3Error."""
        return {"path": await self._synced().restore(id)}

    def _synced(self) -> Folder:
        if self._folder is None:
            raise S3Error("NoSuchFolder", "There is no sync folder", status=404, hint="S3D_SYNC_FOLDER=true makes one")
        return self._folder

    def _there(self) -> Cache:
        if self._cache is None:
            raise S3Error("NoSuchCache", "The read cache is off", status=404, hint="S3D_READ_CACHE=true turns it on")
        return self._cache

    def unpublished(self, chosen: Chosen) -> list[dict[str, Any]]:
        """What was written to the mount and is no object yet. Raises S3Error where there is no mount."""
        return self._mounted().unpublished()

    async def publish(self, chosen: Chosen) -> dict[str, Any]:
        """Make objects of what was written to the mount. Raises S3Error where there is none."""
        return await self._mounted().publish()

    def _mounted(self) -> "Mount":
        if self.mount is None:
            raise S3Error("NoSuchMount", "There is no mount", status=404, hint="S3D_FUSE_MOUNT=true makes one")
        return self.mount

    def room(self) -> int:
        """Bytes that the queue still takes; what goes through is not bounded."""
        if self._queue is None:
            return MUCH
        return int((1.0 - self._queue.fullness()) * self._settings.write_queue.max_size)

    async def prestop(self, chosen: Chosen) -> dict[str, Any]:
        """The pod's grace period runs from now, or from when this was said first. Nothing ends by it: what ends is the
        app, and SIGTERM comes when it has, however late that is."""
        if self._prestop_at is None:
            self._prestop_at = time.monotonic()
            log.info("the pod ends: its grace period runs")
        return {"deadline_seconds": self._settings.gateway.deadline or None}

    def drain_seconds(self) -> float:
        """How long a drain that begins now may take: as it is set, and not beyond the pod's deadline."""
        gateway = self._settings.gateway
        if self._prestop_at is None or not gateway.deadline:
            return gateway.drain
        return max(0.0, min(gateway.drain, self._prestop_at + gateway.deadline - time.monotonic()))

    def set_log_level(self, level: str) -> dict[str, Any]:
        """Log from this level on. Raises ConfigError."""
        if config.reload(self._settings, {"S3D_LOG_LEVEL": level}):
            take_log_level(self._settings)
        return {"level": self._settings.gateway.log_level}

    async def flush(self, chosen: Chosen) -> dict[str, Any]:
        """How much is left of what was pending."""
        if self._queue is None:
            return {"upto": 0, "changes": 0, "bytes": 0, "kept": [], "lanes": []}
        return await self._queue.flush(chosen.bucket, chosen.prefix, chosen.upto)


def main(settings: Settings, *, serves: bool = True) -> int:
    """Run until a signal ends it, or without serving until all is delivered; return the exit code.

    Raises S3DError where it cannot start.
    """
    metrics = Metrics()
    journal = logs.set_up(settings.gateway, metrics.count_dropped_lines)
    telemetry = open_telemetry(settings.telemetry, metrics)
    return_memory()
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
                    shed=cache.room.shed if cache else None,
                    hand_over=cache.hand_over if cache else None,
                    tracer=telemetry.tracer if telemetry else None,
                )
            )
            inner = queue
        folder: Folder | None = None
        if settings.sync_folder.enabled and queue is not None and serves:
            folder = await parts.enter_async_context(open_folder(settings, queue, queue, far.endpoint, metrics))
        history = History(metrics, partial(pending_now, queue))
        daemon = Daemon(settings, far, queue, keys, tls, watched, cache, names, history, folder)
        known = Known(inner, far.identities)
        if serves and settings.fuse_mount.enabled:
            mount = open_mount(known, settings.fuse_mount, settings.stage_dir, daemon.room, metrics)
            daemon.mount = await parts.enter_async_context(mount)
        await parts.enter_async_context(serve_admin(daemon, settings.gateway, metrics))
        sending: Look | None = None
        if telemetry is not None:
            sending = partial(telemetry.send_metrics, partial(show, daemon, metrics))
        async with background(queue, cache, names, folder, watched, metrics, history, sending):
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
                settle_memory()
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
            if folder is not None:
                await folder.finish(deadline - time.monotonic())
            unsent = folder.unsent if folder is not None else 0
            code = await drain(settings, daemon, queue, deadline, unsent=unsent)
            is_left = daemon.mount is not None and daemon.mount.unpublished()
            return LEFT_BEHIND if is_left else code


async def deliver(queue: Queue | None, stop: asyncio.Event, locks: Sequence[LockFile]) -> None:
    """Push until nothing is left that can be pushed, or until told to stop, or another process waits for the local dir,
    which pushes as well and serves besides: then at once."""
    if queue is None:
        return
    log.info("s3d %s delivers what is pending and takes nothing: %d changes", __version__, queue.pending()["changes"])
    async with asyncio.TaskGroup() as tasks:
        ends = stop.wait(), asked_for(locks), queue.drain(math.inf)
        either = [tasks.create_task(end) for end in ends]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()


async def asked_for(locks: Sequence[LockFile]) -> None:
    """Wait until another process waits for the local dir."""
    while True:
        if any(lock.is_asked_for() for lock in locks):
            log.info("another s3d waits for the local dir: it goes on with what is left")
            return
        await asyncio.sleep(ASKED_INTERVAL)


async def drain(settings: Settings, daemon: Daemon, queue: Queue | None, deadline: float, *, unsent: int = 0) -> int:
    """Push until the deadline; say in one line what is left (Q-12), and how many files are unsent (S-9)."""
    if queue is None:
        return 0
    await queue.drain(max(0.0, deadline - time.monotonic()))
    status = daemon.status()
    pending, states = status["pending"], status["states"]
    left = {
        "changes": pending["changes"],
        "bytes": pending["bytes"],
        "oldest": pending["oldest_age_seconds"],
        # What no process delivers before a person has looked at it.
        "parked": pending["changes"] - sum(states[state] for state in ON_THE_WAY),
        **({"unsent": unsent} if unsent else {}),
    }
    if settings.gateway.termination_log and (pending["changes"] or unsent):
        with contextlib.suppress(OSError):
            settings.gateway.termination_log.write_text(json.dumps(left), encoding="utf-8")
    if not pending["changes"]:
        log.info("drained: everything is delivered")
        return LEFT_BEHIND if unsent else 0
    log.warning(
        "left on the local dir: %d changes, %d bytes, %d of them parked and %d held; the next start goes on",
        left["changes"],
        left["bytes"],
        pending["parked"],
        pending["held"],
    )
    return LEFT_BEHIND


@contextlib.asynccontextmanager
async def background(
    queue: Queue | None,
    cache: Cache | None,
    names: Names | None,
    folder: Folder | None,
    watched: Sequence[Watched[Any]],
    metrics: Metrics,
    history: History,
    sending: Look | None = None,
) -> AsyncIterator[None]:
    """Run what runs for life."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(for_ever(file.name, file.run, metrics)) for file in watched]
        if cache is not None:
            running.append(tasks.create_task(cache.run()))
        if names is not None:
            running.append(tasks.create_task(for_ever("names in doubt", names.look_after, metrics)))
        if sending is not None:
            running.append(tasks.create_task(for_ever("metrics by OTLP", sending, metrics)))
        running.append(tasks.create_task(for_ever("the counts of a day", history.look, metrics)))
        if folder is not None and queue is not None:
            running.append(tasks.create_task(for_ever("the sync folder", folder.look, metrics)))
            running.append(tasks.create_task(folder.watch()))
            running.append(tasks.create_task(folder.follow(queue.feed.follow())))
        running.append(tasks.create_task(for_ever("the lag of the loop", partial(watch_loop, metrics), metrics)))
        if queue is not None:
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


def forget_elsewhere(settings: Settings) -> None:
    """Forget what was cached where no cache is any more: what changes meanwhile nobody would note. Blocks."""
    current = settings.cache_dir.absolute() if settings.read_cache.enabled else None
    local_dir = settings.gateway.local_dir.absolute()
    known = [local_dir / "cache", settings.cache_dir.absolute()]

    def forget(directory: Path) -> None:
        lock = lock_dir(directory)
        try:
            forget_names(directory)
            forget_cache(directory)
        finally:
            lock.release()

    forget_earlier(local_dir / CACHE_MARKER, known, current, forget)


def take_log_level(settings: Settings) -> None:
    """Log from the level on that is set now."""
    logging.getLogger().setLevel(settings.gateway.log_level.upper())


async def sweep(queue: Queue) -> None:
    """Clear orphaned bodies, and rest until the next time."""
    try:
        await queue.sweep()
    except S3DError as error:
        log.error("the sweep of the bodies failed: %s", error)
    await asyncio.sleep(SWEEP_INTERVAL)


def watched_settings(settings: Settings, said: set[str]) -> Watched[bytes]:
    """The settings in S3D_CONFIG_DIR. A file that is missing or empty asks for nothing: the last settings stay.

    `said` is given the names of those that were taken over.
    """
    path = settings.gateway.config_dir / "settings.json" if settings.gateway.config_dir else None

    def read() -> bytes:
        return files.read(path, MAX_SETTINGS) if path and path.exists() else b""

    def take(data: bytes) -> str:
        if not data.strip():
            return ""
        values = config.check_names(documents.parse(data))
        changed = config.reload(settings, values)
        said.update(values)
        if changed:
            take_log_level(settings)
        return ", ".join(changed)

    return Watched("settings", path, read, take, seen=b"")


@contextlib.contextmanager
def locked(settings: Settings) -> Iterator[Sequence[LockFile]]:
    """Own the local dir and the directories of queue and cache for life (D-8).

    Also where one is in the other: another daemon may call the queue's directory by another name. Where both are the
    same directory it has one lock.
    """
    places: list[Path] = [settings.gateway.local_dir]
    if settings.write_queue.enabled:
        places.append(settings.queue_dir)
    if settings.read_cache.enabled:
        places.append(settings.cache_dir)
    locks: list[LockFile] = []
    try:
        for place in places:
            make_private(place)
            if not any(lock.path.parent.samefile(place) for lock in locks):
                locks.append(lock_dir(place, wait=settings.gateway.lock_wait))
        yield locks
    finally:
        for lock in locks:
            lock.release()


def return_memory() -> None:
    """Have the C library give large blocks back as they are freed, from few heaps. Left to itself it keeps more of them
    with each large one that it has met, in a heap for each thread: after a burst nothing would ever be given back."""
    with contextlib.suppress(OSError, AttributeError):  # a C library that has no such thing
        tune = ctypes.CDLL(None).mallopt
        tune(M_MMAP_THRESHOLD, LARGE_BLOCK)
        tune(M_ARENA_MAX, HEAPS)


def settle_memory() -> None:
    """Tell the garbage collector that what was made at start stays: the S3 model alone is most of all objects, and a
    full collection would walk it again and again. Requests make few cycles, so it may look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE, 20, 20)
