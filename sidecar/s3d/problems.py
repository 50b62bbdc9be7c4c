"""What is wrong with a gateway: the one judgement that status, readiness, metrics, exit codes and conditions tell.

Each kind of problem is in KINDS once, with what is at stake and what to do. A part says what is wrong with it by a
function here, of plain values, so that the operator judges what it has added up of several pods by the same rule.
Nothing here names a bucket or a key: who asks over the network sees problems too (SEMANTICS A-7).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

AT_RISK_SECONDS = 300
"""A change that is on its way for longer is at risk: a volume goes with its pod, and a pod may go at any time."""
NEARLY_FULL_SHARE = 0.9
"""Share of its limits from which on the queue is nearly full."""
EXPIRES_SECONDS = 7 * 86400
"""Before a certificate expires, it should be renewed so early."""

CHANGES_PARKED, CHANGES_DAMAGED, CHANGES_OLD = "ChangesParked", "ChangesDamaged", "ChangesOld"
REMOTE_REFUSES, REMOTE_AWAY, WRONG_ENDPOINT = "RemoteRefuses", "RemoteAway", "WrongEndpoint"
KEYS_MISSING, KEYS_REFUSED, IDENTITY_FAILS = "CredentialsMissing", "CredentialsRefused", "IdentityFails"
LOCAL_DIR_FAILS, DISK_FULL, QUEUE_NEARLY_FULL = "LocalDirFails", "DiskFull", "QueueNearlyFull"
CERTIFICATE_EXPIRES, FILE_REFUSED = "CertificateExpires", "FileRefused"
SYNC_HALTED = "SyncHalted"
FILES_UNPUBLISHED, MOUNT_GONE = "FilesUnpublished", "MountGone"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem."""

    stake: Literal["data", "service"]
    """What is at stake: data that was accepted and may never arrive, or that requests are served as they should be."""
    hint: str
    """What to do."""


KINDS: Mapping[str, Kind] = {
    CHANGES_PARKED: Kind("data", "`s3d queue list` shows which they are and why; retry, or export and discard them"),
    CHANGES_DAMAGED: Kind("data", "`s3d queue list` shows them; put the objects again, then discard them"),
    CHANGES_OLD: Kind("data", "see what else is wrong; what is not delivered when its volume goes is lost"),
    FILES_UNPUBLISHED: Kind(
        "data", "`s3d mount status` shows them and why; they are tried again, and `s3d mount recover` copies them"
    ),
    REMOTE_REFUSES: Kind("data", "`s3d status` shows the bucket and the error: keys, permissions, quota, or no bucket"),
    SYNC_HALTED: Kind("data", "`s3d sync status` says what to do; nothing is deleted or replaced until then"),
    WRONG_ENDPOINT: Kind("service", "check the scheme, host, port and path of S3_ENDPOINT"),
    KEYS_MISSING: Kind(
        "service", "give the keys of the remote as to any AWS client; the log says where they were sought"
    ),
    KEYS_REFUSED: Kind("service", "check the keys of the remote, and whether they are those of this endpoint"),
    IDENTITY_FAILS: Kind("service", "check its source of keys in S3D_REMOTE_IDENTITIES_FILE"),
    REMOTE_AWAY: Kind("service", "writes are queued meanwhile; check the endpoint and the way to it"),
    LOCAL_DIR_FAILS: Kind("service", "look at the disk of the local dir, and at the log"),
    DISK_FULL: Kind("service", "make room on the disk of the local dir; deliveries go on, and writes by themselves"),
    QUEUE_NEARLY_FULL: Kind(
        "service", "see what keeps deliveries back, or raise S3D_WRITE_QUEUE_MAX_SIZE or _MAX_FILES"
    ),
    CERTIFICATE_EXPIRES: Kind("service", "renew the certificate of the S3 door; it is taken over without a restart"),
    MOUNT_GONE: Kind("service", "somebody has unmounted it; a restart of s3d mounts it again"),
    FILE_REFUSED: Kind("service", "mend the file; the last good content is used until then"),
}
"""All there are, the gravest first."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong now."""

    name: str
    """Of its kind."""
    text: str
    """What is wrong, in a sentence without its full stop."""

    @property
    def stake(self) -> Literal["data", "service"]:
        """What is at stake."""
        return KINDS[self.name].stake

    @property
    def hint(self) -> str:
        """What to do."""
        return KINDS[self.name].hint


def of_changes(states: Mapping[str, int], oldest_age: float | None) -> Iterator[Problem]:
    """What is wrong with changes, by how many there are in each state and the age of the oldest on its way."""
    if parked := states.get("parked", 0):
        yield Problem(CHANGES_PARKED, f"{amount(parked, 'change')} refused for good, and waiting for a person")
    if damaged := states.get("quarantined", 0):
        yield Problem(CHANGES_DAMAGED, f"{amount(damaged, 'change')} damaged on the local dir")
    if oldest_age is not None and oldest_age >= AT_RISK_SECONDS:
        yield Problem(CHANGES_OLD, f"a change on its way for more than {AT_RISK_SECONDS} s")


def of_local_dir(failure: str, *, is_full: bool) -> Iterator[Problem]:
    """What is wrong with the local dir: why it takes no writes, "" while it does, and whether its disk is full."""
    if failure:
        yield Problem(LOCAL_DIR_FAILS, f"the local dir failed: {failure}")
    if is_full:
        yield Problem(DISK_FULL, "the disk of the local dir is full: no writes are taken")


def of_queue(paused_lanes: int, fullness: float) -> Iterator[Problem]:
    """What is wrong with the queue: lanes that the remote refuses, and the share of its limits that is used."""
    if paused_lanes:
        yield Problem(REMOTE_REFUSES, f"the remote refuses all writes of {amount(paused_lanes, 'bucket')}")
    if fullness >= NEARLY_FULL_SHARE:
        yield Problem(QUEUE_NEARLY_FULL, f"the queue is {fullness:.0%} full; then writes wait, and get 503")


def of_remote(state: str, credentials: str, refusal: str, identities: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the remote, by its state, that of our keys, the code by which it refuses all, and the state of
    the keys of further identities."""
    if state == "away":
        yield Problem(REMOTE_AWAY, "the remote does not answer")
    if refusal and credentials != "refused":
        yield Problem(WRONG_ENDPOINT, f"no bucket is found at the endpoint of the remote ({refusal})")
    if credentials == "refused":
        yield Problem(KEYS_REFUSED, f"the remote refuses our keys ({refusal})")
    if credentials in ("missing", "failing"):
        yield Problem(KEYS_MISSING, f"the keys of the remote are {credentials}")
    for name, keys in identities.items():
        if keys in ("missing", "failing", "refused"):
            yield Problem(IDENTITY_FAILS, f"the keys of identity {name} are {keys}")


def of_files(errors: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with files that are read again as they change; "" where one is right."""
    for name, error in errors.items():
        if error:
            yield Problem(FILE_REFUSED, f"the new {name.replace('_', ' ')} cannot be used: {error}")


def of_sync(halts: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the sync folders: by name the reason for which each is halted, "" while it is not."""
    for name, halt in halts.items():
        if halt:
            which = f"the sync folder {name}" if len(halts) > 1 else "the sync folder"
            yield Problem(SYNC_HALTED, f"{which} is halted: {halt}")


def of_mount(*, mounted: bool, failing: int) -> Iterator[Problem]:
    """What is wrong with the mount: whether it is there, and how many files could not become objects."""
    if failing:
        yield Problem(FILES_UNPUBLISHED, f"{amount(failing, 'file')} of the mount could not become an object")
    if not mounted:
        yield Problem(MOUNT_GONE, "the mount has gone")


def of_certificate(seconds_left: float) -> Iterator[Problem]:
    """What is wrong with the certificate of the door."""
    if seconds_left <= 0:
        yield Problem(CERTIFICATE_EXPIRES, "the certificate of the S3 door has expired")
    elif seconds_left < EXPIRES_SECONDS:
        yield Problem(CERTIFICATE_EXPIRES, f"the certificate of the S3 door expires in {seconds_left / 3600:.0f} h")


def amount(number: int, what: str) -> str:
    """A number and what it counts."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
