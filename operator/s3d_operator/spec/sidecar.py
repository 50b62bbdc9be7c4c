"""The part of a spec about what the sidecar takes of its pod: time at its end, processor and memory."""

from typing import ClassVar, Literal

from pydantic import Field

from s3d.settings import Gateway as Daemon
from s3d_operator.schema import Cpu, Resource, Rule, Size, compare, help_of


class Drain(Resource):
    """The end of a pod."""

    seconds: int = Field(
        default=60,
        description=help_of(Daemon, "drain") + " The pod's grace period is its own and this and 5 s more.",
        ge=0,
        le=86_400,
    )
    job: bool = Field(
        default=False,
        description="Start a Job that delivers what a deleted pod left in its claim, instead of waiting for the next "
        "pod. The administrator has to allow it for the namespace: drain.jobs.namespaces of the chart.",
    )


class Requests(Resource):
    """What the sidecar requests."""

    cpu: Cpu = Field(default="50m", description="Processor time.")
    memory: Size = Field(default="64Mi", description="Memory.")


class Limits(Resource):
    """What the sidecar may not exceed."""

    cpu: Cpu | None = Field(default=None, description="Processor time. Unset: no limit.")
    memory: Size = Field(default="256Mi", description="Memory; the gateway itself stays below 150 MB.")


class Resources(Resource):
    """Resources of the sidecar."""

    requests: Requests = Field(default=Requests(), description="What the sidecar requests.")
    limits: Limits = Field(default=Limits(), description="What the sidecar may not exceed.")
    quality: Literal["Burstable", "Guaranteed"] = Field(
        default="Burstable",
        description="Guaranteed: the requests are the limits, so that a pod of that class stays one.",
    )

    rules: ClassVar = (
        Rule(
            "self.quality != 'Guaranteed' || has(self.limits.cpu)",
            "resources: quality Guaranteed needs limits.cpu, since the requests are the limits",
        ),
        Rule(
            f"self.quality == 'Guaranteed' || {compare('self.limits.memory', '>=', 'self.requests.memory')}",
            "resources: limits.memory is below requests.memory",
        ),
        Rule(
            "!has(self.limits.cpu) || self.quality == 'Guaranteed' || "
            + compare("self.limits.cpu", ">=", "self.requests.cpu"),
            "resources: limits.cpu is below requests.cpu",
        ),
    )
