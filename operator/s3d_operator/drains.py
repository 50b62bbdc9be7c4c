"""Claims: what pods left in them, and the jobs that deliver it where no pod has the claim any more.

What is known of a claim is in the status of its gateway, so that it outlives this process, which looks at pods alone
and never into a claim. What nobody said is not known, and never nothing. A job is made where the gateway asks for it
and the operator may, never beside a pod: one that comes while a job runs has the job deleted, and one pusher at a time
is what the lock in the claim sees to.
"""

import logging
import time
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Literal

from s3d_operator import drain_job, gateway_settings
from s3d_operator.events import COMPONENT, Events
from s3d_operator.gateway_status import ClaimStatus
from s3d_operator.kube import CLAIMS, JOBS, ApiError, Kube, Object
from s3d_operator.layout import Image
from s3d_operator.names import API_VERSION, CONFIG_HASH
from s3d_operator.pods import Left, Pod, Report, total
from s3d_operator.reasons import Reason
from s3d_operator.spec import S3GatewaySpec

# A permission or a claim that others change is noticed after this.
LOOK_SECONDS = 60
SHARED = "ReadWriteMany"
# As many claims as a status may list.
MAX_CLAIMS = 1024
FORBIDDEN = (
    "the operator may not create Jobs in this namespace: the administrator of the cluster can allow it by the chart's "
    "value drain.jobs.namespaces"
)

log = logging.getLogger(__name__)


def left_by(pod: Pod, report: Report | None) -> Left | None:
    """What a pod that ended left undelivered: what its gateway said at its end, else what it said last.

    None where it is not known.
    """
    if pod.message or pod.exit_code == 0:
        return pod.left
    if report and report.changes:
        return Left(report.changes, report.bytes, report.parked, is_exact=False)
    return None


def follow(
    before: Iterable[ClaimStatus],
    pods: Iterable[Pod],
    ended: Iterable[Pod],
    reports: dict[str, Report],
    holders: Collection[str],
) -> list[ClaimStatus]:
    """Say of each claim of a gateway whether somebody has it and what was left in it. Pure.

    `pods` are the gateway's that have a claim, or had it when last seen, or are over; `ended` those whose end can be
    read; `holders` the claims that any pod of the namespace has now.
    """
    claims = {claim.claim_name: claim for claim in before}
    used = {claim.claim_name for claim in claims.values() if claim.in_use}
    pods = sorted((pod for pod in pods if pod.claim), key=lambda pod: pod.created)
    for pod in pods:
        if pod.drains:
            continue
        if not pod.holds and pod.claim not in holders and is_news(pod, claims.get(pod.claim)):
            claims[pod.claim] = ClaimStatus(claim_name=pod.claim, last_pod=pod.manner)
            used.add(pod.claim)
        if pod.holds:
            known = claims.get(pod.claim) or ClaimStatus(claim_name=pod.claim, last_pod=pod.manner)
            # A pod that has started knows better than what the one before it said.
            unsaid = said(None) if pod.uid in reports else {}
            claims[pod.claim] = known.model_copy(update={"last_pod": pod.manner} | unsaid)
            used.add(pod.claim)
    for pod in ended:
        if pod.claim in claims and pod.claim not in holders and is_last(pod, claims[pod.claim], used):
            left = left_by(pod, reports.get(pod.uid))
            claims[pod.claim] = claims[pod.claim].model_copy(update=said(left) if left else {})
    for pod in pods:
        report = reports.get(pod.uid)
        if report and pod.drains and pod.holds and pod.claim in claims and is_last(pod, claims[pod.claim], used):
            now = Left(report.changes, report.bytes, report.parked)
            claims[pod.claim] = claims[pod.claim].model_copy(update=said(now))
    return [claim.model_copy(update={"in_use": name in holders}) for name, claim in sorted(claims.items())]


def is_news(pod: Pod, claim: ClaimStatus | None) -> bool:
    """Whether a pod that is over had a claim while nobody looked: after the last one that is known, if any is.

    A claim is remembered for as long as a pod is there that had it, so that none is news twice.
    """
    return claim is None or (claim.last_pod.created or pod.created) < pod.created


def is_last(pod: Pod, claim: ClaimStatus, used: set[str]) -> bool:
    """Whether the end of a pod is the last word on a claim: of the pod that had it, or of the job after it."""
    if pod.drains:
        return claim.job is not None and claim.job == pod.owner["name"]
    return pod.uid == claim.last_pod.uid and claim.claim_name in used


def said(left: Left | None) -> Object:
    """What is known of the contents of a claim, as fields of its status."""
    if left is None:
        return dict.fromkeys(("changes", "bytes", "parked"))
    return {"changes": left.changes, "bytes": left.bytes, "parked": left.parked}


def is_due(claim: ClaimStatus) -> bool:
    """Whether something may be in a claim that can be delivered and that nobody delivers."""
    return not claim.in_use and (claim.changes is None or claim.changes > (claim.parked or 0))


class Drains:
    """The jobs, and what is remembered of the permission to make them and of claims."""

    def __init__(self, kube: Kube, events: Events, image: Image) -> None:
        self._kube, self._events, self._image = kube, events, image
        self._may: dict[str, tuple[bool, float]] = {}
        """By namespace whether jobs may be made there, and until when that is believed."""
        self._single: dict[tuple[str, str], float] = {}
        """Claims that one node has at a time, and until when that is believed."""

    async def shared(self, namespace: str, names: Iterable[str]) -> str:
        """The first of some claims that several nodes may have at once; empty where there is none."""
        for name in names:
            modes = await self.modes(namespace, name)
            if modes and SHARED in modes:
                return name
        return ""

    async def modes(self, namespace: str, name: str) -> list[str] | None:
        """The access modes of a claim, [] where they were seen to be harmless lately; None: there is no such claim."""
        now = time.monotonic()
        if self._single.get((namespace, name), 0) > now:
            return []
        raw = await self._kube.get(CLAIMS, name, namespace)
        if raw is None:
            return None
        found: list[str] = (raw.get("spec") or {}).get("accessModes") or []
        if SHARED not in found:
            believed = {key: until for key, until in self._single.items() if until > now}
            self._single = believed | {(namespace, name): now + LOOK_SECONDS}
        return found

    async def may_drain(self, gateway: Object) -> bool:
        """Whether jobs may be made in the namespace of a gateway."""
        namespace = gateway["namespace"]
        allowed, until = self._may.get(namespace, (False, 0.0))
        if until > time.monotonic():
            return allowed
        try:
            await self._kube.get(JOBS, f"{gateway['name'][:46]}-drain", namespace)
        except ApiError as error:
            if error.status != HTTPStatus.FORBIDDEN:
                raise
            return self._remember(namespace, allowed=False)
        return self._remember(namespace, allowed=True)

    def _remember(self, namespace: str, *, allowed: bool) -> bool:
        self._may[namespace] = allowed, time.monotonic() + LOOK_SECONDS
        return allowed

    async def settle(
        self, gateway: Object, spec: S3GatewaySpec | None, claims: Iterable[ClaimStatus], pods: Iterable[Pod]
    ) -> tuple[list[ClaimStatus], Left]:
        """Make and delete jobs as it has to be; answer the claims that are still worth telling of.

        Beside them, what went with claims that were deleted, by what was last said of those. `gateway` is the metadata
        of the S3Gateway; without a `spec` that can be used no job is made.
        """
        pods = list(pods)
        running = {(pod.claim, pod.owner["name"]) for pod in pods if pod.drains and pod.holds}
        remembered = {pod.claim for pod in pods if not pod.holds and not pod.drains}
        kept, lost = [], Left(0, 0)
        for claim in claims:
            jobs = {name for name in {claim.job, *(job for held, job in running if held == claim.claim_name)} if name}
            try:
                settled = await self._settle(gateway, spec, claim, jobs)
            except ApiError as error:
                if error.status != HTTPStatus.FORBIDDEN:
                    raise
                self._remember(gateway["namespace"], allowed=False)
                settled = claim
            if settled is None:
                lost = Left(total([lost.changes, claim.changes or 0]), total([lost.bytes, claim.bytes or 0]))
                settled = claim.model_copy(update=said(Left(0, 0)) | {"job": None})
            if settled.in_use or settled.job or settled.changes != 0 or settled.claim_name in remembered:
                kept.append(settled)
        return kept[:MAX_CLAIMS], lost

    async def _settle(
        self, gateway: Object, spec: S3GatewaySpec | None, claim: ClaimStatus, jobs: set[str]
    ) -> ClaimStatus | None:
        """Do what has to be done about one claim; None where there is none any more."""
        namespace = gateway["namespace"]
        gone = not claim.in_use and await self.modes(namespace, claim.claim_name) is None
        wanted = spec is not None and spec.drain.job and spec.write_queue.enabled
        if gone or claim.in_use or not wanted:
            for job in sorted(jobs):
                await self._delete(namespace, job)
            claim = claim.model_copy(update={"job": None})
        if gone:
            if claim.changes != 0:
                text = f"claim {claim.claim_name} was deleted with undelivered changes: {amount(claim)}"
                await self._tell(gateway, Reason.QUEUE_LOST, text)
            return None
        if spec is None or not wanted or not (claim.job or is_due(claim)):
            return claim
        if not await self.may_drain(gateway):
            await self._tell(gateway, Reason.DRAIN_JOB_FORBIDDEN, f"{describe(claim)}, and {FORBIDDEN}")
            return claim
        return await self._deliver(gateway, spec, claim)

    async def _deliver(self, gateway: Object, spec: S3GatewaySpec, claim: ClaimStatus) -> ClaimStatus:
        """See to it that a job delivers what is in a claim, and to what became of it."""
        namespace, name = gateway["namespace"], drain_job.job_name(gateway["name"], claim.claim_name, claim.last_pod)
        job = await self._kube.get(JOBS, name, namespace)
        if job is None:
            if not is_due(claim):
                return claim.model_copy(update={"job": None})
            made = drain_job.drain_job(spec, gateway, self._image, claim.claim_name, claim.last_pod)
            job = await self._kube.apply(JOBS, made, COMPONENT)
            text = f"{describe_job(job)} delivers what the last pod left in claim {claim.claim_name}"
            await self._tell(gateway, Reason.DRAIN_JOB_STARTED, text, kind="Normal")
            return claim.model_copy(update={"job": name})
        claim = claim.model_copy(update={"job": name})
        end, why = end_of(job)
        if end == "Complete":
            text = f"{describe_job(job)} has delivered everything that was left in claim {claim.claim_name}"
            await self._tell(gateway, Reason.DRAIN_JOB_FINISHED, text, kind="Normal")
            return claim.model_copy(update=said(Left(0, 0)) | {"job": None})
        if end == "Failed":
            text = (
                f"{describe_job(job)} ended ({why}) before everything in claim {claim.claim_name} was delivered: "
                f"`kubectl logs job/{name}` shows why. Another Job follows when this one is deleted, after "
                f"{drain_job.KEPT_SECONDS // 60} minutes. Parked changes need a pod with the claim, and `s3d queue`"
            )
            await self._tell(gateway, Reason.DRAIN_JOB_FAILED, text)
        if (job["metadata"].get("annotations") or {}).get(CONFIG_HASH) != gateway_settings.config_hash(spec, None):
            await self._delete(namespace, name)
        return claim

    async def _delete(self, namespace: str, name: str) -> None:
        """Delete a job; its pods are told to end."""
        await self._kube.delete(JOBS, name, namespace)
        log.info("drain job %s/%s is deleted", namespace, name)

    async def _tell(
        self, gateway: Object, reason: Reason, text: str, *, kind: Literal["Normal", "Warning"] = "Warning"
    ) -> None:
        known = {name: gateway[name] for name in ("name", "namespace", "uid")}
        await self._events.tell({"apiVersion": API_VERSION, "kind": "S3Gateway"} | known, reason, text, kind=kind)


def amount(claim: ClaimStatus) -> str:
    """How much is in a claim."""
    return "an unknown number of changes" if claim.changes is None else f"{claim.changes} changes, {claim.bytes} bytes"


def describe(claim: ClaimStatus) -> str:
    """What waits in a claim."""
    verb = "is" if claim.changes is None else "are"
    return f"{amount(claim)} {verb} in claim {claim.claim_name}, which no pod uses"


def describe_job(job: Object) -> str:
    """A job as events name it; one of the same name may have been before it."""
    metadata = job["metadata"]
    return f"Job {metadata['name']} of {metadata.get('creationTimestamp', '')}"


def end_of(job: Object) -> tuple[str, str]:
    """How a job ended, Complete or Failed, and the reason; empty while it goes on."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return condition["type"], condition.get("reason") or ""
    return "", ""
