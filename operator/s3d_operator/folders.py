"""Which folders a pod asks for, where its containers have them, and as whom the sidecar has to work there. Pure.

A folder is a volume of the pod's own: the sidecar mounts it as a container of the app does, and runs as that
container's user, so that each can use what the other has written. Nothing about the app's containers is changed.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

from s3d import config
from s3d.errors import ConfigError
from s3d.settings.sync_folder import MAX_FOLDERS
from s3d_operator import layout
from s3d_operator.choice import Gateway, Skip
from s3d_operator.layout import Object
from s3d_operator.names import FOLDER
from s3d_operator.parse import parse_spec
from s3d_operator.podspec import MESH_PROXIES, containers, folders_named
from s3d_operator.reasons import Reason
from s3d_operator.spec import SyncFolderSpec

EXPLAIN = "`kubectl explain syncfolder.spec` says what each field takes"
READ_ONLY = frozenset({"configMap", "secret", "projected", "downwardAPI", "image"})
"""Volumes that nobody can write to."""
DIES = frozenset({"emptyDir", "ephemeral"})
"""Volumes that go with their pod."""
WAITS = ["sync", "wait"]
"""What the container that waits for the folders runs: for all, or for those that are named behind it."""
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

    name: str
    spec: SyncFolderSpec
    mount: Object
    """How the sidecar mounts it."""
    kept_in: tuple[str, PurePosixPath]
    """What has its files, for a person, and which path there."""
    user: int | None
    """As whom the sidecar works there; None where that is not known, and the pod's group lets it."""
    group: int | None
    container: str
    """The container whose user that is."""


def read_folder(raw: Object) -> Folder:
    """Read a SyncFolder as the API server gave it."""
    namespace, name = raw["metadata"].get("namespace", ""), raw["metadata"]["name"]
    try:
        spec, _ = parse_spec(SyncFolderSpec, raw)
        check(spec)
    except ConfigError as error:
        return Folder(namespace, name, None, f"{error.message} ({error.hint})")
    return Folder(namespace, name, spec)


def settings_of(placed: Sequence[Placed]) -> dict[str, Any]:
    """The daemon's settings of the folders of a pod, by name. One has settings of its own, and several are a list."""
    if len(placed) == 1:
        return settings(placed[0].spec)
    return {"S3D_SYNC_FOLDERS": [listed(each) for each in placed]} if placed else {}


def listed(placed: Placed) -> dict[str, Any]:
    """A folder of several, as the daemon's list has it: its members are called as the settings of one."""
    said = settings(placed.spec) | {"S3D_SYNC_FOLDER_DIR": placed.mount["mountPath"]}
    del said["S3D_SYNC_FOLDER"]
    members = {name.removeprefix("S3D_SYNC_FOLDER_").lower(): value for name, value in said.items()}
    return {"name": placed.name} | members


def settings(spec: SyncFolderSpec) -> dict[str, Any]:
    """The daemon's settings of a pod's one folder, by name."""
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


def join(sidecar: Object, placed: Sequence[Placed]) -> Object:
    """A sidecar that has the folders: their volumes, and the user to work there as.

    A group that lets it read Secrets stays: the user owns what it makes in the folders.
    """
    security: Object = dict(sidecar["securityContext"])
    if known := next((each for each in placed if each.user is not None), None):
        security["runAsUser"] = known.user
        if known.group is not None and security["runAsGroup"] != 0:
            security["runAsGroup"] = known.group
    mounts = [each.mount for each in placed]
    return sidecar | {"securityContext": security, "volumeMounts": [*sidecar["volumeMounts"], *mounts]}


def waiting(sidecar: Object, placed: Sequence[Placed]) -> Object | None:
    """An init container that ends when both sides of each folder are equal that the app waits for; None where it waits
    for none.

    It comes after the sidecar has started, so that no probe waits for the remote.
    """
    names = [each.name for each in placed if each.spec.wait_for_initial_sync]
    if not names:
        return None
    chosen = [] if len(names) == len(placed) else [word for name in names for word in ("--folder", name)]
    local = next(mount for mount in sidecar["volumeMounts"] if mount["mountPath"] == layout.LOCAL_DIR)
    kept = {name: sidecar[name] for name in ("image", "imagePullPolicy", "securityContext")}
    limits = {name: amount for name, amount in sidecar["resources"]["limits"].items() if name != "ephemeral-storage"}
    return {
        "name": layout.WAIT,
        **kept,
        "args": [*WAITS, *chosen],
        "env": [{"name": "S3D_LOCAL_DIR", "value": layout.LOCAL_DIR}],
        "resources": {"requests": sidecar["resources"]["requests"], "limits": limits},
        "volumeMounts": [local | {"readOnly": True}],
    }


def folder_hash(spec: SyncFolderSpec) -> str:
    """What tells pods of one spec from those of another."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hashes(placed: Iterable[Placed]) -> str:
    """The same of the folders of a pod, in their order."""
    return ",".join(folder_hash(each.spec) for each in placed)


def place(pod: Object, gateway: Gateway, folders: Iterable[Folder]) -> tuple[Placed, ...] | Skip:
    """Find the folders that a pod names, which gets a gateway, among those of its namespace."""
    names = folders_named(pod)
    if problem := problem_of_names(names):
        return Skip(Reason.INVALID_ANNOTATION, f"annotation {FOLDER} {problem}")
    known = {folder.name: folder for folder in folders}
    placed: list[Placed] = []
    for name in names:
        found = place_one(pod, gateway, name, known, among=len(names))
        if isinstance(found, Skip):
            return found
        placed.append(found)
    skips = (keep_apart(one, other) for one, other in combinations(placed, 2))
    return next((skip for skip in skips if skip), tuple(placed))


def problem_of_names(names: Sequence[str]) -> str:
    """What is wrong about the names of the folders of a pod; empty where nothing is."""
    if len(names) > MAX_FOLDERS:
        return f"names {len(names)} SyncFolders, and a pod has {MAX_FOLDERS} at most"
    if "" in names:
        return "has a place without a name: write the names of SyncFolders, with commas between them"
    if twice := next((name for name in names if names.count(name) > 1), ""):
        return f"names SyncFolder {twice!r} twice"
    return ""


def place_one(pod: Object, gateway: Gateway, name: str, folders: Mapping[str, Folder], *, among: int) -> Placed | Skip:
    """Find one of so many folders of a pod, by its name."""
    found = folders.get(name)
    if found is None:
        return Skip(
            Reason.NO_SUCH_FOLDER,
            f"annotation {FOLDER} names SyncFolder {name!r}, which this namespace does not have",
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
    return place_in(pod, gateway, name, found.spec, layout.folder_dir(name, among))


def place_in(pod: Object, gateway: Gateway, name: str, spec: SyncFolderSpec, directory: str) -> Placed | Skip:
    """Find the volume of a folder in a pod, which the sidecar has at a directory, and who uses it there."""
    if any(each["name"] == layout.WAIT and (each.get("args") or [])[:2] != WAITS for each in containers(pod["spec"])):
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
    seen = {"name": mount["name"], "mountPath": directory, **sub}
    kept_in = what_keeps(volume, mount)
    return Placed(name, spec, seen, kept_in, user or None, group if user else None, container["name"])


def what_keeps(volume: Object, mount: Object) -> tuple[str, PurePosixPath]:
    """What has the files that a mount shows, and which path there. Two volumes may be one claim, or one place of the
    node."""
    path = PurePosixPath("/", mount.get("subPath") or "")
    if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
        return f"claim {claim!r}", path
    if host := (volume.get("hostPath") or {}).get("path"):
        return "the node", PurePosixPath(host) / path.relative_to("/")
    return f"volume {mount['name']!r}", path


def keep_apart(one: Placed, other: Placed) -> Skip | None:
    """Say why a pod cannot have two folders both: a file or an object in common, which each would take for what
    somebody did (S-11), or users of whom the sidecar can be one only."""
    both = f"SyncFolders {one.name!r} and {other.name!r}"
    a, b = one.spec, other.spec
    if config.is_nested(PurePosixPath(a.mount_path), PurePosixPath(b.mount_path)):
        return Skip(
            Reason.FOLDERS_OVERLAP,
            f"{both} are one in the other, by spec.mountPath {a.mount_path} and {b.mount_path}: give each a directory "
            "of its own",
        )
    (kept, path), (kept_too, other_path) = one.kept_in, other.kept_in
    if kept == kept_too and config.is_nested(path, other_path):
        return Skip(
            Reason.FOLDERS_OVERLAP,
            f"{both} are one in the other, in {kept} at {path} and {other_path}: give each a volume or a subPath of "
            "its own",
        )
    if a.bucket == b.bucket and (a.prefix.startswith(b.prefix) or b.prefix.startswith(a.prefix)):
        return Skip(
            Reason.FOLDERS_OVERLAP,
            f"{both} have objects of the bucket {a.bucket} in common, by spec.prefix {a.prefix!r} and {b.prefix!r}: "
            "name folders in one pod whose prefixes do not begin with one another",
        )
    if one.user is not None and other.user is not None and one.user != other.user:
        return Skip(
            Reason.USERS_DIFFER,
            f"{both} are used by two users, {one.user} (container {one.container!r}) and {other.user} (container "
            f"{other.container!r}), and s3d can be one of them: run both as one user, or give the folders to two pods",
        )
    return None


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
