"""What the daemon says of itself, and what can be asked of it: the shape of each answer of the doors."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict

from s3d.api import Body
from s3d.history import Sample
from s3d.problems import Problem


class IdentityStatus(TypedDict):
    """An identity by which s3d acts at the remote."""

    name: str
    """Its name; `other` for all beyond the first twenty."""
    credentials: Literal["unknown", "found", "missing", "failing", "refused", "not required"]
    """The same of its keys; of several identities the worst."""
    refusal: str


class RemoteStatus(TypedDict):
    """How the remote is doing."""

    endpoint: str
    """Its URL."""
    state: Literal["unknown", "reachable", "away"]
    """unknown until it is asked for something."""
    since: float | None
    """Unix time of the latest change of state."""
    credentials: Literal["unknown", "found", "missing", "failing", "refused", "not required"]
    """Whether there is something to sign with, and the remote takes it; unknown until a request needs it."""
    refusal: str
    """The code of the error by which the remote refuses all that is asked of it; "" where it does not. It is about our
    keys where `credentials` says refused, else about the endpoint."""
    identities: list[IdentityStatus]
    """Those that a file names beside the gateway's own, which the members above are about."""


class Tally(TypedDict):
    """What is accepted and not confirmed by the remote."""

    changes: int
    bytes: int


class Pending(Tally):
    """The same of all buckets."""

    oldest_age_seconds: float | None
    """Age of the oldest change on its way; held and parked ones wait for a person and do not count."""
    parked: int
    held: int
    unjudged: int
    """Those that the policy has said nothing of yet, some of which are held because it came to no decision."""
    kept_bytes: int
    """Bytes of what is parked or held; together they may fill half of the queue."""


class FileStatus(TypedDict):
    """A file that is read again when it changes."""

    loaded_at: float
    """Unix time at which the content that is in use was taken over."""
    error: str
    """Why the newest content is not in use; "" where it is."""


class TlsStatus(TypedDict):
    """The certificate of the S3 door."""

    expires_at: float
    """Unix time from which on clients refuse it."""


class CacheStatus(TypedDict):
    """The read cache in counts."""

    entries: int
    bytes: int
    """What the disk gave for them."""
    usable: bool
    """Whether its index can be used just now. It is begun anew by itself."""
    decided: bool
    """False while a policy is asked what may be kept, and comes to no decision."""
    pins: dict[str, int]
    """Names of pinned objects: `kept` are cached whole, `waiting` are about to be, `over` find no room."""


class SyncStatus(TypedDict):
    """A sync folder in counts and reasons."""

    name: str
    """What it is called: `folder`, or as S3D_SYNC_FOLDERS calls it."""
    state: str
    """starting, quiet, working, waiting, paused or halted."""
    since: float
    """Unix time of the latest change of state."""
    reason: str
    """What is waited for, or why the folder is halted."""
    halt: str
    """The name of the reason for which it is halted; "" while it is not."""
    hint: str
    began: int
    """Rounds that have begun since the start."""
    ended: int
    """The number of the latest round that has ended: what it found is what both sides were like after it began."""
    watches: bool
    """Whether changes in the folder are seen at once; else they are when it is looked at."""
    files: int
    """That both sides have."""
    unsent: int
    """Files of which something has still to go into the queue, also those that are being written."""
    left_alone: int
    failed: int
    conflicts: int
    """Since the start."""
    trash: int


class MountStatus(TypedDict):
    """The mount in counts."""

    path: str
    mounted: bool
    open_files: int
    unpublished: int
    """Files of which something is no object yet."""
    failing: int
    """Those of them that could not become one when that was tried last."""
    staged_bytes: int
    """Of all files that are being written."""
    inodes: int
    """Files and directories that the kernel knows."""


class ProblemStatus(TypedDict):
    """Something that is wrong now (problems.py)."""

    name: str
    stake: Literal["data", "service"]
    text: str
    hint: str


class Status(TypedDict):
    """The daemon in counts."""

    version: str
    """Of s3d."""
    started_at: float
    """When the daemon was started."""
    problems: list[ProblemStatus]
    """What is wrong now, the gravest first."""
    remote: RemoteStatus
    """Whether it is there, and takes our keys."""
    pending: Pending
    """What is not in the remote yet."""
    states: dict[str, int]
    """Changes by state."""
    paused_lanes: int
    """Identities and buckets to which nothing is delivered just now, because the remote refuses them."""
    keeps_push_filter: bool
    """Whether the push filter is the one of an earlier life, since the settings of this one do not say which."""
    access_keys: int | None
    """How many keys clients may sign with; None: everyone who reaches the S3 door may use it."""
    files: dict[str, FileStatus]
    """The files that are read again as they change, by what is in them: settings, access_keys and others."""
    draining: bool
    """Whether it ends, and takes no new requests."""
    read_cache: CacheStatus | None
    """None where there is none."""
    sync_folder: SyncStatus | None
    """The one of S3D_SYNC_FOLDER; None where there is none."""
    sync_folders: list[SyncStatus]
    """All of them, that one first."""
    tls: TlsStatus | None
    """None where the door speaks plain HTTP."""
    mount: MountStatus | None
    """None where there is none."""


class LaneStatus(TypedDict):
    """Identity and bucket that the remote refuses. Times are Unix times."""

    bucket: str
    identity: str
    state: str
    """trying: other changes are tried, to tell the lane from the object; paused."""
    since: float
    code: str
    reason: str
    attempts: int
    probe_at: float
    """When the next change is tried."""


class TriedStatus(TypedDict):
    """A change that was tried again and again, and the last error."""

    seq: int
    bucket: str
    key: str
    op: str
    identity: str
    state: str
    attempts: int
    code: str
    reason: str


class BucketStatus(TypedDict):
    """One bucket, as the gateway knows it."""

    bucket: str
    known: bool
    writes: str
    """Whether its writes are queued, or why they go through."""
    pending: Tally


class AwaitedStatus(TypedDict):
    """A change of another key that must be delivered first."""

    seq: int
    op: str
    bucket: str
    key: str
    state: str


class ChangeStatus(TypedDict):
    """One pending change. Times are Unix times."""

    seq: int
    op: str
    """put, delete, complete (of a multipart upload), tag, or through (a write that goes to the remote while its client
    waits)."""
    identity: str
    """As whom it is pushed; "" is the gateway's own."""
    state: str
    size: int
    etag: str
    acked_at: float
    age_seconds: float
    attempts: int
    next_at: float | None
    """When it is pushed at the earliest; None: not by itself."""
    code: str
    reason: str
    rule: str
    """What holds it, where it is held."""
    origin: str
    """Who wrote it: client, or the part of s3d."""
    waits_for: AwaitedStatus | None
    """None where it waits for no change of another key."""


class ObjectStatus(TypedDict):
    """One object: `delivered` where nothing is pending, else the state of its newest change."""

    bucket: str
    key: str
    state: str
    changes: list[ChangeStatus]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which changes a request is about: all, those of a bucket, those under a prefix of it, or one."""

    bucket: str = ""
    prefix: str = ""
    seq: int | None = None
    after: int = 0
    """Only those behind this one (the next page)."""
    upto: int | None = None
    """flush: the newest change that is waited for; None: the newest there is."""
    block: int = 0
    """cache verify: the first block to look at of what is behind `after`."""


class Reports(Protocol):
    """What the daemon says about itself. The methods answer out of memory or by an index, for they run on the loop."""

    def ready(self) -> list[str]:
        """Why requests cannot be served just now, a line each, without bucket or key; nothing when they can. That the
        remote is away is no reason."""

    def problems(self) -> list[Problem]:
        """What is wrong, without bucket or key, the gravest first."""

    def status(self) -> Status:
        """The daemon in counts."""

    def bucket_status(self, bucket: str) -> BucketStatus:
        """One bucket."""

    def object_status(self, bucket: str, key: str) -> ObjectStatus:
        """One object, with its newest changes, at most a hundred."""

    # What names buckets and keys, or changes anything: asked over the socket only.

    def lanes(self) -> list[LaneStatus]:
        """The lanes that the remote refuses."""

    def tried(self) -> list[TriedStatus]:
        """Changes that were tried again and again."""

    def under_way(self) -> list[dict[str, Any]]:
        """The oldest changes that are to be pushed, at most a hundred."""

    def history(self) -> list[Sample]:
        """The counts of the last day."""

    def kept(self, chosen: Chosen) -> list[dict[str, Any]]:
        """A page of the changes that wait for a person."""

    def why(self, seq: int) -> dict[str, Any]:
        """A pending change, and what each rule that is asked says of it. Raises S3Error where there is none."""

    def body(self, seq: int) -> Body | None:
        """The body of one of them; None where it has none. Raises S3Error where there is no such change."""

    async def retry(self, chosen: Chosen) -> dict[str, Any]:
        """Try parked changes again: how many, and which were left alone."""

    async def discard(self, chosen: Chosen) -> dict[str, Any]:
        """Drop changes that wait for a person: how many."""

    async def flush(self, chosen: Chosen) -> dict[str, Any]:
        """How much of what was pending when it was first asked is left, and what of it waits for a person."""

    def cached(self, chosen: Chosen) -> list[dict[str, Any]]:
        """A page of what is in the read cache."""

    async def verify_cached(self, chosen: Chosen) -> dict[str, Any]:
        """Compare a page of what is in the read cache with its checksums: what was looked at, and what was damaged."""

    async def drop_cached(self, chosen: Chosen) -> dict[str, Any]:
        """Drop what is in the read cache: how much."""

    def unpublished(self, chosen: Chosen) -> list[dict[str, Any]]:
        """Files of the mount that are no objects yet. Raises S3Error where there is no mount."""

    async def publish(self, chosen: Chosen) -> dict[str, Any]:
        """Make objects of all that was written to the mount: how many, and which could not become one."""

    def set_log_level(self, level: str) -> dict[str, Any]:
        """Log from this level on, until a restart or until the setting changes. Raises ConfigError."""

    async def prestop(self, chosen: Chosen) -> dict[str, Any]:
        """The pod is being deleted, and its grace period runs."""

    def sync_lists(self, which: str) -> dict[str, Any]:
        """What a sync folder leaves alone, and what is in its trash. It is said by its name or by an absolute path in
        it, or not at all where there is one. Raises S3Error where there is none."""

    async def sync_look(self, what: str, which: str, path: str, after: str) -> dict[str, Any]:
        """How a sync folder is (status), what it would do now (diff), a page of its conflict copies (conflicts) or of
        both sides compared (check), or why a path is as it is. Raises S3Error where there is none, or nobody can
        tell."""

    async def sync(self, what: str, which: str) -> dict[str, Any]:
        """Have a sync folder do something: now, pause, resume, as-new or accept-deletes. Raises S3Error."""

    async def sync_restore(self, id: str, which: str) -> dict[str, Any]:  # noqa: A002 (as the trash calls it)
        """Give back a file of a sync folder's trash. Raises S3Error."""
