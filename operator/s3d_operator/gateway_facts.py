"""What is known of a gateway besides itself: its pods and what they say, its rivals, its claims. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from s3d_operator.gateway_status import ClaimStatus, LostChanges
from s3d_operator.pods import Report


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
