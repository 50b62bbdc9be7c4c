"""What the operator says about a gateway: counts, and conditions with reasons and hints. Pure.

A status is made whole from what is known now; from the one before come the times of conditions that did not change, and
what is pending where a pod does not say it. What is not known is Unknown, never good.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from s3d import problems
from s3d.errors import ConfigError
from s3d.problems import AT_RISK_SECONDS
from s3d_operator.drains import FORBIDDEN
from s3d_operator.gateway_checks import check
from s3d_operator.gateway_facts import GatewayFacts, Seen
from s3d_operator.gateway_status import ClaimStatus, Condition, PendingChanges, Pods
from s3d_operator.names import GATEWAY
from s3d_operator.parse import parse_gateway
from s3d_operator.pods import FILES, Report, total
from s3d_operator.reasons import Reason
from s3d_operator.spec import S3GatewaySpec

# How old the time may be at which a status was last found as it is.
OBSERVED_SECONDS = 60
# Reasons of conditions that are False while pods can use the gateway.
USABLE = frozenset({Reason.REMOTE_AWAY, Reason.IDENTITY_WITHOUT_KEYS})
# How a person sees more.
SHOW_STATUS = "`kubectl exec POD -c s3d -- s3d status`"

Object = dict[str, Any]


class Judgement(NamedTuple):
    """A condition without its times."""

    status: Literal["True", "False", "Unknown"]
    reason: Reason
    message: str


def status_of(body: Object, facts: GatewayFacts | None, now: datetime, *, shared: str = "") -> Object:
    """The status of a gateway; without a `facts` its pods are not known yet.

    `shared` is a claim of it that several nodes can have at once.
    """
    generation = body["metadata"].get("generation", 0)
    before = body.get("status") or {}
    spec, accepted = judge(body)
    if spec and shared:
        accepted = Judgement(
            "False",
            Reason.CLAIM_SHARED,
            f"claim {shared!r} is ReadWriteMany, so pods on several nodes could use one queue at the same time. Use a "
            "claim that is ReadWriteOnce or ReadWriteOncePod",
        )
    elif spec and facts and spec.drain.job and not facts.may_drain:
        accepted = Judgement("True", Reason.DRAIN_JOB_FORBIDDEN, f"pods that opt in get this gateway, but {FORBIDDEN}")
    judged = {"Accepted": accepted}
    status: Object = {"observedGeneration": generation}
    if facts is None:
        not_yet = Judgement(
            "Unknown", Reason.NOT_LOOKED_YET, "the operator has just started and has not seen the pods yet"
        )
        others = ("CredentialsResolved", "RemoteReachable", "SettingsAccepted", "DataAtRisk", "Conflicted")
        judged |= dict.fromkeys([*others, *(["Mounted"] if spec and spec.fuse_mount.enabled else [])], not_yet)
        status |= {name: before[name] for name in ("pods", "pending", "lost", "claims") if name in before}
    else:
        status["pods"] = count_pods(facts)
        pending = add_up(facts, now) or before.get("pending")
        status |= {"pending": pending} if pending else {}
        if facts.lost:
            status["lost"] = facts.lost.model_dump(by_alias=True)
        if facts.claims:
            status["claims"] = [
                claim.model_dump(mode="json", by_alias=True, exclude_none=True) for claim in facts.claims
            ]
        judged |= {
            "CredentialsResolved": judge_credentials(spec, facts),
            "RemoteReachable": judge_remote(spec, facts),
            "SettingsAccepted": judge_settings(facts),
            "DataAtRisk": judge_risk(facts, pending or {}, now),
            "Conflicted": judge_conflict(facts),
            **({"Mounted": judge_mount(facts)} if spec and spec.fuse_mount.enabled else {}),
        }
    judged["Ready"] = judge_ready(judged, facts)
    old = {condition["type"]: condition for condition in before.get("conditions") or []}
    status["conditions"] = [
        condition(kind, judgement, old.get(kind, {}), generation, now) for kind, judgement in sorted(judged.items())
    ]
    return status | {"observedAt": observed(status, before, now)}


def observed(status: Object, before: Object, now: datetime) -> str:
    """When a status was found as it is: a time that is renewed once a minute where nothing else changes."""
    at = before.get("observedAt")
    # What others have written beside it is theirs, and no reason to write again.
    there = before.get("conditions") or []
    same = all(
        all(each in there for each in value) if name == "conditions" else before.get(name) == value
        for name, value in status.items()
    )
    if at and same:
        age = (now - datetime.fromisoformat(at)).total_seconds()
        if 0 <= age < OBSERVED_SECONDS:
            return str(at)
    return stamp(now)


def condition(kind: str, judgement: Judgement, old: Object, generation: int, now: datetime) -> Object:
    """One condition; one whose status stays keeps its time."""
    kept = old.get("status") == judgement.status
    made = Condition(
        type=kind,
        status=judgement.status,
        observed_generation=generation,
        last_transition_time=old["lastTransitionTime"] if kept else stamp(now),
        reason=judgement.reason,
        message=judgement.message,
    )
    return made.model_dump(by_alias=True)


def stamp(now: datetime) -> str:
    """A time as the API server writes it."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def judge(body: Object) -> tuple[S3GatewaySpec | None, Judgement]:
    """Whether a gateway can be used: the condition Accepted."""
    try:
        spec, _ = parse_gateway(body)
        check(spec)
    except ConfigError as error:
        return None, Judgement("False", Reason.INVALID_SPEC, f"{error.message}. {error.hint}".rstrip(". "))
    return spec, Judgement("True", Reason.ACCEPTED, "pods that opt in get this gateway")


def count_pods(facts: GatewayFacts) -> Object:
    """The pods of a gateway."""
    pods = Pods(
        injected=len(facts.pods),
        outdated=sum(pod.is_outdated for pod in facts.pods),
        uninjected=facts.uninjected,
        unreachable=sum(pod.is_unreachable for pod in facts.pods),
    )
    return pods.model_dump(by_alias=True)


def add_up(facts: GatewayFacts, now: datetime) -> Object | None:
    """What is pending in pods, by what each said last, and in claims; None where one that runs never said anything."""
    if any(pod.is_unreachable and pod.report is None for pod in facts.pods):
        return None
    reports = [pod.report for pod in facts.pods if pod.report]
    counted: list[Report | ClaimStatus] = [*reports, *(each for each in facts.claims if each.changes is not None)]
    oldest = max((report.oldest for report in reports if report.oldest is not None), default=None)
    pending = PendingChanges(
        changes=total(each.changes or 0 for each in counted),
        bytes=total(each.bytes or 0 for each in counted),
        parked=total(each.parked or 0 for each in counted),
        oldest_age_seconds=oldest,
        oldest_since=None if oldest is None else stamp(now - timedelta(seconds=oldest)),
    )
    return pending.model_dump(by_alias=True, exclude_none=True)


def judge_credentials(spec: S3GatewaySpec | None, facts: GatewayFacts) -> Judgement:
    """Whether the gateways have something to sign with."""
    said = [report.credentials for report in facts.reports]
    if missing := facts.with_problem(problems.KEYS_MISSING):
        hint = "see the log of container s3d, and whether the service account may have the role"
        if spec and (secret := spec.remote.credentials.secret_ref):
            hint = f"Secret {secret.name!r} needs the keys accessKeyID and secretAccessKey, and neither may be empty"
        return Judgement("False", Reason.NOT_FOUND, f"{missing} of {len(said)} pods find no keys: {hint}")
    if refused := facts.with_problem(problems.KEYS_REFUSED):
        text = f"the remote refuses the keys of {refused} of {len(said)} pods: {SHOW_STATUS} shows its error"
        if path := path_of(spec):
            text += f". Check also whether the path {path} belongs into remote.endpoint"
        return Judgement("False", Reason.REFUSED, text)
    if names := sorted({name for report in facts.reports for name in report.without_keys}):
        listed = ", ".join(names[:3]) + (", ..." if names[3:] else "")
        text = (
            f"no keys are found for {'identity' if len(names) == 1 else 'identities'} {listed}, or the remote refuses "
            f"them: what is written by their access keys waits; {SHOW_STATUS} shows more"
        )
        return Judgement("False", Reason.IDENTITY_WITHOUT_KEYS, text)
    if spec and spec.remote.credentials.anonymous:
        return Judgement("True", Reason.NOT_REQUIRED, "requests are not signed")
    if "found" in said:
        return Judgement("True", Reason.FOUND, "the pods have found their keys")
    if facts.waiting:
        return Judgement("Unknown", Reason.PODS_NOT_STARTED, describe_waiting(facts.waiting))
    return Judgement("Unknown", Reason.NO_PODS if not facts.pods else Reason.NOT_USED_YET, "no pod has needed keys yet")


def describe_waiting(pods: Sequence[Seen]) -> str:
    """How many pods wait for their gateway, for what, and where the reason is told."""
    reasons = sorted({pod.waits_for for pod in pods if pod.waits_for})
    hints = []
    if any(pod.waits_for == "CrashLoopBackOff" for pod in pods):
        hints.append(
            "it crashes: `kubectl logs POD -c s3d --previous` shows why (if it may not write to its volume, set "
            "securityContext.fsGroup of the pods)"
        )
    if reasons != ["CrashLoopBackOff"]:
        hints.append(
            "`kubectl describe pod` shows what is missing, such as a Secret, a key in the Secret, a claim or an image"
        )
    said = f" ({', '.join(reasons)})" if reasons else ""
    return f"the gateway of {amount(len(pods), 'pod', 'pods')} has not started{said}; {'; '.join(hints)}"


def amount(number: int, one: str, more: str) -> str:
    """A number and what it counts."""
    return f"{number} {one if number == 1 else more}"


def judge_remote(spec: S3GatewaySpec | None, facts: GatewayFacts) -> Judgement:
    """Whether the gateways reach the remote."""
    said = [report.remote for report in facts.reports]
    endpoint = (spec and spec.remote.endpoint) or "the remote"
    if wrong := facts.with_problem(problems.WRONG_ENDPOINT):
        hint = "check its scheme, host and port"
        if path := path_of(spec):
            hint = (
                f"take the path {path} away from remote.endpoint unless the store has its buckets below it, and " + hint
            )
        text = f"{wrong} of {len(said)} pods find no S3 store with their buckets at {endpoint}: {hint}"
        return Judgement("False", Reason.WRONG_ENDPOINT, text)
    if away := facts.with_problem(problems.REMOTE_AWAY):
        text = f"{away} of {len(said)} pods cannot reach {endpoint}: their writes are queued meanwhile"
        return Judgement("False", Reason.REMOTE_AWAY, text)
    if "reachable" in said:
        return Judgement("True", Reason.REACHABLE, f"the pods reach {endpoint}")
    return Judgement(
        "Unknown",
        Reason.NO_PODS if not facts.pods else Reason.NOT_TRIED_YET,
        "no pod has sent a request to the remote yet",
    )


def judge_settings(facts: GatewayFacts) -> Judgement:
    """Whether the gateways use the settings that this one gives them while they run."""
    said = facts.reports
    if refused := sum(FILES["settings"] in report.not_taken_over for report in said):
        return Judgement(
            "False",
            Reason.SETTINGS_REFUSED,
            f"{refused} of {len(said)} pods refuse the settings of their ConfigMap and use those from before: "
            f"{SHOW_STATUS} says what is wrong, and where",
        )
    if said:
        return Judgement("True", Reason.SETTINGS_USED, "the pods use the settings of this gateway")
    return Judgement(
        "Unknown", Reason.NOT_USED_YET if facts.pods else Reason.NO_PODS, "no pod has said yet which settings it uses"
    )


def judge_mount(facts: GatewayFacts) -> Judgement:
    """Whether the buckets are mounted in the pods; only of a gateway that asks for it."""
    said = facts.reports
    if gone := facts.with_problem(problems.MOUNT_GONE):
        text = (
            f"the mount has gone in {gone} of {len(said)} pods: the log of container s3d says since when; what ends "
            "its process, such as `kubectl exec POD -c s3d -- sh -c 'kill 1'`, has it mount again"
        )
        return Judgement("False", Reason.MOUNT_GONE, text)
    if mounting := sum(report.mounts for report in said):
        return Judgement("True", Reason.MOUNTED, f"the buckets are mounted in {amount(mounting, 'pod', 'pods')}")
    if facts.waiting:
        return Judgement("Unknown", Reason.PODS_NOT_STARTED, describe_waiting(facts.waiting))
    return Judgement("Unknown", Reason.NOT_USED_YET if facts.pods else Reason.NO_PODS, "no pod has mounted them yet")


def path_of(spec: S3GatewaySpec | None) -> str:
    """The path of the endpoint; empty where it has none."""
    return urlsplit((spec and spec.remote.endpoint) or "").path.rstrip("/")


def judge_risk(facts: GatewayFacts, pending: Object, now: datetime) -> Judgement:
    """Whether something that was accepted may never arrive."""
    changes, parked = pending.get("changes", 0), pending.get("parked", 0)
    # What pods said last counts also where they do not answer now, and what is left in claims.
    summed = {problem.name for problem in problems.of_changes({"parked": parked}, pending.get("oldestAgeSeconds"))}
    if problems.CHANGES_PARKED in summed:
        return Judgement(
            "True",
            Reason.CHANGES_PARKED,
            f"the remote refused {amount(parked, 'change', 'changes')} for good, and a person has to decide: `kubectl "
            "exec POD -c s3d -- s3d queue list` lists what was refused, with the remote's error",
        )
    if damaged := facts.with_problem(problems.CHANGES_DAMAGED):
        return Judgement(
            "True",
            Reason.CHANGES_DAMAGED,
            f"changes of {amount(damaged, 'pod', 'pods')} are damaged on their volume: `kubectl exec POD -c s3d -- s3d "
            "queue list` lists them; put these objects again",
        )
    if unpublished := facts.with_problem(problems.FILES_UNPUBLISHED):
        return Judgement(
            "True",
            Reason.FILES_UNPUBLISHED,
            f"files that were written to the mount of {amount(unpublished, 'pod', 'pods')} could not become objects: "
            "`kubectl exec POD -c s3d -- s3d mount status` says which and why",
        )
    if refused := facts.with_problem(problems.REMOTE_REFUSES):
        return Judgement(
            "True",
            Reason.REMOTE_REFUSES,
            f"the remote refuses every write of {amount(refused, 'pod', 'pods')} to some bucket: check keys, "
            f"permissions and quota, and whether the bucket exists; {SHOW_STATUS} shows the bucket and the error",
        )
    if problems.CHANGES_OLD in summed:
        return Judgement(
            "True",
            Reason.CHANGES_OLD,
            f"{changes} changes are not in the remote, the oldest for more than {AT_RISK_SECONDS} s: see "
            "RemoteReachable and CredentialsResolved. If a pod is deleted now, what it cannot deliver in its drain "
            "time is lost, unless its queue is in a claim",
        )
    known = (folder for said in facts.reports for folder in said.folders.values())
    stuck = [folder for folder in known if folder.is_stuck(now.timestamp())]
    if unsent := total(folder.unsent for folder in stuck):
        return Judgement(
            "True",
            Reason.FILES_UNSENT,
            f"{amount(unsent, 'change', 'changes')} in the sync folders of pods cannot be sent: "
            "`kubectl exec POD -c s3d -- s3d sync status` says why. A folder in an emptyDir goes with its pod",
        )
    # A pod that has the claim and has said something is asked itself, and its claim says nothing then.
    if left := [claim for claim in facts.claims if claim.changes]:
        changes = total(claim.changes or 0 for claim in left)
        return Judgement("True", Reason.CHANGES_LEFT, f"{changes} changes are in claims {describe_left(left)}")
    if unreachable := sum(pod.is_unreachable for pod in facts.pods):
        return Judgement(
            "Unknown",
            Reason.PODS_UNREACHABLE,
            f"{amount(unreachable, 'pod does', 'pods do')} not answer the operator on port 33334, so it is not known "
            "what is pending there: a NetworkPolicy may keep the operator out",
        )
    if silent := [pod for pod in facts.pods if pod.is_silent]:
        return Judgement(
            "Unknown",
            Reason.PODS_NOT_STARTED,
            f"it is not known what is pending in the volumes of pods that do not run: {describe_waiting(silent)}",
        )
    if unknown := [claim.claim_name for claim in facts.claims if not claim.in_use and claim.changes is None]:
        return Judgement(
            "Unknown",
            Reason.CLAIMS_UNKNOWN,
            f"it is not known what the last pod left in claim {unknown[0]}, which no pod uses now. The next pod with "
            "this claim delivers it; with drain.job a Job does",
        )
    if changes:
        waiting = "1 change is on its way" if changes == 1 else f"{changes} changes are on their way"
        return Judgement("False", Reason.ON_THE_WAY, f"{waiting}; one that waits for {AT_RISK_SECONDS} s is at risk")
    return Judgement("False", Reason.ALL_DELIVERED, "the remote has everything")


def describe_left(claims: Sequence[ClaimStatus]) -> str:
    """Claims in which something is left, and what becomes of it."""
    names = ", ".join(claim.claim_name for claim in claims[:3]) + (", ..." if claims[3:] else "")
    if any(claim.in_use for claim in claims):
        return f"whose pod has not started: {names}; `kubectl describe pod` shows what is missing"
    fate = "a Job delivers them" if all(claim.job for claim in claims) else "the next pod with the claim delivers them"
    return f"that no pod uses: {names}; {fate}"


def judge_conflict(facts: GatewayFacts) -> Judgement:
    """Whether another gateway wants the same pods."""
    if facts.older:
        return Judgement(
            "True",
            Reason.OLDER_GATEWAY_WINS,
            f"S3Gateway {facts.older!r} is older and selects some of the same pods: these get the older one. Give both "
            f"a podSelector that separates them, or name one in the pod's annotation {GATEWAY}",
        )
    if facts.younger:
        names = ", ".join(facts.younger)
        return Judgement(
            "False",
            Reason.OLDEST_GATEWAY,
            f"it is older than {names}, which select some of the same pods: these get this one",
        )
    return Judgement("False", Reason.NO_CONFLICT, "no other S3Gateway selects the same pods")


def judge_ready(judged: dict[str, Judgement], facts: GatewayFacts | None) -> Judgement:
    """The summary: whether pods can use the gateway, and what most needs a look."""
    waiting = facts.waiting if facts else []
    for kind in ("Accepted", "CredentialsResolved", "RemoteReachable"):
        # A remote that is merely away is no reason: writes are queued. Nor is an identity: others can use the gateway.
        if judged[kind].status == "False" and judged[kind].reason not in USABLE:
            return judged[kind]
    # While pods start this lasts for seconds; nobody knows before whether they can.
    none_starts = bool(facts and waiting and len(waiting) == len(facts.pods))
    bad_ones = (
        ("DataAtRisk", "True"),
        ("RemoteReachable", "False"),
        ("CredentialsResolved", "False"),
        ("Mounted", "False"),
        ("Conflicted", "True"),
    )
    for kind, bad in bad_ones:
        if kind in judged and judged[kind].status == bad:
            return judged[kind]._replace(status="Unknown" if none_starts else "True")
    if waiting:
        text = describe_waiting(waiting)
        return Judgement("Unknown" if none_starts else "True", Reason.PODS_NOT_STARTED, text)
    if judged["Accepted"].reason != Reason.ACCEPTED:
        return judged["Accepted"]
    if fields := sorted({field for report in facts.reports for field in report.not_taken_over} if facts else ()):
        text = (
            f"what came last by spec.{' and spec.'.join(fields)} is wrong, and pods go on with what they had: "
            "`kubectl logs POD -c s3d` says what is wrong"
        )
        return Judgement("True", Reason.NOT_TAKEN_OVER, text)
    return Judgement("True", Reason.READY, "pods that opt in write through this gateway")
