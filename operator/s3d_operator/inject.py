"""What is added to a pod that gets a gateway. Pure.

The patch is made of `add` operations alone, and completes what is missing when the pod comes again: injecting twice is
injecting once. What the user or another webhook has set is never overwritten.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from s3d_operator import build, folders, fuse, gateway_settings, layout, mounted
from s3d_operator.choice import Gateway
from s3d_operator.edit import Edit
from s3d_operator.folders import Placed
from s3d_operator.layout import Image, Object
from s3d_operator.names import CONFIG_HASH, ENDPOINT_ENV, FOLDER_HASH, INJECTED, ORIGINAL_GRACE
from s3d_operator.overrides import Overrides, read_overrides
from s3d_operator.podspec import MESH_PROXIES, annotations, containers, has_storage_limit, position
from s3d_operator.spec import S3GatewaySpec

MESH = MESH_PROXIES | {"istio-init", "istio-validation", "linkerd-init", "linkerd-network-validator"}


@dataclass(frozen=True, slots=True)
class Mesh:
    """How a mesh is told that an inbound port is none of its business.

    A kubelet's probes of our port would otherwise be asked for the mesh's TLS: injected native sidecars are not among
    the probes that a mesh rewrites. The annotation is for a mesh whose webhook or CNI plugin comes after us, the option
    of the init container for one that came before.
    """

    asks: frozenset[tuple[str, str]]
    """Labels or annotations by which a pod asks for the mesh."""
    proxy: str
    annotation: str
    init: str
    option: str


MESHES = (
    Mesh(
        frozenset({("sidecar.istio.io/inject", "true")}),
        "istio-proxy",
        "traffic.sidecar.istio.io/excludeInboundPorts",
        "istio-init",
        "-d",
    ),
    Mesh(
        frozenset({("linkerd.io/inject", "enabled"), ("linkerd.io/inject", "ingress")}),
        "linkerd-proxy",
        "config.linkerd.io/skip-inbound-ports",
        "linkerd-init",
        "--inbound-ports-to-ignore",
    ),
)
# Any of these means that a container has an AWS identity, or is told where to find one.
IDENTITY = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
DIRECT = ("127.0.0.1", "localhost")
DEFAULT_GRACE_SECONDS = 30
# What makes an entry of a list the same entry.
IDENTIFIED_BY = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath"}


@dataclass(frozen=True, slots=True)
class Injection:
    """The JSON Patch of a pod, and what its author should know."""

    operations: list[Object]
    warnings: list[str]


def patch(pod: Object, gateway: Gateway, image: Image, placed: Sequence[Placed] = ()) -> Injection:
    """Make the JSON Patch that gives `pod` the sidecar of `gateway`, with folders or without, or what is missing."""
    if gateway.spec is None:
        raise ValueError("a gateway without a spec is not wanted by any pod")
    overrides = read_overrides(pod)
    edit = Edit(pod)
    warnings: list[str] = []
    edit.child("metadata", "labels", default={})
    if INJECTED not in edit.pod["metadata"]["labels"]:
        edit.add(gateway.name, "metadata", "labels", INJECTED)
    edit.child("metadata", "annotations", default={})
    if CONFIG_HASH not in annotations(edit.pod):
        edit.add(gateway_settings.config_hash(gateway.spec, image), "metadata", "annotations", CONFIG_HASH)
    if placed and FOLDER_HASH not in annotations(edit.pod):
        edit.add(folders.hashes(placed), "metadata", "annotations", FOLDER_HASH)
    grace = raise_grace(edit, gateway_settings.drain_seconds(gateway.spec, overrides))
    add_sidecar(edit, gateway, overrides, image, grace, placed)
    exclude_from_mesh(edit)
    if annotations(edit.pod).get(ENDPOINT_ENV) != "false":
        for path in app_containers(edit.pod["spec"]):
            warnings += add_environment(edit, path, gateway.spec)
    if gateway.spec.fuse_mount.enabled:
        for path in app_containers(edit.pod["spec"]):
            warnings += show_mount(edit, path, gateway.spec)
    has_group = (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
    if (gateway.spec.volume.outlives or gateway.spec.volume.ephemeral) and not has_group:
        warnings.append(
            "the pod has no securityContext.fsGroup: if the storage of the claim belongs to root, the gateway cannot "
            f"write to it and does not start. Any group works, such as {layout.USER}"
        )
    # One container may use several folders.
    warnings += dict.fromkeys(text for folder in placed for text in warnings_of(folder, gateway.spec))
    return Injection(edit.operations, warnings)


def warnings_of(folder: Placed, spec: S3GatewaySpec) -> list[str]:
    """What the author of a pod with a folder should know of users."""
    if folder.user is None:
        text = (
            f"container {folder.container!r} does not say as which user it runs, so the sidecar shares the folder with "
            "it by the pod's fsGroup: files and directories that the app makes have to be writable for the group"
        )
        return [text]
    if spec.volume.outlives and folder.user != layout.USER:
        text = (
            f"the sidecar runs as user {folder.user}, as container {folder.container!r} does: a claim in which another "
            "user's gateway has kept its queue has to be made writable for it first (docs/KUBERNETES.md)"
        )
        return [text]
    return []


def raise_grace(edit: "Edit", drain_seconds: int) -> int:
    """Give the pod time for the drain after the app's own time; answer the grace period that it has then."""
    own = edit.pod["spec"].get("terminationGracePeriodSeconds")
    current: int = DEFAULT_GRACE_SECONDS if own is None else own
    recorded = annotations(edit.pod).get(ORIGINAL_GRACE, "")
    is_recorded = recorded.isascii() and recorded.isdecimal() and len(recorded) < 10
    grace: int = max(current, (int(recorded) if is_recorded else current) + drain_seconds + layout.MARGIN_SECONDS)
    if not is_recorded:
        edit.add(str(current), "metadata", "annotations", ORIGINAL_GRACE)
    if grace != own:
        edit.add(grace, "spec", "terminationGracePeriodSeconds")
    return grace


def add_sidecar(
    edit: "Edit", gateway: Gateway, overrides: Overrides, image: Image, grace_seconds: int, placed: Sequence[Placed]
) -> None:
    """Put the sidecar before everything but a mesh's proxy, so that init containers can use it too; and its volumes."""
    if gateway.spec is None:
        raise ValueError("a gateway without a spec is not wanted by any pod")
    pod = edit.pod["spec"]
    bounds = has_storage_limit(pod)
    sidecar = build.sidecar(
        gateway.spec,
        image,
        grace_seconds=grace_seconds,
        bounds_storage=bounds,
        overrides=overrides,
        more=folders.settings_of(placed) | settings_of_mount(gateway.spec, pod),
    )
    sidecar = folders.join(sidecar, placed)
    if gateway.spec.fuse_mount.enabled:
        sidecar = fuse.join(sidecar)
    index = position(pod)
    if index is None:
        inits = edit.child("spec", "initContainers", default=[])
        index = max((i + 1 for i, container in enumerate(inits) if container["name"] in MESH_PROXIES), default=0)
        edit.add(sidecar, "spec", "initContainers", index)
    else:
        complete(edit, ("spec", "initContainers", index), sidecar)
    inits = edit.at("spec", "initContainers")
    if (waits := folders.waiting(sidecar, placed)) and not any(each["name"] == layout.WAIT for each in inits):
        edit.add(waits, "spec", "initContainers", index + 1)
    there = {volume["name"] for volume in edit.child("spec", "volumes", default=[])}
    mount_volume = [fuse.volume()] if gateway.spec.fuse_mount.enabled else []
    for volume in [*build.volumes(gateway.spec, gateway.name), *mount_volume]:
        if volume["name"] not in there:
            edit.add(volume, "spec", "volumes", "-")


def settings_of_mount(spec: S3GatewaySpec, pod: Object) -> Object:
    """The settings of the mount in a pod, whose files are those of the first container of the app."""
    if not spec.fuse_mount.enabled:
        return {}
    first: Object = next((each for each in pod["containers"] if each["name"] not in MESH), {})
    return fuse.settings(spec) | fuse.owned_by(*folders.identity_of(pod, first))


def exclude_from_mesh(edit: "Edit") -> None:
    """Keep a mesh from taking the kubelet's probes of the sidecar."""
    port = str(layout.HEALTH_PORT)
    metadata, spec = edit.pod["metadata"], edit.pod["spec"]
    said = set((metadata.get("labels") or {}).items()) | set(annotations(edit.pod).items())
    for mesh in MESHES:
        if not (mesh.asks & said or any(container["name"] == mesh.proxy for container in containers(spec))):
            continue
        spared = annotations(edit.pod).get(mesh.annotation) or ""
        if port not in ports_of(spared):
            edit.add(",".join([*ports_of(spared), port]), "metadata", "annotations", mesh.annotation)
        for index, container in enumerate(spec.get("initContainers") or []):
            if container["name"] != mesh.init:
                continue
            words = container.get("args") or []
            lists = [words[at + 1] for at, word in enumerate(words[:-1]) if word == mesh.option]
            if lists and port not in ports_of(lists[-1]):
                # Said again at the end: of an option that is there twice the last one counts.
                for word in (mesh.option, ",".join([*ports_of(lists[-1]), port])):
                    edit.add(word, "spec", "initContainers", index, "args", "-")


def ports_of(text: str) -> list[str]:
    """The ports of a list with commas."""
    return [port.strip() for port in text.split(",") if port.strip()]


def complete(edit: "Edit", path: tuple[str | int, ...], want: Object) -> None:
    """Add what an object lacks of `want`; what it has stays as it is."""
    have = edit.at(*path)
    for key, value in want.items():
        if have.get(key) is None:
            edit.add(value, *path, key)
        elif isinstance(value, dict):
            complete(edit, (*path, key), value)
        elif key in IDENTIFIED_BY:
            known = {entry.get(IDENTIFIED_BY[key]) for entry in have[key]}
            for entry in value:
                if entry[IDENTIFIED_BY[key]] not in known:
                    edit.add(entry, *path, key, "-")


def add_environment(edit: "Edit", path: tuple[str | int, ...], spec: S3GatewaySpec) -> list[str]:
    """Send the SDKs of one container to the gateway; answer what its author should know."""
    container = edit.at(*path)
    have = {entry["name"]: entry for entry in container.get("env") or []}
    endpoint = build.endpoint(spec)
    own = have.get("AWS_ENDPOINT_URL_S3")
    if own and own.get("value") != endpoint:
        text = (
            f"container {container['name']!r} has an AWS_ENDPOINT_URL_S3 of its own: its SDKs do not use the gateway, "
            f"and nothing that they write is queued. Remove it, or set it to {endpoint}"
        )
        return [text]
    warnings = []
    want = {"AWS_ENDPOINT_URL_S3": endpoint}
    if not have.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        want["AWS_REGION"] = gateway_settings.region(spec)
    file = f"{mounted.APP_DIR}/{mounted.APP_FILE}"
    has_file = (have.get("AWS_SHARED_CREDENTIALS_FILE") or {}).get("value") == file
    if spec.app_credentials == "Dummy" and not have.keys() & IDENTITY:
        if container.get("envFrom"):
            warnings.append(
                f"container {container['name']!r} has envFrom, which may contain AWS keys. Dummy keys would override "
                "them, so it gets none. If it has no keys, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its env"
            )
        else:
            want |= {"AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy"}
    elif spec.app_credentials == "Generated" and not has_file:
        if have.keys() & IDENTITY or container.get("envFrom"):
            warnings.append(
                f"container {container['name']!r} has an AWS identity of its own, or envFrom, which may contain one, "
                "so it does not get the generated key. The gateway refuses what it signs with keys that "
                f"access.keysSecretRef does not name. If it has no keys, set AWS_SHARED_CREDENTIALS_FILE to {file}"
            )
        else:
            want["AWS_SHARED_CREDENTIALS_FILE"] = file
            has_file = True
    if spec.app_credentials == "Generated" and has_file:
        mount(edit, path, mounted.APP, mounted.APP_DIR)
    if spec.tls:
        trusted = f"{mounted.TRUST_DIR}/{mounted.TRUST_FILE}"
        bundle = have.get("AWS_CA_BUNDLE")
        if bundle and bundle.get("value") != trusted:
            warnings.append(
                f"container {container['name']!r} has an AWS_CA_BUNDLE of its own: its SDKs refuse the gateway unless "
                f"the CA of the gateway's certificate is in there. Add it, or set AWS_CA_BUNDLE to {trusted}"
            )
        else:
            want["AWS_CA_BUNDLE"] = trusted
            mount(edit, path, mounted.TRUST, mounted.TRUST_DIR)
    lower = {name.lower() for name in have}
    if lower & PROXIES and "no_proxy" not in lower:
        want["NO_PROXY"] = ",".join(DIRECT)
    edit.child(*path, "env", default=[])
    for name, value in want.items():
        if name not in have:
            edit.add({"name": name, "value": value}, *path, "env", "-")
    for index, entry in enumerate(edit.at(*path, "env")):
        if entry["name"].lower() == "no_proxy" and "valueFrom" not in entry:
            hosts = [host.strip() for host in (entry.get("value") or "").split(",") if host.strip()]
            if missing := [host for host in DIRECT if host not in hosts and "*" not in hosts]:
                edit.add(",".join(hosts + missing), *path, "env", index, "value")
    return warnings


def show_mount(edit: "Edit", path: tuple[str | int, ...], spec: S3GatewaySpec) -> list[str]:
    """Let one container of the app see the mount; answer what its author should know."""
    wanted = fuse.seen_at(spec)
    mounts = edit.child(*path, "volumeMounts", default=[])
    there = next((each for each in mounts if each.get("mountPath") == wanted["mountPath"]), None)
    if there is None:
        edit.add(wanted, *path, "volumeMounts", "-")
    elif there.get("name") != fuse.VOLUME:
        text = (
            f"container {edit.at(*path)['name']!r} has a volume of its own at {wanted['mountPath']}, where "
            "fuseMount.mountPath is: it does not see the mount. Give one of the two another path"
        )
        return [text]
    return []


def mount(edit: "Edit", path: tuple[str | int, ...], volume: str, where: str) -> None:
    """Show one of the sidecar's volumes to a container of the app, read-only."""
    mounts = edit.child(*path, "volumeMounts", default=[])
    if not any(each.get("mountPath") == where for each in mounts):
        edit.add({"name": volume, "mountPath": where, "readOnly": True}, *path, "volumeMounts", "-")


def app_containers(spec: Object) -> list[tuple[str | int, ...]]:
    """The paths of the containers that can use the gateway: all but ours, those that start before it, and a mesh's."""
    sidecar = position(spec)
    after = -1 if sidecar is None else sidecar
    inits = [("initContainers", i) for i in range(after + 1, len(spec.get("initContainers") or []))]
    mains = [("containers", i) for i in range(len(spec["containers"]))]
    return [("spec", kind, i) for kind, i in inits + mains if spec[kind][i]["name"] not in MESH | {layout.WAIT}]
