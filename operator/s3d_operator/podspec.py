"""What a pod says, as the API server has it. A typed pod would lose every field that is newer than its types."""

from s3d_operator import layout
from s3d_operator.layout import Object
from s3d_operator.names import FOLDER

# The proxies of meshes start first, or nothing after them reaches the network; they are no apps.
MESH_PROXIES = frozenset({"istio-proxy", "linkerd-proxy"})


def position(spec: Object) -> int | None:
    """The index of the sidecar among the init containers; one that merely has its name is not it."""
    for index, container in enumerate(spec.get("initContainers") or []):
        if container["name"] == layout.NAME and any(e["name"] == "S3D_CONFIG" for e in container.get("env") or []):
            return index
    return None


def has_storage_limit(spec: Object) -> bool:
    """Whether a container other than the sidecar has a limit on ephemeral storage."""
    return any(
        "ephemeral-storage" in ((container.get("resources") or {}).get("limits") or {})
        for container in containers(spec)
        if container["name"] != layout.NAME
    )


def containers(spec: Object) -> list[Object]:
    """All containers of a pod."""
    return [*(spec.get("initContainers") or []), *spec["containers"]]


def annotations(pod: Object) -> dict[str, str]:
    """The annotations of a pod."""
    return pod["metadata"].get("annotations") or {}


def folders_named(pod: Object) -> list[str]:
    """The sync folders that a pod names, as its annotation lists them."""
    listed = annotations(pod).get(FOLDER)
    return [] if listed is None else [name.strip() for name in listed.split(",")]
