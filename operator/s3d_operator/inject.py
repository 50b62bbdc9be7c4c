"""Which pod gets which gateway, and what is added to it. Pure.

It works on the API's own JSON: a typed pod would lose every field that is newer than its types. The patch is made of
`add` operations alone, and completes what is missing when the pod comes again: injecting twice is injecting once. What
the user or another webhook has set is never overwritten.
"""

import copy
import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from s3d.config import parse_bytes
from s3d.errors import ConfigError
from s3d_operator import build
from s3d_operator.api import (
    CLAIM_SHARED,
    CONFIG_HASH,
    CPU_PATTERN,
    DRAINS,
    ENDPOINT_ENV,
    EXPENDABLE,
    GATEWAY,
    GROUP,
    INJECT,
    INJECTED,
    INJECTION,
    ON_MISSING,
    ORIGINAL_GRACE,
    OWN,
    SIZE_PATTERN,
    LabelSelector,
    S3GatewaySpec,
    parse_gateway,
)
from s3d_operator.build import Image, Object, Own

# The proxies of meshes start first, or nothing after them reaches the network; they are no apps.
MESH_PROXIES = frozenset({"istio-proxy", "linkerd-proxy"})
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
DAY_SECONDS = 86_400
# What the annotations that a pod asks by look like, by the first word of their name.
OWN_PATTERNS = {"cpu": (CPU_PATTERN, "100m or 2"), "memory": (SIZE_PATTERN, "256Mi or 1Gi"), "drain": (r"\d+", "60")}
# What of ours is at pods, written by their authors and by us.
LABELS = frozenset({INJECT, INJECTED, DRAINS})
ANNOTATIONS = frozenset(
    {GATEWAY, ENDPOINT_ENV, ON_MISSING, EXPENDABLE, *OWN.values(), CONFIG_HASH, ORIGINAL_GRACE, INJECTED}
)
ANNOTATION_VALUES = {ENDPOINT_ENV: ("true", "false"), EXPENDABLE: ("true", "false"), ON_MISSING: ("Deny",)}
WRITTEN = (INJECT, GATEWAY, ENDPOINT_ENV, ON_MISSING, EXPENDABLE, *OWN.values())
# Skips that a look at the API server may turn round, since what is known of the gateways may be late.
PERHAPS_LATE = frozenset({"NoGateway", "NoSuchGateway", "NotSelected", "InvalidGateway", CLAIM_SHARED})
# What makes an entry of a list the same entry.
IDENTIFIED_BY = {"env": "name", "ports": "containerPort", "volumeMounts": "mountPath"}


@dataclass(frozen=True, slots=True)
class Gateway:
    """An S3Gateway as the webhook knows it; it cannot be used where `problem` says why, nor without a spec."""

    name: str
    created: str
    spec: S3GatewaySpec | None
    problem: str = ""
    shared: str = ""
    """What the operator says of its claim, where that is none for a queue."""
    ignored: tuple[str, ...] = ()
    """Fields that a newer release has, at their defaults."""

    @property
    def rank(self) -> tuple[str, str]:
        """Where it stands among those that select the same pod: the oldest, then the first by name, gets it."""
        return self.created, self.name


@dataclass(frozen=True, slots=True)
class Skip:
    """Why a pod gets no gateway: a word for metrics, a sentence for a person."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Injection:
    """The JSON Patch of a pod, and what its author should know."""

    operations: list[Object]
    warnings: list[str]


def read_gateway(raw: Object) -> Gateway:
    """Read an S3Gateway as the API server gave it."""
    name, created = raw["metadata"]["name"], raw["metadata"].get("creationTimestamp") or ""
    try:
        spec, ignored = parse_gateway(raw)
    except ConfigError as error:
        return Gateway(name, created, None, f"{error.message} ({error.hint})")
    try:
        build.check(spec)
        problem = ""
    except ConfigError as error:
        problem = f"{error.message} ({error.hint})"
    return Gateway(name, created, spec, problem, shared=said_of_claim(raw), ignored=tuple(ignored))


def said_of_claim(raw: Object) -> str:
    """What the operator refuses the present spec for: only it looks at claims."""
    generation = raw["metadata"].get("generation", 0)
    for each in (raw.get("status") or {}).get("conditions") or []:
        if (each.get("type"), each.get("reason"), each.get("observedGeneration")) == (
            "Accepted",
            CLAIM_SHARED,
            generation,
        ):
            return each.get("message") or CLAIM_SHARED
    return ""


def wanted(pod: Object, gateways: Iterable[Gateway]) -> Gateway | Skip:
    """Choose the gateway of a pod among those of its namespace: the one it names, else the oldest that selects it."""
    if skip := unsuitable(pod) or misspelt(pod):
        return skip
    gateways = sorted(gateways, key=lambda gateway: gateway.rank)
    if name := annotations(pod).get(GATEWAY):
        named = [gateway for gateway in gateways if gateway.name == name]
        if not named:
            return Skip("NoSuchGateway", f"annotation {GATEWAY} names S3Gateway {name!r}, which this namespace lacks")
        return usable(pod, named[0])
    labels = pod["metadata"].get("labels") or {}
    for gateway in gateways:
        if gateway.spec and selects(gateway.spec.pod_selector, labels):
            return usable(pod, gateway)
    for gateway in gateways:
        if not gateway.spec:
            return invalid(gateway)
    if gateways:
        return Skip(
            "NotSelected", "no S3Gateway of this namespace selects the pod: compare spec.podSelector and labels"
        )
    return Skip("NoGateway", "there is no S3Gateway in this namespace: create one, or take the label off")


def misspelt(pod: Object) -> Skip | None:
    """Say which label or annotation of ours a pod has that means nothing, and what was probably meant.

    Whoever writes one wants something by it: to overlook it would give the pod another gateway, or none.
    """
    metadata = pod["metadata"]
    for kind, known, values in (
        ("label", LABELS, {}),
        ("annotation", ANNOTATIONS, ANNOTATION_VALUES),
    ):
        for name, value in (metadata.get(f"{kind}s") or {}).items():
            if not name.startswith(f"{GROUP}/"):
                continue
            if name not in known:
                return Skip("InvalidAnnotation", f"{kind} {name} is none of s3d's: {suggestion(kind, name)}")
            if name in values and value not in values[name]:
                write = " or ".join(f'"{each}"' for each in values[name])
                return Skip("InvalidAnnotation", f"{kind} {name}: {value!r} means nothing: write {write}")
    return None


def suggestion(kind: str, name: str) -> str:
    """What was probably meant by a label or annotation that is none."""
    if kind == "label" and name == INJECTION:
        return f'that is the label of a namespace; a pod asks by the label {INJECT}: "true"'
    if kind == "label" and name in ANNOTATIONS:
        return "it is an annotation"
    if kind == "annotation" and name == INJECT:
        return "it is a label"
    near = difflib.get_close_matches(name, WRITTEN, 1, 0.8)
    if near:
        return f"did you mean {'label' if near[0] in LABELS else 'annotation'} {near[0]}?"
    return f"there are {', '.join(WRITTEN)}"


def usable(pod: Object, gateway: Gateway) -> Gateway | Skip:
    """The gateway, unless it or what the pod asks for beside it cannot be had."""
    if gateway.spec is None or gateway.problem:
        return invalid(gateway)
    try:
        own = read_own(pod)
    except ConfigError as error:
        return Skip("InvalidAnnotation", f"{error.message}: {error.hint}")
    if gateway.shared:
        return Skip(CLAIM_SHARED, f"S3Gateway {gateway.name!r} cannot be used: {gateway.shared}")
    claim = gateway.spec.volume.persistent_volume_claim
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    if claim and claim.template and "persistentVolumeClaim" not in volumes.get(claim.template, {}):
        return Skip(
            "NoSuchClaim",
            f"S3Gateway {gateway.name!r} keeps its queue in the claim {claim.template!r}, which the pod lacks: it is "
            "for pods of a StatefulSet with a volumeClaimTemplate of that name",
        )
    limited = build.resources(gateway.spec, bounds_storage=False, own=own)
    for what, amount in (("cpu", cores), ("memory", parse_bytes)):
        asked, limit = limited["requests"][what], limited["limits"].get(what)
        if limit is not None and amount(asked) > amount(limit):  # type: ignore[operator]
            names = f"{OWN[f'{what}_request']} and {OWN[f'{what}_limit']}"
            return Skip(
                "InvalidAnnotation",
                f"the request of {what}, {asked}, is above the limit, {limit}: see annotations {names}",
            )
    return gateway


def cores(value: int | str) -> float:
    """A quantity of processor time as a number of processors."""
    text = str(value)
    return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def read_own(pod: Object) -> Own:
    """What a pod asks for itself, in place of what its gateway says. Raises ConfigError."""
    found: dict[str, Any] = {}
    for field, annotation in OWN.items():
        if (value := annotations(pod).get(annotation)) is None:
            continue
        pattern, example = OWN_PATTERNS[field.partition("_")[0]]
        if not re.fullmatch(pattern, value, re.ASCII) or len(value) > 24:
            raise ConfigError(f"annotation {annotation}: {value!r} cannot be used", hint=f"write for example {example}")
        found[field] = int(value) if field == "drain_seconds" else value
    if found.get("drain_seconds", 0) > DAY_SECONDS:
        raise ConfigError(f"annotation {OWN['drain_seconds']}: that is too long", hint="a day, 86400, is the most")
    return Own(**found)


def invalid(gateway: Gateway) -> Skip:
    """The skip for a gateway that cannot be used."""
    return Skip("InvalidGateway", f"S3Gateway {gateway.name!r} cannot be used: {gateway.problem}")


def unsuitable(pod: Object) -> Skip | None:
    """Say why a pod cannot have a sidecar of ours, whatever the gateway."""
    spec = pod["spec"]
    if (pod["metadata"].get("labels") or {}).get(INJECT) == "false":
        return Skip("OptedOut", f'label {INJECT}: "false" opts the pod out')
    if "kubernetes.io/config.mirror" in annotations(pod):
        return Skip("MirrorPod", "a static pod cannot be changed")
    if spec.get("hostNetwork"):
        return Skip("HostNetwork", "with hostNetwork everyone on the node would reach the gateway, under its identity")
    if "windows" in {(spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get("kubernetes.io/os")}:
        return Skip("Windows", "the sidecar is a Linux container")
    ours = position(spec)
    others = [c for c in containers(spec) if ours is None or c is not spec["initContainers"][ours]]
    for container in others:
        if container["name"] == build.NAME:
            return Skip("NameTaken", f"container {build.NAME!r} is not the sidecar: rename it")
        for port in container.get("ports") or []:
            if port.get("containerPort") in {build.DOOR_PORT, build.HEALTH_PORT}:
                return Skip(
                    "PortTaken", f"container {container['name']!r} uses port {port['containerPort']}, which s3d needs"
                )
    taken = sorted(build.VOLUMES & {volume["name"] for volume in spec.get("volumes") or []})
    if ours is None and taken:
        return Skip("NameTaken", f"volume {taken[0]!r} is not the sidecar's: rename it")
    return None


def selects(selector: LabelSelector | None, labels: dict[str, str]) -> bool:
    """Whether a label selector matches, as Kubernetes defines it."""
    if selector is None:
        return True
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for requirement in selector.match_expressions:
        value = labels.get(requirement.key)
        holds = {
            "In": value is not None and value in requirement.values,
            "NotIn": value is None or value not in requirement.values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[requirement.operator]:
            return False
    return True


def overlap(one: LabelSelector | None, other: LabelSelector | None) -> bool:
    """Whether there are labels that both selectors match. Exact: requirements on different keys do not meet."""
    needs: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for selector in filter(None, (one, other)):
        for key, value in selector.match_labels.items():
            needs.setdefault(key, []).append(("In", frozenset({value})))
        for requirement in selector.match_expressions:
            needs.setdefault(requirement.key, []).append((requirement.operator, frozenset(requirement.values)))
    for requirements in needs.values():
        operators = {operator for operator, _ in requirements}
        if "DoesNotExist" in operators and operators & {"In", "Exists"}:
            return False
        chosen = [values for operator, values in requirements if operator == "In"]
        refused = frozenset[str]().union(*(values for operator, values in requirements if operator == "NotIn"))
        if chosen and not frozenset.intersection(*chosen) - refused:
            return False
    return True


def patch(pod: Object, gateway: Gateway, image: Image) -> Injection:
    """Make the JSON Patch that gives `pod` the sidecar of `gateway`, or what of it is missing."""
    if gateway.spec is None:
        raise ValueError("a gateway without a spec is not wanted by any pod")
    own = read_own(pod)
    edit = Edit(pod)
    warnings: list[str] = []
    edit.child("metadata", "labels", default={})
    if INJECTED not in edit.pod["metadata"]["labels"]:
        edit.add(gateway.name, "metadata", "labels", INJECTED)
    edit.child("metadata", "annotations", default={})
    if CONFIG_HASH not in annotations(edit.pod):
        edit.add(build.config_hash(gateway.spec, image), "metadata", "annotations", CONFIG_HASH)
    grace = raise_grace(edit, build.drain_seconds(gateway.spec, own))
    add_sidecar(edit, gateway, own, image, grace)
    spare_port(edit)
    if annotations(edit.pod).get(ENDPOINT_ENV) != "false":
        for path in apps(edit.pod["spec"]):
            warnings += add_environment(edit, path, gateway.spec)
    has_group = (pod["spec"].get("securityContext") or {}).get("fsGroup") is not None
    if (gateway.spec.volume.outlives or gateway.spec.volume.ephemeral) and not has_group:
        warnings.append(
            "the pod has no securityContext.fsGroup: where the storage of the claim belongs to root, the gateway "
            f"cannot write to it and does not start; any group will do, such as {build.USER}"
        )
    return Injection(edit.operations, warnings)


def raise_grace(edit: "Edit", drain_seconds: int) -> int:
    """Give the pod time for the drain after the app's own time; answer the grace period that it has then."""
    own = edit.pod["spec"].get("terminationGracePeriodSeconds")
    current: int = DEFAULT_GRACE_SECONDS if own is None else own
    recorded = annotations(edit.pod).get(ORIGINAL_GRACE, "")
    is_recorded = recorded.isascii() and recorded.isdecimal() and len(recorded) < 10
    grace: int = max(current, (int(recorded) if is_recorded else current) + drain_seconds + build.MARGIN_SECONDS)
    if not is_recorded:
        edit.add(str(current), "metadata", "annotations", ORIGINAL_GRACE)
    if grace != own:
        edit.add(grace, "spec", "terminationGracePeriodSeconds")
    return grace


def add_sidecar(edit: "Edit", gateway: Gateway, own: Own, image: Image, grace_seconds: int) -> None:
    """Put the sidecar before everything but a mesh's proxy, so that init containers can use it too; and its volumes."""
    if gateway.spec is None:
        raise ValueError("a gateway without a spec is not wanted by any pod")
    pod = edit.pod["spec"]
    bounds = has_storage_limit(pod)
    sidecar = build.sidecar(gateway.spec, image, grace_seconds=grace_seconds, bounds_storage=bounds, own=own)
    index = position(pod)
    if index is None:
        inits = edit.child("spec", "initContainers", default=[])
        index = max((i + 1 for i, container in enumerate(inits) if container["name"] in MESH_PROXIES), default=0)
        edit.add(sidecar, "spec", "initContainers", index)
    else:
        complete(edit, ("spec", "initContainers", index), sidecar)
    there = {volume["name"] for volume in edit.child("spec", "volumes", default=[])}
    for volume in build.volumes(gateway.spec, gateway.name):
        if volume["name"] not in there:
            edit.add(volume, "spec", "volumes", "-")


def spare_port(edit: "Edit") -> None:
    """Keep a mesh from taking the kubelet's probes of the sidecar."""
    port = str(build.HEALTH_PORT)
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
    endpoint = have.get("AWS_ENDPOINT_URL_S3")
    if endpoint and endpoint.get("value") != build.ENDPOINT:
        text = (
            f"container {container['name']!r} has an AWS_ENDPOINT_URL_S3 of its own: its SDKs go past the gateway, and "
            f"nothing that they write is queued; take it out, or set it to {build.ENDPOINT}"
        )
        return [text]
    warnings = []
    want = {"AWS_ENDPOINT_URL_S3": build.ENDPOINT}
    if not have.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        want["AWS_REGION"] = build.region(spec)
    if spec.app_credentials == "Dummy" and not have.keys() & IDENTITY:
        if container.get("envFrom"):
            warnings.append(
                f"container {container['name']!r} has envFrom, which may hold AWS keys and would lose to ours: it gets "
                "no dummy keys; give it AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in env"
            )
        else:
            want |= {"AWS_ACCESS_KEY_ID": "dummy", "AWS_SECRET_ACCESS_KEY": "dummy"}
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


def apps(spec: Object) -> list[tuple[str | int, ...]]:
    """The paths of the containers that can use the gateway: all but those that start before it, and a mesh's."""
    sidecar = position(spec)
    after = -1 if sidecar is None else sidecar
    inits = [("initContainers", i) for i in range(after + 1, len(spec.get("initContainers") or []))]
    mains = [("containers", i) for i in range(len(spec["containers"]))]
    return [("spec", kind, i) for kind, i in inits + mains if spec[kind][i]["name"] not in MESH]


def position(spec: Object) -> int | None:
    """The index of the sidecar among the init containers; one that merely has its name is not it."""
    for index, container in enumerate(spec.get("initContainers") or []):
        if container["name"] == build.NAME and any(e["name"] == "S3D_CONFIG" for e in container.get("env") or []):
            return index
    return None


def has_storage_limit(spec: Object) -> bool:
    """Whether a container other than the sidecar has a limit on ephemeral storage."""
    return any(
        "ephemeral-storage" in ((container.get("resources") or {}).get("limits") or {})
        for container in containers(spec)
        if container["name"] != build.NAME
    )


def containers(spec: Object) -> list[Object]:
    """All containers of a pod."""
    return [*(spec.get("initContainers") or []), *spec["containers"]]


def annotations(pod: Object) -> dict[str, str]:
    """The annotations of a pod."""
    return pod["metadata"].get("annotations") or {}


class Edit:
    """`add` operations on a pod, each applied to a copy as it is made, so that the paths of the next ones are right."""

    __slots__ = ("operations", "pod")

    def __init__(self, pod: Object) -> None:
        self.pod = copy.deepcopy(pod)
        self.operations: list[Object] = []

    def at(self, *path: str | int) -> Any:
        """What is at a path."""
        node: Any = self.pod
        for step in path:
            node = node[step]
        return node

    def child(self, *path: str | int, default: Any) -> Any:
        """What is at a path, `default` being added where there is nothing."""
        parent = self.at(*path[:-1])
        if parent.get(path[-1]) is None:
            self.add(default, *path)
        return parent[path[-1]]

    def add(self, value: Any, *path: str | int) -> None:
        """Add a value: into a list before an index or at its end (`-`), or as a member of an object."""
        pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
        self.operations.append({"op": "add", "path": pointer, "value": copy.deepcopy(value)})
        parent, last = self.at(*path[:-1]), path[-1]
        if isinstance(parent, dict):
            parent[last] = copy.deepcopy(value)
        elif last == "-":
            parent.append(copy.deepcopy(value))
        else:
            parent.insert(last, copy.deepcopy(value))
