"""Which pod gets which gateway, and why a pod gets none. Pure."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s3d.errors import ConfigError
from s3d.settings.values import parse_bytes
from s3d_operator import build, fuse, gateway_checks, layout
from s3d_operator.layout import Object
from s3d_operator.names import (
    CONFIG_HASH,
    DRAINS,
    ENDPOINT_ENV,
    EXPENDABLE,
    FOLDER,
    FOLDER_HASH,
    GATEWAY,
    GROUP,
    INJECT,
    INJECTED,
    INJECTION,
    ON_MISSING,
    ORIGINAL_GRACE,
    POD_OVERRIDES,
)
from s3d_operator.overrides import read_overrides
from s3d_operator.parse import parse_gateway
from s3d_operator.podspec import annotations, containers, position
from s3d_operator.reasons import Reason
from s3d_operator.spec import S3GatewaySpec
from s3d_operator.spec.selector import LabelSelector

# What of ours is at pods, written by their authors and by us.
LABELS = frozenset({INJECT, INJECTED, DRAINS})
ANNOTATIONS = frozenset(
    {GATEWAY, FOLDER, ENDPOINT_ENV, ON_MISSING, EXPENDABLE, *POD_OVERRIDES.values()}
    | {CONFIG_HASH, FOLDER_HASH, ORIGINAL_GRACE, INJECTED}
)
ANNOTATION_VALUES = {ENDPOINT_ENV: ("true", "false"), EXPENDABLE: ("true", "false"), ON_MISSING: ("Deny",)}
WRITTEN = (INJECT, GATEWAY, FOLDER, ENDPOINT_ENV, ON_MISSING, EXPENDABLE, *POD_OVERRIDES.values())
# Skips that a look at the API server may turn round, since what is known of the gateways may be late.
PERHAPS_LATE = frozenset(
    {Reason.NO_GATEWAY, Reason.NO_SUCH_GATEWAY, Reason.NOT_SELECTED, Reason.INVALID_GATEWAY, Reason.CLAIM_SHARED}
)


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

    reason: Reason
    message: str


def read_gateway(raw: Object) -> Gateway:
    """Read an S3Gateway as the API server gave it."""
    name, created = raw["metadata"]["name"], raw["metadata"].get("creationTimestamp") or ""
    try:
        spec, ignored = parse_gateway(raw)
    except ConfigError as error:
        return Gateway(name, created, None, f"{error.message} ({error.hint})")
    try:
        gateway_checks.check(spec)
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
            Reason.CLAIM_SHARED,
            generation,
        ):
            return each.get("message") or Reason.CLAIM_SHARED
    return ""


def wanted(pod: Object, gateways: Iterable[Gateway]) -> Gateway | Skip:
    """Choose the gateway of a pod among those of its namespace: the one it names, else the oldest that selects it."""
    if skip := unsuitable(pod) or misspelt(pod):
        return skip
    gateways = sorted(gateways, key=lambda gateway: gateway.rank)
    if name := annotations(pod).get(GATEWAY):
        named = [gateway for gateway in gateways if gateway.name == name]
        if not named:
            return Skip(
                Reason.NO_SUCH_GATEWAY,
                f"annotation {GATEWAY} names S3Gateway {name!r}, which this namespace does not have",
            )
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
            Reason.NOT_SELECTED,
            "no S3Gateway of this namespace selects the pod: compare its labels with spec.podSelector",
        )
    return Skip(Reason.NO_GATEWAY, "there is no S3Gateway in this namespace: create one, or remove the label")


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
                return Skip(Reason.INVALID_ANNOTATION, f"there is no {kind} {name}: {suggestion(kind, name)}")
            if name in values and value not in values[name]:
                write = " or ".join(f'"{each}"' for each in values[name])
                return Skip(Reason.INVALID_ANNOTATION, f"{kind} {name}: {value!r} means nothing: write {write}")
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
        overrides = read_overrides(pod)
    except ConfigError as error:
        return Skip(Reason.INVALID_ANNOTATION, f"{error.message}: {error.hint}")
    if gateway.shared:
        return Skip(Reason.CLAIM_SHARED, f"S3Gateway {gateway.name!r} cannot be used: {gateway.shared}")
    claim = gateway.spec.volume.persistent_volume_claim
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or []}
    if claim and claim.template and "persistentVolumeClaim" not in volumes.get(claim.template, {}):
        return Skip(
            Reason.NO_SUCH_CLAIM,
            f"S3Gateway {gateway.name!r} keeps its queue in a claim of the volumeClaimTemplate {claim.template!r}, "
            "which the pod does not have: use it for pods of a StatefulSet with a template of that name",
        )
    limited = build.resources(gateway.spec, bounds_storage=False, overrides=overrides)
    for what, amount in (("cpu", cores), ("memory", parse_bytes)):
        asked, limit = limited["requests"][what], limited["limits"].get(what)
        if limit is not None and amount(asked) > amount(limit):  # type: ignore[operator]
            names = f"{POD_OVERRIDES[f'{what}_request']} and {POD_OVERRIDES[f'{what}_limit']}"
            return Skip(
                Reason.INVALID_ANNOTATION,
                f"the sidecar's request of {what}, {asked}, is above its limit, {limit}: change annotations {names}",
            )
    return gateway


def without_mount(pod: Object, namespace: str, labels: Mapping[str, str]) -> Skip | None:
    """Say why a pod cannot have the mount of its gateway, by the labels of its namespace."""
    if FOLDER in annotations(pod):
        return Skip(
            Reason.INVALID_FOLDER,
            "a sidecar with the mount (spec.fuseMount) is root, and one with a SyncFolder is the app's user: give the "
            "pod one of the two",
        )
    text = fuse.refusal(labels, namespace)
    return Skip(Reason.POD_SECURITY, text) if text else None


def cores(value: int | str) -> float:
    """A quantity of processor time as a number of processors."""
    text = str(value)
    return float(text.removesuffix("m")) / (1000 if text.endswith("m") else 1)


def invalid(gateway: Gateway) -> Skip:
    """The skip for a gateway that cannot be used."""
    return Skip(Reason.INVALID_GATEWAY, f"S3Gateway {gateway.name!r} cannot be used: {gateway.problem}")


def unsuitable(pod: Object) -> Skip | None:
    """Say why a pod cannot have a sidecar of ours, whatever the gateway."""
    spec = pod["spec"]
    if (pod["metadata"].get("labels") or {}).get(INJECT) == "false":
        return Skip(Reason.OPTED_OUT, f'label {INJECT}: "false" opts the pod out')
    if "kubernetes.io/config.mirror" in annotations(pod):
        return Skip(Reason.MIRROR_POD, "a static pod cannot be changed")
    if spec.get("hostNetwork"):
        return Skip(Reason.HOST_NETWORK, "with hostNetwork every process on the node could use the gateway's identity")
    if "windows" in {(spec.get("os") or {}).get("name"), (spec.get("nodeSelector") or {}).get("kubernetes.io/os")}:
        return Skip(Reason.WINDOWS, "the sidecar is a Linux container")
    ours = position(spec)
    others = [c for c in containers(spec) if ours is None or c is not spec["initContainers"][ours]]
    for container in others:
        if container["name"] == layout.NAME:
            return Skip(
                Reason.NAME_TAKEN, f"the pod has a container {layout.NAME!r} that is not the sidecar: rename it"
            )
        for port in container.get("ports") or []:
            if port.get("containerPort") in {layout.DOOR_PORT, layout.HEALTH_PORT}:
                return Skip(
                    Reason.PORT_TAKEN,
                    f"container {container['name']!r} uses port {port['containerPort']}, which s3d needs",
                )
    taken = sorted(build.VOLUMES & {volume["name"] for volume in spec.get("volumes") or []})
    if ours is None and taken:
        return Skip(Reason.NAME_TAKEN, f"the pod has a volume {taken[0]!r} that is not the sidecar's: rename it")
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
