"""A pod with a gateway as the reconciler sees it, and what its gateway says at its status door.

Pods are read, never written. The door gives counts, no keys; it is asked by the pod's address, for two seconds and
64 KiB at most, since what stands there is whatever the pod's owner runs. What a pod says is clamped to what can be
added up and written, also over all pods. A pod that does not answer is not one without changes.
"""

import asyncio
import builtins
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from s3d import problems
from s3d.problems import AT_RISK_SECONDS, KINDS
from s3d.settings.sync_folder import FIRST, MAX_FOLDERS
from s3d_operator import layout
from s3d_operator.gateway_status import LastPod
from s3d_operator.kube import Object
from s3d_operator.names import CONFIG_HASH, DRAINS, EXPENDABLE, FOLDER_HASH, INJECTED
from s3d_operator.podspec import MESH_PROXIES, annotations, folders_named
from s3d_operator.reasons import Reason
from s3d_operator.schema import DNS_NAME

SECONDS = 2
ANSWER_BYTES = 64 << 10
MAX_CONCURRENT = 32
# The largest count: every reader of JSON keeps it exactly, and the API server takes it.
MAX_COUNT = 1 << 53
# The longest age: it leads to a time that can be written.
MAX_SECONDS = 10 * 365 * 86_400
# The latest time that is told: the year 9999.
MAX_TIME = 253_370_764_800
# How the sync folder of a gateway can be, and the reasons for which it is halted, in the daemon's words.
STATES = frozenset({"starting", "quiet", "working", "waiting", "paused", "halted"})
STUCK = frozenset({"halted", "paused", "waiting"})
HALTS = frozenset(
    {
        Reason.MARKER_MISSING,
        Reason.OTHER_FOLDER,
        Reason.OTHER_REMOTE,
        Reason.FOLDER_EMPTY,
        Reason.REMOTE_EMPTY,
        Reason.REMOTE_ROLLED_BACK,
        Reason.FOLDER_ROLLED_BACK,
        Reason.MASS_DELETE,
    }
)
CLAIM = "persistentVolumeClaim"
# How many of anything the status of a gateway keeps of a pod.
MAX_ENTRIES = 64
# The files of a gateway that are taken over as they change, and the fields of a spec that they come from.
FILES = {
    "access_keys": "access.keysSecretRef",
    "certificates": "tls",
    "identities": "remote.identities.secretRef",
    "settings": "writeQueue",
}
# What is known of an identity's keys where it cannot act.
WITHOUT_KEYS = frozenset({"missing", "failing", "refused"})
IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
# Taints that the API server lets every pod tolerate for a while.
EVERYBODY_TOLERATES = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


@dataclass(frozen=True, slots=True)
class Left:
    """What a gateway left undelivered when it ended."""

    changes: int
    bytes: int
    parked: int = 0
    """Those of the changes that wait for a person."""
    is_exact: bool = True
    """False: the gateway said nothing at its end; this is what it said last."""
    unsent: tuple[int, ...] = ()
    """Changes in its sync folders that were not even queued, by folder; () where there were none."""
    unpublished: int = 0
    """Files of its mount that did not become objects."""


@dataclass(frozen=True, slots=True)
class PodFolder:
    """A sync folder of a pod."""

    called: str
    """What the pod's gateway calls it."""
    hash: str
    """By which spec of the folder the pod was made."""
    outlives: bool
    """Whether the folder is there after the pod has gone."""


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that has a gateway."""

    namespace: str
    name: str
    uid: str
    gateway: str
    config_hash: str
    created: str
    address: str
    listens: bool
    """Whether its gateway has started and runs, so that its door should answer."""
    has_run: bool
    """Whether its gateway has run before, so that something may be pending in its volume."""
    waits_for: str
    """What keeps its gateway from starting, in the kubelet's or the scheduler's word; empty: nobody says it."""
    is_over: bool
    """Whether it has ended or is about to, and its gateway will not start again."""
    has_ended: bool
    """Whether all its containers have."""
    exit_code: int | None
    """How its gateway ended, where it has."""
    message: str
    """What its gateway wrote at its end."""
    claim: str
    """The claim that the queue is in, which the next pod goes on with; empty: in none."""
    drains: bool
    """Whether it is of a drain job."""
    is_expendable: bool
    """Whether its author says that what it loses is no loss: a pod that merely tries whether a gateway works."""
    endpoint: str
    """The URL at which its containers find its gateway."""
    goes_past: tuple[str, ...]
    """Containers whose SDKs are not sent there."""
    folders: Mapping[str, PodFolder]
    """The sync folders that it has, by name, in the order of its gateway."""
    manner: LastPod
    """How it runs."""
    owner: Object
    """The object that events about the pod are for: its controller, else itself."""

    @property
    def of(self) -> tuple[str, str]:
        """Namespace and name of its gateway."""
        return self.namespace, self.gateway

    @property
    def outlives(self) -> bool:
        """Whether the queue is there after the pod has gone."""
        return bool(self.claim)

    @property
    def holds(self) -> bool:
        """Whether its gateway has the queue or will have it: it runs, or has not started yet."""
        return not self.is_over or (not self.has_ended and self.exit_code is None)

    @property
    def left(self) -> Left | None:
        """What its gateway said at its end that it leaves; None where it said nothing of use."""
        if not self.message and self.exit_code == 0:
            return Left(0, 0)
        try:
            said = json.loads(self.message)
            parked, unsent, unpublished = (count(said.get(name, 0)) for name in ("parked", "unsent", "unpublished"))
            each = tuple(
                count(number) for number in said.get("unsent_by_folder", [unsent] if unsent else [])[:MAX_FOLDERS]
            )
            return Left(count(said["changes"]), count(said["bytes"]), parked, unsent=each, unpublished=unpublished)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None


def read_pod(raw: Object) -> Pod:
    """Read a pod as the API server gave it."""
    metadata, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    states = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    said: Object = next((c for c in states if c["name"] == layout.NAME), {})
    state = said.get("state") or {}
    ended = state.get("terminated")
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    phase_is_last = status.get("phase") in {"Succeeded", "Failed"}
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        # Webhooks before the first release wrote an annotation; what they made runs until a person makes it anew.
        gateway=labels.get(INJECTED) or notes.get(INJECTED, ""),
        config_hash=notes.get(CONFIG_HASH, ""),
        created=metadata.get("creationTimestamp") or "",
        address=status.get("podIP") or "",
        listens=bool(said.get("started")) and "running" in state,
        has_run=bool(said.get("restartCount")) or ended is not None,
        waits_for=(state.get("waiting") or {}).get("reason") or refusal_of(status),
        is_over=phase_is_last or "deletionTimestamp" in metadata,
        has_ended=phase_is_last,
        exit_code=ended.get("exitCode") if ended else None,
        message=(ended or {}).get("message") or "",
        claim=claim_of(spec),
        drains=DRAINS in labels,
        is_expendable=notes.get(EXPENDABLE) == "true",
        endpoint=endpoint_of(spec),
        goes_past=goes_past(spec),
        folders=folders_of(raw),
        manner=manner_of(metadata, spec),
        owner=owner_of(raw),
    )


def folders_of(raw: Object) -> dict[str, PodFolder]:
    """The sync folders of a pod by name. A pod that was made before the webhook knew folders names one and has none."""
    noted = annotations(raw).get(FOLDER_HASH)
    # By what it was made: its author may have changed the names since.
    made_by = noted.split(",")[:MAX_FOLDERS] if noted is not None else []
    found: dict[str, PodFolder] = {}
    for name, spec_hash in zip(folders_named(raw), made_by, strict=False):
        volume = volume_at(raw.get("spec") or {}, layout.folder_dir(name, len(made_by)))
        called = FIRST if len(made_by) == 1 else name
        found[name] = PodFolder(called, spec_hash, not {"emptyDir", "ephemeral"} & volume.keys())
    return found


def refusal_of(status: Object) -> str:
    """Why no node takes a pod, in the scheduler's word; empty where one does."""
    conditions = {each["type"]: each for each in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled") or {}
    return (scheduled.get("reason") or "") if scheduled.get("status") == "False" else ""


def endpoint_of(spec: Object) -> str:
    """The URL of a pod's gateway, by the settings that its sidecar got when it was made."""
    ours = [container for container in spec.get("initContainers") or [] if container["name"] == layout.NAME]
    told = [each.get("value") or "" for container in ours for each in container.get("env") or []]
    return layout.TLS_ENDPOINT if any('"S3D_ENDPOINT":"https://' in each for each in told) else layout.ENDPOINT


def goes_past(spec: Object) -> tuple[str, ...]:
    """The app's containers whose environment does not name the gateway."""
    wanted = {"name": "AWS_ENDPOINT_URL_S3", "value": endpoint_of(spec)}
    return tuple(
        container["name"]
        for container in spec.get("containers") or []
        if container["name"] not in MESH_PROXIES and wanted not in (container.get("env") or [])
    )


def claim_of(spec: Object) -> str:
    """The claim that is the volume of the local dir; empty where that is none, or has a name that no claim can have."""
    name: str = volume_at(spec, layout.LOCAL_DIR).get(CLAIM, {}).get("claimName", "")
    return name if re.fullmatch(DNS_NAME, name) and len(name) <= 253 else ""


def volume_at(spec: Object, place: str) -> Object:
    """The volume that the gateway of a pod mounts at a place; {} where it mounts none."""
    names = {
        mount["name"]
        for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
        if container["name"] == layout.NAME
        for mount in container.get("volumeMounts") or []
        if mount["mountPath"] == place
    }
    volumes: list[Object] = spec.get("volumes") or []
    return next((volume for volume in volumes if volume["name"] in names), {})


def manner_of(metadata: Object, spec: Object) -> LastPod:
    """How a pod runs, as far as another one has to run the same way to have its claim and its identity."""
    secrets = [secret["name"] for secret in spec.get("imagePullSecrets") or [] if secret.get("name")]
    tolerations = [each for each in spec.get("tolerations") or [] if each.get("key") not in EVERYBODY_TOLERATES]
    return LastPod(
        uid=metadata.get("uid", ""),
        created=metadata.get("creationTimestamp"),
        service_account_name=spec.get("serviceAccountName") or "",
        fs_group=(spec.get("securityContext") or {}).get("fsGroup"),
        run_as_user=user_of(spec),
        image_pull_secrets=tuple(secrets[:MAX_ENTRIES]),
        node_selector=dict(list((spec.get("nodeSelector") or {}).items())[:MAX_ENTRIES]),
        tolerations=tuple(tolerations[:MAX_ENTRIES]),
    )


def user_of(spec: Object) -> int | None:
    """The user of a pod's gateway, where it is another than usual: with a sync folder it is the app's."""
    ours = [container for container in spec.get("initContainers") or [] if container["name"] == layout.NAME]
    users = [(container.get("securityContext") or {}).get("runAsUser") for container in ours]
    return next((user for user in users if isinstance(user, int) and user not in {0, layout.USER}), None)


def owner_of(raw: Object) -> Object:
    """The controller of a pod, else the pod itself, as an event refers to it."""
    metadata = raw["metadata"]
    reference = next((owner for owner in metadata.get("ownerReferences") or [] if owner.get("controller")), None)
    if reference is None:
        reference = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata.get("uid", "")}
    known = {name: reference[name] for name in ("apiVersion", "kind", "name", "uid")}
    return known | {"namespace": metadata["namespace"]}


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What a gateway says of a sync folder."""

    state: str
    halt: str
    """One of HALTS; empty: it is not halted."""
    since: int
    """Since when it is so, as Unix time."""
    files: int
    unsent: int
    conflicts: int
    left_alone: int

    def is_stuck(self, now: float) -> bool:
        """Whether it has changes that have not got on for as long as makes a change of the queue old."""
        return bool(self.unsent) and self.state in STUCK and now - self.since >= AT_RISK_SECONDS

    @classmethod
    def read(cls, said: Any) -> Self | None:
        """Read that part of an answer; None where there is no folder, or its state has a word that only a newer release
        knows. Raises ValueError, KeyError and TypeError."""
        if said is None:
            return None
        state, halt = said["state"], said["halt"]
        if state not in STATES or (halt and halt not in HALTS):
            return None
        return cls(
            state=state,
            halt=halt,
            since=min(count(said["since"]), MAX_TIME),
            files=count(said["files"]),
            unsent=count(said["unsent"]),
            conflicts=count(said["conflicts"]),
            left_alone=count(said["left_alone"]),
        )


@dataclass(frozen=True, slots=True)
class Report:
    """What a gateway says of itself."""

    changes: int
    bytes: int
    parked: int
    oldest: int | None
    remote: str
    credentials: str
    problems: frozenset[str] = frozenset()
    """The names of what it says is wrong (s3d.problems)."""
    without_keys: tuple[str, ...] = ()
    """The identities, beside its own, that have no keys or whose keys the remote refuses."""
    not_taken_over: tuple[str, ...] = ()
    """The fields whose files are wrong, so that it goes on with the last good ones."""
    folders: Mapping[str, FolderReport] = field(default_factory=dict)
    """Its sync folders, by what it calls them."""
    mounts: bool = False
    """Whether it has the mount."""

    @classmethod
    def read(cls, text: builtins.bytes) -> Self:
        """Read an answer. Raises ValueError for what is none."""
        try:
            said = json.loads(text)
            pending, remote = said["pending"], said["remote"]
            oldest = pending["oldest_age_seconds"]
            return cls(
                changes=count(pending["changes"]),
                bytes=count(pending["bytes"]),
                parked=count(pending["parked"]),
                oldest=None if oldest is None else min(count(oldest), MAX_SECONDS),
                remote=str(remote["state"])[:32],
                credentials=str(remote.get("credentials", "unknown"))[:32],
                problems=frozenset(problems_of(said)),
                without_keys=tuple(
                    each["name"]
                    for each in remote.get("identities", [])
                    if each["credentials"] in WITHOUT_KEYS and IDENTITY.fullmatch(each["name"])
                )[:MAX_ENTRIES],
                not_taken_over=tuple(
                    field for name, field in FILES.items() if said.get("files", {}).get(name, {}).get("error")
                ),
                folders=folders_in(said),
                mounts=bool((said.get("mount") or {}).get("mounted")),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"not a status: {error!r}") from None


def folders_in(said: dict[str, Any]) -> dict[str, FolderReport]:
    """What a gateway says of its sync folders, by name. One of an earlier release has one, and gives it no name."""
    first = said.get("sync_folder")
    listed = said.get("sync_folders", [first | {"name": FIRST}] if first else [])[:MAX_FOLDERS]
    read = {str(each["name"]): FolderReport.read(each) for each in listed}
    return {name: report for name, report in read.items() if report}


def problems_of(said: dict[str, Any]) -> Iterator[str]:
    """The names of what a gateway says is wrong. One of an earlier release names nothing: it is judged here by what it
    says of its remote."""
    if "problems" in said:
        yield from KINDS.keys() & {str(problem["name"]) for problem in said["problems"]}
        return
    remote = said["remote"]
    state, credentials, refusal = (str(remote.get(name, "")) for name in ("state", "credentials", "refusal"))
    yield from (problem.name for problem in problems.of_remote(state, credentials, refusal, {}))
    yield from (problem.name for problem in problems.of_queue(count(said.get("paused_lanes", 0)), 0.0))


def count(value: Any) -> int:
    """A number that counts something, or the largest that can. Raises ValueError for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{value!r:.64} is no count")
    return int(min(value, MAX_COUNT))


def total(counts: Iterable[int]) -> int:
    """A sum of counts, which is a count itself."""
    return min(sum(counts), MAX_COUNT)


async def ask(pods: Iterable[Pod], port: int = layout.HEALTH_PORT) -> dict[str, Report | None]:
    """Ask the gateways of pods, some at once: by the pod's uid what it says; None where it says nothing of use."""
    slots = asyncio.Semaphore(MAX_CONCURRENT)
    answers: dict[str, Report | None] = {}
    # No proxy and no redirect: a pod must not send us elsewhere.
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:  # noqa: TID251

        async def one(pod: Pod) -> None:
            async with slots:
                answers[pod.uid] = await ask_one(session, pod.address, port)

        async with asyncio.TaskGroup() as tasks:
            for pod in pods:
                tasks.create_task(one(pod))
    return answers


async def ask_one(session: aiohttp.ClientSession, address: str, port: int) -> Report | None:  # noqa: TID251
    """Ask one gateway."""
    host = f"[{address}]" if ":" in address else address
    try:
        async with session.get(f"http://{host}:{port}/status", allow_redirects=False) as response:
            text = b""
            async for block in response.content.iter_any():
                text += block
                if len(text) > ANSWER_BYTES:
                    return None
            return Report.read(text) if response.status == 200 else None
    except (OSError, TimeoutError, aiohttp.ClientError, ValueError):
        return None
