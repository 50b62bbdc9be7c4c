"""What is known of a gateway besides itself: its pods and what they say, its rivals, its claims. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from s3d_operator.choice import Gateway, overlap
from s3d_operator.gateway_settings import config_hash
from s3d_operator.gateway_status import ClaimStatus, LostChanges
from s3d_operator.layout import Image
from s3d_operator.pods import Pod, Report


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one pod of a gateway."""

    is_outdated: bool = False
    listens: bool = True
    report: Report | None = None
    """What it said last."""
    answers: bool = True
    """Whether it said so just now."""
    may_hold: bool = False
    """Whether something may be pending in its volume that nobody but it can say."""
    waits_for: str = ""
    """What keeps it from starting, in one word of Kubernetes."""

    @property
    def is_unreachable(self) -> bool:
        """Whether it runs and does not say what is pending."""
        return self.listens and not self.answers

    @property
    def is_silent(self) -> bool:
        """Whether it does not run, and so cannot say what is pending in its volume."""
        return not self.listens and self.may_hold


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """All that is known of a gateway besides itself."""

    pods: Sequence[Seen] = ()
    uninjected: int = 0
    older: str = ""
    """A gateway that goes before this one for some pods."""
    younger: Sequence[str] = ()
    """Those that this one goes before."""
    claims: Sequence[ClaimStatus] = ()
    lost: LostChanges | None = None
    """What was lost up to now."""
    may_drain: bool = True
    """Whether a drain job that is asked for can be made."""

    @property
    def reports(self) -> list[Report]:
        """What the pods say now."""
        return [pod.report for pod in self.pods if pod.listens and pod.answers and pod.report]

    def with_problem(self, name: str) -> int:
        """How many pods say now that this is wrong."""
        return sum(name in report.problems for report in self.reports)

    @property
    def waiting(self) -> list[Seen]:
        """Pods whose gateway has not started."""
        return [pod for pod in self.pods if not pod.listens]


def facts_of(
    own: Gateway,
    gateways: Iterable[Gateway],
    pods: Iterable[Pod],
    answers: Mapping[str, Report | None],
    reports: Mapping[str, Report],
    claims: Iterable[ClaimStatus],
    image: Image,
    *,
    uninjected: int,
) -> GatewayFacts:
    """The facts for the status of a gateway: `gateways` are those of its namespace, `pods` its own.

    `answers` are what the pods have said in this round, `reports` what they said last.
    """
    current = config_hash(own.spec, image) if own.spec else ""
    said = {claim.claim_name for claim in claims if claim.changes is not None}
    seen = [
        Seen(
            is_outdated=bool(current) and pod.config_hash != current,
            listens=pod.listens,
            report=reports.get(pod.uid),
            answers=answers.get(pod.uid) is not None,
            may_hold=pod.claim not in said if pod.claim else pod.has_run or pod.uid in reports,
            waits_for=pod.waits_for,
        )
        for pod in pods
        if not (pod.is_over and not pod.listens) and not pod.drains
    ]
    rivals = [
        other
        for other in gateways
        if own.spec and other.spec and other is not own
        if overlap(own.spec.pod_selector, other.spec.pod_selector)
    ]
    rivals.sort(key=lambda gateway: gateway.rank)
    return GatewayFacts(
        pods=seen,
        uninjected=uninjected,
        older=next((rival.name for rival in rivals if rival.rank < own.rank), ""),
        younger=[rival.name for rival in rivals if rival.rank > own.rank],
    )
