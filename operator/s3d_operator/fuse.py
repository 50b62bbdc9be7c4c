"""The mount in a pod: what makes a sidecar one that mounts, and lets the containers of the app see it. Pure.

It takes a privileged container: only such a one may share what it mounts with others (mount propagation). Nothing of
that is in `build`: a sidecar is privileged by `join` alone, and only for a gateway whose spec asks for the mount. The
mount is on a directory of a volume and never on the volume itself: so it is taken away without the volume, and the
kubelet, which adds up what is in a volume, goes into no other file system.
"""

from collections.abc import Mapping
from typing import Any

from s3d_operator.spec import S3GatewaySpec

VOLUME, VOLUME_DIR = "s3d-mount", "/var/lib/s3d-mount"
"""The volume of the mount, and where the sidecar has it."""
BUCKETS = "buckets"
"""The directory of the volume on which the buckets are mounted."""
ENFORCE = "pod-security.kubernetes.io/enforce"
"""Label of a namespace: which pods it lets in (Pod Security Admission)."""
REFUSING = frozenset({"baseline", "restricted"})
"""Its values by which a privileged pod is refused."""
SECURITY = {
    "privileged": True,
    "allowPrivilegeEscalation": True,
    "runAsUser": 0,
    "runAsGroup": 0,
    "runAsNonRoot": False,
    "readOnlyRootFilesystem": True,
}

Object = dict[str, Any]


def settings(spec: S3GatewaySpec) -> dict[str, Any]:
    """The daemon's settings of the mount, by name; none where there is no mount."""
    mount = spec.fuse_mount
    if not mount.enabled:
        return {}
    return {
        "S3D_FUSE_MOUNT": True,
        "S3D_FUSE_MOUNT_DIR": f"{VOLUME_DIR}/{BUCKETS}",
        "S3D_FUSE_MOUNT_READ_ONLY": mount.read_only,
        "S3D_FUSE_MOUNT_ALLOW_OTHER": True,
        "S3D_FUSE_MOUNT_MAX_SIZE": mount.max_size,
        "S3D_FUSE_MOUNT_PUBLISH_AFTER": mount.publish_after_seconds,
        "S3D_FUSE_MOUNT_MAX_RENAME": mount.max_rename,
    }


def owned_by(user: int | None, group: int | None) -> dict[str, Any]:
    """The settings that say whose the files are: root's where the pod does not say as whom its app runs."""
    return {"S3D_FUSE_MOUNT_UID": user or 0, "S3D_FUSE_MOUNT_GID": group or 0}


def join(sidecar: Object) -> Object:
    """A sidecar that mounts: privileged, with the volume in which all see the mount."""
    shared = {"name": VOLUME, "mountPath": VOLUME_DIR, "mountPropagation": "Bidirectional"}
    return sidecar | {"securityContext": dict(SECURITY), "volumeMounts": [*sidecar["volumeMounts"], shared]}


def volume() -> Object:
    """The volume of the mount. Nothing is in it but the directory that is mounted on."""
    return {"name": VOLUME, "emptyDir": {}}


def seen_at(spec: S3GatewaySpec) -> Object:
    """How a container of the app has that volume: what is mounted later comes to it as well."""
    return {"name": VOLUME, "mountPath": spec.fuse_mount.mount_path, "mountPropagation": "HostToContainer"}


def refusal(labels: Mapping[str, str], namespace: str) -> str:
    """Why a namespace, by its labels, lets in no pod with a mount; empty where it does."""
    level = labels.get(ENFORCE, "")
    if level not in REFUSING:
        return ""
    return (
        f"the mount (spec.fuseMount) takes a privileged sidecar, and namespace {namespace!r} lets in none: its label "
        f"{ENFORCE} says {level}. Use a namespace that says privileged, or set fuseMount.enabled to false"
    )
