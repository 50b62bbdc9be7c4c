"""What the operator says about a sync folder: counts, and conditions with reasons and hints. Pure.

What is not known is Unknown, never good. A pod's own words are not repeated: what it says is one of a few, or a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from s3d_operator.choice import Gateway
from s3d_operator.folder_status import FolderPods
from s3d_operator.folders import Folder
from s3d_operator.pods import FolderReport, total
from s3d_operator.reasons import Reason
from s3d_operator.status import OBSERVED_SECONDS, Judgement, amount, condition, observed, stamp

SHOW = "`kubectl exec POD -c s3d -- s3d sync status`"
"""How a person sees more."""
SAID = {"paused": Reason.PAUSED, "waiting": Reason.WAITING, "starting": Reason.WORKING, "working": Reason.WORKING}
"""States in which both sides may differ, the one that most needs a look first."""
MEANING = {
    Reason.PAUSED: "somebody has paused it; `s3d sync resume` in the pod goes on",
    Reason.WAITING: f"it waits for the remote, for the volume or for a file that cannot be done: {SHOW} says for what",
    Reason.WORKING: "files are on their way",
}

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """What is known of the folder of one pod."""

    is_outdated: bool
    listens: bool
    answers: bool
    said: FolderReport | None
    """What it said last."""

    @property
    def is_unknown(self) -> bool:
        """Whether it does not say now how it is."""
        return not (self.listens and self.answers and self.said)


def status_of(
    body: Object, folder: Folder, gateway: Gateway | None, pods: Sequence[SeenFolder] | None, now: datetime
) -> Object:
    """The status of a SyncFolder; without `pods` these are not known yet."""
    generation, before = body["metadata"].get("generation", 0), body.get("status") or {}
    status: Object = {"observedGeneration": generation}
    usable = judge_use(folder, gateway)
    if pods is None:
        not_yet = Judgement(
            "Unknown", Reason.NOT_LOOKED_YET, "the operator has just started and has not seen the pods yet"
        )
        kept = ("pods", "files", "unsent", "conflicts", "leftAlone", "equalAt")
        status |= {name: before[name] for name in kept if name in before}
        judged = {"Synced": not_yet, "Halted": not_yet, "Ready": not_yet if usable.status == "True" else usable}
    else:
        status |= count(pods)
        judged = {"Synced": judge_equality(pods), "Halted": judge_halt(pods)}
        judged["Ready"] = judge_ready(usable, judged)
        if equal_at := equal_since(judged["Synced"], before.get("equalAt"), now):
            status["equalAt"] = equal_at
    old = {each["type"]: each for each in before.get("conditions") or []}
    status["conditions"] = [
        condition(kind, judgement, old.get(kind, {}), generation, now) for kind, judgement in sorted(judged.items())
    ]
    return status | {"observedAt": observed(status, before, now)}


def equal_since(judged: Judgement, before: str | None, now: datetime) -> str | None:
    """When both sides were last found to be equal, to a minute."""
    if judged.status != "True":
        return before
    if before and 0 <= (now - datetime.fromisoformat(before)).total_seconds() < OBSERVED_SECONDS:
        return before
    return stamp(now)


def count(pods: Sequence[SeenFolder]) -> Object:
    """The pods of a folder, and what they said last."""
    said = [pod.said for pod in pods if pod.said]
    counted = FolderPods(
        synced=len(pods),
        outdated=sum(pod.is_outdated for pod in pods),
        halted=sum(bool(each.halt) for each in said),
        unreachable=sum(pod.listens and not pod.answers for pod in pods),
    )
    status: Object = {"pods": counted.model_dump(by_alias=True)}
    if said:
        status |= {
            "files": min(each.files for each in said),
            "unsent": total(each.unsent for each in said),
            "conflicts": total(each.conflicts for each in said),
            "leftAlone": total(each.left_alone for each in said),
        }
    return status


def judge_use(folder: Folder, gateway: Gateway | None) -> Judgement:
    """Whether pods can get the folder."""
    if folder.spec is None:
        return Judgement("False", Reason.INVALID_SPEC, folder.problem)
    name = folder.spec.gateway_ref.name
    if gateway is None:
        return Judgement("False", Reason.NO_SUCH_GATEWAY, f"there is no S3Gateway {name!r} in this namespace")
    if gateway.spec is None or gateway.problem:
        return Judgement("False", Reason.INVALID_GATEWAY, f"S3Gateway {name!r} cannot be used: {gateway.problem}")
    if not gateway.spec.write_queue.enabled:
        return Judgement(
            "False", Reason.INVALID_FOLDER, f"the write queue of S3Gateway {name!r} is off: set writeQueue.enabled"
        )
    return Judgement("True", Reason.READY, "pods that name this folder get it")


def unknown(pods: Sequence[SeenFolder]) -> Judgement | None:
    """Why it is not known how the folder is; None where all pods say it."""
    if not pods:
        text = "no pod has this folder; one names it by the annotation s3d.dev/sync-folder"
        return Judgement("Unknown", Reason.NO_PODS, text)
    if silent := sum(pod.listens and pod.is_unknown for pod in pods):
        text = f"the gateway of {amount(silent, 'pod', 'pods')} does not tell the operator, on port 33334, how it is"
        return Judgement("Unknown", Reason.PODS_UNREACHABLE, text)
    if waiting := sum(not pod.listens for pod in pods):
        text = f"the gateway of {amount(waiting, 'pod', 'pods')} has not started: `kubectl describe pod` shows why"
        return Judgement("Unknown", Reason.PODS_NOT_STARTED, text)
    return None


def judge_equality(pods: Sequence[SeenFolder]) -> Judgement:
    """Whether both sides are equal in all pods: the condition Synced."""
    halted = judge_halt(pods)
    if halted.status == "True":
        return halted._replace(status="False")
    states = [pod.said.state for pod in pods if pod.said and not pod.is_unknown]
    for state, reason in SAID.items():
        if found := states.count(state):
            text = f"the folder of {amount(found, 'pod', 'pods')} is not equal yet: {MEANING[reason]}"
            return Judgement("False", reason, text)
    if unsent := total(pod.said.unsent for pod in pods if pod.said and not pod.is_unknown):
        return Judgement("False", Reason.WORKING, f"{amount(unsent, 'file is', 'files are')} still to be sent")
    return unknown(pods) or Judgement("True", Reason.EQUAL, "both sides are equal, but for what is left alone")


def judge_halt(pods: Sequence[SeenFolder]) -> Judgement:
    """Whether a pod's folder is halted."""
    halts = [pod.said.halt for pod in pods if pod.said and pod.said.halt]
    if halts:
        text = (
            f"the folder of {amount(len(halts), 'pod', 'pods')} of {len(pods)} is halted, and nothing is deleted or "
            f"replaced there until the reason is gone or a person decides: {SHOW} says what to do (docs/SYNC.md)"
        )
        return Judgement("True", Reason(halts[0]), text)
    return unknown(pods) or Judgement("False", Reason.NOT_HALTED, "no pod's folder is halted")


def judge_ready(usable: Judgement, judged: dict[str, Judgement]) -> Judgement:
    """The summary: whether pods can use the folder, and what most needs a look."""
    if usable.status != "True":
        return usable
    if judged["Halted"].status == "True":
        return judged["Halted"]._replace(status="False")
    if judged["Synced"].status != "True":
        return judged["Synced"]._replace(status="True")
    return usable
