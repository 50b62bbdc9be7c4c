"""Which folder a pod asks for, where its containers have it, and as whom the sidecar has to work there. Pure.

The folder is a volume of the pod's own: the sidecar mounts it as a container of the app does, and runs as that
container's user, so that each can use what the other has written. Nothing about the app's containers is changed.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from s3d import config
from s3d.errors import ConfigError
from s3d_operator import layout
from s3d_operator.choice import Gateway, Skip
from s3d_operator.layout import Object
from s3d_operator.names import FOLDER
from s3d_operator.parse import parse_spec
from s3d_operator.podspec import MESH_PROXIES, annotations, containers
from s3d_operator.reasons import Reason
from s3d_operator.spec import SyncFolderSpec

EXPLAIN = "`kubectl explain syncfolder.spec` says what each field takes"
READ_ONLY = frozenset({"configMap", "secret", "projected", "downwardAPI", "image"})
"""Volumes that nobody can write to."""
DIES = frozenset({"emptyDir", "ephemeral"})
"""Volumes that go with their pod."""
WAITS = ["sync", "wait"]
"""What the container that waits for the folder runs."""
FIELDS = {
    "S3D_SYNC_FOLDER_BUCKET": "spec.bucket",
    "S3D_SYNC_FOLDER_PREFIX": "spec.prefix",
    "S3D_SYNC_FOLDER_DIR": "spec.mountPath",
    "S3D_SYNC_FOLDER_DIRECTION": "spec.direction",
    "S3D_SYNC_FOLDER_FILTER": "spec.filter",
    "S3D_SYNC_FOLDER_MAX_SIZE": "spec.maxSize",
    "S3D_SYNC_FOLDER_MAX_FILES": "spec.maxFiles",
    "S3D_SYNC_FOLDER_MAX_AGE": "spec.maxAgeSeconds",
    "S3D_SYNC_FOLDER_DELETES": "spec.deletes",
    "S3D_SYNC_FOLDER_POLL": "spec.pollSeconds",
    "S3D_SYNC_FOLDER_STABLE_FOR": "spec.stableSeconds",
    "S3D_SYNC_FOLDER_MAX_DELETE": "spec.maxDeletePercent",
    "S3D_SYNC_FOLDER_MAX_DELETE_FILES": "spec.maxDeleteFiles",
    "S3D_SYNC_FOLDER_TRASH_FOR": "spec.trashSeconds",
}
"""The fields that settings come from."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A SyncFolder as the webhook and the operator know it; it cannot be used where `problem` says why."""

    namespace: str
    name: str
    spec: SyncFolderSpec | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Placed:
    """A folder in a pod."""

    spec: SyncFolderSpec
    mount: Object
    """How the sidecar mounts it."""
    user: int | None
    """As whom the sidecar works there; None where that is not known, and the pod's group lets it."""
    group: int | None
    container: str
    """The container whose user that is."""

    @property
    def settings(self) -> dict[str, Any]:
        """What of the sidecar's settings is about it."""
        return settings(self.spec)


def read_folder(raw: Object) -> Folder:
    """Read a SyncFolder as the API server gave it."""
    namespace, name = raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
    try:
        spec, _ = parse_spec(SyncFolderSpec, raw)
        check(spec)
    except ConfigError as error:
        return Folder(namespace, name, None, f"{error.message} ({error.hint})")
    return Folder(namespace, name, spec)


def settings(spec: SyncFolderSpec) -> dict[str, Any]:
    """The daemon's settings of a folder, by name."""
    return {
        "S3D_SYNC_FOLDER": True,
        "S3D_SYNC_FOLDER_DIR": layout.FOLDER_DIR,
        "S3D_SYNC_FOLDER_BUCKET": spec.bucket,
        "S3D_SYNC_FOLDER_PREFIX": spec.prefix,
        "S3D_SYNC_FOLDER_DIRECTION": spec.direction,
        "S3D_SYNC_FOLDER_FILTER": list(spec.filter),
        "S3D_SYNC_FOLDER_MAX_SIZE": spec.max_size,
        "S3D_SYNC_FOLDER_MAX_FILES": spec.max_files,
        "S3D_SYNC_FOLDER_MAX_AGE": spec.max_age_seconds,
        "S3D_SYNC_FOLDER_DELETES": spec.deletes,
        "S3D_SYNC_FOLDER_POLL": spec.poll_seconds,
        "S3D_SYNC_FOLDER_STABLE_FOR": spec.stable_seconds,
        "S3D_SYNC_FOLDER_MAX_DELETE": spec.max_delete_percent / 100,
        "S3D_SYNC_FOLDER_MAX_DELETE_FILES": spec.max_delete_files,
        "S3D_SYNC_FOLDER_TRASH_FOR": spec.trash_seconds,
    }


def check(spec: SyncFolderSpec) -> None:
    """Refuse a spec that no daemon would start with. Raises ConfigError in the words of the spec."""
    # Off, so that no directory is looked at: they are the pod's, and not of this machine.
    judged = settings(spec) | {"S3D_SYNC_FOLDER": False, "S3D_LOCAL_DIR": layout.LOCAL_DIR}
    try:
        config.load({"S3D_CONFIG": json.dumps(judged)})
    except ConfigError as error:
        hint = EXPLAIN if "docs/settings.md" in error.hint else in_words_of_the_spec(error.hint)
        raise ConfigError(in_words_of_the_spec(error.message), hint=hint) from None


def in_words_of_the_spec(text: str) -> str:
    """A text in which settings have the names of the fields that they come from."""
    return re.sub(r"\bS3D_SYNC_FOLDER[A-Z_]*\b", lambda found: FIELDS.get(found[0], found[0]), text)


def join(sidecar: Object, placed: Placed) -> Object:
    """A sidecar that has the folder: its volume, and the user to work there as.

    A group that lets it read Secrets stays: the user owns what it makes in the folder.
    """
    security: Object = dict(sidecar["securityContext"])
    if placed.user is not None:
        security["runAsUser"] = placed.user
        if placed.group is not None and security["runAsGroup"] != 0:
            security["runAsGroup"] = placed.group
    return sidecar | {"securityContext": security, "volumeMounts": [*sidecar["volumeMounts"], placed.mount]}


def waiting(sidecar: Object) -> Object:
    """An init container that ends when both sides of the folder are equal.

    It comes after the sidecar has started, so that no probe waits for the remote.
    """
    local = next(mount for mount in sidecar["volumeMounts"] if mount["mountPath"] == layout.LOCAL_DIR)
    kept = {name: sidecar[name] for name in ("image", "imagePullPolicy", "securityContext")}
    limits = {name: amount for name, amount in sidecar["resources"]["limits"].items() if name != "ephemeral-storage"}
    return {
        "name": layout.WAIT,
        **kept,
        "args": WAITS,
        "env": [{"name": "S3D_LOCAL_DIR", "value": layout.LOCAL_DIR}],
        "resources": {"requests": sidecar["resources"]["requests"], "limits": limits},
        "volumeMounts": [local | {"readOnly": True}],
    }


def folder_hash(spec: SyncFolderSpec) -> str:
    """What tells pods of one spec from those of another."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def asked_for(pod: Object) -> str:
    """The folder that a pod names; empty where it wants none."""
    return annotations(pod).get(FOLDER, "")


def place(pod: Object, gateway: Gateway, folders: Iterable[Folder]) -> Placed | Skip | None:
    """Find the folder of a pod that gets a gateway, among those of its namespace; None where it asks for none."""
    if FOLDER not in annotations(pod):
        return None
    name = asked_for(pod)
    found = next((folder for folder in folders if folder.name == name), None)
    if found is None:
        return Skip(
            Reason.NO_SUCH_FOLDER,
            f"annotation {FOLDER} names SyncFolder {name!r}, which this namespace does not have; a pod has one folder",
        )
    if found.spec is None or gateway.spec is None:
        return Skip(Reason.INVALID_FOLDER, f"SyncFolder {name!r} cannot be used: {found.problem}")
    if found.spec.gateway_ref.name != gateway.name:
        return Skip(
            Reason.OTHER_GATEWAY,
            f"SyncFolder {name!r} is for pods with S3Gateway {found.spec.gateway_ref.name!r}, and this one gets "
            f"{gateway.name!r}: name the right one in annotation s3d.dev/gateway, or in spec.gatewayRef",
        )
    if not gateway.spec.write_queue.enabled:
        return Skip(
            Reason.INVALID_FOLDER,
            f"SyncFolder {name!r} sends by the write queue of S3Gateway {gateway.name!r}, which is off: set "
            "writeQueue.enabled there",
        )
    return place_in(pod, gateway, name, found.spec)


def place_in(pod: Object, gateway: Gateway, name: str, spec: SyncFolderSpec) -> Placed | Skip:
    """Find the volume of a folder in a pod, and who uses it there."""
    if any(each["name"] == layout.WAIT and each.get("args") != WAITS for each in containers(pod["spec"])):
        return Skip(Reason.NAME_TAKEN, f"the pod has a container {layout.WAIT!r} that is not ours: rename it")
    mounts = [
        (container, mount)
        for container in containers(pod["spec"])
        if container["name"] not in {layout.NAME, layout.WAIT} | MESH_PROXIES
        for mount in container.get("volumeMounts") or []
        if (mount["mountPath"].rstrip("/") or "/") == spec.mount_path
    ]
    # Who writes there counts more than who only reads.
    mounts.sort(key=lambda each: bool(each[1].get("readOnly")))
    if not mounts:
        return Skip(
            Reason.NO_FOLDER_VOLUME,
            f"no container mounts a volume at {spec.mount_path}, the mountPath of SyncFolder {name!r}: mount one there",
        )
    container, mount = mounts[0]
    volumes: list[Object] = pod["spec"].get("volumes") or []
    volume = next((each for each in volumes if each["name"] == mount["name"]), {})
    if problem := problem_of_volume(volume, mount, gateway):
        return Skip(Reason.NO_FOLDER_VOLUME, f"volume {mount['name']!r} cannot be SyncFolder {name!r}: {problem}")
    user, group = identity_of(pod["spec"], container)
    if not user and (pod["spec"].get("securityContext") or {}).get("fsGroup") is None:
        who = "runs as root" if user == 0 else "does not say as which user it runs"
        return Skip(
            Reason.UNKNOWN_USER,
            f"container {container['name']!r} {who}, so s3d cannot share SyncFolder {name!r} with it: set runAsUser in "
            "its securityContext, or fsGroup in that of the pod",
        )
    sub = {"subPath": mount["subPath"]} if mount.get("subPath") else {}
    placed = {"name": mount["name"], "mountPath": layout.FOLDER_DIR, **sub}
    return Placed(spec, placed, user or None, group if user else None, container["name"])


def problem_of_volume(volume: Object, mount: Object, gateway: Gateway) -> str:
    """Why a volume cannot be a folder; empty where it can."""
    if mount.get("subPathExpr"):
        return "the container mounts it by subPathExpr, which s3d has no variables for: use subPath"
    if kinds := sorted(READ_ONLY & volume.keys()):
        return f"nobody can write to a volume of kind {kinds[0]}"
    claim = volume.get("persistentVolumeClaim") or {}
    if claim.get("readOnly"):
        return "its claim is mounted read-only"
    own = gateway.spec and gateway.spec.volume.persistent_volume_claim
    if own and (volume.get("name") == own.template or (own.claim_name and claim.get("claimName") == own.claim_name)):
        return f"S3Gateway {gateway.name!r} keeps its queue there: the folder needs a volume of its own"
    if own and DIES & volume.keys():
        return (
            f"it goes with the pod, while S3Gateway {gateway.name!r} keeps in its claim what both sides had, so that "
            "the folder of the next pod would seem to be emptied and halt: use a claim here, or an emptyDir there"
        )
    return ""


def identity_of(spec: Object, container: Object) -> tuple[int | None, int | None]:
    """User and group of a container, where the pod says them."""
    own, pods = container.get("securityContext") or {}, spec.get("securityContext") or {}
    user, group = (own[name] if own.get(name) is not None else pods.get(name) for name in ("runAsUser", "runAsGroup"))
    return user, group
