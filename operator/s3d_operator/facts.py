"""What is known of a gateway besides itself: its pods and what they say, and its rivals. Pure."""

from collections.abc import Iterable, Mapping

from s3d_operator.choice import Gateway, overlap
from s3d_operator.gateway_settings import config_hash
from s3d_operator.gateway_status import ClaimStatus
from s3d_operator.layout import Image
from s3d_operator.pods import Pod, Report
from s3d_operator.status import GatewayFacts, Seen


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
