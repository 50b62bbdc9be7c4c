"""The daemon as the doors of the administrator see it: what it is doing, and what it can be told to do."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from s3d import __version__, config, problems
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
from s3d.api import Body
from s3d.clock import tick, time_of
from s3d.daemon.reload import take_log_level
from s3d.door.keys import DoorKeys
from s3d.door.tls import Tls
from s3d.errors import S3DError, S3Error
from s3d.history import History, Sample
from s3d.layers import remote
from s3d.layers.cache import Cache
from s3d.layers.names import Names
from s3d.layers.queue import Queue
from s3d.problems import Problem
from s3d.settings import Settings
from s3d.settings.sync_folder import FIRST
from s3d.sync import Folder, chosen, comparison
from s3d.watched import Watched

if TYPE_CHECKING:
    from s3d.mount import Mount

log = logging.getLogger(__name__)
UNBOUNDED = 1 << 50
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
        folders: Mapping[str, Folder] = MappingProxyType({}),
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
        self._folders = folders
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
        found += problems.of_sync({name: one.reason if one.halt else "" for name, one in self._folders.items()})
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
        folders = {name: cast(SyncStatus, folder.status()) for name, folder in self._folders.items()}
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
            "sync_folder": folders.get(FIRST),
            "sync_folders": [*folders.values()],
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

    def sync_lists(self, which: str) -> dict[str, Any]:
        """What a sync folder leaves alone, and what is in its trash. Raises S3Error where there is none."""
        folder = chosen(self._folders, which)
        return {"left": folder.left_alone(), "trash": folder.trash()}

    async def sync_look(self, what: str, which: str, path: str, after: str) -> dict[str, Any]:
        """What both sides of a sync folder have, and what would be done now. Raises S3Error where there is none, or
        nobody can tell."""
        folder = chosen(self._folders, which)
        match what:
            case "status":
                return folder.status()
            case "diff":
                return {"differences": await comparison.differences(folder)}
            case "conflicts":
                return {"conflicts": await comparison.conflicts(folder, after)}
            case "check":
                return (await comparison.compared(folder, after)).as_json()
            case _:
                return await comparison.why(folder, path)

    async def sync(self, what: str, which: str) -> dict[str, Any]:
        """Have a sync folder do something. Raises S3Error."""
        folder = chosen(self._folders, which)
        match what:
            case "now":
                folder.tags.again()
                folder.wake()
            case "pause":
                await folder.pause()
            case "resume" | "as-new" | "accept-deletes":
                await folder.resume(as_new=what == "as-new", accepts=what == "accept-deletes")
            case _:
                raise S3Error("InvalidRequest", f"There is nothing called {what[:40]!r} to do", status=400)
        return dict(folder.status())

    async def sync_restore(self, id: str, which: str) -> dict[str, Any]:  # noqa: A002 (as the trash calls it)
        """Give back a file of a sync folder's trash. Raises S3Error."""
        return {"path": await chosen(self._folders, which).restore(id)}

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
            return UNBOUNDED
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
